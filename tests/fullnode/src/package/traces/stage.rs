//! Objects of a trace, and calls on them.

use std::collections::BTreeSet;

use chain::abi::{self, Clock, Coin, MoveType};
use sui_crypto::ed25519::Ed25519PrivateKey;
use sui_crypto::secp256r1::Secp256r1PrivateKey;
use sui_sdk_types::hash::Hasher;
use sui_sdk_types::{Address, StructTag};

use super::side::{self, KINDS};
use super::{EPOCHS, MASTERS, NODES, NOW_MS};
use crate::execution::{Arg, Bench, Place as Owner, Stop, Value};
use crate::ledger::Ledger;
use crate::package::staking::account;
use crate::package::{Parameter, find};

/// The P-256 key of the Move tests' `signer`.
const P256: [u8; 32] = [
    0x3d, 0x4d, 0x82, 0x41, 0xe1, 0x8b, 0x25, 0xca, 0xcd, 0xf6, 0x45, 0x32, 0x7c, 0xa4, 0xdb, 0xa1,
    0x59, 0xee, 0xa3, 0xec, 0x74, 0x23, 0xdf, 0x14, 0x56, 0x2f, 0xb5, 0x53, 0x12, 0x29, 0x33, 0xdb,
];

/// Where an object is that calls take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    // of two pools each
    Pool,
    Treasury,
    Admin,
    Slasher,
    Config,
    Registrar,
    Registry,
    ReleaseCap,
    Directory,
    Vault,
    // of all
    Record(u64),
    Enclave(u64),
    Token(u64),
    Epoch(u64),
}

impl Place {
    /// Those that there are two of, by the number under which a trace names them.
    pub(super) const OF_A_SIDE: [Self; KINDS] = [
        Self::Pool,
        Self::Treasury,
        Self::Admin,
        Self::Slasher,
        Self::Config,
        Self::Registrar,
        Self::Registry,
        Self::ReleaseCap,
        Self::Directory,
        Self::Vault,
    ];

    /// Its number among those that there are two of.
    pub(super) fn kind(self) -> Option<usize> {
        Self::OF_A_SIDE.iter().position(|place| *place == self)
    }

    /// Its name in a trace, and which of several it is.
    pub(super) fn named(self) -> (&'static str, Option<u64>) {
        match self {
            Self::Pool => ("pool", None),
            Self::Treasury => ("treasury", None),
            Self::Admin => ("admin", None),
            Self::Slasher => ("slasher", None),
            Self::Config => ("config", None),
            Self::Registrar => ("registrar", None),
            Self::Registry => ("registry", None),
            Self::ReleaseCap => ("release_cap", None),
            Self::Directory => ("directory", None),
            Self::Vault => ("vault", None),
            Self::Epoch(slot) => ("epoch", Some(slot)),
            Self::Record(node) => ("record", Some(node)),
            Self::Enclave(master) => ("enclave", Some(master)),
            Self::Token(node) => ("token", Some(node)),
        }
    }
}

/// What a call is given: an object from its place, or a value.
#[derive(Clone)]
pub(super) enum Given {
    At(Place),
    Value(Arg),
}

impl From<Place> for Given {
    fn from(place: Place) -> Self {
        Self::At(place)
    }
}

impl From<Arg> for Given {
    fn from(arg: Arg) -> Self {
        Self::Value(arg)
    }
}

/// What a step did.
#[derive(Default)]
pub(super) struct Done {
    pub(super) events: Vec<(StructTag, Vec<u8>)>,
    /// Places of objects that its calls may write, whether or not they did, and of those that it made.
    pub(super) written: Vec<Place>,
    /// The coins that it gave to accounts.
    pub(super) paid: Vec<(Address, u64)>,
    /// How many objects it gave to accounts, and how many it shared.
    pub(super) given: usize,
    pub(super) shared: usize,
}

pub(super) struct Stage<'l> {
    pub(super) bench: Bench<'l>,
    pub(super) package: Address,
    pub(super) now_ms: u64,
    pub(super) sides: [[Value; KINDS]; 2],
    /// Of each kind, the side of which calls take it.
    pub(super) at: [usize; KINDS],
    pub(super) records: [Option<Value>; NODES as usize],
    pub(super) tokens: [Option<Value>; NODES as usize],
    pub(super) enclaves: [Option<Value>; MASTERS as usize],
    pub(super) epochs: [Option<Value>; EPOCHS as usize],
    pub(super) tokens_made: u8,
    pub(super) vaults_made: u8,
    pub(super) slashers_made: u8,
    coins_made: u64,
    pub(super) ids: Vec<([u8; 32], u8)>,
    pub(super) secret: Ed25519PrivateKey,
    pub(super) p256: Secp256r1PrivateKey,
    /// What the step at hand has done so far.
    pub(super) done: Done,
    /// The functions that were called with success.
    pub(super) called: BTreeSet<String>,
}

/// The key of a node: the last node's is on P-256.
pub(super) fn node_key(node: u64) -> Vec<u8> {
    let number = byte(node + 1);
    match node + 1 < NODES {
        true => junk_key(number),
        false => [&[2][..], &[number; 33]].concat(),
    }
}

