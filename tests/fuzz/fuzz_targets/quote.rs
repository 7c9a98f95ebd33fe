//! Quotes of a TPM: the bytes as message and signature, and as a message with a good signature, so
//! that what lies behind it is reached.
#![no_main]

use libfuzzer_sys::fuzz_target;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use seal::tpm::attest::Quote;
use seal::tpm::crypto::Point;

/// A `TPMT_SIGNATURE` (Part 2, 11.3.4) by ECDSA with SHA-256.
fn signature(key: &SigningKey, message: &[u8]) -> Vec<u8> {
    let signature: Signature = key.sign(message);
    let signature = signature.normalize_s();
    let mut bytes = vec![0x00, 0x18, 0x00, 0x0b];
    for number in signature.to_bytes().chunks(32) {
        bytes.extend_from_slice(&[0, 32]);
        bytes.extend_from_slice(number);
    }
    bytes
}

fuzz_target!(|bytes: &[u8]| {
    let key = SigningKey::from_slice(&[7; 32]).expect("a scalar");
    let public = Point::from_public_key(&key.verifying_key().into());
    let (message, rest) = bytes.split_at(bytes.len() / 2);
    let quotes = [
        Quote {
            message: message.to_vec(),
            signature: rest.to_vec(),
        },
        Quote {
            message: bytes.to_vec(),
            signature: signature(&key, bytes),
        },
    ];
    for quote in quotes {
        let _ = quote.verify(&public, &[1; 32], &[0, 1, 2, 3, 4, 5, 6, 7, 11, 12]);
    }
});
