//! The gRPC services. Each answers from the ledger, in the shape that the read mask asks for.

mod execution;
mod filter;
mod ledger;
mod mask;
mod state;
mod subscription;

use sui_rpc::headers;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Response, Status};

use crate::ledger::{Ledger, Node};

impl Node {
    /// An answer, with the headers that fullnodes add to every answer.
    fn answer<T>(&self, message: T) -> Response<T> {
        let mut response = Response::new(message);
        describe(&self.ledger(), response.metadata_mut());
        response
    }
}

fn describe(ledger: &Ledger, metadata: &mut MetadataMap) {
    let (height, timestamp_ms) = ledger.tip();
    for (name, value) in [
        (headers::X_SUI_CHAIN_ID, ledger.terms.chain_id.to_string()),
        (headers::X_SUI_CHAIN, CHAIN_NAME.to_owned()),
        (headers::X_SUI_EPOCH, ledger.epoch().to_string()),
        (headers::X_SUI_CHECKPOINT_HEIGHT, height.to_string()),
        (headers::X_SUI_TIMESTAMP_MS, timestamp_ms.to_string()),
        (headers::X_SUI_LOWEST_AVAILABLE_CHECKPOINT, "0".to_owned()),
    ] {
        if let Ok(value) = MetadataValue::try_from(value) {
            metadata.insert(name, value);
        }
    }
}

/// What the chain calls itself.
const CHAIN_NAME: &str = "fullnode-double";

/// A field of a request that is not what it should be.
fn invalid(field: &str, reason: impl std::fmt::Display) -> Status {
    Status::invalid_argument(format!("{field}: {reason}"))
}

/// A field of a request as a type.
fn parse<T>(field: &str, text: Option<&str>) -> Result<T, Status>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    text.ok_or_else(|| invalid(field, "missing"))?
        .parse()
        .map_err(|error| invalid(field, error))
}
