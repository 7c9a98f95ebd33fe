//! `init` ↔ its children: one JSON object per datagram of a `SOCK_SEQPACKET` socket pair (unix(7)).

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::names::{JoinToken, ServerUrl};
use crate::status::{DegradedReason, NodeState, NodeStatus, Phase};

/// The environment variable that holds the number of the child's end of the socket pair.
pub const FILE_DESCRIPTOR_VARIABLE: &str = "K3S_DAAS_INIT_FD";

/// The longest datagram, in bytes, that either side sends or takes.
pub const MAXIMUM_DATAGRAM: usize = 64 * 1024;

/// Why a node powers off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PowerOffReason {
    /// The stake was slashed.
    Slashed,
    /// The stake is being withdrawn, or was.
    Unbonding,
}

impl PowerOffReason {
    /// The one name of this reason, in logs and JSON alike.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Slashed => "slashed",
            Self::Unbonding => "unbonding",
        }
    }
}

/// What a child says to `init`. Which child may say what stands in `init`'s table of services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ToInit {
    /// The node has reached a state.
    State {
        /// Which.
        state: NodeState,
    },
    /// Something is wrong, and the child goes on trying.
    Degraded {
        /// What.
        reason: DegradedReason,
        /// One sentence for a person.
        detail: String,
    },
    /// What was wrong is well again.
    Recovered {
        /// What.
        reason: DegradedReason,
    },
    /// A point of the timeline was reached.
    Reached {
        /// Which.
        phase: Phase,
    },
    /// Start `k3s agent` with this token, or restart it if it runs with another. The status says
    /// what became of it ([`AgentRequest`](crate::status::AgentRequest)): as long as that is not
    /// `wanted`, this is to be sent again.
    StartAgent {
        /// The cluster's address.
        server: ServerUrl,
        /// The join token. `init` puts it into a file on tmpfs for the agent alone.
        token: JoinToken,
    },
    /// Stop `k3s agent` and every pod until the next [`ToInit::StartAgent`], and forget the token.
    /// containerd goes on. The node is degraded by [`DegradedReason::Agent`] meanwhile.
    StopAgent {
        /// One sentence for a person.
        reason: String,
    },
    /// Restart `k3s agent`.
    RestartAgent {
        /// One sentence for the log.
        reason: String,
    },
    /// Stop everything in order and power off.
    PowerOff {
        /// Why.
        reason: PowerOffReason,
        /// One sentence for the log.
        detail: String,
    },
}

impl ToInit {
    /// The kind of this message, for a table of who may send what.
    #[must_use]
    pub const fn kind(&self) -> ToInitKind {
        match self {
            Self::State { .. } => ToInitKind::State,
            Self::Degraded { .. } | Self::Recovered { .. } => ToInitKind::Degraded,
            Self::Reached { .. } => ToInitKind::Reached,
            Self::StartAgent { .. } | Self::StopAgent { .. } | Self::RestartAgent { .. } => {
                ToInitKind::Agent
            }
            Self::PowerOff { .. } => ToInitKind::PowerOff,
        }
    }
}

/// The kinds of messages that a child can be allowed to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ToInitKind {
    /// [`ToInit::State`].
    State,
    /// [`ToInit::Degraded`] and [`ToInit::Recovered`].
    Degraded,
    /// [`ToInit::Reached`].
    Reached,
    /// [`ToInit::StartAgent`], [`ToInit::StopAgent`] and [`ToInit::RestartAgent`].
    Agent,
    /// [`ToInit::PowerOff`].
    PowerOff,
}

/// What `init` says to a child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "kebab-case", deny_unknown_fields)]
pub enum FromInit {
    /// The node's status, sent at the start and whenever it changes.
    Status {
        /// The whole of it.
        status: NodeStatus,
    },
}

