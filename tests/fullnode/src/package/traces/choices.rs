//! Which steps come next: mostly some that succeed where things stand, and often enough some that
//! can't.

use chain::abi::{
    Enclave, EnclaveConfig, MasterDirectory, Pool, ReleaseRegistry, StakeRecord, status,
};

use super::stage::{Place, Stage, at};
use super::steps::{ENCLAVE, EPOCH, RECORD, VAULT};
use super::{DAY_MS, EPOCHS, HOUR_MS, MASTERS, NODES, SUI};

/// A call by its name in a trace, with its numbers.
pub(super) type Step = (&'static str, Vec<u64>);

/// `SplitMix64` (Steele, Lea, Flood: "Fast splittable pseudorandom number generators").
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    pub(super) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.below(choices.len() as u64)).unwrap()]
    }

    /// Once in so many times.
    pub(super) fn rarely(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }
}

/// What was used before, so that it is not used again but on purpose.
#[derive(Default)]
pub(super) struct Used {
    proofs: u64,
    nonces: u64,
    pub(super) patches: u64,
    digests: u64,
    /// How many episodes of rewards there were.
    pub(super) rewards: u64,
    /// Episodes to come.
    pub(super) deck: Vec<u64>,
}

/// Steps that take the record of their first number.
const OF_A_RECORD: &[&str] = &[
    "token",
    "renew",
    "top_up",
    "slash",
    "verdict",
    "ask",
    "ask_with_token",
    "cancel",
    "withdraw",
    "restake",
    "set_beneficiary",
    "begin_maintenance",
    "end_maintenance",
];

/// Evidence and nonces of verdicts begin here.
const FIRST: u64 = 10;

