//! Steps and episodes of rewards.

use chain::abi::rewards::{PROOF_STEP, ROOT_INTENT};
use chain::abi::{self, Enclave, Epoch, EpochRoot, IntentMessage, Vault};
use sui_sdk_types::Address;

use super::choices::{Random, Step, Used, fresh};
use super::stage::{Given, Place, Stage, admin, at, byte, node_key, sender};
use super::steps::{EPOCH, VAULT};
use super::{DAY_MS, EPOCHS, HOUR_MS, NODES, SUI};
use crate::execution::{Arg, Stop};
use crate::package::rewards::leaf;
use crate::package::rewards::sum_tree::Sum;

/// The points of a node in a tree: in the form 9 the first has none.
pub(super) fn points(tree: u64, node: u64) -> u64 {
    match tree {
        1 => node + 2,
        9 => node,
        _ => node + 1,
    }
}

/// A tree over all nodes' records, whether or not they are there.
struct Tree {
    root: Vec<u8>,
    total: u64,
    leaves: u64,
    proofs: Vec<Vec<u8>>,
}

impl Tree {
    /// In one of several forms: 0, 1 and 9 are as they should be.
    fn of(vault: Address, number: u64, records: &[Address], form: u64) -> Self {
        let mut sums: Vec<Sum> = (0..)
            .zip(records)
            .map(|(node, record)| leaf(vault, number, *record, points(form, node)).unwrap())
            .collect();
        assert!(sums.len().is_power_of_two());
        let mut proofs = vec![Vec::new(); sums.len()];
        let mut level = 0;
        while sums.len() > 1 {
            for (index, proof) in proofs.iter_mut().enumerate() {
                let sibling = sums[(index >> level) ^ 1];
                proof.extend(sibling.hash);
                proof.extend(sibling.points.to_le_bytes());
            }
            let nodes = sums.chunks(2).map(|pair| Sum {
                hash: Sum::node(&pair[0], &pair[1]),
                points: pair[0].points + pair[1].points,
            });
            sums = nodes.collect();
            level += 1;
        }
        let mut tree = Self {
            root: sums[0].hash.to_vec(),
            total: sums[0].points,
            leaves: NODES,
            proofs,
        };
        match form {
            2 => {
                tree.root.pop();
            }
            3 => tree.total = 0,
            4 => tree.leaves = 0,
            5 => tree.total += 1,
            7 => tree.leaves = abi::rewards::MOST_LEAVES + 1,
            8 => tree.leaves = NODES - 1,
            _ => {}
        }
        tree
    }
}

