//! Traces: random sequences of calls, with what the double does at each. `move/traces.json` holds them;
//! the Move package's tests carry the same calls out in Sui's own VM, and compare aborts, events and
//! objects byte by byte. `WRITE_TRACES=1` writes the file.
//!
//! Left out, as the double has none of it: rewards, documents of AWS Nitro, migrations, ages of
//! evidence, and the making of pools, configurations and capabilities. Dynamic fields are compared by
//! their effects alone. Ids are shown as the Move tests show theirs.

use std::path::PathBuf;

use chain::abi::{
    self, AdminCap, Clock, Coin, Enclave, EnclaveConfig, Field, Image, IntentMessage,
    LaunchMeasurement, ListKey, MasterDirectory, MoveType, PhasePcr, Pool, RegistrarCap,
    ReleaseCap, ReleaseRegistry, ReleaseVersion, Scheduled, SlasherCap, StakeRecord, Treasury,
    Verdict, status,
};
use serde::Serialize;
use serde_json::{Value as Json, json};
use sui_crypto::Signer;
use sui_crypto::ed25519::Ed25519PrivateKey;
use sui_sdk_types::hash::Hasher;
use sui_sdk_types::{Address, Ed25519Signature, StructTag};

use super::staking::account;
use crate::execution::{Arg, Bench, Form, Stop, Value};
use crate::ledger::Ledger;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../move/traces.json");
/// When the Move tests' clock begins.
const NOW_MS: u64 = 1_700_000_000_000;
const HOUR_MS: u64 = 60 * 60 * 1000;
const DAY_MS: u64 = 24 * HOUR_MS;
const SUI: u64 = 1_000_000_000;
const NODES: u64 = 4;
const MASTERS: u64 = 3;
const SEEDS: u64 = 12;
const STEPS: usize = 60;

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators").
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    fn of(&mut self, choices: &[u64]) -> u64 {
        choices[usize::try_from(self.below(choices.len() as u64)).unwrap()]
    }
}

/// An object that a call can change.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Pool,
    Treasury,
    Config,
    Registry,
    Directory,
    Record(u64),
    Enclave(u64),
}

struct Stage<'l> {
    bench: Bench<'l>,
    package: Address,
    now_ms: u64,
    pool: Value,
    treasury: Value,
    config: Value,
    registry: Value,
    directory: Value,
    admin: Value,
    slasher: Value,
    registrar: Value,
    release_cap: Value,
    records: [Option<Value>; NODES as usize],
    tokens: [Option<Value>; NODES as usize],
    enclaves: [Option<Value>; MASTERS as usize],
    tokens_made: u8,
    coins_made: u64,
    ids: Vec<([u8; 32], u8)>,
    secret: Ed25519PrivateKey,
}

/// What a step did.
#[derive(Default)]
struct Done {
    events: Vec<(StructTag, Vec<u8>)>,
    changed: Vec<Place>,
    token: Option<u64>,
}

fn node_key(byte: u8) -> Vec<u8> {
    [&[0][..], &[byte; 32]].concat()
}

fn at(node: u64) -> usize {
    usize::try_from(node).unwrap()
}

fn byte(number: u64) -> u8 {
    u8::try_from(number).unwrap()
}

fn short(address: u16) -> Address {
    let mut bytes = [0; 32];
    bytes[30..].copy_from_slice(&address.to_be_bytes());
    Address::new(bytes)
}

fn sender(node: u64, who: u64) -> Address {
    match who {
        0 => account(&node_key(byte(node + 1))),
        1 => short(0xC01D),
        2 => short(0xC02D),
        3 => short(0xBAD),
        _ => Address::ZERO,
    }
}

fn evidence(proof: u64) -> Vec<u8> {
    match proof {
        0 => Vec::new(),
        1 => b"because".to_vec(),
        other => vec![byte(other); 32],
    }
}

/// Something unlike anything else, for an id.
fn id(name: &str) -> Address {
    let mut hasher = Hasher::new();
    hasher.update(name.as_bytes());
    Address::new(hasher.finalize().into_inner())
}

fn object<T: Serialize + MoveType>(package: Address, value: &T) -> Value {
    Value::new(T::tag(package), false, value).unwrap()
}

