//! The cluster: a bootstrap token for every node that is admitted, and no Node without a stake.
//!
//! What the master knows of nodes and tokens is kept in the cluster itself, in labels and
//! annotations of the objects that it is about, so that a master that starts again, or another
//! one beside it, goes on where the first one was:
//!
//! - a token is a Secret `bootstrap-token-<id>` in `kube-system`, labelled as the master's and
//!   with its node; it goes when the Node has come, or when its time is over;
//! - a Node that came with such a token carries its stake's record, and the image that it proved to
//!   run, in labels that its kubelet can't change; when the stake is gone, or the image's release
//!   counts no more, the Node is cordoned, then deleted;
//! - empty Secrets `k3s-daas-firmware-<endorsement key>-<firmware>` record which firmware each TPM has
//!   shown;
//! - an empty Secret `k3s-daas-removed-<node>` remembers whose Node was deleted, for as long as its
//!   kubelet's certificate could bring it back.
//!
//! What the master needs for this, and nothing more, stands in `init/cluster/master/rbac.json` and in what
//! [`admission`] prints.

pub mod admission;
mod api;
mod bootstrap_token;
pub(crate) mod firmware;
mod names;
mod objects;
mod round;
pub(crate) mod settings;
mod tend;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use attest_verify::Image;
use chain::{ObjectId, Stake};
use pinned_http::tls::TlsError;
use reqwest::StatusCode;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::json;
use time::OffsetDateTime;
use tokio::sync::Notify;
use tracing::{info, warn};
use wire::{InvalidName, JoinToken, NodeName};

pub use settings::{Credentials, KubernetesSettings};

use crate::settings::error::MasterSettingsError;
use admission::Holder;
use api::Api;
use bootstrap_token::BootstrapToken;
use objects::{Arrival, Backing, Known, MANAGED_BY, MASTER, NODE, Node, Note, REMOVED, TOKEN};

/// How long a token is good. A node joins within a minute or two of its registration, and
/// registers again where it could not.
const LIFE: Duration = Duration::from_secs(15 * 60);
/// How long a removed Node is remembered: a day longer than k3s has a kubelet's certificate live.
const REMEMBERED: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// All calls for one token. The chain was asked before, and the node waits.
const ISSUE_LIMIT: Duration = Duration::from_secs(5);
/// Ids are random: that one is taken happens once in a lifetime, unless something is wrong.
const MOST_ATTEMPTS: usize = 3;
/// How often a ConfigMap is read again that was changed meanwhile: its 390 nodes register by themselves.
const MOST_CHANGES: usize = 8;
/// The type of Secrets that are bootstrap tokens.
const TOKEN_TYPE: &str = "bootstrap.kubernetes.io/token";
/// What k3s gives the bearers of its own bootstrap tokens.
const GROUPS: &str = "system:bootstrappers:k3s:default-node-token";

/// The cluster can't be used, or does not do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A file can't be read.
    #[error("a file of [kubernetes] can't be read")]
    File(#[source] MasterSettingsError),
    /// A file does not hold what it should.
    #[error("{path}: expected {expected} in PEM form")]
    Pem {
        /// Which file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// The file of the service account's token holds none.
    #[error("{path}: expected one line with the token of a service account")]
    Token {
        /// Which file.
        path: PathBuf,
    },
    /// Certificates do not fit together, or not with TLS.
    #[error("the certificates of [kubernetes] can't be used")]
    Tls(#[source] TlsError),
    /// The HTTP client can't be set up.
    #[error("the HTTP client can't be set up")]
    Client(#[source] reqwest::Error),
    /// The API gave no answer.
    #[error("{call}: the Kubernetes API gave no answer")]
    Unreachable {
        /// Which call.
        call: &'static str,
        /// Why.
        source: reqwest::Error,
    },
    /// Too many calls, or too slow ones.
    #[error("the Kubernetes API took longer than {} s", ISSUE_LIMIT.as_secs())]
    Slow,
    /// An answer that is too long.
    #[error("{call}: the Kubernetes API's answer is too long")]
    TooLong {
        /// Which call.
        call: &'static str,
    },
    /// An answer of another form.
    #[error("{call}: the Kubernetes API's answer can't be read")]
    Answer {
        /// Which call.
        call: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// A refusal, in the API's words.
    #[error("{call}: {status} {reason}: {message}")]
    Refused {
        /// Which call.
        call: &'static str,
        /// The status.
        status: StatusCode,
        /// One word for it.
        reason: String,
        /// And a sentence.
        message: String,
    },
    /// The hash of `/cacerts` and what was drawn at random are no join token.
    #[error("the join token that was made can't be handed out")]
    JoinToken(#[source] InvalidName),
    /// `/cacerts` holds no certificates.
    #[error("/cacerts holds no certificates, or more than belong to one authority")]
    Authorities,
    /// The cluster was not given an object of the policy that says which Nodes may be created.
    #[error("the cluster has no {object}: give it what `master --print-admission` prints")]
    NoAdmission {
        /// Its kind and name.
        object: String,
    },
    /// An object of the policy is not as the master prints it.
    #[error(
        "the cluster's {object} is not what `master --print-admission` prints: give it that again"
    )]
    AdmissionChanged {
        /// Its kind and name.
        object: String,
    },
    /// The name stands for another stake, or for a Node of the administrator.
    #[error(
        "the name {node} is admitted for another stake, or by the cluster's administrator: choose \
         another node.id"
    )]
    NameHeld {
        /// The name.
        node: String,
    },
    /// A ConfigMap that others change all the time.
    #[error("the ConfigMap of admitted names was changed by others each time")]
    Contended,
    /// A Node of the same name, that no stake stands for.
    #[error(
        "a Node {node} is in the cluster already, and no stake stands for it: have the cluster's \
         administrator delete that Node"
    )]
    NameTaken {
        /// The name.
        node: String,
    },
    /// A Node of the same name, of a stake that has just ended.
    #[error("the Node {node} of an earlier stake has not left the cluster yet")]
    NameLeaving {
        /// The name.
        node: String,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random,
    /// A clock that is out of the calendar.
    #[error("the clock shows a time that can't be")]
    Clock,
}