impl Stage<'_> {
    /// Steps of rewards.
    pub(super) fn of_rewards(&mut self, name: &str, n: &[u64]) -> Result<(), Stop> {
        let numbers = |numbers: &[u64]| -> Vec<Given> {
            numbers.iter().map(|it| Arg::U64(*it).into()).collect()
        };
        let vault = Place::Vault;
        match name {
            "new_vault" => {
                let mut given = vec![Place::Pool.into(), Place::Admin.into()];
                given.extend(numbers(n));
                given.push(self.clock().into());
                let mut made = self.call(admin(), "rewards::new_vault", given)?;
                self.vaults_made += 1;
                self.keep(vault, made.remove(0), 0x17 + self.vaults_made);
            }
            "fund" => {
                let coin = self.coin(n[0]).into();
                self.call(sender(0, 3), "rewards::fund", vec![vault.into(), coin])?;
            }
            "set_budget" => {
                let mut given = [vault, Place::Pool, Place::Admin].map(Given::from).to_vec();
                given.extend(numbers(n));
                given.push(self.clock().into());
                self.call(admin(), "rewards::set_budget", given)?;
            }
            "publish" => {
                let [slot, number, tree, budget, age, master, broken] = *n else {
                    panic!("{n:?}");
                };
                let mut given = [vault, Place::Config, Place::Enclave(master)]
                    .map(Given::from)
                    .to_vec();
                given.push(Arg::U64(number).into());
                let id = self.place(vault).id();
                given.extend(self.signed(id, number, [tree, budget, age, master, broken]));
                let mut made = self.call(sender(0, 3), "rewards::publish_root", given)?;
                self.show_root(id, number, tree);
                self.keep(Place::Epoch(slot), made.remove(0), 0x20 + byte(slot));
            }
            "object" => {
                let [slot, tree, budget, age, master, broken] = *n else {
                    panic!("{n:?}");
                };
                let epoch = Place::Epoch(slot);
                let published: Epoch = self.read(epoch);
                let mut given = [vault, epoch, Place::Config, Place::Enclave(master)]
                    .map(Given::from)
                    .to_vec();
                let said = [tree, budget, age, master, broken];
                given.extend(self.signed(published.vault, published.number, said));
                self.call(sender(0, 3), "rewards::object_with_root", given)?;
                self.show_root(published.vault, published.number, tree);
            }
            "object_by_admin" => {
                let places = [vault, Place::Epoch(n[0]), Place::Pool, Place::Admin];
                let mut given = places.map(Given::from).to_vec();
                given.push(self.clock().into());
                self.call(admin(), "rewards::object_by_admin", given)?;
            }
            "claim" => self.claim(n[0], n[1], n[2], n[3])?,
            "close" => {
                let mut given = [vault, Place::Epoch(n[0])].map(Given::from).to_vec();
                given.push(self.clock().into());
                self.call(sender(0, 3), "rewards::close", given)?;
            }
            other => panic!("no step {other}"),
        }
        Ok(())
    }

    fn tree(&self, vault: Address, number: u64, form: u64) -> Tree {
        let pool = self.sides[0][0].id();
        let records = (0..NODES).map(|node| abi::record_id(self.package, pool, &node_key(node)));
        Tree::of(vault, number, &records.collect::<Vec<_>>(), form)
    }

    /// Shows a root as a byte: it stands for ids that the Move tests have others for.
    fn show_root(&mut self, vault: Address, number: u64, form: u64) {
        let root = self.tree(vault, number, form).root;
        self.ids.push((root.try_into().unwrap(), 0x60 + byte(form)));
    }

    /// The arguments from the root on: tree, budget, age, master, and whether the signature is broken.
    fn signed(&mut self, vault: Address, number: u64, said: [u64; 5]) -> Vec<Given> {
        let [form, budget, age, master, broken] = said;
        let tree = self.tree(vault, number, form);
        let enclave: Enclave = self.read(Place::Enclave(master));
        let time = self.now_ms - age;
        let message = IntentMessage {
            domain: abi::enclave::DOMAIN.to_vec(),
            intent: ROOT_INTENT,
            enclave: enclave.id,
            config_version: enclave.config_version,
            nonce: number,
            timestamp_ms: time,
            data: EpochRoot {
                vault,
                epoch: number,
                root: tree.root.clone(),
                total_points: tree.total,
                leaves: tree.leaves,
                budget,
            },
        };
        let mut signature = self.signature(master, &bcs::to_bytes(&message).unwrap());
        if broken == 1 {
            signature[40] ^= 1;
        }
        vec![
            Arg::Bytes(tree.root).into(),
            Arg::U64(tree.total).into(),
            Arg::U64(tree.leaves).into(),
            Arg::U64(budget).into(),
            Arg::U64(time).into(),
            Arg::Bytes(signature).into(),
            self.clock().into(),
        ]
    }

    /// Of a node, with its proof in a tree, in one of several forms: 0 is as it should be.
    fn claim(&mut self, slot: u64, node: u64, tree: u64, form: u64) -> Result<(), Stop> {
        let epoch: Epoch = self.read(Place::Epoch(slot));
        let mut proof = self.tree(epoch.vault, epoch.number, tree).proofs[at(node)].clone();
        let (mut points, mut index) = (points(tree, node), node);
        match form {
            1 => {
                proof.pop();
            }
            2 => index ^= 1,
            3 => index = NODES,
            4 => proof[PROOF_STEP - 8..PROOF_STEP].fill(0xff),
            5 => points += 1,
            _ => {}
        }
        let places = [Place::Epoch(slot), Place::Pool, Place::Record(node)];
        let mut given = places.map(Given::from).to_vec();
        given.extend([Arg::U64(points), Arg::U64(index)].map(Given::from));
        given.extend([Arg::Bytes(proof), self.clock()].map(Given::from));
        self.call(sender(0, 3), "rewards::claim", given)?;
        Ok(())
    }

    /// The next steps of a sequence that is about rewards.
    pub(super) fn reward(&mut self, random: &mut Random, used: &mut Used) -> Vec<Step> {
        let vault: Vault = self.read(Place::Vault);
        let masters = (0..2).filter(|one| self.enclaves[at(*one)].is_some());
        let masters: Vec<u64> = masters.collect();
        let [first, second] = *masters else {
            return vec![("register", vec![0, 0]), ("register", vec![1, 0])];
        };
        let (one, other) = random.of(&[(first, second), (second, first)]);
        let free = (0..EPOCHS).find(|slot| self.epochs[at(*slot)].is_none());
        let (Some(slot), 0..14) = (free, random.below(16)) else {
            return vec![self.any_of_rewards(random)];
        };
        // the epoch of this day, two days on
        let today = self.now_ms / DAY_MS;
        let days = today.max(vault.first_day) - today;
        let number = today + days - vault.first_day;
        let mut nodes: Vec<u64> = (0..NODES).collect();
        nodes.retain(|node| self.records[at(*node)].is_some());
        let node = random.of(&nodes);
        let budget = random.of(&[SUI, SUI + 1, 7]);
        used.rewards += 1;
        let mut steps = match used.rewards % 4 {
            1 => return refused(slot, number, &vault, one),
            3 => vec![
                ("set_budget", vec![2 * SUI]),
                ("fund", vec![2 * SUI]),
                ("slash", vec![node, 1_000, fresh(used)]),
                self.good_verdict((node + 1) % NODES, random, used),
            ],
            _ => Vec::new(),
        };
        steps.extend([("fund", vec![2 * SUI]), ("wait", vec![(days + 1) * DAY_MS])]);
        let tree = random.of(&[0, 0, 0, 1, 5, 8, 9]);
        let publish = ("publish", vec![slot, number, tree, budget, 0, one, 0]);
        let object = ("object", vec![slot, 1 - tree.min(1), budget, 0, other, 0]);
        let end = match used.rewards % 4 {
            0 if random.rarely(2) => object.clone(),
            0 => ("object_by_admin", vec![slot]),
            _ => ("wait", vec![HOUR_MS]),
        };
        let versioned = (random.of(&[VAULT, EPOCH]), slot);
        steps.extend(life(&publish, object, &end, versioned, node));
        steps
    }

    /// A new vault takes the place of one that holds nothing and has no epoch.
    pub(super) fn may_make_a_vault(&mut self) -> bool {
        let vault: Vault = self.read(Place::Vault);
        vault.funds == 0 && self.epochs.iter().all(Option::is_none)
    }

    /// Any step of rewards, wherever things stand.
    fn any_of_rewards(&mut self, random: &mut Random) -> Step {
        let (slot, node, master) = (random.below(EPOCHS), random.below(NODES), random.below(2));
        let tree = random.of(&[0, 1, 9]);
        match random.below(7) {
            0 => ("fund", vec![random.of(&[0, 1, SUI])]),
            1 => ("set_budget", vec![random.of(&[SUI, 2 * SUI, 3 * SUI])]),
            2 => ("object", vec![slot, tree, SUI, 0, master, 0]),
            3 => ("object_by_admin", vec![slot]),
            4 => ("close", vec![slot]),
            _ => ("claim", vec![slot, node, tree, random.of(&[0, 0, 0, 2])]),
        }
    }
}