impl<'l> Stage<'l> {
    fn begin(ledger: &'l Ledger) -> Self {
        let package = ledger.terms.package;
        let (pool, treasury, config) = (id("pool"), id("treasury"), id("config"));
        let (registry, directory) = (id("registry"), id("directory"));
        let (slasher, registrar, release) = (id("slasher"), id("registrar"), id("release cap"));
        let mut bench = Bench::new(ledger);
        for (parent, cap, value) in [
            (pool, slasher, 0),
            (config, registrar, NOW_MS),
            (registry, release, NOW_MS),
        ] {
            let entry = Field {
                id: abi::list_id(package, parent, cap),
                name: ListKey(cap),
                value,
            };
            let entry = Value::new(abi::list_tag(package), false, &entry).unwrap();
            bench.add_child(parent, entry);
        }
        let secret = Ed25519PrivateKey::new([0x42; 32]);
        let mut ids = vec![
            (pool, 0x01),
            (treasury, 0x02),
            (config, 0x05),
            (directory, 0x06),
            (registry, 0x07),
            (registrar, 0x08),
            (release, 0x09),
        ];
        ids.push((Address::new(*secret.public_key().inner()), 0x71));
        let pcr = |byte| vec![byte; abi::enclave::PCR_LENGTH];
        let version = abi::VERSION;
        Self {
            bench,
            package,
            now_ms: NOW_MS,
            pool: object(
                package,
                &Pool {
                    id: pool,
                    version,
                    open: false,
                    minimum_stake: Scheduled::fixed(SUI),
                    unbonding_ms: 7 * DAY_MS,
                    seal_token_ms: 30 * DAY_MS,
                    reporter_basis_points: 1_000,
                    offences: Vec::new(),
                    treasury,
                },
            ),
            treasury: object(
                package,
                &Treasury {
                    id: treasury,
                    version,
                    pool,
                    balance: 0,
                },
            ),
            config: object(
                package,
                &EnclaveConfig {
                    id: config,
                    version,
                    pool,
                    config_version: 1,
                    minimum_config_version: 1,
                    pcr0: pcr(0xa0),
                    pcr1: pcr(0xa1),
                    pcr2: pcr(0xa2),
                    document_age_ms: HOUR_MS,
                    evidence_age_ms: HOUR_MS / 6,
                    effective_from_ms: NOW_MS,
                },
            ),
            registry: object(
                package,
                &ReleaseRegistry {
                    id: registry,
                    version,
                    pool,
                    minimum: ReleaseVersion {
                        major: 0,
                        minor: 0,
                        patch: 0,
                    },
                    releases: Vec::new(),
                },
            ),
            directory: object(
                package,
                &MasterDirectory {
                    id: directory,
                    version,
                    pool,
                    masters: Vec::new(),
                },
            ),
            admin: object(
                package,
                &AdminCap {
                    id: id("admin"),
                    pool,
                },
            ),
            slasher: object(package, &SlasherCap { id: slasher, pool }),
            registrar: object(
                package,
                &RegistrarCap {
                    id: registrar,
                    config,
                },
            ),
            release_cap: object(
                package,
                &ReleaseCap {
                    id: release,
                    registry,
                },
            ),
            records: Default::default(),
            tokens: Default::default(),
            enclaves: Default::default(),
            tokens_made: 0,
            coins_made: 0,
            ids: ids
                .into_iter()
                .map(|(id, byte)| (id.into_inner(), byte))
                .collect(),
            secret,
        }
    }

    fn place(&mut self, place: Place) -> &mut Value {
        match place {
            Place::Pool => &mut self.pool,
            Place::Treasury => &mut self.treasury,
            Place::Config => &mut self.config,
            Place::Registry => &mut self.registry,
            Place::Directory => &mut self.directory,
            Place::Record(node) => self.records[at(node)].as_mut().unwrap(),
            Place::Enclave(master) => self.enclaves[at(master)].as_mut().unwrap(),
        }
    }

    fn here(&mut self, place: Place) -> Arg {
        Arg::Object(self.place(place).clone())
    }

    fn coin(&mut self, amount: u64) -> Arg {
        self.coins_made += 1;
        let coin = Coin {
            id: id(&format!("coin {}", self.coins_made)),
            balance: amount,
        };
        Arg::Object(Value::new(StructTag::gas_coin(), true, &coin).unwrap())
    }

