//! Identifiers and amounts of the chain: each a type of its own, with one constructor from text.
//!
//! Nothing here speaks to the chain. The feature `sui-sdk-types` adds conversions to and from the types of
//! Sui's SDK.

mod amount;
mod identifiers;

/// Most characters of a node id, which the contracts keep to (`staking::LONGEST_NODE_ID`): the Node's name
/// is a hyphen and [`NODE_NAME_DIGITS`] longer, and has 63 at most.
pub const LONGEST_NODE_ID: usize = 50;

/// How many hexadecimal digits of its stake's record end a Node's name.
pub const NODE_NAME_DIGITS: usize = 10;

pub use amount::Mist;
pub use identifiers::{Address, ChainId, ObjectId, ParseError, TransactionId};
