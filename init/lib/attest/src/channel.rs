//! What ties evidence and replies to one registration, and quotes to one heartbeat.

use master_api::{EncodingError, RegisterRequest};
use seal::tpm::crypto::{Digest, sha256};
use serde::{Deserialize, Serialize};
use wire::NodeName;

/// What a node makes evidence for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The master's nonce.
    pub nonce: Vec<u8>,
    /// The node's name.
    pub node_id: NodeName,
    /// Flag byte and public key of the node's Sui key.
    pub node_key: Vec<u8>,
    /// The Sui address of that key: `0x` and 64 hexadecimal digits.
    pub address: String,
    /// SHA-256 of the public key (SubjectPublicKeyInfo) that the node saw of the master in TLS.
    pub channel: Digest,
}

/// All that the registration's quote is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The master's nonce.
    pub nonce: Vec<u8>,
    /// The node's name.
    pub node_id: NodeName,
    /// Flag byte and public key of the node's Sui key.
    pub node_key: Vec<u8>,
    /// The Sui address of that key: `0x` and 64 hexadecimal digits.
    pub address: String,
    /// SHA-256 of the public key (SubjectPublicKeyInfo) that the node saw of the master in TLS.
    pub channel: Digest,
    /// The name of the attestation key.
    pub attestation_key: Vec<u8>,
    /// The name of the endorsement key.
    pub endorsement_key: Vec<u8>,
}

impl Binding {
    /// The quote's qualifying data: SHA-256 over domain and binding in BCS.
    ///
    /// # Errors
    /// When the binding can't be encoded, which never happens for what fits into a message.
    pub fn qualifying_data(&self) -> Result<Digest, bcs::Error> {
        hash("k3s-daas/evidence/v1", self)
    }
}

/// The qualifying data of a heartbeat's quote. `nonce` is the one of the answer before; the first
/// heartbeat has none, its session's name being as fresh.
///
/// # Errors
/// When it can't be encoded, which never happens for what fits into a message.
pub fn heartbeat_data(session: &str, sequence: u64, nonce: &[u8]) -> Result<Digest, bcs::Error> {
    hash("k3s-daas/heartbeat-quote/v1", &(session, sequence, nonce))
}

/// The hash of a request, which the master's reply is signed and encrypted with.
///
/// # Errors
/// [`EncodingError`] never happens for what fits into a message.
pub fn request_hash(request: &RegisterRequest) -> Result<Digest, EncodingError> {
    Ok(sha256(&[&request.signed_bytes()?, &request.signature.0]))
}

fn hash<T: Serialize>(domain: &str, fields: &T) -> Result<Digest, bcs::Error> {
    Ok(sha256(&[&bcs::to_bytes(&(domain, fields))?]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_the_binding_is_under_the_quote() {
        let binding = Binding {
            nonce: vec![1; 32],
            node_id: "edge-0001".parse().expect("a name"),
            node_key: vec![2; 33],
            address: format!("0x{}", "03".repeat(32)),
            channel: [4; 32],
            attestation_key: vec![5; 34],
            endorsement_key: vec![6; 34],
        };
        let base = binding.qualifying_data().expect("small");
        let changes: [fn(&mut Binding); 7] = [
            |binding| binding.nonce[0] ^= 1,
            |binding| binding.node_id = "edge-0002".parse().expect("a name"),
            |binding| binding.node_key[0] ^= 1,
            |binding| binding.address.push('x'),
            |binding| binding.channel[0] ^= 1,
            |binding| binding.attestation_key[0] ^= 1,
            |binding| binding.endorsement_key[0] ^= 1,
        ];
        for change in changes {
            let mut changed = binding.clone();
            change(&mut changed);
            assert_ne!(changed.qualifying_data().expect("small"), base);
        }
    }

    #[test]
    fn each_heartbeats_quote_is_over_something_else() {
        let base = heartbeat_data("s", 1, &[1]).expect("small");
        for (session, sequence, nonce) in [("t", 1, [1]), ("s", 2, [1]), ("s", 1, [2])] {
            assert_ne!(
                heartbeat_data(session, sequence, &nonce).expect("small"),
                base
            );
        }
    }
}