    fn clock(&self) -> Arg {
        let clock = Clock {
            id: abi::CLOCK,
            timestamp_ms: self.now_ms,
        };
        Arg::Object(Value::new(Clock::tag(Address::TWO), false, &clock).unwrap())
    }

    /// Calls, and keeps what it changes of the places that its arguments come from.
    fn call(
        &mut self,
        sender: Address,
        name: &str,
        arguments: Vec<Arg>,
        places: &[(usize, Place)],
    ) -> Result<(Done, Vec<Value>, Vec<Value>), Stop> {
        let mut arguments = arguments;
        let made = self.bench.call(sender, name, &mut arguments)?;
        let mut changed = Vec::new();
        for (index, place) in places {
            let Some(Arg::Object(value)) = arguments.get(*index) else {
                panic!("{name}: argument {index}");
            };
            if self.place(*place) != value {
                *self.place(*place) = value.clone();
                changed.push(*place);
            }
        }
        let placed = made.placed.into_iter().map(|(value, _)| value).collect();
        let done = Done {
            events: made.events,
            changed,
            token: None,
        };
        Ok((done, made.returned, placed))
    }

    fn administer(&mut self, name: &str, more: Vec<Arg>) -> Result<Done, Stop> {
        let mut arguments = vec![self.here(Place::Pool), Arg::Object(self.admin.clone())];
        arguments.extend(more);
        let name = format!("administration::{name}");
        let (done, ..) = self.call(Address::ZERO, &name, arguments, &[(0, Place::Pool)])?;
        Ok(done)
    }

    /// A call of a record with pool and clock around it.
    fn of_record(&mut self, name: &str, node: u64, who: u64, more: Vec<Arg>) -> Result<Done, Stop> {
        let mut arguments = vec![self.here(Place::Pool), self.here(Place::Record(node))];
        arguments.extend(more);
        arguments.push(self.clock());
        let places = [(0, Place::Pool), (1, Place::Record(node))];
        let (mut done, _, placed) = self.call(sender(node, who), name, arguments, &places)?;
        for value in placed {
            if value.tag.name().as_str() == "SealToken" {
                self.tokens_made += 1;
                self.ids
                    .push((value.id().into_inner(), 0x7f + self.tokens_made));
                self.tokens[at(node)] = Some(value);
                done.token = Some(node);
            }
        }
        Ok(done)
    }

    fn of_config(
        &mut self,
        name: &str,
        more: Vec<Arg>,
        places: &[(usize, Place)],
    ) -> Result<Done, Stop> {
        let mut arguments = vec![
            self.here(Place::Config),
            self.here(Place::Pool),
            Arg::Object(self.admin.clone()),
        ];
        arguments.extend(more);
        let mut all = vec![(0, Place::Config)];
        all.extend(places);
        let (done, ..) = self.call(Address::ZERO, name, arguments, &all)?;
        Ok(done)
    }

    fn of_registry(&mut self, name: &str, patch: u64, more: Vec<Arg>) -> Result<Done, Stop> {
        let version = ReleaseVersion {
            major: 0,
            minor: 1,
            patch: u32::try_from(patch).unwrap(),
        };
        let version = Value::data(ReleaseVersion::tag(self.package), &version).unwrap();
        let mut arguments = vec![
            self.here(Place::Registry),
            Arg::Object(self.release_cap.clone()),
            Arg::Object(version),
        ];
        arguments.extend(more);
        arguments.push(self.clock());
        let places = [(0, Place::Registry)];
        let (done, ..) = self.call(Address::ZERO, name, arguments, &places)?;
        Ok(done)
    }

