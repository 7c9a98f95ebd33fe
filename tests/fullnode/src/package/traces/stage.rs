//! Objects of a trace, and calls on them.

use chain::abi::{
    self, AdminCap, Clock, Coin, EnclaveConfig, Field, ListKey, MasterDirectory, MoveType, Pool,
    RegistrarCap, ReleaseCap, ReleaseRegistry, ReleaseVersion, Scheduled, SlasherCap, StakeRecord,
    Treasury,
};
use serde::Serialize;
use serde_json::{Value as Json, json};
use sui_crypto::ed25519::Ed25519PrivateKey;
use sui_sdk_types::hash::Hasher;
use sui_sdk_types::{Address, StructTag};

use super::{DAY_MS, HOUR_MS, MASTERS, NODES, NOW_MS, SUI};
use crate::execution::{Arg, Bench, Stop, Value};
use crate::ledger::Ledger;
use crate::package::staking::account;

/// An object that a call can change.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Pool,
    Treasury,
    Config,
    Registry,
    Directory,
    Record(u64),
    Enclave(u64),
}

pub(super) struct Stage<'l> {
    pub(super) bench: Bench<'l>,
    pub(super) package: Address,
    pub(super) now_ms: u64,
    pub(super) pool: Value,
    pub(super) treasury: Value,
    pub(super) config: Value,
    pub(super) registry: Value,
    pub(super) directory: Value,
    pub(super) admin: Value,
    pub(super) slasher: Value,
    pub(super) registrar: Value,
    pub(super) release_cap: Value,
    pub(super) records: [Option<Value>; NODES as usize],
    pub(super) tokens: [Option<Value>; NODES as usize],
    pub(super) enclaves: [Option<Value>; MASTERS as usize],
    pub(super) tokens_made: u8,
    pub(super) coins_made: u64,
    pub(super) ids: Vec<([u8; 32], u8)>,
    pub(super) secret: Ed25519PrivateKey,
}

/// What a step did.
#[derive(Default)]
pub(super) struct Done {
    pub(super) events: Vec<(StructTag, Vec<u8>)>,
    pub(super) changed: Vec<Place>,
    pub(super) token: Option<u64>,
}

pub(super) fn node_key(byte: u8) -> Vec<u8> {
    [&[0][..], &[byte; 32]].concat()
}

pub(super) fn at(node: u64) -> usize {
    usize::try_from(node).unwrap()
}

pub(super) fn byte(number: u64) -> u8 {
    u8::try_from(number).unwrap()
}

pub(super) fn short(address: u16) -> Address {
    let mut bytes = [0; 32];
    bytes[30..].copy_from_slice(&address.to_be_bytes());
    Address::new(bytes)
}

pub(super) fn sender(node: u64, who: u64) -> Address {
    match who {
        0 => account(&node_key(byte(node + 1))),
        1 => short(0xC01D),
        2 => short(0xC02D),
        3 => short(0xBAD),
        _ => Address::ZERO,
    }
}

pub(super) fn evidence(proof: u64) -> Vec<u8> {
    match proof {
        0 => Vec::new(),
        1 => b"because".to_vec(),
        other => vec![byte(other); 32],
    }
}

/// Something unlike anything else, for an id.
pub(super) fn id(name: &str) -> Address {
    let mut hasher = Hasher::new();
    hasher.update(name.as_bytes());
    Address::new(hasher.finalize().into_inner())
}

fn object<T: Serialize + MoveType>(package: Address, value: &T) -> Value {
    Value::new(T::tag(package), false, value).unwrap()
}

impl<'l> Stage<'l> {
    pub(super) fn begin(ledger: &'l Ledger) -> Self {
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
                    unbonding_ms: Scheduled::fixed(7 * DAY_MS),
                    seal_token_ms: 30 * DAY_MS,
                    reporter_basis_points: Scheduled::fixed(1_000),
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

    pub(super) fn place(&mut self, place: Place) -> &mut Value {
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

    pub(super) fn here(&mut self, place: Place) -> Arg {
        Arg::Object(self.place(place).clone())
    }

    pub(super) fn coin(&mut self, amount: u64) -> Arg {
        self.coins_made += 1;
        let coin = Coin {
            id: id(&format!("coin {}", self.coins_made)),
            balance: amount,
        };
        Arg::Object(Value::new(StructTag::gas_coin(), true, &coin).unwrap())
    }

    pub(super) fn clock(&self) -> Arg {
        let clock = Clock {
            id: abi::CLOCK,
            timestamp_ms: self.now_ms,
        };
        Arg::Object(Value::new(Clock::tag(Address::TWO), false, &clock).unwrap())
    }

    /// Calls, and keeps what it changes of the places that its arguments come from.
    pub(super) fn call(
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

    pub(super) fn administer(&mut self, name: &str, more: Vec<Arg>) -> Result<Done, Stop> {
        let mut arguments = vec![self.here(Place::Pool), Arg::Object(self.admin.clone())];
        arguments.extend(more);
        let name = format!("administration::{name}");
        let (done, ..) = self.call(Address::ZERO, &name, arguments, &[(0, Place::Pool)])?;
        Ok(done)
    }

    /// A call of a record with pool and clock around it.
    pub(super) fn of_record(
        &mut self,
        name: &str,
        node: u64,
        who: u64,
        more: Vec<Arg>,
    ) -> Result<Done, Stop> {
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

    pub(super) fn of_config(
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

    pub(super) fn of_registry(
        &mut self,
        name: &str,
        patch: u64,
        more: Vec<Arg>,
    ) -> Result<Done, Stop> {
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

    /// Bytes with the ids of this stage shown as the Move tests show theirs.
    pub(super) fn show(&self, bytes: &[u8]) -> String {
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

    pub(super) fn shown(&mut self, place: Place) -> Json {
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

    pub(super) fn trace(&mut self, name: &str, numbers: &[u64]) -> Json {
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
    pub(super) fn held(&mut self) -> u64 {
        let records = self.records.iter().flatten();
        let held: u64 = records
            .map(|record| record.read::<StakeRecord>().unwrap().balance)
            .sum();
        held + self.treasury.read::<Treasury>().unwrap().balance
    }
}