/// An ed25519 key of which no secret is known.
pub(super) fn junk_key(byte: u8) -> Vec<u8> {
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

pub(super) fn admin() -> Address {
    short(0xAD)
}

pub(super) fn reporter() -> Address {
    short(0x5EE)
}

pub(super) fn sender(node: u64, who: u64) -> Address {
    match who {
        0 => account(&node_key(node)),
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

fn is_coin(value: &Value) -> bool {
    value.tag.is_coin().is_some()
}

impl<'l> Stage<'l> {
    pub(super) fn begin(ledger: &'l Ledger) -> Self {
        let package = ledger.terms.package;
        let mut bench = Bench::new(ledger);
        let mut ids = Vec::new();
        let sides = [("", 0), ("other ", 0x40)]
            .map(|(name, first)| side::of(package, name, first, &mut bench, &mut ids));
        let secret = Ed25519PrivateKey::new([0x42; 32]);
        ids.push((*secret.public_key().inner(), 0x71));
        Self {
            bench,
            package,
            now_ms: NOW_MS,
            sides,
            at: [0; KINDS],
            records: Default::default(),
            tokens: Default::default(),
            enclaves: Default::default(),
            epochs: Default::default(),
            tokens_made: 0,
            vaults_made: 0,
            slashers_made: 0,
            coins_made: 0,
            ids,
            secret,
            p256: Secp256r1PrivateKey::new(P256),
            done: Done::default(),
            called: BTreeSet::new(),
        }
    }

    /// What lies at a place, if anything does.
    pub(super) fn slot(&mut self, place: Place) -> Option<&mut Value> {
        if let Some(kind) = place.kind() {
            return Some(&mut self.sides[self.at[kind]][kind]);
        }
        match place {
            Place::Record(node) => self.records[at(node)].as_mut(),
            Place::Enclave(master) => self.enclaves[at(master)].as_mut(),
            Place::Token(node) => self.tokens[at(node)].as_mut(),
            Place::Epoch(slot) => self.epochs[at(slot)].as_mut(),
            _ => None,
        }
    }

    pub(super) fn place(&mut self, place: Place) -> &mut Value {
        self.slot(place).unwrap()
    }

    pub(super) fn read<T: serde::de::DeserializeOwned>(&mut self, place: Place) -> T {
        self.place(place).read().unwrap()
    }

    /// Every place that holds something.
    pub(super) fn places(&mut self) -> Vec<Place> {
        let nodes = (0..NODES).flat_map(|node| [Place::Record(node), Place::Token(node)]);
        let all = Place::OF_A_SIDE.into_iter().chain(nodes);
        let mut all: Vec<Place> = (all.chain((0..MASTERS).map(Place::Enclave)))
            .chain((0..EPOCHS).map(Place::Epoch))
            .collect();
        all.retain(|place| self.slot(*place).is_some());
        all
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

    /// Calls a function, keeps what it wrote, notes what it did, and answers with the objects that it
    /// returned and gave, coins apart.
    pub(super) fn call(
        &mut self,
        sender: Address,
        name: &str,
        given: Vec<Given>,
    ) -> Result<Vec<Value>, Stop> {
        let (module, function) = name.split_once("::").unwrap();
        let parameters = find(module, function).unwrap().parameters;
        assert_eq!(parameters.len(), given.len(), "{name}");
        let mut arguments: Vec<Arg> = (given.iter())
            .map(|given| match given {
                Given::At(place) => Arg::Object(self.place(*place).clone()),
                Given::Value(arg) => arg.clone(),
            })
            .collect();
        let made = self.bench.call(sender, name, &mut arguments)?;
        self.called.insert(name.to_owned());
        for ((given, argument), parameter) in given.iter().zip(arguments).zip(parameters) {
            let (Given::At(place), Arg::Object(value)) = (given, argument) else {
                let fresh = matches!(parameter, Parameter::Write(_) | Parameter::Read(_));
                assert!(!fresh || is_clock(given), "{name}: an object of no place");
                continue;
            };
            match parameter {
                Parameter::Write(_) => {
                    *self.place(*place) = value;
                    self.done.written.push(*place);
                }
                Parameter::Read(_) => assert_eq!(self.place(*place), &value, "{name}: {place:?}"),
                // taken, and gone
                _ => match place {
                    Place::Token(node) => self.tokens[at(*node)] = None,
                    other => panic!("{name} takes {other:?}"),
                },
            }
        }
        self.done.events.extend(made.events);
        let mut objects = Vec::new();
        let returned = made.returned.into_iter().map(|value| {
            // a caller keeps what it is paid
            let owner = is_coin(&value).then_some(Owner::Account(sender));
            (value, owner)
        });
        let placed = (made.placed.into_iter()).map(|(value, owner)| (value, Some(owner)));
        for (value, owner) in returned.chain(placed) {
            match owner {
                Some(Owner::Account(account)) => {
                    self.done.given += 1;
                    if is_coin(&value) {
                        let coin: Coin = value.read()?;
                        self.done.paid.push((account, coin.balance));
                        continue;
                    }
                    assert_eq!(
                        account, sender,
                        "{name}: no other is given anything but coins"
                    );
                }
                Some(Owner::Shared) => self.done.shared += 1,
                Some(Owner::Parent(_)) => panic!("{name} gives an object to another"),
                None => {}
            }
            objects.push(value);
        }
        Ok(objects)
    }

    /// Puts what a step made to its place, and shows its id as a byte.
    pub(super) fn keep(&mut self, place: Place, value: Value, shown: u8) {
        self.ids.push((value.id().into_inner(), shown));
        match place {
            Place::Slasher | Place::Vault => *self.place(place) = value,
            Place::Epoch(slot) => self.epochs[at(slot)] = Some(value),
            Place::Record(node) => self.records[at(node)] = Some(value),
            Place::Enclave(master) => self.enclaves[at(master)] = Some(value),
            Place::Token(node) => self.tokens[at(node)] = Some(value),
            other => panic!("no step makes {other:?}"),
        }
        self.done.written.push(place);
    }

    /// Bytes with the ids of this stage shown as the Move tests show theirs.
    pub(super) fn show(&self, bytes: &[u8]) -> Vec<u8> {
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
        shown
    }
}

fn is_clock(given: &Given) -> bool {
    matches!(given, Given::Value(Arg::Object(value)) if value.id() == abi::CLOCK)
}