    /// One step, as `trace_stage` of the Move tests has it under the same name.
    fn step(&mut self, name: &str, n: &[u64]) -> Result<Done, Stop> {
        let arg = |index: usize| Arg::U64(n[index]);
        match name {
            "wait" => {
                self.now_ms += n[0];
                Ok(Done::default())
            }
            "open" => self.administer("open_pool", Vec::new()),
            "set_minimum_stake" => {
                let clock = self.clock();
                self.administer(name, vec![arg(0), clock])
            }
            "set_unbonding" | "set_seal_token_lifetime" | "set_reporter_share" => {
                self.administer(name, vec![arg(0)])
            }
            "set_offence" => {
                let reason = Arg::U16(u16::try_from(n[0]).unwrap());
                let clock = self.clock();
                let more = vec![reason, arg(1), arg(2), Arg::Bool(n[3] == 1), clock];
                self.administer(name, more)
            }
            "withdraw_treasury" => {
                let arguments = vec![
                    self.here(Place::Pool),
                    self.here(Place::Treasury),
                    Arg::Object(self.admin.clone()),
                    arg(0),
                ];
                let places = [(1, Place::Treasury)];
                let name = "administration::withdraw_treasury";
                Ok(self.call(Address::ZERO, name, arguments, &places)?.0)
            }
            "stake" => self.stake(n[0], n[1], n[2]),
            "token" => self.of_record(
                "k8s_gateway::create_worker_seal_token",
                n[0],
                n[1],
                Vec::new(),
            ),
            "renew" | "ask_with_token" => {
                let token = self.tokens[at(n[0])].clone().unwrap();
                let call = match name {
                    "renew" => "k8s_gateway::renew_worker_seal_token",
                    _ => "k8s_gateway::request_unstake",
                };
                let done = self.of_record(call, n[0], 0, vec![Arg::Object(token)])?;
                if name == "ask_with_token" {
                    self.tokens[at(n[0])] = None;
                }
                Ok(done)
            }
            "ask" => self.of_record(
                "k8s_gateway::request_unstake_without_token",
                n[0],
                n[1],
                Vec::new(),
            ),
            "cancel" => self.of_record("k8s_gateway::cancel_unstake", n[0], n[1], Vec::new()),
            "withdraw" => self.of_record("staking::withdraw_stake", n[0], n[1], Vec::new()),
            "restake" => {
                let coin = self.coin(n[1]);
                self.of_record("staking::restake", n[0], 0, vec![coin])
            }
            "set_beneficiary" => {
                let to = Arg::Address(sender(n[0], n[2]));
                self.of_record("beneficiary::set_beneficiary", n[0], n[1], vec![to])
            }
            "begin_maintenance" => {
                let until = Arg::U64(self.now_ms + n[2]);
                self.of_record("maintenance::begin_maintenance", n[0], n[1], vec![until])
            }
            "end_maintenance" => {
                self.of_record("maintenance::end_maintenance", n[0], n[1], Vec::new())
            }
            "top_up" => {
                let coin = self.coin(n[1]);
                let record = Place::Record(n[0]);
                let arguments = vec![self.here(Place::Pool), self.here(record), coin];
                let sender = sender(0, 3);
                Ok(self
                    .call(sender, "staking::top_up", arguments, &[(1, record)])?
                    .0)
            }
            "slash" => {
                let record = Place::Record(n[0]);
                let arguments = vec![
                    self.here(Place::Pool),
                    self.here(Place::Treasury),
                    Arg::Object(self.slasher.clone()),
                    self.here(record),
                    arg(1),
                    Arg::U16(7),
                    Arg::Bytes(evidence(n[2])),
                    self.clock(),
                ];
                let places = [(1, Place::Treasury), (3, record)];
                let name = "staking::slash_stake";
                Ok(self.call(Address::ZERO, name, arguments, &places)?.0)
            }
            "verdict" => self.verdict(n),
            _ => self.govern(name, n),
        }
    }

    fn stake(&mut self, node: u64, amount: u64, beneficiary: u64) -> Result<Done, Stop> {
        let key = node_key(byte(node + 1));
        let arguments = vec![
            self.here(Place::Pool),
            Arg::Text(format!("edge-000{}", node + 1)),
            Arg::Bytes(key),
            Arg::Address(sender(node, beneficiary)),
            self.coin(amount),
            self.clock(),
        ];
        let places = [(0, Place::Pool)];
        let name = "staking::stake_for_node";
        let (mut done, returned, _) = self.call(sender(node, 0), name, arguments, &places)?;
        let record = returned.into_iter().next().unwrap();
        self.ids.push((record.id().into_inner(), 0x10 + byte(node)));
        self.records[at(node)] = Some(record);
        done.changed.push(Place::Record(node));
        Ok(done)
    }