/// Why a datagram is not a message.
#[derive(Debug, Error)]
pub enum MessageError {
    /// It is longer than [`MAXIMUM_DATAGRAM`].
    #[error("a message of {0} bytes is longer than the {MAXIMUM_DATAGRAM} that are allowed")]
    TooLong(usize),
    /// It is not one of the messages.
    #[error("the datagram is not a message that is known here")]
    Malformed(#[source] serde_json::Error),
}

/// Writes a message as a datagram. The bytes are wiped on drop, since they can hold a token.
///
/// # Errors
/// [`MessageError::TooLong`] when the result would not fit into a datagram.
pub fn encode<T: Serialize>(message: &T) -> Result<Zeroizing<Vec<u8>>, MessageError> {
    let bytes = Zeroizing::new(serde_json::to_vec(message).map_err(MessageError::Malformed)?);
    if bytes.len() > MAXIMUM_DATAGRAM {
        return Err(MessageError::TooLong(bytes.len()));
    }
    Ok(bytes)
}

/// Reads a message from a datagram.
///
/// # Errors
/// [`MessageError::TooLong`] or [`MessageError::Malformed`].
pub fn decode<T: DeserializeOwned>(datagram: &[u8]) -> Result<T, MessageError> {
    if datagram.len() > MAXIMUM_DATAGRAM {
        return Err(MessageError::TooLong(datagram.len()));
    }
    serde_json::from_slice(datagram).map_err(MessageError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;

    #[test]
    fn round_trip() {
        let message = ToInit::StartAgent {
            server: "https://10.0.2.2:6443".parse().expect("a URL"),
            token: JoinToken::new(Secret::new(token())).expect("a token"),
        };
        let bytes = encode(&message).expect("short");
        assert_eq!(decode::<ToInit>(&bytes).expect("the same"), message);
        assert!(!format!("{message:?}").contains("K10ca"));
    }

    fn token() -> String {
        format!("K10{}::id.secret", "ca".repeat(32))
    }

    /// PID 1 makes arguments and a file of them.
    #[test]
    fn start_with_another_server_or_token_is_refused() {
        let text = |server: &str, token: &str| serde_json::json!({"message": "start-agent", "server": server, "token": token});
        let good = text("https://192.0.2.1", &token()).to_string();
        assert!(decode::<ToInit>(good.as_bytes()).is_ok());
        let long = format!("{}{}", token(), "x".repeat(JoinToken::MAXIMUM_LENGTH));
        for (server, token) in [
            ("http://192.0.2.1", &*token()),
            ("--server", &token()),
            ("https://192.0.2.1 --token x", &token()),
            ("https://192.0.2.1", ""),
            ("https://192.0.2.1", "hunter2"),
            ("https://192.0.2.1", &format!("{} --x", token())),
            ("https://192.0.2.1", &format!("{}\n", token())),
            ("https://192.0.2.1", &long),
        ] {
            let text = text(server, token).to_string();
            let error = decode::<ToInit>(text.as_bytes()).expect_err(server);
            let MessageError::Malformed(source) = error else {
                panic!("{error}");
            };
            assert!(!source.to_string().contains("K10ca"), "{source}");
        }
    }

    #[test]
    fn the_agent_s_stop_is_the_counterpart_of_its_start() {
        let text = r#"{"message":"stop-agent","reason":"the stake is too small"}"#;
        let message = decode::<ToInit>(text.as_bytes()).expect("a message");
        let reason = "the stake is too small".to_owned();
        assert_eq!(message, ToInit::StopAgent { reason });
        assert_eq!(message.kind(), ToInitKind::Agent);
    }

    #[test]
    fn unknown_messages_and_fields_are_refused() {
        for text in [
            r#"{"message":"format-disk"}"#,
            r#"{"message":"recovered","reason":"clock","more":1}"#,
            r#"{"message":"state","state":"flying"}"#,
            "",
            "null",
        ] {
            assert!(decode::<ToInit>(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn too_long_is_refused_both_ways() {
        let detail = "x".repeat(MAXIMUM_DATAGRAM);
        let message = ToInit::RestartAgent { reason: detail };
        assert!(matches!(encode(&message), Err(MessageError::TooLong(_))));
        assert!(matches!(
            decode::<ToInit>(&vec![b' '; MAXIMUM_DATAGRAM + 1]),
            Err(MessageError::TooLong(_))
        ));
    }
}