impl ClusterError {
    /// Whether it is a refusal with this status.
    pub(crate) fn is(&self, wanted: StatusCode) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == wanted)
    }
}

/// The cluster.
pub struct Cluster {
    api: Api,
    /// Whoever tends the cluster has something to look at.
    waker: Notify,
    /// A stake is said to be gone.
    stakes: AtomicBool,
    /// The shard of admitted names that is looked at next.
    shard: AtomicU8,
    /// Shards whose turn is now: a name in them is wanted by another stake.
    held: Mutex<BTreeSet<String>>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Cluster { .. }")
    }
}

/// A token that was made for a node, and the name of its Secret.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) token: JoinToken,
    pub(crate) secret: String,
}

impl Cluster {
    /// Reads the files that the settings name; asks nobody yet.
    ///
    /// # Errors
    /// [`ClusterError`] names the file.
    pub fn open(settings: &KubernetesSettings) -> Result<Self, ClusterError> {
        // anywhere, so that masters that start often do not look at the first ones alone
        let mut first = [0];
        SystemRandom::new()
            .fill(&mut first)
            .map_err(|_| ClusterError::Random)?;
        Ok(Self {
            api: Api::open(settings)?,
            waker: Notify::new(),
            stakes: AtomicBool::new(false),
            shard: AtomicU8::new(first[0]),
            held: Mutex::default(),
        })
    }

    /// Makes a token for the node of a stake that runs this image, at `now` in Unix seconds. Tokens
    /// that were made for it before are revoked.
    ///
    /// # Errors
    /// [`ClusterError`]. A call that broke off may leave a Secret behind, which goes as those do
    /// whose nodes never come.
    pub(crate) async fn issue(
        &self,
        node: &NodeName,
        stake: &Stake,
        image: Option<Image>,
        now: u64,
    ) -> Result<Made, ClusterError> {
        let made = tokio::time::timeout(ISSUE_LIMIT, self.make(node, stake, image, now))
            .await
            .map_err(|_| ClusterError::Slow)?;
        match &made {
            Err(ClusterError::NameLeaving { .. }) => self.look_at_stakes(),
            // it is free once the other stake is gone
            Err(ClusterError::NameHeld { .. }) => {
                let shard = admission::shard(node.as_str()).to_owned();
                self.held().insert(shard);
                self.look_at_stakes();
            }
            _ => {}
        }
        let made = made?;
        self.waker.notify_one();
        Ok(made)
    }