    fn verdict(&mut self, n: &[u64]) -> Result<Done, Stop> {
        let [node, reason, proof, rewarded, nonce, age] = n else {
            panic!("{n:?}");
        };
        let record = Place::Record(*node);
        let reporter = match rewarded {
            0 => Address::ZERO,
            _ => short(0x5EE),
        };
        let enclave: Enclave = self.place(Place::Enclave(0)).read()?;
        let time = self.now_ms - age;
        let message = IntentMessage {
            domain: abi::enclave::DOMAIN.to_vec(),
            intent: abi::authority::SLASH_INTENT,
            enclave: enclave.id,
            config_version: enclave.config_version,
            nonce: *nonce,
            timestamp_ms: time,
            data: Verdict {
                pool: self.pool.id(),
                record: self.place(record).id(),
                reason: u16::try_from(*reason).unwrap(),
                evidence: evidence(*proof),
                reporter,
            },
        };
        let signature: Ed25519Signature = self.secret.sign(&bcs::to_bytes(&message).unwrap());
        let arguments = vec![
            self.here(Place::Pool),
            self.here(Place::Treasury),
            self.here(Place::Config),
            self.here(Place::Enclave(0)),
            self.here(record),
            Arg::U16(u16::try_from(*reason).unwrap()),
            Arg::Bytes(evidence(*proof)),
            Arg::Address(reporter),
            Arg::U64(*nonce),
            Arg::U64(time),
            Arg::Bytes(signature.inner().to_vec()),
            self.clock(),
        ];
        let places = [(1, Place::Treasury), (4, record)];
        let name = "slashing::slash_with_evidence";
        Ok(self.call(sender(0, 3), name, arguments, &places)?.0)
    }

    /// Steps of masters and releases.
    fn govern(&mut self, name: &str, n: &[u64]) -> Result<Done, Stop> {
        match name {
            "update_pcrs" => {
                let pcr = || Arg::Bytes(vec![byte(n[0]); abi::enclave::PCR_LENGTH]);
                let more = vec![pcr(), pcr(), pcr(), self.clock()];
                self.of_config("enclave::update_pcrs", more, &[])
            }
            "register" => self.register(n[0]),
            "retire" => {
                let enclave = Place::Enclave(n[0]);
                let more = vec![self.here(enclave)];
                self.of_config("enclave::retire", more, &[(3, enclave)])
            }
            "set_minimum_config_version" => {
                let successor = self.here(Place::Enclave(n[1]));
                let more = vec![Arg::U64(n[0]), successor, self.clock()];
                self.of_config("enclave::set_minimum_config_version", more, &[])
            }
            "list_master" => {
                let url = match n[1] {
                    1 => "https://m.example.org",
                    _ => "http://m.example.org/",
                };
                let arguments = vec![
                    self.here(Place::Directory),
                    self.here(Place::Pool),
                    Arg::Object(self.admin.clone()),
                    self.here(Place::Config),
                    self.here(Place::Enclave(n[0])),
                    Arg::Text(url.to_owned()),
                ];
                let places = [(0, Place::Directory)];
                let name = "k8s_gateway::list_master";
                Ok(self.call(Address::ZERO, name, arguments, &places)?.0)
            }
            "remove_master" => {
                let enclave = self.place(Place::Enclave(n[0])).id();
                let arguments = vec![
                    self.here(Place::Directory),
                    self.here(Place::Pool),
                    Arg::Object(self.admin.clone()),
                    Arg::Address(enclave),
                ];
                let places = [(0, Place::Directory)];
                let name = "k8s_gateway::remove_master";
                Ok(self.call(Address::ZERO, name, arguments, &places)?.0)
            }
            "remove_retired_master" => {
                let arguments = vec![
                    self.here(Place::Directory),
                    self.here(Place::Config),
                    self.here(Place::Enclave(n[0])),
                ];
                let places = [(0, Place::Directory)];
                let name = "k8s_gateway::remove_retired_master";
                Ok(self.call(sender(0, 3), name, arguments, &places)?.0)
            }
            "approve" => self.approve(n[0], n[1]),
            "revoke" => {
                let deadline = Arg::U64(self.now_ms + n[1]);
                self.of_registry("releases::revoke", n[0], vec![deadline])
            }
            "set_minimum" => {
                let deadline = Arg::U64(self.now_ms + n[1]);
                self.of_registry("releases::set_minimum", n[0], vec![deadline])
            }
            "remove" => self.of_registry("releases::remove", n[0], Vec::new()),
            other => panic!("no step {other}"),
        }
    }