impl Stage<'_> {
    /// The next steps. Late in a sequence also those after which little works any more.
    pub(super) fn choose(&mut self, random: &mut Random, used: &mut Used, late: bool) -> Vec<Step> {
        let step = match random.below(24) {
            0 | 1 => ("wait", vec![self.time(random)]),
            2..=10 => self.of_a_stake(random, used),
            11 | 12 => self.rule(random),
            13 | 14 => self.master(random, late),
            15 | 16 => self.release(random, used),
            17 | 18 => return self.amiss(random, used),
            _ => return self.episode(random, used, late),
        };
        vec![step]
    }

    /// Whether all that a step names is there.
    pub(super) fn is_possible(&mut self, step: &Step) -> bool {
        let (name, n) = step;
        let (mut needed, mut free) = (Vec::new(), true);
        if OF_A_RECORD.contains(name) {
            needed.push(Place::Record(n[0]));
        }
        match *name {
            "renew" | "ask_with_token" => needed.push(Place::Token(n[1])),
            "set_version" if n[0] == VAULT || n[0] == EPOCH => needed.push(Place::Epoch(n[1])),
            "new_vault" => return self.may_make_a_vault(),
            "publish" => {
                needed.push(Place::Enclave(n[5]));
                free = n[0] < EPOCHS && self.epochs[at(n[0])].is_none();
            }
            "object" => needed.extend([Place::Epoch(n[0]), Place::Enclave(n[4])]),
            "object_by_admin" | "close" => needed.push(Place::Epoch(n[0])),
            "claim" => needed.extend([Place::Epoch(n[0]), Place::Record(n[1])]),
            "set_version" if n[0] == RECORD => needed.push(Place::Record(n[1])),
            "burn" => needed.push(Place::Token(n[0])),
            "verdict" => needed.push(Place::Enclave(n[7])),
            "set_minimum_config_version" => needed.push(Place::Enclave(n[1])),
            "retire" | "list_master" | "remove_master" | "remove_retired_master" => {
                needed.push(Place::Enclave(n[0]));
            }
            _ => {}
        }
        free && needed.into_iter().all(|place| self.slot(place).is_some())
    }

    fn time(&mut self, random: &mut Random) -> u64 {
        let until = (0..NODES).filter_map(|node| {
            let record: StakeRecord = self.slot(Place::Record(node))?.read().ok()?;
            record.unbonding_until_ms?.checked_sub(self.now_ms)
        });
        let until: Vec<u64> = until.collect();
        match until.is_empty() || random.rarely(2) {
            true => random.of(&[
                1,
                HOUR_MS,
                HOUR_MS,
                DAY_MS,
                7 * DAY_MS,
                15 * DAY_MS,
                30 * DAY_MS,
            ]),
            false => random.of(&until),
        }
    }

    /// A step that would mostly succeed, with each of its objects from the other pool, and with one of
    /// another version; and as it should be, unless that would end too much.
    fn amiss(&mut self, random: &mut Random, used: &mut Used) -> Vec<Step> {
        let step = match random.below(6) {
            0..=2 => self.of_a_stake(random, used),
            3 => self.rule(random),
            4 => self.master(random, false),
            _ => self.release(random, used),
        };
        let step = match random.below(12) {
            0 => ("revoke_slasher", Vec::new()),
            1 => ("revoke_registrar", Vec::new()),
            2 => ("revoke_release_cap", Vec::new()),
            3 => ("new_slasher", Vec::new()),
            4 | 5 => {
                let node = random.below(NODES);
                self.good_verdict(node, random, used)
            }
            _ => step,
        };
        let mut steps = Vec::new();
        for kind in kinds(step.0) {
            let swap: Step = ("swap", vec![kind.kind().unwrap() as u64]);
            steps.extend([swap.clone(), step.clone(), swap]);
        }
        if let Some((kind, index)) = self.versioned(&step, random) {
            let set = |version| ("set_version", vec![kind, index, version]);
            steps.extend([set(2), step.clone(), set(1)]);
        }
        if !step.0.starts_with("revoke_") {
            steps.push(step);
        }
        steps
    }

    /// One of a step's objects that have a version.
    fn versioned(&self, step: &Step, random: &mut Random) -> Option<(u64, u64)> {
        let kinds = kinds(step.0);
        // its enclave lends its version to the configuration that no call takes
        let master = (0..MASTERS).find(|master| self.enclaves[at(*master)].is_some())?;
        let first = step.1.first().copied().unwrap_or_default();
        let found: Vec<(u64, u64)> = [0, 1, 4, 6, 8]
            .into_iter()
            .filter(|kind| kinds.contains(&Place::OF_A_SIDE[at(*kind)]))
            .map(|kind| (kind, master))
            .chain(OF_A_RECORD.contains(&step.0).then_some((RECORD, first)))
            .chain(matches!(step.0, "retire" | "list_master").then_some((ENCLAVE, first)))
            .collect();
        Some(random.of(&found))
    }

    fn of_a_stake(&mut self, random: &mut Random, used: &mut Used) -> Step {
        let node = random.below(NODES);
        let Some(record) = self.slot(Place::Record(node)) else {
            return stake(node, random);
        };
        let record: StakeRecord = record.read().unwrap();
        let token = self.tokens[at(node)].is_some();
        if random.rarely(3) {
            return self.any(node, random, used);
        }
        let ended = record.maintenance.last();
        let away = ended.is_some_and(|span| span.until_ms > self.now_ms);
        match record.status {
            status::ACTIVE => match random.below(12) {
                0 => ("token", vec![node, 0]),
                1 if token => ("renew", vec![node, node]),
                2 if token && record.seal_token.is_some() => ("ask_with_token", vec![node, node]),
                3 => ("top_up", vec![node, random.of(&[1, SUI])]),
                4 => ("slash", vec![node, random.of(&[1, 3_333]), fresh(used)]),
                5 | 6 => self.good_verdict(node, random, used),
                7 | 8 => ("ask", vec![node, random.of(&[0, self.owner(&record)])]),
                9 => self.heir(node, &record, random),
                _ if away => ("end_maintenance", vec![node, 0]),
                _ => {
                    let length = random.of(&[1, HOUR_MS, DAY_MS, DAY_MS, 2 * DAY_MS, 3 * DAY_MS]);
                    ("begin_maintenance", vec![node, 0, length])
                }
            },
            status::UNBONDING => {
                let over = record
                    .unbonding_until_ms
                    .is_some_and(|ms| ms <= self.now_ms);
                match random.below(4) {
                    0 | 1 if over => ("withdraw", vec![node, random.of(&[0, self.owner(&record)])]),
                    1 => self.good_verdict(node, random, used),
                    2 => ("cancel", vec![node, self.owner(&record)]),
                    _ => ("wait", vec![self.time(random)]),
                }
            }
            status::WITHDRAWN => ("restake", vec![node, 0, random.of(&[2 * SUI, 5 * SUI])]),
            _ => self.any(node, random, used),
        }
    }

    /// The beneficiary, by its number.
    fn owner(&self, record: &StakeRecord) -> u64 {
        let at = record.beneficiary.at(self.now_ms);
        (0..3)
            .find(|who| super::stage::sender(node_of(record), *who) == at)
            .unwrap_or(3)
    }

    fn heir(&self, node: u64, record: &StakeRecord, random: &mut Random) -> Step {
        (
            "set_beneficiary",
            vec![node, self.owner(record), random.of(&[0, 1, 2])],
        )
    }

    /// A verdict that counts, as far as there is a master that can give one.
    pub(super) fn good_verdict(&mut self, node: u64, random: &mut Random, used: &mut Used) -> Step {
        let signers: Vec<u64> = (0..2).filter(|m| self.enclaves[at(*m)].is_some()).collect();
        if signers.is_empty() {
            return ("register", vec![0, 0]);
        }
        used.nonces += 1;
        let (nonce, proof) = (FIRST + used.nonces, fresh(used));
        let reason = random.of(&[1, 2, 2, 2]);
        let age = random.of(&[0, 0, 600_000]);
        let ahead = if age == 0 { random.of(&[0, 10_000]) } else { 0 };
        let (rewarded, master) = (random.below(2), random.of(&signers));
        (
            "verdict",
            vec![node, reason, proof, rewarded, nonce, age, ahead, master, 0],
        )
    }

    /// A verdict of which one thing is as it should not be.
    pub(super) fn spoilt(
        &mut self,
        node: u64,
        fault: u64,
        random: &mut Random,
        used: &mut Used,
    ) -> Step {
        let (name, mut n) = self.good_verdict(node, random, used);
        if name == "verdict" {
            match fault {
                0 => n[1] = 9,
                1 => n[2] = random.of(&[0, 1]),
                2 => n[2] = FIRST,
                3 => n[4] = random.below(FIRST + used.nonces),
                4 => (n[5], n[6]) = (600_001, 0),
                5 => (n[5], n[6]) = (0, 10_001),
                6 => n[8] = 1,
                _ => n[7] = 2,
            }
        }
        (name, n)
    }

    /// Any step of a record, whatever state it is in.
    fn any(&mut self, node: u64, random: &mut Random, used: &mut Used) -> Step {
        let who = random.of(&[0, 1, 2, 3, 3]);
        let other = (node + random.below(2)) % NODES;
        let token = self.tokens[at(other)].is_some();
        match random.below(16) {
            0 => ("token", vec![node, who]),
            1 if token => ("renew", vec![node, other]),
            2 if token => ("ask_with_token", vec![node, other]),
            3 if token => ("burn", vec![other]),
            4 => ("top_up", vec![node, random.of(&[0, 1])]),
            5 => {
                let share = random.of(&[0, 1, 10_000, 10_001]);
                (
                    "slash",
                    vec![node, share, random.of(&[0, 1, FIRST, FIRST + 1])],
                )
            }
            6 | 7 => {
                let fault = random.below(8);
                self.spoilt(node, fault, random, used)
            }
            8 => ("ask", vec![node, who]),
            9 => ("cancel", vec![node, who]),
            10 => ("withdraw", vec![node, who]),
            11 => (
                "restake",
                vec![
                    node,
                    random.of(&[0, 0, who]),
                    random.of(&[SUI - 1, 2 * SUI]),
                ],
            ),
            12 => ("set_beneficiary", vec![node, who, random.below(5)]),
            13 => {
                let most = 3 * DAY_MS;
                let length = random.of(&[0, 1, DAY_MS, 2 * DAY_MS, most, most + 1]);
                (
                    "begin_maintenance",
                    vec![node, random.of(&[0, 0, who]), length],
                )
            }
            14 => ("end_maintenance", vec![node, random.of(&[0, who])]),
            _ => stake(node, random),
        }
    }

    fn rule(&mut self, random: &mut Random) -> Step {
        let pool: Pool = self.read(Place::Pool);
        let held = self.read::<chain::abi::Treasury>(Place::Treasury).balance;
        match random.below(11) {
            0 | 1 => {
                let value = random.of(&[SUI / 10 - 1, SUI / 10, SUI, 2 * SUI, 3 * SUI]);
                ("set_minimum_stake", vec![value])
            }
            2 => {
                let value = random.of(&[HOUR_MS - 1, HOUR_MS, DAY_MS, 14 * DAY_MS + 1]);
                ("set_unbonding", vec![value])
            }
            3 => {
                let value = random.of(&[HOUR_MS - 1, HOUR_MS, 365 * DAY_MS, 365 * DAY_MS + 1]);
                ("set_seal_token_lifetime", vec![value])
            }
            4 => (
                "set_reporter_share",
                vec![random.of(&[0, 1_000, 5_000, 5_001])],
            ),
            5 | 6 => {
                let share = random.of(&[0, 100, 5_000, 5_000]);
                let cap = random.of(&[100, 5_000, 10_000, 10_001]);
                (
                    "set_offence",
                    vec![2 + random.below(2), share, cap, random.below(2)],
                )
            }
            7 if held > 0 => ("withdraw_treasury", vec![1 + random.below(held)]),
            7 | 8 => ("withdraw_treasury", vec![random.of(&[0, 1 << 50])]),
            9 if random.rarely(2) => match random.rarely(2) {
                true => ("new_slasher", Vec::new()),
                false => ("revoke_slasher", Vec::new()),
            },
            _ if !pool.open || random.rarely(3) => ("open", Vec::new()),
            _ => ("withdraw_treasury", vec![held + 1]),
        }
    }

    fn master(&mut self, random: &mut Random, late: bool) -> Step {
        let config: EnclaveConfig = self.read(Place::Config);
        let directory: MasterDirectory = self.read(Place::Directory);
        let master = random.below(MASTERS);
        let Some(enclave) = self.slot(Place::Enclave(master)) else {
            return ("register", vec![master, random.of(&[0, 0, 0, 1, 2, 3])]);
        };
        let enclave: Enclave = enclave.read().unwrap();
        let listed = directory
            .masters
            .iter()
            .any(|one| one.enclave == enclave.id);
        let gone = enclave.retired || enclave.config_version < config.minimum_config_version;
        match random.below(12) {
            0..=2 if listed && gone => ("remove_retired_master", vec![master]),
            0..=3 if !listed => ("list_master", vec![master, random.of(&[1, 1, 0])]),
            2 | 3 => ("remove_master", vec![master]),
            4 => ("remove_retired_master", vec![master]),
            5 => ("list_master", vec![master, 1]),
            6 if late || master > 1 => ("retire", vec![master]),
            7 | 8 if late => {
                let minimum = config.minimum_config_version + random.of(&[0, 1, 1]);
                ("set_minimum_config_version", vec![minimum, master])
            }
            10 => ("register", vec![master, 0]),
            11 => ("remove_master", vec![master]),
            _ => {
                let (byte, length) = random.of(&[(0, 48), (0xb0, 47), (0xb1, 48), (0xb2, 48)]);
                ("update_pcrs", vec![byte, length])
            }
        }
    }

    fn release(&mut self, random: &mut Random, used: &mut Used) -> Step {
        let registry: ReleaseRegistry = self.read(Place::Registry);
        let patch = |version: chain::abi::ReleaseVersion| u64::from(version.patch);
        let ahead = random.of(&[0, DAY_MS, DAY_MS, 90 * DAY_MS, 90 * DAY_MS + 1]);
        let any = random.below(used.patches + 2);
        let mut releases = registry.releases.iter();
        match random.below(13) {
            0..=3 => {
                used.patches += 1;
                approve(used.patches, used, random.of(&[0, 0, 13]))
            }
            4 | 5 => approve(used.patches + 1, used, 1 + random.below(16)),
            // a version, and a value of PCR 11, that was approved before
            6 => match random.rarely(2) {
                true => approve(any, used, 0),
                false => ("approve", vec![used.patches + 1, FIRST + 3, 0]),
            },
            7 | 8 => ("revoke", vec![any, ahead]),
            9 => {
                let stays = releases
                    .rfind(|one| registry.minimum < one.version && one.gone_by_ms.is_none());
                let minimum = stays.map_or(any, |one| patch(one.version));
                (
                    "set_minimum",
                    vec![random.of(&[minimum, minimum, any]), ahead],
                )
            }
            10 => ("lower_minimum", vec![any]),
            _ => {
                let gone = releases.find(|one| {
                    one.version < registry.minimum
                        && one.gone_by_ms.is_some_and(|ms| ms <= self.now_ms)
                });
                ("remove", vec![gone.map_or(any, |one| patch(one.version))])
            }
        }
    }
}