    async fn make(
        &self,
        node: &NodeName,
        stake: &Stake,
        image: Option<Image>,
        now: u64,
    ) -> Result<Made, ClusterError> {
        let backing = Backing {
            stake: stake.record,
            image,
        };
        let of_node = format!("{MANAGED_BY}={MASTER},{NODE}={node}");
        let (authorities, before, present, ()) = tokio::try_join!(
            self.api.authorities(),
            self.api.secrets(&of_node),
            self.api.node(node),
            self.api.check_admission(admission::shard(node.as_str())),
        )?;
        let authority =
            bootstrap_token::authority_hash(&authorities).ok_or(ClusterError::Authorities)?;
        if let Some(present) = &present {
            self.check_name(present, &before, backing).await?;
        }
        self.admit(node, stake.record).await?;
        for secret in &before {
            self.api.delete_secret(&secret.name).await?;
        }
        let note = Note {
            kind: TOKEN,
            node: node.clone(),
            backing,
            expires: later(now, LIFE)?,
            known: present.as_ref().map(Known::of),
        };
        let mut attempt = 1;
        loop {
            let token = BootstrapToken::generate().map_err(|_| ClusterError::Random)?;
            let name = format!("bootstrap-token-{}", token.id);
            let data = json!({
                "token-id": token.id,
                "token-secret": *token.secret,
                "description": format!("node {node} of stake {}", stake.record),
                "expiration": objects::rfc3339(note.expires),
                "usage-bootstrap-authentication": "true",
                "auth-extra-groups": GROUPS,
            });
            let metadata = note.metadata(name.clone());
            match self.api.create_secret(TOKEN_TYPE, &metadata, &data).await {
                Ok(_) => {
                    info!(
                        node = node.as_str(),
                        secret = name,
                        "a bootstrap token was made"
                    );
                    return Ok(Made {
                        token: token.joined(&authority).map_err(ClusterError::JoinToken)?,
                        secret: name,
                    });
                }
                Err(error) if error.is(StatusCode::CONFLICT) && attempt < MOST_ATTEMPTS => {
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Lets a Node of this name be created, for the stake of a record.
    async fn admit(&self, node: &NodeName, record: ObjectId) -> Result<(), ClusterError> {
        let name = admission::shard(node.as_str());
        for _ in 0..MOST_CHANGES {
            let shard = self.api.admitted(name).await?;
            match shard.holder(node) {
                Some(Holder::Stake(holder)) if holder == record => return Ok(()),
                Some(_) => {
                    return Err(ClusterError::NameHeld {
                        node: node.to_string(),
                    });
                }
                None => {}
            }
            let patch = shard.patch(node, Some(record));
            match self.api.patch_admitted(name, patch).await {
                Err(error) if error.is(StatusCode::CONFLICT) => {}
                admitted => return admitted,
            }
        }
        Err(ClusterError::Contended)
    }

    /// The shards whose turn is now.
    fn held(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A Node of this name that is there already has to be this stake's: a stake must not stand
    /// for somebody else's Node, which would go when it goes.
    async fn check_name(
        &self,
        node: &Node,
        before: &[objects::Metadata],
        backing: Backing,
    ) -> Result<(), ClusterError> {
        let name = || node.metadata.name.clone();
        match Backing::of(&node.metadata) {
            Some(labelled) if labelled == backing => return Ok(()),
            // it was admitted anew, perhaps with another image
            Some(labelled) if labelled.stake == backing.stake => {
                return self.label(&node.metadata, backing).await;
            }
            Some(_) => return Err(ClusterError::NameLeaving { node: name() }),
            None => {}
        }
        // it may have come only now, or come back, and not have its labels yet
        let came = before.iter().any(|secret| {
            Note::of(secret).is_some_and(|note| {
                note.backing.stake == backing.stake
                    && note.arrival(secret.creation_timestamp, node) == Arrival::New
            })
        });
        if !came {
            return Err(ClusterError::NameTaken { node: name() });
        }
        self.label(&node.metadata, backing).await
    }

    /// Has a Node carry what it was admitted by.
    async fn label(&self, node: &objects::Metadata, backing: Backing) -> Result<(), ClusterError> {
        self.api.label_node(node, &backing.labels()).await?;
        let record = backing.stake;
        info!(node = node.name, %record, "the Node carries its stake's record");
        Ok(())
    }

    /// Takes a token back that was not handed out after all.
    pub(crate) async fn take_back(&self, secret: &str) {
        if let Err(error) = self.api.delete_secret(secret).await {
            // whoever tends the cluster removes it when its time is over
            warn!(%error, secret, "a token could not be revoked");
        }
    }

    /// Has the stakes of all Nodes read soon: one of them is said to be gone, or a release is.
    pub(crate) fn look_at_stakes(&self) {
        self.stakes.store(true, Ordering::Relaxed);
        self.waker.notify_one();
    }

    /// Cordons a Node that nothing stands for any more, then deletes it, and remembers that: the Node
    /// as it was seen, and no other of its name.
    async fn remove(
        &self,
        node: &objects::Metadata,
        backing: Backing,
        why: &str,
        now: u64,
    ) -> Result<(), ClusterError> {
        let node = &self.api.cordon_node(node).await?;
        info!(node = node.name, stake = %backing.stake, why, "Node cordoned");
        // no token is made for any other name, so that none has to be remembered
        if let Ok(name) = node.name.parse() {
            self.remember(name, backing, now).await?;
        }
        self.api.delete_node(node).await?;
        info!(node = node.name, stake = %backing.stake, why, "Node deleted");
        Ok(())
    }

    /// Keeps whose Node of this name is deleted.
    async fn remember(
        &self,
        node: NodeName,
        backing: Backing,
        now: u64,
    ) -> Result<(), ClusterError> {
        let name = format!("k3s-daas-removed-{node}");
        let note = Note {
            kind: REMOVED,
            node,
            backing,
            expires: later(now, REMEMBERED)?,
            known: None,
        };
        let metadata = note.metadata(name.clone());
        let create = async || {
            self.api
                .create_secret("Opaque", &metadata, &json!({}))
                .await
        };
        match create().await {
            Err(error) if error.is(StatusCode::CONFLICT) => {
                self.api.delete_secret(&name).await?;
                create().await?;
            }
            created => drop(created?),
        }
        Ok(())
    }
}

/// A time from now on.
fn later(now: u64, duration: Duration) -> Result<OffsetDateTime, ClusterError> {
    let seconds = now.saturating_add(duration.as_secs());
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .ok_or(ClusterError::Clock)
}