    fn register(&mut self, master: u64) -> Result<Done, Stop> {
        let public_key = match master {
            0 => [&[0][..], self.secret.public_key().inner()].concat(),
            _ => node_key(0x80 + byte(master)),
        };
        let arguments = vec![
            self.here(Place::Config),
            Arg::Object(self.registrar.clone()),
            Arg::Bytes(public_key),
            Arg::Bytes(vec![0x72; 32]),
            Arg::Bytes(vec![0x73; 32]),
            self.clock(),
        ];
        let places = [(0, Place::Config)];
        let name = "enclave::register_by_capability";
        let (mut done, _, placed) = self.call(Address::ZERO, name, arguments, &places)?;
        let enclave = placed.into_iter().next().unwrap();
        self.ids
            .push((enclave.id().into_inner(), 0x30 + byte(master)));
        self.enclaves[at(master)] = Some(enclave);
        done.changed.push(Place::Enclave(master));
        Ok(done)
    }

    fn approve(&mut self, patch: u64, number: u64) -> Result<Done, Stop> {
        let image = |target: &str, number: u64| Image {
            target: target.to_owned(),
            architecture: "x86_64".to_owned(),
            root_hash: vec![1; 32],
            pcr11: vec![PhasePcr {
                phases: String::new(),
                digest: vec![byte(number); 32],
            }],
            launch_measurements: vec![LaunchMeasurement {
                tee: 1,
                digest: vec![7; 48],
            }],
        };
        let mut images = vec![image("disk", number)];
        if number.is_multiple_of(2) {
            images.push(image("netboot", number + 1));
        }
        let images = Value {
            tag: Image::tag(self.package),
            form: Form::Vector,
            contents: bcs::to_bytes(&images).unwrap(),
        };
        let more = vec![
            Arg::Object(images),
            Arg::Bytes(vec![3; 32]),
            Arg::Texts(vec!["https://r.example.org/".to_owned()]),
        ];
        self.of_registry("releases::approve", patch, more)
    }

    /// A step that can be tried now: everything that it names is there.
    fn choose(&self, random: &mut Random) -> (&'static str, Vec<u64>) {
        let node = random.below(NODES);
        let who = random.of(&[0, 0, 0, 1, 1, 2, 3]);
        let master = random.below(MASTERS);
        let amount = random.of(&[1, SUI - 1, SUI, 2 * SUI, 5 * SUI + 7]);
        if self.records[at(node)].is_none() || random.below(20) == 0 {
            return match random.below(4) {
                0 => ("wait", vec![random.of(&[1, HOUR_MS, DAY_MS])]),
                _ => ("stake", vec![node, amount, random.of(&[0, 1, 1, 4])]),
            };
        }
        let (record, token) = (node, self.tokens[at(node)].is_some());
        let known = self.enclaves[at(master)].is_some();
        let first = self.enclaves[0].is_some();
        match random.below(30) {
            0 | 1 => {
                let ms = random.of(&[1, HOUR_MS, DAY_MS, 7 * DAY_MS, 8 * DAY_MS, 15 * DAY_MS]);
                ("wait", vec![ms])
            }
            2 | 3 => ("token", vec![record, who]),
            4 if token => ("renew", vec![record]),
            5 if token => ("ask_with_token", vec![record]),
            6 => ("top_up", vec![record, random.of(&[0, 1, SUI])]),
            7 => {
                let share = random.of(&[0, 1, 3_333, 10_000, 10_001]);
                ("slash", vec![record, share, random.of(&[0, 0, 1, 2, 3])])
            }
            8..=11 if first => {
                let nonce = random.below(6);
                let reason = random.of(&[1, 2, 2, 9]);
                let proof = random.of(&[0, 4, 5, 6, 7, 8]);
                let age = random.of(&[0, 0, 0, 600_000, 600_001]);
                let rewarded = random.below(2);
                ("verdict", vec![record, reason, proof, rewarded, nonce, age])
            }
            12 | 13 => ("ask", vec![record, who]),
            14 => ("cancel", vec![record, who]),
            15 | 16 => ("withdraw", vec![record, who]),
            17 => ("restake", vec![record, amount]),
            18 => ("set_beneficiary", vec![record, who, random.below(5)]),
            19 => {
                let most = 3 * DAY_MS;
                let length = random.of(&[0, 1, HOUR_MS, DAY_MS, most, most + 1]);
                ("begin_maintenance", vec![record, who, length])
            }
            20 => ("end_maintenance", vec![record, who]),
            21 => self.choose_rule(random),
            22 => ("withdraw_treasury", vec![random.of(&[0, 1, SUI, 1 << 50])]),
            23 => ("register", vec![master]),
            24 if known => match random.below(6) {
                0 => ("retire", vec![master]),
                1 => (
                    "set_minimum_config_version",
                    vec![1 + random.below(3), master],
                ),
                2 | 3 => ("list_master", vec![master, random.of(&[1, 1, 0])]),
                4 => ("remove_master", vec![master]),
                _ => ("remove_retired_master", vec![master]),
            },
            25 => ("update_pcrs", vec![random.of(&[0, 0xb0, 0xb1])]),
            26 => ("approve", vec![random.below(5), 10 + random.below(12)]),
            27 => {
                let ahead = random.of(&[0, DAY_MS, 90 * DAY_MS, 90 * DAY_MS + 1]);
                let call = ["revoke", "set_minimum"][at(random.below(2))];
                (call, vec![random.below(5), ahead])
            }
            28 => ("remove", vec![random.below(5)]),
            _ => ("open", Vec::new()),
        }
    }

