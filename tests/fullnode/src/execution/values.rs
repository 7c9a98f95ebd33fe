//! Values that commands work on.

use chain::abi::abort::Abort;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sui_sdk_types::{Address, Object, Owner, StructTag};

/// A Move value of a struct, or a vector of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Value {
    /// Its type, or that of a vector's elements.
    pub(crate) tag: StructTag,
    pub(crate) form: Form,
    pub(crate) contents: Vec<u8>,
}

/// What kind of value it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Has an id: an object, or one to be. `store` tells whether anyone may transfer it.
    Object { store: bool },
    /// Can be copied and dropped, and is no object.
    Data,
    /// A vector of such data.
    Vector,
}

impl Value {
    /// An object of a type. `store` tells whether anyone may transfer it.
    pub(crate) fn new<T: Serialize>(tag: StructTag, store: bool, value: &T) -> Result<Self, Stop> {
        Self::of_form(tag, Form::Object { store }, value)
    }

    /// Data of a type.
    pub(crate) fn data<T: Serialize>(tag: StructTag, value: &T) -> Result<Self, Stop> {
        Self::of_form(tag, Form::Data, value)
    }

    fn of_form<T: Serialize>(tag: StructTag, form: Form, value: &T) -> Result<Self, Stop> {
        let contents = bcs::to_bytes(value).map_err(|error| Stop::Broken(error.to_string()))?;
        Ok(Self {
            tag,
            form,
            contents,
        })
    }

    /// Whether anyone may transfer it (Move ability `store`, and an object).
    pub(crate) fn can_be_transferred(&self) -> bool {
        self.form == Form::Object { store: true }
    }

    /// The value inside an object; `None` for a package.
    pub(crate) fn of(object: &Object) -> Option<Self> {
        let data = object.as_struct()?;
        Some(Self {
            tag: data.object_type().clone(),
            form: Form::Object {
                store: data.has_public_transfer(),
            },
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
    Bool(bool),
    U8(u8),
    U16(u16),
    U32(u32),
    U64(u64),
    Text(String),
    Texts(Vec<String>),
    Bytes(Vec<u8>),
    /// An address or an id.
    Address(Address),
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