/// A step with each of some objects from the other pool, with one of another version, and as it should
/// be.
fn with_others(step: &Step, taken: &[Place], versioned: Option<(u64, u64)>) -> Vec<Step> {
    let mut steps = Vec::new();
    for place in taken {
        let swap: Step = ("swap", vec![place.kind().unwrap() as u64]);
        steps.extend([swap.clone(), step.clone(), swap]);
    }
    if let Some((kind, index)) = versioned {
        let set = |version| ("set_version", vec![kind, index, version]);
        steps.extend([set(2), step.clone(), set(1)]);
    }
    steps.push(step.clone());
    steps
}

/// An epoch from its root on: objections, or what ends their time, then claims, and its end.
fn life(publish: &Step, object: Step, end: &Step, versioned: (u64, u64), node: u64) -> Vec<Step> {
    let [slot, number, tree, budget, _, one, _] = *publish.1 else {
        panic!("{publish:?}");
    };
    let other = object.1[4];
    let close: Step = ("close", vec![slot]);
    let claim = |node, form| ("claim", vec![slot, node, tree, form]);
    let mut steps = with_others(publish, &[Place::Vault, Place::Config], None);
    steps.extend([
        ("publish", vec![slot + 1, number, tree, budget, 0, other, 0]),
        claim(node, 0),
        close.clone(),
        ("object", vec![slot, 1, budget, 0, one, 0]),
        ("object", vec![slot, tree, budget + 1, 0, other, 0]),
    ]);
    let taken: &[Place] = match end.0 {
        "object" => &[Place::Vault, Place::Config],
        "object_by_admin" => &[Place::Vault, Place::Pool, Place::Admin],
        _ => &[],
    };
    let versioned = (!taken.is_empty()).then_some(versioned);
    steps.extend(with_others(end, taken, versioned));
    steps.extend([object, ("object_by_admin", vec![slot])]);
    steps.extend((1..=5).map(|form| claim(node, form)));
    steps.extend((0..NODES).map(|node| claim(node, 0)));
    let again = claim(node, 0);
    steps.extend(with_others(&again, &[Place::Pool], Some((EPOCH, slot))));
    steps.extend([("wait", vec![7 * DAY_MS]), again]);
    steps.extend(with_others(&close, &[Place::Vault], Some((VAULT, slot))));
    steps.push(close);
    steps
}

