//! Registration: what a node shows, and what it gets.

use serde::{Deserialize, Serialize};

use crate::{Base64, EncodingError, canonical};
use wire::{JoinToken, NodeName, Secret, ServerUrl};

/// Registers a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisterRequest {
    /// The node's name.
    pub node_id: NodeName,
    /// The seal token's object id, as in the header.
    pub seal_token: String,
    /// Seconds since 1970-01-01 UTC.
    pub timestamp: u64,
    /// The nonce of the challenge.
    pub nonce: Base64,
    /// Flag byte and public key, as Sui writes them.
    pub public_key: Base64,
    /// What runs on the node, in the encoding of the crate `attest`; a node without a TPM has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Base64>,
    /// Signature over [`RegisterRequest::signed_bytes`].
    pub signature: Base64,
}

impl RegisterRequest {
    /// The bytes that the node signs: domain, then every field but the signature, in BCS.
    ///
    /// # Errors
    /// [`EncodingError`] never happens for what fits into a message.
    pub fn signed_bytes(&self) -> Result<Vec<u8>, EncodingError> {
        canonical(
            "k3s-daas/register-worker/v2",
            &(
                &self.node_id,
                &self.seal_token,
                self.timestamp,
                &self.nonce.0,
                &self.public_key.0,
                self.evidence.as_ref().map(|evidence| &evidence.0),
            ),
        )
    }
}

/// What the master says to an accepted worker: a [`Grant`] in the plain where the node showed no
/// evidence, or else sealed for its TPM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterResponse {
    /// `registered`.
    pub status: String,
    /// The node's name.
    pub node_id: NodeName,
    /// One sentence for the log.
    pub message: String,
    /// The token for `k3s agent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join_token: Option<Secret>,
    /// The cluster's address for `k3s agent`. The signature is over this text and that of the token as they
    /// came; a [`Grant`] is what they are read into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Names this registration in heartbeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The three above for the TPM that the evidence is of, and no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed_token: Option<SealedToken>,
    /// Ed25519 over [`RegisterResponse::signed_bytes`], where the master has a key that the chain
    /// knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Base64>,
}

impl RegisterResponse {
    /// The bytes that the master signs: domain, the hash of the request that is answered, then every
    /// field but the signature, in BCS. They can hold the join token.
    ///
    /// # Errors
    /// [`EncodingError`] never happens for what fits into a message.
    pub fn signed_bytes(&self, request: &[u8; 32]) -> Result<Vec<u8>, EncodingError> {
        canonical(
            "k3s-daas/registered/v1",
            &(
                request,
                (&self.status, &self.node_id, &self.message),
                (&self.join_token, &self.server, &self.session),
                self.sealed_token.as_ref().map(|sealed| {
                    (
                        &sealed.credential.0,
                        &sealed.seed.0,
                        &sealed.nonce.0,
                        &sealed.ciphertext.0,
                    )
                }),
            ),
        )
    }
}

/// What an accepted worker gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The token for `k3s agent`.
    pub join_token: JoinToken,
    /// The cluster's address for `k3s agent`.
    pub server: ServerUrl,
    /// Names this registration in heartbeats.
    pub session: String,
}

/// A [`Grant`] that only one TPM opens: it is encrypted under a key that `TPM2_ActivateCredential`
/// gives out where endorsement key and attestation key are the ones of the evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedToken {
    /// The encrypted key (`TPM2B_ID_OBJECT` without its size).
    pub credential: Base64,
    /// The point that the key's own encryption comes from (`TPMS_ECC_POINT`).
    pub seed: Base64,
    /// The nonce of XChaCha20-Poly1305, 24 bytes.
    pub nonce: Base64,
    /// The grant in BCS, encrypted, with the hash of the request as associated data.
    pub ciphertext: Base64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register() -> RegisterRequest {
        RegisterRequest {
            node_id: "edge-0001".parse().expect("a name"),
            seal_token: "0xabc".to_owned(),
            timestamp: 1_700_000_000,
            nonce: Base64(vec![7; 32]),
            public_key: Base64(vec![0; 33]),
            evidence: Some(Base64(vec![1; 8])),
            signature: Base64(vec![]),
        }
    }

    #[test]
    fn every_field_is_signed_and_the_signature_is_not() {
        let base = register().signed_bytes().expect("small");
        let changes: [fn(&mut RegisterRequest); 7] = [
            |request| request.node_id = "edge-0002".parse().expect("a name"),
            |request| request.seal_token.push('x'),
            |request| request.timestamp += 1,
            |request| request.nonce.0[0] ^= 1,
            |request| request.public_key.0[0] ^= 1,
            |request| request.evidence = Some(Base64(vec![1; 9])),
            |request| request.evidence = None,
        ];
        for change in changes {
            let mut changed = register();
            change(&mut changed);
            assert_ne!(changed.signed_bytes().expect("small"), base);
        }
        let mut signed = register();
        signed.signature.0.push(1);
        assert_eq!(signed.signed_bytes().expect("small"), base);
    }

    #[test]
    fn the_signed_bytes_begin_with_their_domain() {
        let bytes = register().signed_bytes().expect("small");
        assert_eq!(bytes[0] as usize, "k3s-daas/register-worker/v2".len());
        assert!(bytes[1..].starts_with(b"k3s-daas/register-worker/v2"));
    }

    #[test]
    fn registration_signs_its_name_as_plain_text() {
        let plain = (
            "k3s-daas/register-worker/v2",
            "edge-0001",
            "0xabc",
            1_700_000_000_u64,
            vec![7_u8; 32],
            vec![0_u8; 33],
            Some(vec![1_u8; 8]),
        );
        assert_eq!(
            register().signed_bytes().expect("small"),
            bcs::to_bytes(&plain).expect("small")
        );
        let json = serde_json::to_value(register()).expect("json");
        assert_eq!(json["node_id"], "edge-0001");
    }

    #[test]
    fn the_original_fields_keep_their_names() {
        let json = serde_json::to_value(register()).expect("json");
        for field in ["node_id", "seal_token", "timestamp"] {
            assert!(json.get(field).is_some(), "{field}");
        }
    }

    #[test]
    fn a_reply_is_signed_with_its_request_and_every_field() {
        let sealed = SealedToken {
            credential: Base64(vec![1]),
            seed: Base64(vec![2]),
            nonce: Base64(vec![3]),
            ciphertext: Base64(vec![4]),
        };
        let reply = RegisterResponse {
            status: "registered".to_owned(),
            node_id: "edge-0001".parse().expect("a name"),
            message: "welcome".to_owned(),
            join_token: Some(Secret::new("token".to_owned())),
            server: Some("https://k3s.example:6443".to_owned()),
            session: Some("session".to_owned()),
            sealed_token: Some(sealed),
            signature: None,
        };
        let base = reply.signed_bytes(&[0; 32]).expect("small");
        assert_ne!(reply.signed_bytes(&[1; 32]).expect("small"), base);
        let changes: [fn(&mut RegisterResponse); 8] = [
            |reply| reply.status.push('x'),
            |reply| reply.node_id = "edge-0002".parse().expect("a name"),
            |reply| reply.message.push('x'),
            |reply| reply.join_token = None,
            |reply| reply.server = None,
            |reply| reply.session = None,
            |reply| reply.sealed_token = None,
            |reply| {
                if let Some(sealed) = &mut reply.sealed_token {
                    sealed.ciphertext.0[0] ^= 1;
                }
            },
        ];
        for change in changes {
            let mut changed = reply.clone();
            change(&mut changed);
            assert_ne!(changed.signed_bytes(&[0; 32]).expect("small"), base);
        }
    }
}
