//! Sui: what the node reads from the chain and writes to it.
//!
//! [`Chain`] is the way in. One module (`rpc`) knows Sui's protobuf; everything else sees the
//! types here. `abi` mirrors, byte for byte, what the Move package keeps on the chain.

pub mod abi;

mod client;
mod clock;
mod error;
mod key;
mod master;
mod release;
mod rpc;
mod settings;
mod stake;
mod transactions;

pub use chain_types::{
    Address, ChainId, Mist, NODE_NAME_DIGITS, ObjectId, ParseError, TransactionId,
};
pub use client::{
    Chain, KeptFor, KeptTransaction, PayoutTo, PayoutTransaction, Prepared, StakeOf,
    StakeTransaction, StakeWatch, WatchEvent,
};
pub use clock::now_ms;
pub use error::{ChainError, SettingsError};
pub use key::{KeyError, MessageSignature, NodeKey, PublicKey, SignatureBytes, Signer};
pub use master::Master;
pub use release::{
    LaunchMeasurement, PhasePcr, Release, ReleaseImage, ReleaseVersion, Releases, Tee,
};
pub use settings::{ChainSettings, Timeouts};
pub use stake::{Executed, Pool, SealToken, Slash, Stake, Verdict, node_name};
