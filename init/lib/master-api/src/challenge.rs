//! The first words: a nonce of each side, and the master's proof of its key.

use serde::{Deserialize, Serialize};
use wire::NodeName;

use crate::{Base64, EncodingError, canonical};

/// The length of a nonce, in bytes.
pub const NONCE_LENGTH: usize = 32;

/// Asks for a nonce.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChallengeRequest {
    /// The node that will register.
    pub node_id: NodeName,
    /// 32 random bytes of the node's own, which the master signs.
    pub nonce: Base64,
}

/// A nonce for one registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChallengeResponse {
    /// 32 random bytes, good once and for a minute.
    pub nonce: Base64,
    /// Who the master is, where it has a key that the chain knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<ChallengeProof>,
}

/// The master's proof that it holds the key of an enclave that the chain knows, for this channel and
/// this challenge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChallengeProof {
    /// The object id of the enclave on chain.
    pub enclave: String,
    /// The enclave's ed25519 key, 32 bytes.
    pub public_key: Base64,
    /// SHA-256 of the public key (SubjectPublicKeyInfo) that the master shows in TLS.
    pub tls_key_sha256: Base64,
    /// Seconds since 1970-01-01 UTC.
    pub timestamp: u64,
    /// Ed25519 over [`ChallengeProof::signed_bytes`].
    pub signature: Base64,
}

impl ChallengeProof {
    /// The bytes that the master signs: domain, the request, its nonce, then every field but the
    /// signature, in BCS.
    ///
    /// # Errors
    /// [`EncodingError`] never happens for what fits into a message.
    pub fn signed_bytes(
        &self,
        request: &ChallengeRequest,
        nonce: &Base64,
    ) -> Result<Vec<u8>, EncodingError> {
        canonical(
            "k3s-daas/challenge/v1",
            &(
                (&request.node_id, &request.nonce.0, &nonce.0),
                &self.enclave,
                &self.public_key.0,
                &self.tls_key_sha256.0,
                self.timestamp,
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_nonces_and_every_field_are_signed() {
        let request = ChallengeRequest {
            node_id: "edge-0001".parse().expect("a name"),
            nonce: Base64(vec![1; NONCE_LENGTH]),
        };
        let nonce = Base64(vec![2; NONCE_LENGTH]);
        let proof = ChallengeProof {
            enclave: "0xe".to_owned(),
            public_key: Base64(vec![3; 32]),
            tls_key_sha256: Base64(vec![4; 32]),
            timestamp: 5,
            signature: Base64(Vec::new()),
        };
        let base = proof.signed_bytes(&request, &nonce).expect("small");
        let changes: [fn(&mut ChallengeRequest, &mut Base64, &mut ChallengeProof); 7] = [
            |request, _, _| request.node_id = "edge-0002".parse().expect("a name"),
            |request, _, _| request.nonce.0[0] ^= 1,
            |_, nonce, _| nonce.0[0] ^= 1,
            |_, _, proof| proof.enclave.push('x'),
            |_, _, proof| proof.public_key.0[0] ^= 1,
            |_, _, proof| proof.tls_key_sha256.0[0] ^= 1,
            |_, _, proof| proof.timestamp += 1,
        ];
        for change in changes {
            let (mut request, mut nonce, mut proof) =
                (request.clone(), nonce.clone(), proof.clone());
            change(&mut request, &mut nonce, &mut proof);
            assert_ne!(proof.signed_bytes(&request, &nonce).expect("small"), base);
        }
    }
}