fn node_of(record: &StakeRecord) -> u64 {
    u64::from(record.node_key[1]) - 1
}

fn stake(node: u64, random: &mut Random) -> Step {
    let amount = random.of(&[SUI - 1, SUI, 2 * SUI, 5 * SUI, 5 * SUI + 7]);
    let beneficiary = random.of(&[0, 1, 1, 1, 1, 4]);
    let form = random.of(&[0, 0, 0, 0, 1, 2, 3, 4]);
    ("stake", vec![node, amount, beneficiary, form])
}

/// Evidence that was not used.
pub(super) fn fresh(used: &mut Used) -> u64 {
    used.proofs += 1;
    FIRST + used.proofs
}

/// With values of PCR 11 that were not approved before.
pub(super) fn approve(patch: u64, used: &mut Used, form: u64) -> Step {
    used.digests += 1;
    let odd = u64::from(used.digests % 3 == 1);
    ("approve", vec![patch, FIRST + 2 * used.digests + odd, form])
}

/// What a step takes of which there are two.
fn kinds(step: &str) -> Vec<Place> {
    use Place::{
        Admin, Config, Directory, Pool, Registrar, Registry, ReleaseCap, Slasher, Treasury,
    };
    match step {
        "slash" => vec![Pool, Treasury, Slasher],
        "verdict" => vec![Pool, Treasury, Config],
        "withdraw_treasury" => vec![Pool, Treasury, Admin],
        "register" => vec![Config, Registrar],
        "retire" | "update_pcrs" | "set_minimum_config_version" => vec![Config, Pool, Admin],
        "revoke_registrar" => vec![Config, Pool, Admin],
        "list_master" => vec![Directory, Pool, Admin, Config],
        "remove_master" => vec![Directory, Pool, Admin],
        "remove_retired_master" => vec![Directory, Config],
        "approve" | "revoke" | "set_minimum" | "remove" => vec![Registry, ReleaseCap],
        "revoke_release_cap" | "lower_minimum" => vec![Registry, Pool, Admin],
        "open"
        | "set_minimum_stake"
        | "set_unbonding"
        | "set_seal_token_lifetime"
        | "set_reporter_share"
        | "set_offence"
        | "new_slasher"
        | "revoke_slasher" => {
            vec![Pool, Admin]
        }
        _ => vec![Pool],
    }
}
