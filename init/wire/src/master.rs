//! Node ↔ master: JSON over HTTPS.
//!
//! The paths, the header and the fields of the original protocol keep their names. What is new:
//! the node proves by a signature that it holds the key that its stake names. The seal token names
//! the stake; being public, it proves nothing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

use crate::Secret;

/// Asks for a nonce.
pub const CHALLENGE_PATH: &str = "/api/v1/challenge";
/// Registers a worker.
pub const REGISTER_PATH: &str = "/api/v1/register-worker";
/// Takes a worker's heartbeat.
pub const HEARTBEAT_PATH: &str = "/api/v1/nodes/heartbeat";
/// The header that names the seal token's object id.
pub const SEAL_TOKEN_HEADER: &str = "X-Seal-Token";
/// The longest body, in bytes, that either side takes.
pub const MAXIMUM_BODY: usize = 64 * 1024;
/// Seconds between two heartbeats.
pub const HEARTBEAT_SECONDS: u64 = 30;

/// Bytes that travel as base64 (RFC 4648, section 4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base64(pub Vec<u8>);

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD
            .decode(text)
            .map(Self)
            .map_err(|_| de::Error::custom("expected base64 with padding"))
    }
}

/// Asks for a nonce.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChallengeRequest {
    /// The node that will register.
    pub node_id: String,
}

/// A nonce for one registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChallengeResponse {
    /// 32 random bytes, good once and for a minute.
    pub nonce: Base64,
}

/// Registers a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisterRequest {
    /// The node's name.
    pub node_id: String,
    /// The seal token's object id, as in the header.
    pub seal_token: String,
    /// Seconds since 1970-01-01 UTC.
    pub timestamp: u64,
    /// The nonce of the challenge.
    pub nonce: Base64,
    /// Flag byte and public key, as Sui writes them.
    pub public_key: Base64,
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
            "k3s-daas/register-worker/v1",
            &(
                &self.node_id,
                &self.seal_token,
                self.timestamp,
                &self.nonce.0,
                &self.public_key.0,
            ),
        )
    }
}

/// What the master says to an accepted worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterResponse {
    /// `registered`.
    pub status: String,
    /// The node's name.
    pub node_id: String,
    /// One sentence for the log.
    pub message: String,
    /// The token for `k3s agent`.
    pub join_token: Secret,
    /// The cluster's address for `k3s agent`.
    pub server: String,
    /// Names this registration in heartbeats.
    pub session: String,
}

/// What the master says to a worker that it refuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// `refused`.
    pub status: String,
    /// Why, for programs.
    pub code: RefusalCode,
    /// Why, for people: one sentence.
    pub message: String,
}

/// Why the master refuses a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalCode {
    /// The request is not of the protocol's shape.
    Malformed,
    /// The header and the body name different seal tokens.
    SealTokenMismatch,
    /// The timestamp is too far from the master's clock.
    Timestamp,
    /// The nonce is unknown, used, or too old.
    Nonce,
    /// There is no such seal token or stake.
    StakeNotFound,
    /// The stake belongs to another node, key or pool.
    StakeOfAnother,
    /// The stake is below the pool's minimum.
    StakeBelowMinimum,
    /// The stake is being withdrawn, or was.
    StakeUnbonding,
    /// The stake was slashed.
    StakeSlashed,
    /// The seal token's time is over.
    SealTokenExpired,
    /// The signature does not belong to the node's key.
    Signature,
    /// The session is unknown: register again.
    Session,
    /// The sequence number is not above the last one.
    Sequence,
    /// The master itself can't verify at the moment: try again later.
    Unavailable,
}

/// A worker's report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeartbeatRequest {
    /// The node's name.
    pub node_id: String,
    /// Seconds since 1970-01-01 UTC.
    pub timestamp: u64,
    /// The stake's state as the node read it from the chain, by the name of its verdict, or
    /// `chain-unreachable` where it could not be read.
    pub stake_status: String,
    /// The stake in MIST.
    pub stake_amount: u64,
    /// Pods that run on the node.
    pub running_pods: u32,
    /// What the node uses of itself.
    pub resource_usage: ResourceUsage,
    /// The session of the registration.
    pub session: String,
    /// Greater with every heartbeat of a session.
    pub sequence: u64,
    /// Signature over [`HeartbeatRequest::signed_bytes`].
    pub signature: Base64,
}

impl HeartbeatRequest {
    /// The bytes that the node signs: domain, then every field but the signature, in BCS.
    ///
    /// Percentages go in as whole hundredths: BCS has no floats, and JSON does not carry the last
    /// bit of one through every parser.
    ///
    /// # Errors
    /// [`EncodingError`] never happens for what fits into a message.
    pub fn signed_bytes(&self) -> Result<Vec<u8>, EncodingError> {
        let usage = &self.resource_usage;
        canonical(
            "k3s-daas/heartbeat/v1",
            &(
                (
                    &self.node_id,
                    self.timestamp,
                    &self.stake_status,
                    self.stake_amount,
                ),
                self.running_pods,
                (
                    hundredths(usage.cpu_percent),
                    hundredths(usage.memory_percent),
                    hundredths(usage.disk_percent),
                ),
                (&self.session, self.sequence),
            ),
        )
    }
}

