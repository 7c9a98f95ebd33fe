//! The token that a node joins the cluster with: one of its own, made for it by the cluster, or the
//! one of a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use attest_verify::Image;
use chain::{Stake, Verdict};
use master_api::RefusalCode;
use tracing::error;
use wire::{InvalidName, JoinToken, NodeName, Secret, ServerUrl};

use crate::cluster::{Cluster, ClusterError};
use crate::files::read_secret;
use crate::refusal::Refused;
use crate::settings::{JoinSettings, MasterSettingsError, TokenSource};

/// What an accepted node gets.
#[derive(Debug, Clone)]
pub struct Join {
    /// The cluster's address for `k3s agent`.
    pub server: ServerUrl,
    /// Where its token comes from.
    pub tokens: JoinTokens,
}

impl Join {
    /// Opens what the settings name.
    ///
    /// # Errors
    /// [`ClusterError`] where the cluster's files can't be used.
    pub fn open(settings: JoinSettings) -> Result<Self, ClusterError> {
        Ok(Self {
            server: settings.server,
            tokens: match settings.source {
                TokenSource::File(path) => JoinTokens::File(path),
                TokenSource::Kubernetes(settings) => {
                    JoinTokens::Cluster(Arc::new(Cluster::open(&settings)?))
                }
            },
        })
    }
}

/// Where join tokens come from.
#[derive(Debug, Clone)]
pub enum JoinTokens {
    /// A file with one token for all.
    File(PathBuf),
    /// The cluster.
    Cluster(Arc<Cluster>),
}

/// A token for one node.
#[derive(Debug)]
pub(crate) struct Issued {
    pub(crate) token: JoinToken,
    /// The Secret behind it, where it was made for this node.
    secret: Option<String>,
}

impl JoinTokens {
    /// A token for the node of a stake that stands, which has this name and runs this image, at `now` in
    /// Unix seconds.
    pub(crate) async fn issue(
        &self,
        node: &NodeName,
        stake: &Stake,
        image: Option<Image>,
        now: u64,
    ) -> Result<Issued, Refused> {
        match self {
            Self::File(path) => match token(path) {
                Ok(token) => Ok(Issued {
                    token,
                    secret: None,
                }),
                Err(failure) => {
                    error!(
                        "no join token to hand out: {:#}",
                        anyhow::Error::new(failure)
                    );
                    let message = "the master has no join token at the moment";
                    Err(Refused::unavailable(message))
                }
            },
            Self::Cluster(cluster) => match cluster.issue(node, stake, image, now).await {
                Ok(made) => Ok(Issued {
                    token: made.token,
                    secret: Some(made.secret),
                }),
                Err(failure @ (ClusterError::NameTaken { .. } | ClusterError::NameHeld { .. })) => {
                    Err(Refused::new(
                        RefusalCode::StakeOfAnother,
                        failure.to_string(),
                    ))
                }
                Err(failure @ ClusterError::NameLeaving { .. }) => {
                    Err(Refused::unavailable(failure.to_string()))
                }
                Err(failure) => {
                    let node_id = node.as_str();
                    let failure = anyhow::Error::new(failure);
                    error!(node_id, "no join token can be made: {failure:#}");
                    let message = "the cluster does not answer the master at the moment";
                    Err(Refused::unavailable(message))
                }
            },
        }
    }

    /// Takes a token back that is not handed out after all.
    pub(crate) async fn take_back(&self, issued: Issued) {
        if let (Self::Cluster(cluster), Some(secret)) = (self, issued.secret) {
            cluster.take_back(&secret).await;
        }
    }

    /// A stake was read: where it is over, its Node has to go as well.
    pub(crate) fn stake_read(&self, verdict: Verdict) {
        if verdict.is_over() {
            self.look_at_stakes();
        }
    }

    /// What stands behind a Node, its stake or its release, does not count any more.
    pub(crate) fn look_at_stakes(&self) {
        if let Self::Cluster(cluster) = self {
            cluster.look_at_stakes();
        }
    }

    /// The cluster, where there is one to tend.
    pub(crate) fn cluster(&self) -> Option<&Cluster> {
        match self {
            Self::File(_) => None,
            Self::Cluster(cluster) => Some(cluster),
        }
    }
}

/// A token that can't be handed out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JoinTokenError {
    /// The file can't be read, or by too many.
    #[error("the join token can't be read")]
    File(#[source] MasterSettingsError),
    /// It is not a token, or would have nodes join whoever answers.
    #[error("{path}: the file does not hold one line with a join token that can be handed out")]
    Content {
        /// Which file.
        path: PathBuf,
        /// What was expected.
        #[source]
        source: InvalidName,
    },
}

/// Reads the token.
pub(crate) fn token(path: &Path) -> Result<JoinToken, JoinTokenError> {
    let bytes = read_secret(path).map_err(JoinTokenError::File)?;
    // what is not UTF-8 is no token either
    let text = std::str::from_utf8(bytes.trim_ascii()).unwrap_or_default();
    JoinToken::new(Secret::new(text.to_owned())).map_err(|source| JoinTokenError::Content {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn one_line_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        assert!(matches!(token(&path), Err(JoinTokenError::File(_))));
        let good = format!("K10{}::node:hunter2", "ca".repeat(32));
        fs::write(&path, format!("{good}\n")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert_eq!(token(&path).unwrap().expose(), good);
        let short = format!("K10{}::node:hunter2", "ca".repeat(31));
        let odd = format!("K10{}::node:hunter2", "cz".repeat(32));
        let empty = format!("K10{}::", "ca".repeat(32));
        for unpinned in ["hunter2", "K10cafe::node:hunter2", &short, &odd, &empty] {
            fs::write(&path, unpinned).unwrap();
            let error = anyhow::Error::new(token(&path).unwrap_err());
            let shown = format!("{error:#}");
            assert!(shown.contains("names the cluster's authority"), "{shown}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        for wrong in ["", " \n", "two words", "two\nlines", "ü", &"x".repeat(5000)] {
            fs::write(&path, wrong).unwrap();
            let error = token(&path).unwrap_err();
            assert!(matches!(error, JoinTokenError::Content { .. }), "{error}");
        }
    }
}
