//! Types of Sui's own framework.

use serde::{Deserialize, Serialize};
use sui_sdk_types::Address;

/// `0x2::coin::Coin<T>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coin {
    /// The object's id.
    pub id: Address,
    /// What it holds, in the smallest unit.
    pub balance: u64,
}

/// `0x2::clock::Clock`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// The object's id.
    pub id: Address,
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: u64,
}

/// `0x2::dynamic_field::Field<Name, Value>`: an entry of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field<N, V> {
    /// The object's id, derived from the table's and the name.
    pub id: Address,
    /// The key.
    pub name: N,
    /// What stands under it.
    pub value: V,
}