/// A percentage in whole hundredths.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "such a cast saturates, and a percentage outside of its bounds is refused elsewhere"
)]
fn hundredths(percent: f64) -> u32 {
    (percent * 100.0).round() as u32
}

/// What a node uses of itself, each from 0 to 100, with two digits behind the point: finer ones
/// would not be signed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceUsage {
    /// Processor time since the last heartbeat, over all processors.
    pub cpu_percent: f64,
    /// Memory that is not available.
    pub memory_percent: f64,
    /// The state file system.
    pub disk_percent: f64,
}

/// What the master says to a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatResponse {
    /// `acknowledged`.
    pub status: String,
    /// The node's name.
    pub node_id: String,
    /// The master's clock: seconds since 1970-01-01 UTC.
    pub timestamp: u64,
    /// One sentence for the log.
    pub message: String,
}

/// A value that BCS can't hold.
#[derive(Debug, Error)]
#[error("the message can't be encoded for its signature")]
pub struct EncodingError(#[source] bcs::Error);

fn canonical<T: Serialize>(domain: &str, fields: &T) -> Result<Vec<u8>, EncodingError> {
    bcs::to_bytes(&(domain, fields)).map_err(EncodingError)
}

/// Whether a join token names the hash of the cluster's certificate authority, without which an
/// agent joins whoever answers (k3s, "Token Format": `K10<CA hash>::<credentials>`). The master
/// hands out no other, and a node takes no other.
pub fn pins_authority(token: &str) -> bool {
    const HASH: usize = 64;
    let Some((hash, secret)) = token
        .strip_prefix("K10")
        .and_then(|rest| rest.split_once("::"))
    else {
        return false;
    };
    hash.len() == HASH && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) && !secret.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register() -> RegisterRequest {
        RegisterRequest {
            node_id: "edge-0001".to_owned(),
            seal_token: "0xabc".to_owned(),
            timestamp: 1_700_000_000,
            nonce: Base64(vec![7; 32]),
            public_key: Base64(vec![0; 33]),
            signature: Base64(vec![]),
        }
    }

    #[test]
    fn every_field_is_signed_and_the_signature_is_not() {
        let base = register().signed_bytes().expect("small");
        let changes: [fn(&mut RegisterRequest); 5] = [
            |request| request.node_id.push('x'),
            |request| request.seal_token.push('x'),
            |request| request.timestamp += 1,
            |request| request.nonce.0[0] ^= 1,
            |request| request.public_key.0[0] ^= 1,
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
        assert_eq!(bytes[0] as usize, "k3s-daas/register-worker/v1".len());
        assert!(bytes[1..].starts_with(b"k3s-daas/register-worker/v1"));
    }

    #[test]
    fn the_original_fields_keep_their_names() {
        let json = serde_json::to_value(register()).expect("json");
        for field in ["node_id", "seal_token", "timestamp"] {
            assert!(json.get(field).is_some(), "{field}");
        }
    }

    #[test]
    fn a_heartbeats_signature_survives_json() {
        for step in 0..=10_000_u32 {
            // as a node rounds it
            let percent = (f64::from(step) * 1.000_000_3).round() / 100.0;
            let request = HeartbeatRequest {
                node_id: "edge-0001".to_owned(),
                timestamp: 1_700_000_000,
                stake_status: "active".to_owned(),
                stake_amount: 1,
                running_pods: 1,
                resource_usage: ResourceUsage {
                    cpu_percent: percent,
                    memory_percent: percent,
                    disk_percent: percent,
                },
                session: "session".to_owned(),
                sequence: 1,
                signature: Base64(vec![]),
            };
            let json = serde_json::to_string(&request).expect("json");
            let read: HeartbeatRequest = serde_json::from_str(&json).expect("the same");
            assert_eq!(
                read.signed_bytes().expect("small"),
                request.signed_bytes().expect("small"),
                "{json}"
            );
        }
    }

    #[test]
    fn base64_is_checked() {
        assert!(serde_json::from_str::<Base64>("\"!!\"").is_err());
        assert_eq!(
            serde_json::from_str::<Base64>("\"AQI=\"")
                .expect("two bytes")
                .0,
            [1, 2]
        );
    }

    #[test]
    fn only_a_token_with_the_whole_hash_pins_the_authority() {
        let hash = "ca".repeat(32);
        assert!(pins_authority(&format!("K10{hash}::node:secret")));
        for token in [
            "secret".to_owned(),
            format!("K10{hash}:node:secret"),
            format!("K10{hash}::"),
            format!("K10{}::node:secret", &hash[1..]),
            format!("K10{}::node:secret", "xy".repeat(32)),
            format!("k10{hash}::node:secret"),
        ] {
            assert!(!pins_authority(&token), "{token}");
        }
    }
}
