/// Statements: messages that an enclave signs for these contracts, and their verification.
module k3s_daas::statement;

use k3s_daas::{enclave::{EnclaveConfig, Enclave}, node_key};
use sui::{bcs, clock::Clock};

#[error(code = 0)]
const ETooOld: vector<u8> = b"What the enclave signed is older than the configuration allows";
#[error(code = 1)]
const EFromFuture: vector<u8> = b"What the enclave signed is of the future";
#[error(code = 2)]
const EInvalidSignature: vector<u8> = b"The signature is not the enclave's over this message";

/// By how much an enclave's clock may be ahead of the chain's.
const CLOCK_TOLERANCE_MS: u64 = 10_000;
/// Keeps what enclaves sign for these contracts from being anything else that they sign.
const DOMAIN: vector<u8> = b"k3s-daas/enclave/v1";

/// What an enclave signs, as BCS: `data` under a domain, an intent, and what makes it count once,
/// there, and for a while.
public struct IntentMessage<T: copy + drop> has copy, drop {
    domain: vector<u8>,
    intent: u8,
    enclave: ID,
    config_version: u64,
    nonce: u64,
    timestamp_ms: u64,
    data: T,
}

/// The bytes that an enclave signs to say `data`.
public(package) fun message<T: copy + drop>(
    enclave: &Enclave,
    intent: u8,
    nonce: u64,
    timestamp_ms: u64,
    data: T,
): vector<u8> {
    bcs::to_bytes(
        &IntentMessage {
            domain: DOMAIN,
            intent,
            enclave: object::id(enclave),
            config_version: enclave.config_version(),
            nonce,
            timestamp_ms,
            data,
        },
    )
}

/// Aborts unless a current enclave has signed this of late. Its callers see to it that it counts
/// once.
public(package) fun verify<T: copy + drop>(
    config: &EnclaveConfig,
    enclave: &Enclave,
    intent: u8,
    nonce: u64,
    timestamp_ms: u64,
    data: T,
    signature: &vector<u8>,
    clock: &Clock,
) {
    config.assert_current(enclave);
    let now_ms = clock.timestamp_ms();
    assert!(timestamp_ms <= now_ms + CLOCK_TOLERANCE_MS, EFromFuture);
    assert!(now_ms <= timestamp_ms + config.evidence_age_ms(), ETooOld);
    let message = message(enclave, intent, nonce, timestamp_ms, data);
    assert!(node_key::verify(&enclave.public_key(), &message, signature), EInvalidSignature);
}
