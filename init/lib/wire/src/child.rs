//! `init` ↔ its children: one JSON object per datagram of a `SOCK_SEQPACKET` socket pair (unix(7)).

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::names::{JoinToken, NodeName, ServerUrl};
use crate::status::{DegradedReason, NodeState, NodeStatus, Phase, Probed};

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
    /// Something was asked whether it works.
    Probed {
        /// What.
        service: Probed,
        /// Why that is no good answer, or that there was none, one sentence for a person; none: it works.
        fault: Option<String>,
    },
    /// What is to become of the node. Sent with every change; and again as long as the status does not
    /// echo its number ([`NodeStatus::desired`]).
    Desired {
        /// The whole of it: nothing of an earlier one goes on to count.
        desired: Desired,
    },
}

/// The state of agent and power that the staker asks for, and `init` brings about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Desired {
    /// Grows with each change.
    pub number: u64,
    /// What is to become of `k3s agent`.
    pub agent: AgentDesire,
    /// What is to become of the machine. [`PowerDesire::Off`] ends the agent, too.
    pub power: PowerDesire,
}

/// What is to become of `k3s agent`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum AgentDesire {
    /// It runs, with this answer of the master.
    Run {
        /// The Node's name in the cluster.
        node: NodeName,
        /// The cluster's address.
        server: ServerUrl,
        /// The join token. `init` puts it into a file on tmpfs for the agent alone.
        token: JoinToken,
        /// The number of this run: where it is larger than the one that `init` knows
        /// ([`NodeStatus::agent_run`]), the agent is started anew.
        run: u64,
    },
    /// It is stopped with every pod, and the token forgotten. containerd goes on. The node is degraded
    /// by [`DegradedReason::Agent`] meanwhile.
    Stop {
        /// One sentence for a person.
        reason: String,
    },
}

/// What is to become of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum PowerDesire {
    /// It stays on.
    On,
    /// Everything is stopped in order, and the power switched off. There is no way back.
    Off {
        /// Why.
        reason: PowerOffReason,
        /// One sentence for the log.
        detail: String,
    },
}

impl ToInit {
    /// The kind of this message, for a log: the message itself can hold a token.
    #[must_use]
    pub const fn kind(&self) -> ToInitKind {
        match self {
            Self::State { .. } => ToInitKind::State,
            Self::Degraded { .. } | Self::Recovered { .. } => ToInitKind::Degraded,
            Self::Reached { .. } => ToInitKind::Reached,
            Self::Probed { .. } => ToInitKind::Probed,
            Self::Desired { .. } => ToInitKind::Desired,
        }
    }
}

/// The kinds of messages that a child sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ToInitKind {
    /// [`ToInit::State`].
    State,
    /// [`ToInit::Degraded`] and [`ToInit::Recovered`].
    Degraded,
    /// [`ToInit::Reached`].
    Reached,
    /// [`ToInit::Probed`].
    Probed,
    /// [`ToInit::Desired`].
    Desired,
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
        let desired = Desired {
            number: 7,
            agent: AgentDesire::Run {
                node: "edge-0001-0123456789".parse().unwrap(),
                server: "https://10.0.2.2:6443".parse().expect("a URL"),
                token: JoinToken::new(Secret::new(token())).expect("a token"),
                run: 2,
            },
            power: PowerDesire::On,
        };
        let message = ToInit::Desired { desired };
        let bytes = encode(&message).expect("short");
        assert_eq!(decode::<ToInit>(&bytes).expect("the same"), message);
        assert!(!format!("{message:?}").contains("K10ca"));
    }

    fn token() -> String {
        format!("K10{}::id.secret", "ca".repeat(32))
    }

    /// PID 1 makes arguments and a file of them.
    #[test]
    fn desired_run_with_bad_server_or_token_is_refused() {
        let text = |server: &str, token: &str| {
            serde_json::json!({"message": "desired", "desired": {
                "number": 1,
                "agent": {"run": {
                    "node": "edge-0001-0707070707", "server": server, "token": token, "run": 1,
                }},
                "power": "on",
            }})
        };
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
    fn a_desired_state_has_one_form() {
        let text = r#"{"message":"desired","desired":{"number":8,
            "agent":{"stop":{"reason":"the stake is too small"}},
            "power":{"off":{"reason":"slashed","detail":"it is gone"}}}}"#;
        let message = decode::<ToInit>(text.as_bytes()).expect("a message");
        let desired = Desired {
            number: 8,
            agent: AgentDesire::Stop {
                reason: "the stake is too small".to_owned(),
            },
            power: PowerDesire::Off {
                reason: PowerOffReason::Slashed,
                detail: "it is gone".to_owned(),
            },
        };
        assert_eq!(message, ToInit::Desired { desired });
        assert_eq!(message.kind(), ToInitKind::Desired);
    }

    #[test]
    fn unknown_messages_and_fields_are_refused() {
        for text in [
            r#"{"message":"format-disk"}"#,
            r#"{"message":"desired","desired":{"number":1,"power":"on"}}"#,
            r#"{"message":"desired","desired":{"number":1,"power":"on","agent":{"run":{}}}}"#,
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
        let reason = DegradedReason::Clock;
        let message = ToInit::Degraded { reason, detail };
        assert!(matches!(encode(&message), Err(MessageError::TooLong(_))));
        assert!(matches!(
            decode::<ToInit>(&vec![b' '; MAXIMUM_DATAGRAM + 1]),
            Err(MessageError::TooLong(_))
        ));
    }
}
