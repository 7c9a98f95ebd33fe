//! Module `statement`: what enclaves sign.

use chain::abi::abort::Abort;
use chain::abi::enclave::CLOCK_TOLERANCE_MS;
use chain::abi::{Clock, Enclave, EnclaveConfig, IntentMessage};
use serde::Serialize;

use super::{enclave, require};
use crate::execution::Stop;

/// `statement::verify(config, enclave, …)`.
pub(super) fn verify<T: Serialize>(
    config: &EnclaveConfig,
    enclave: &Enclave,
    message: &IntentMessage<T>,
    signature: &[u8],
    clock: &Clock,
) -> Result<(), Stop> {
    enclave::assert_counts(config, enclave)?;
    let now_ms = clock.timestamp_ms;
    // a sum that does not fit aborts in Move too, by arithmetic
    let oldest = message.timestamp_ms.checked_add(config.evidence_age_ms);
    require(
        message.timestamp_ms <= now_ms.saturating_add(CLOCK_TOLERANCE_MS),
        &Abort::STATEMENT_FROM_FUTURE,
    )?;
    require(
        oldest.is_some_and(|oldest| now_ms <= oldest),
        &Abort::STATEMENT_TOO_OLD,
    )?;
    let bytes = bcs::to_bytes(message).map_err(|error| Stop::Broken(error.to_string()))?;
    require(
        signed(&enclave.public_key, &bytes, signature),
        &Abort::STATEMENT_INVALID_SIGNATURE,
    )
}

/// `node_key::verify`: `false` for anything that is no key or no signature, too.
fn signed(public_key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    chain::PublicKey::from_flagged_bytes(public_key)
        .and_then(|key| key.verify_bytes(message, signature))
        .is_ok()
}