/// Vaults, budgets and roots that are refused, and vaults and budgets that are not.
fn refused(slot: u64, number: u64, vault: &Vault, master: u64) -> Vec<Step> {
    let (week, most) = (7 * DAY_MS, vault.most_budget.current);
    let budget = most.min(vault.funds + 1);
    let root = |number, tree, budget, age, broken| {
        (
            "publish",
            vec![slot, number, tree, budget, age, master, broken],
        )
    };
    let mut steps = vec![
        ("new_vault", vec![0, HOUR_MS, week, SUI]),
        ("new_vault", vec![32, HOUR_MS, week, SUI]),
        ("new_vault", vec![1, HOUR_MS - 1, week, SUI]),
        ("new_vault", vec![1, week + 1, week, SUI]),
        ("new_vault", vec![1, HOUR_MS, week - 1, SUI]),
        ("new_vault", vec![1, HOUR_MS, 365 * DAY_MS + 1, SUI]),
        root(number, 0, SUI, 0, 0),
        root(0x1_0000_0000, 0, SUI, 0, 0),
        ("wait", vec![3 * DAY_MS]),
        root(number, 0, SUI, 600_001, 0),
        root(number, 0, SUI, 0, 1),
        root(number, 0, 0, 0, 0),
        root(number, 0, budget, 0, 0),
        root(number, 0, 100 * SUI, 0, 0),
    ];
    steps.extend([2, 3, 4, 7].map(|tree| root(number, tree, SUI, 0, 0)));
    steps.extend(with_others(
        &("set_budget", vec![3 * SUI]),
        &[Place::Vault, Place::Pool, Place::Admin],
        None,
    ));
    steps.extend([
        ("set_budget", vec![2 * SUI]),
        ("fund", vec![0]),
        ("wait", vec![33 * DAY_MS]),
        root(number, 0, 1, 0, 0),
        ("new_vault", vec![1, HOUR_MS, week, 2 * SUI]),
        ("fund", vec![SUI]),
    ]);
    steps
}