    fn choose_rule(&self, random: &mut Random) -> (&'static str, Vec<u64>) {
        match random.below(5) {
            0 | 1 => {
                let value = random.of(&[SUI / 10 - 1, SUI / 10, SUI, 2 * SUI, 3 * SUI]);
                ("set_minimum_stake", vec![value])
            }
            2 => (
                "set_unbonding",
                vec![random.of(&[HOUR_MS - 1, HOUR_MS, 14 * DAY_MS, 14 * DAY_MS + 1])],
            ),
            3 => ("set_reporter_share", vec![random.of(&[0, 5_000, 5_001])]),
            _ => {
                let reason = 1 + random.below(3);
                let share = random.of(&[0, 100, 5_000, 10_000]);
                let cap = random.of(&[100, 5_000, 10_000, 10_001]);
                ("set_offence", vec![reason, share, cap, random.below(2)])
            }
        }
    }

    /// Bytes with the ids of this stage shown as the Move tests show theirs.
    fn show(&self, bytes: &[u8]) -> String {
        let mut shown = Vec::with_capacity(bytes.len());
        let mut rest = bytes;
        while let Some((first, tail)) = rest.split_first() {
            let known = self.ids.iter().find(|(id, _)| rest.starts_with(id));
            match known {
                Some((_, byte)) => {
                    shown.extend([*byte; 32]);
                    rest = &rest[32..];
                }
                None => {
                    shown.push(*first);
                    rest = tail;
                }
            }
        }
        shown.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn shown(&mut self, place: Place) -> Json {
        let contents = self.place(place).contents.clone();
        let (name, index) = match place {
            Place::Pool => ("pool", None),
            Place::Treasury => ("treasury", None),
            Place::Config => ("config", None),
            Place::Registry => ("registry", None),
            Place::Directory => ("directory", None),
            Place::Record(node) => ("record", Some(node)),
            Place::Enclave(master) => ("enclave", Some(master)),
        };
        json!({"object": name, "index": index, "bcs": self.show(&contents)})
    }

    fn trace(&mut self, name: &str, numbers: &[u64]) -> Json {
        // as text: JavaScript's numbers end at 2^53
        let arguments: Vec<String> = numbers.iter().map(u64::to_string).collect();
        match self.step(name, numbers) {
            Err(Stop::Abort(abort)) => json!({
                "call": name, "arguments": arguments,
                "abort": {"module": abort.module, "name": abort.name, "code": abort.code},
            }),
            Err(Stop::Broken(error)) => panic!("{name} {numbers:?}: {error}"),
            Ok(done) => {
                let events: Vec<Json> = (done.events.iter())
                    .map(|(tag, contents)| {
                        let name = format!("{}::{}", tag.module(), tag.name());
                        json!({"type": name, "bcs": self.show(contents)})
                    })
                    .collect();
                let mut objects: Vec<Json> = done
                    .changed
                    .iter()
                    .map(|place| self.shown(*place))
                    .collect();
                if let Some(node) = done.token {
                    let contents = self.tokens[at(node)].as_ref().unwrap().contents.clone();
                    let bcs = self.show(&contents);
                    objects.push(json!({"object": "token", "index": node, "bcs": bcs}));
                }
                json!({
                    "call": name, "arguments": arguments, "events": events, "objects": objects,
                })
            }
        }
    }

    /// What all records and the treasury hold.
    fn held(&mut self) -> u64 {
        let records = self.records.iter().flatten();
        let held: u64 = records
            .map(|record| record.read::<StakeRecord>().unwrap().balance)
            .sum();
        held + self.treasury.read::<Treasury>().unwrap().balance
    }
}

fn sequence(ledger: &Ledger, seed: u64) -> Json {
    let mut random = Random(seed);
    let mut stage = Stage::begin(ledger);
    let mut steps = vec![
        stage.trace("set_offence", &[1, 10_000, 10_000, 1]),
        stage.trace("set_offence", &[2, 1_000, 2_000, 1]),
        stage.trace("register", &[0]),
        stage.trace("stake", &[0, 5 * SUI, 1]),
        stage.trace("open", &[]),
    ];
    let (mut paid_in, mut paid_out) = (0, 0);
    while steps.len() < STEPS {
        let (name, numbers) = stage.choose(&mut random);
        let before = stage.held();
        let step = stage.trace(name, &numbers);
        if step.get("abort").is_none() {
            let after = stage.held();
            // coins come by three calls alone, and leave by three
            match name {
                "stake" | "top_up" | "restake" => paid_in += numbers[1],
                "withdraw" | "withdraw_treasury" | "verdict" => paid_out += before - after,
                _ => assert_eq!(before, after, "{name}"),
            }
        } else {
            assert_eq!(before, stage.held(), "{name} aborted");
        }
        steps.push(step);
    }
    assert_eq!(paid_in, paid_out + stage.held());
    for record in stage.records.iter().flatten() {
        let record: StakeRecord = record.read().unwrap();
        let empty = matches!(record.status, status::SLASHED | status::WITHDRAWN);
        assert_eq!(record.balance == 0, empty, "{record:?}");
    }
    json!({"seed": seed, "steps": steps})
}

#[test]
fn traces_are_what_the_double_does() {
    let config = crate::Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        certificate: PathBuf::new(),
        key: PathBuf::new(),
        chain_id: chain::ChainId::from_bytes([7; 32]),
        package: chain::ObjectId::from_bytes([0xa1; 32]),
        pool: chain::ObjectId::from_bytes([0xb2; 32]),
        slasher_cap: chain::ObjectId::from_bytes([0xc3; 32]),
        finality_ms: 20,
        epoch_ms: DAY_MS,
        gas_price: 1000,
        genesis: crate::Genesis {
            closed: true,
            minimum_stake_mist: SUI,
            unbonding_ms: 7 * DAY_MS,
            seal_token_ms: 30 * DAY_MS,
            slasher: chain::Address::from_bytes([1; 32]),
            accounts: Vec::new(),
        },
    };
    let node = crate::Node::new(&config);
    let ledger = node.ledger();
    let traces: Vec<Json> = (1..=SEEDS).map(|seed| sequence(&ledger, seed)).collect();
    let lines: Vec<String> = traces
        .iter()
        .map(|trace| {
            let steps = trace["steps"].as_array().unwrap().iter();
            let steps: Vec<String> = steps.map(|step| format!("    {step}")).collect();
            let seed = &trace["seed"];
            format!(
                "  {{\"seed\": {seed}, \"steps\": [\n{}\n  ]}}",
                steps.join(",\n")
            )
        })
        .collect();
    let text = format!("[\n{}\n]\n", lines.join(",\n"));
    if std::env::var_os("WRITE_TRACES").is_some() {
        std::fs::write(FILE, &text).unwrap();
    }
    let kept = std::fs::read_to_string(FILE).unwrap_or_default();
    assert!(
        kept == text,
        "move/traces.json is not what the double does: WRITE_TRACES=1 writes it, and the Move \
         package's tests say whether the contracts do the same"
    );
    // calls of every kind both succeed and abort somewhere
    let steps = traces
        .iter()
        .flat_map(|trace| trace["steps"].as_array().unwrap());
    let (aborted, done): (Vec<_>, Vec<_>) = steps.partition(|step| step.get("abort").is_some());
    assert!(
        done.len() > 200 && aborted.len() > 150,
        "{} {}",
        done.len(),
        aborted.len()
    );
}
