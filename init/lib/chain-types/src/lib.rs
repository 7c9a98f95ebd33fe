//! Identifiers and amounts of the chain: each a type of its own, with one constructor from text.
//!
//! Nothing here speaks to the chain. The feature `sui-sdk-types` adds conversions to and from the types of
//! Sui's SDK.

mod amount;
mod identifiers;

pub use amount::Mist;
pub use identifiers::{Address, ChainId, ObjectId, ParseError, TransactionId};
