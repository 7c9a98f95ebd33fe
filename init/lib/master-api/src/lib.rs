//! Node ↔ master: JSON over HTTPS.
//!
//! The paths, the header and the fields of the original protocol keep their names. What is new:
//! the node proves by a signature that it holds the key that its stake names, and by evidence what it
//! runs; the master proves by a signature that its key is the one that the chain knows. The seal
//! token names the stake; being public, it proves nothing.

mod challenge;
mod refusal;
mod registration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;
use wire::NodeName;

pub use challenge::{ChallengeProof, ChallengeRequest, ChallengeResponse, NONCE_LENGTH};
pub use refusal::{Refusal, RefusalCode};
pub use registration::{Grant, RegisterRequest, RegisterResponse, SealedToken};

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
/// The longest body of a registration, in bytes: evidence with an event log of 1 MiB in base64, and
/// all the rest.
pub const MAXIMUM_REGISTRATION: usize = 2 * 1024 * 1024;
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

/// A worker's report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeartbeatRequest {
    /// The node's name.
    pub node_id: NodeName,
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
    /// What the kubelet answers to whoever asks it on the node whether it works: `ok`, or what is wrong; none: it does
    /// not run, or was not asked. A master that is older than the node knows no such field: masters come first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubelet: Option<String>,
    /// What is measured now, where the session began with evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<HeartbeatQuote>,
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
        let fields = (
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
            self.quote
                .as_ref()
                .map(|quote| (&quote.message.0, &quote.signature.0)),
        );
        match &self.kubelet {
            // as it was before there was the field, so that an older node's signature still counts
            None => canonical("k3s-daas/heartbeat/v2", &fields),
            Some(kubelet) => canonical("k3s-daas/heartbeat/v3", &(fields, kubelet)),
        }
    }
}

/// A TPM's quote, by the attestation key that the session began with, over a hash of the session, the
/// sequence number and the nonce of the last answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeartbeatQuote {
    /// What is signed (`TPMS_ATTEST`).
    pub message: Base64,
    /// The signature (`TPMT_SIGNATURE`).
    pub signature: Base64,
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
    pub node_id: NodeName,
    /// The master's clock: seconds since 1970-01-01 UTC.
    pub timestamp: u64,
    /// One sentence for the log.
    pub message: String,
    /// What the next heartbeat's quote is over, where the session began with evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<Base64>,
}

/// A value that BCS can't hold.
#[derive(Debug, Error)]
#[error("the message can't be encoded for its signature")]
pub struct EncodingError(#[source] bcs::Error);

fn canonical<T: Serialize>(domain: &str, fields: &T) -> Result<Vec<u8>, EncodingError> {
    bcs::to_bytes(&(domain, fields)).map_err(EncodingError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeats_signature_survives_json() {
        for step in 0..=10_000_u32 {
            // as a node rounds it
            let percent = (f64::from(step) * 1.000_000_3).round() / 100.0;
            let request = HeartbeatRequest {
                node_id: "edge-0001".parse().expect("a name"),
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
                kubelet: None,
                quote: None,
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
    fn heartbeat_signs_its_name_as_plain_text() {
        let json = r#"{"node_id":"edge-0001","timestamp":1,"stake_status":"active","stake_amount":2,
            "running_pods":3,"resource_usage":{"cpu_percent":4.0,"memory_percent":5.0,"disk_percent":6.0},
            "session":"session","sequence":7,"signature":""}"#;
        let request: HeartbeatRequest = serde_json::from_str(json).expect("a heartbeat");
        let plain = (
            "k3s-daas/heartbeat/v2",
            ("edge-0001", 1_u64, "active", 2_u64),
            3_u32,
            (400_u32, 500_u32, 600_u32),
            ("session", 7_u64),
            None::<(Vec<u8>, Vec<u8>)>,
        );
        assert_eq!(
            request.signed_bytes().expect("small"),
            bcs::to_bytes(&plain).expect("small")
        );
        let written = serde_json::to_value(&request).expect("json");
        assert_eq!(written["node_id"], "edge-0001");
    }

    #[test]
    fn a_heartbeats_quote_is_under_its_signature() {
        let quote = |byte| {
            Some(HeartbeatQuote {
                message: Base64(vec![byte]),
                signature: Base64(vec![2]),
            })
        };
        let signed = [None, quote(1), quote(3)].map(|quote| {
            let usage = ResourceUsage {
                cpu_percent: 1.0,
                memory_percent: 1.0,
                disk_percent: 1.0,
            };
            let request = HeartbeatRequest {
                node_id: "edge-0001".parse().expect("a name"),
                timestamp: 1,
                stake_status: "active".to_owned(),
                stake_amount: 1,
                running_pods: 1,
                resource_usage: usage,
                session: "session".to_owned(),
                sequence: 1,
                kubelet: None,
                quote,
                signature: Base64(vec![]),
            };
            request.signed_bytes().expect("small")
        });
        assert!(signed[0] != signed[1] && signed[1] != signed[2]);
    }

    #[test]
    fn what_the_kubelet_says_is_under_the_signature() {
        let heartbeat = |kubelet: &str| {
            let json = format!(
                r#"{{"node_id":"edge-0001","timestamp":1,"stake_status":"active","stake_amount":2,
                "running_pods":3,"resource_usage":{{"cpu_percent":4.0,"memory_percent":5.0,
                "disk_percent":6.0}},"session":"session","sequence":7,{kubelet}"signature":""}}"#
            );
            let request: HeartbeatRequest = serde_json::from_str(&json).expect("a heartbeat");
            let written = serde_json::to_value(&request).expect("json");
            assert_eq!(written.get("kubelet").is_some(), !kubelet.is_empty());
            request.signed_bytes().expect("small")
        };
        let signed = ["", r#""kubelet":"ok","#, r#""kubelet":"it hangs","#].map(heartbeat);
        assert!(signed[0] != signed[1] && signed[1] != signed[2]);
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
}
