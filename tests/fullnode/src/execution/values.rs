//! Values that commands work on.

use chain::abi::abort::Abort;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sui_sdk_types::{Address, Object, Owner, StructTag};

/// A Move value with an id: an object, or one to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) tag: StructTag,
    /// Whether anyone may transfer it (Move ability `store`).
    pub(crate) store: bool,
    pub(crate) contents: Vec<u8>,
}

impl Value {
    /// A value of a type.
    pub(crate) fn new<T: Serialize>(tag: StructTag, store: bool, value: &T) -> Result<Self, Stop> {
        let contents = bcs::to_bytes(value).map_err(|error| Stop::Broken(error.to_string()))?;
        Ok(Self {
            tag,
            store,
            contents,
        })
    }

    /// The value inside an object; `None` for a package.
    pub(crate) fn of(object: &Object) -> Option<Self> {
        let data = object.as_struct()?;
        Some(Self {
            tag: data.object_type().clone(),
            store: data.has_public_transfer(),
            contents: data.contents().to_vec(),
        })
    }

    /// Its id: the first field of every object.
    pub(crate) fn id(&self) -> Address {
        self.contents
            .first_chunk()
            .map_or(Address::ZERO, |bytes| Address::new(*bytes))
    }

    /// Reads it as a type that its tag names.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Stop> {
        bcs::from_bytes(&self.contents)
            .map_err(|error| Stop::Broken(format!("{} does not fit its type: {error}", self.tag)))
    }

    /// Replaces what it holds.
    pub(crate) fn write<T: Serialize>(&mut self, value: &T) -> Result<(), Stop> {
        self.contents = bcs::to_bytes(value).map_err(|error| Stop::Broken(error.to_string()))?;
        Ok(())
    }
}

/// An argument of a Move call, checked against the function's signature.
#[derive(Debug, Clone)]
pub(crate) enum Arg {
    Object(Value),
    U16(u16),
    U64(u64),
    Text(String),
    Bytes(Vec<u8>),
}

/// What a Move call brought forth.
#[derive(Debug, Default)]
pub(crate) struct Made {
    /// What it returns.
    pub(crate) returned: Vec<Value>,
    /// What it gave an owner. `None` shares it.
    pub(crate) placed: Vec<(Value, Place)>,
    /// Events, by type.
    pub(crate) events: Vec<(StructTag, Vec<u8>)>,
}

/// Where a value goes at the end of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// To an account.
    Account(Address),
    /// To everyone: shared.
    Shared,
    /// To another object: a dynamic field.
    Parent(Address),
}

impl Place {
    /// The owner, with the version from which on a shared object is shared.
    pub(crate) fn owner(self, version: u64) -> Owner {
        match self {
            Self::Account(address) => Owner::Address(address),
            Self::Shared => Owner::Shared(version),
            Self::Parent(parent) => Owner::Object(parent),
        }
    }
}

/// Why a Move call did not return.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The function aborted.
    Abort(&'static Abort),
    /// The double itself is at fault.
    Broken(String),
}

impl From<&'static Abort> for Stop {
    fn from(abort: &'static Abort) -> Self {
        Self::Abort(abort)
    }
}
