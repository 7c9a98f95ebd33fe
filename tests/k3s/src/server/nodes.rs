//! What the server remembers of nodes: their passwords and their Node objects, kept in
//! `<data-dir>/server/db/nodes.json`.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use thiserror::Error;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use super::objects::{self, ObjectError, Query};
use crate::cluster::Range;
use crate::control::NodeSummary;
use crate::files::{self, FileError};

/// The file is no longer than this.
const FILE_LIMIT: u64 = 16 * 1024 * 1024;
/// The controller manager's `--node-monitor-grace-period` of old: 40 s.
const GRACE: Duration = Duration::seconds(40);

/// The memory of nodes failed or refused.
#[derive(Debug, Error)]
pub enum NodesError {
    /// Reading or writing.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file's contents.
    #[error("the file of nodes is broken")]
    Format(#[from] serde_json::Error),
    /// The kernel gave no randomness.
    #[error("no random bytes")]
    Random(#[from] getrandom::Error),
    /// Another password than at the first time.
    #[error("hash does not match")]
    Password,
    /// A Node of that name exists.
    #[error("nodes {0:?} already exists")]
    Exists(String),
    /// None does.
    #[error("nodes {0:?} not found")]
    Missing(String),
    /// No range of pods is left.
    #[error("no pod range is left for another node")]
    Full,
    /// Not a Node object.
    #[error("not a Node: {0}")]
    Invalid(&'static str),
    /// A field of it.
    #[error("Node is invalid: {0}")]
    Object(#[from] ObjectError),
    /// Another Node of the same name.
    #[error("the UID in the precondition does not match the UID of nodes {0:?}")]
    Precondition(String),
    /// Another version of it than the one that the caller has seen.
    #[error(
        "Operation cannot be fulfilled on nodes {0:?}: the object has been modified; please apply your \
         changes to the latest version and try again"
    )]
    Modified(String),
}

/// All nodes.
pub(super) struct Nodes {
    path: PathBuf,
    pods: Range,
    nodes: Mutex<BTreeMap<String, Node>>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Node {
    /// Salt and hash, in hexadecimal. Node passwords are 128 random bits, so no slow hash.
    #[serde(default)]
    password: Option<(String, String)>,
    /// The Node object.
    #[serde(default)]
    object: Option<Value>,
}

impl Nodes {
    /// Loads `path` when it exists. Nodes get /24 ranges out of `pods`.
    ///
    /// # Errors
    /// The file is unreadable or broken.
    pub(super) fn load(path: &Path, pods: Range) -> Result<Self, NodesError> {
        let nodes = match files::read_if_present(path, FILE_LIMIT)? {
            Some(text) => serde_json::from_str(&text)?,
            None => BTreeMap::new(),
        };
        Ok(Self {
            path: path.to_owned(),
            pods,
            nodes: Mutex::new(nodes),
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Node>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies `change` to the node `name`; the file changes before the memory does.
    fn change<R>(
        &self,
        name: &str,
        change: impl FnOnce(&BTreeMap<String, Node>, &mut Node) -> Result<R, NodesError>,
    ) -> Result<R, NodesError> {
        let mut nodes = self.lock();
        let mut node = nodes.get(name).cloned().unwrap_or_default();
        let result = change(&nodes, &mut node)?;
        let mut changed = nodes.clone();
        changed.insert(name.to_owned(), node);
        files::write(&self.path, &serde_json::to_vec(&changed)?, 0o600)?;
        *nodes = changed;
        Ok(result)
    }

    /// Remembers the password of a new node, and compares it for a known one.
    ///
    /// # Errors
    /// [`NodesError::Password`] for another password.
    pub(super) fn check_password(&self, name: &str, password: &str) -> Result<(), NodesError> {
        let known = self.lock().get(name).and_then(|node| node.password.clone());
        match known {
            Some((salt, hash)) if password_hash(&salt, password) == hash => Ok(()),
            Some(_) => Err(NodesError::Password),
            None => {
                let mut salt = [0u8; 16];
                getrandom::fill(&mut salt)?;
                let salt = hex::encode(salt);
                let hash = password_hash(&salt, password);
                self.change(name, |_, node| {
                    node.password = Some((salt, hash));
                    Ok(())
                })
            }
        }
    }

    /// The Node object.
    ///
    /// # Errors
    /// [`NodesError::Missing`].
    pub(super) fn object(&self, name: &str) -> Result<Value, NodesError> {
        self.lock()
            .get(name)
            .and_then(|node| node.object.clone())
            .ok_or_else(|| NodesError::Missing(name.to_owned()))
    }

    /// Creates a Node and gives it a range of pods.
    ///
    /// # Errors
    /// [`NodesError`].
    pub(super) fn create(&self, name: &str, mut object: Value) -> Result<Value, NodesError> {
        if object.get("kind").and_then(Value::as_str) != Some("Node") {
            return Err(NodesError::Invalid("kind must be Node"));
        }
        self.change(name, |nodes, node| {
            if node.object.is_some() {
                return Err(NodesError::Exists(name.to_owned()));
            }
            let range = free_range(self.pods, nodes).ok_or(NodesError::Full)?;
            let fields = object
                .as_object_mut()
                .ok_or(NodesError::Invalid("not an object"))?;
            let metadata = fields
                .entry("metadata")
                .or_insert_with(|| json!({}))
                .as_object_mut()
                .ok_or(NodesError::Invalid("metadata must be an object"))?;
            metadata.insert("name".into(), json!(name));
            let spec = fields
                .entry("spec")
                .or_insert_with(|| json!({}))
                .as_object_mut()
                .ok_or(NodesError::Invalid("spec must be an object"))?;
            spec.insert("podCIDR".into(), json!(range.to_string()));
            spec.insert("podCIDRs".into(), json!([range.to_string()]));
            objects::check_metadata(&object)?;
            objects::stamp(&mut object)?;
            node.object = Some(object.clone());
            Ok(object)
        })
    }

    /// A page of Nodes.
    pub(super) fn list(&self, query: &Query, accept: &str) -> Value {
        let nodes = self.lock();
        let objects = nodes
            .iter()
            .filter_map(|(name, node)| Some((name, node.object.as_ref()?)));
        query.list("Node", objects, accept)
    }

    /// Applies a merge patch to metadata and specification.
    ///
    /// # Errors
    /// [`NodesError`].
    pub(super) fn patch(&self, name: &str, patch: &Value) -> Result<Value, NodesError> {
        if patch.get("status").is_some() {
            return Err(NodesError::Invalid("status has a path of its own"));
        }
        self.change(name, |_, node| {
            let missing = || NodesError::Missing(name.to_owned());
            let object = node.object.as_mut().ok_or_else(missing)?;
            let before = object.clone();
            let version = objects::version(&before);
            // a version in a patch is a precondition, as in the real API
            if objects::version(patch).is_some_and(|wanted| Some(wanted) != version) {
                return Err(NodesError::Modified(name.to_owned()));
            }
            objects::merge(object, patch);
            objects::renew(object, version);
            objects::check_metadata(object)?;
            objects::strings(object, "labels")?;
            let kept = [
                "/metadata/name",
                "/metadata/uid",
                "/metadata/creationTimestamp",
                "/kind",
            ];
            if kept
                .iter()
                .any(|field| object.pointer(field) != before.pointer(field))
            {
                // a uid in a patch is a precondition, as in the real API
                return Err(NodesError::Precondition(name.to_owned()));
            }
            let flag = object.pointer("/spec/unschedulable");
            if flag.is_some_and(|flag| !flag.is_boolean()) {
                return Err(NodesError::Invalid("spec.unschedulable must be a boolean"));
            }
            Ok(object.clone())
        })
    }

    /// Deletes a Node and, as k3s does, the password of its name.
    ///
    /// # Errors
    /// [`NodesError`].
    pub(super) fn delete(&self, name: &str, options: &Value) -> Result<(), NodesError> {
        let mut nodes = self.lock();
        let missing = || NodesError::Missing(name.to_owned());
        let object = nodes.get(name).and_then(|node| node.object.as_ref());
        let object = object.ok_or_else(missing)?;
        let holds = |field: &str| {
            let wanted = options.pointer(&format!("/preconditions/{field}"));
            wanted.is_none() || wanted == object.pointer(&format!("/metadata/{field}"))
        };
        if !holds("uid") {
            return Err(NodesError::Precondition(name.to_owned()));
        }
        if !holds("resourceVersion") {
            return Err(NodesError::Modified(name.to_owned()));
        }
        let mut changed = nodes.clone();
        changed.remove(name);
        files::write(&self.path, &serde_json::to_vec(&changed)?, 0o600)?;
        *nodes = changed;
        Ok(())
    }

    /// Merges `status` into the Node's; conditions are replaced as a whole.
    ///
    /// # Errors
    /// [`NodesError`].
    pub(super) fn update_status(&self, name: &str, status: &Value) -> Result<Value, NodesError> {
        let status = status
            .as_object()
            .ok_or(NodesError::Invalid("status must be an object"))?;
        self.change(name, |_, node| {
            let object = node
                .object
                .as_mut()
                .ok_or_else(|| NodesError::Missing(name.to_owned()))?;
            let version = objects::version(object).map(str::to_owned);
            objects::renew(object, version.as_deref());
            let kept = object
                .as_object_mut()
                .ok_or(NodesError::Invalid("not an object"))?
                .entry("status")
                .or_insert_with(|| json!({}))
                .as_object_mut()
                .ok_or(NodesError::Invalid("status must be an object"))?;
            for (key, value) in status {
                kept.insert(key.clone(), value.clone());
            }
            Ok(object.clone())
        })
    }

    /// A line for each node; the fields of its tunnel are left for the caller.
    pub(super) fn summaries(&self) -> Vec<NodeSummary> {
        self.lock()
            .iter()
            .map(|(name, node)| summary(name, node))
            .collect()
    }
}

fn summary(name: &str, node: &Node) -> NodeSummary {
    let object = node.object.as_ref();
    let text = |pointer: &str| {
        object
            .and_then(|object| object.pointer(pointer))
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let list = |pointer: &str| {
        object
            .and_then(|object| object.pointer(pointer))
            .and_then(Value::as_array)
    };
    let condition = list("/status/conditions").and_then(|conditions| {
        conditions
            .iter()
            .find(|condition| condition.get("type") == Some(&json!("Ready")))
    });
    let field = |key: &str| {
        condition
            .and_then(|condition| condition.get(key))
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let heard = OffsetDateTime::parse(field("lastHeartbeatTime"), &Rfc3339).ok();
    let (ready, reason) = match heard {
        Some(heard) if OffsetDateTime::now_utc() - heard < GRACE => (
            field("status").to_owned(),
            format!("{}: {}", field("reason"), field("message")),
        ),
        _ => (
            "Unknown".to_owned(),
            "NodeStatusUnknown: no heartbeat for 40 s".to_owned(),
        ),
    };
    NodeSummary {
        name: name.to_owned(),
        registered: object.is_some(),
        connected: false,
        ready,
        reason,
        addresses: list("/status/addresses")
            .into_iter()
            .flatten()
            .filter_map(|address| address.get("address").and_then(Value::as_str))
            .map(str::to_owned)
            .collect(),
        pod_cidr: text("/spec/podCIDR"),
        connections: 0,
    }
}

/// The lowest /24 of `pods` that no Node has.
fn free_range(pods: Range, nodes: &BTreeMap<String, Node>) -> Option<Range> {
    let taken: Vec<&str> = nodes
        .values()
        .filter_map(|node| node.object.as_ref()?.pointer("/spec/podCIDR")?.as_str())
        .collect();
    let count = 1u32.checked_shl(24u32.checked_sub(u32::from(pods.prefix))?)?;
    (0..count)
        .map(|index| Range {
            address: Ipv4Addr::from(u32::from(pods.address) + index * 256),
            prefix: 24,
        })
        .find(|range| !taken.contains(&range.to_string().as_str()))
}

fn password_hash(salt: &str, password: &str) -> String {
    hex::encode(
        Sha256::new()
            .chain_update(salt)
            .chain_update(password)
            .finalize(),
    )
}

#[cfg(test)]
mod tests {
    use super::objects::now;
    use super::*;

    fn load(folder: &Path) -> Nodes {
        Nodes::load(&folder.join("nodes.json"), "10.42.0.0/16".parse().unwrap()).unwrap()
    }

    #[test]
    fn a_name_belongs_to_the_first_password_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        load(folder.path())
            .check_password("edge-0001", "first")
            .unwrap();
        let nodes = load(folder.path());
        nodes.check_password("edge-0001", "first").unwrap();
        assert!(matches!(
            nodes.check_password("edge-0001", "second"),
            Err(NodesError::Password)
        ));
        nodes.check_password("edge-0002", "second").unwrap();
    }

    #[test]
    fn a_version_that_was_seen_is_a_precondition() {
        let folder = tempfile::tempdir().unwrap();
        let nodes = load(folder.path());
        let node = json!({"kind": "Node", "metadata": {"name": "x"}});
        let node = nodes.create("edge-0001", node).unwrap();
        let seen = node.pointer("/metadata/resourceVersion").unwrap();
        let cordon =
            json!({"metadata": {"resourceVersion": seen}, "spec": {"unschedulable": true}});
        nodes.patch("edge-0001", &cordon).unwrap();
        let again = nodes.patch("edge-0001", &cordon);
        assert!(matches!(again, Err(NodesError::Modified(_))));
        let options = |version: &Value| json!({"preconditions": {"resourceVersion": version}});
        let outdated = nodes.delete("edge-0001", &options(seen));
        assert!(matches!(outdated, Err(NodesError::Modified(_))));
        let status = json!({"phase": "Running"});
        let node = nodes.update_status("edge-0001", &status).unwrap();
        let seen = node.pointer("/metadata/resourceVersion").unwrap();
        nodes.delete("edge-0001", &options(seen)).unwrap();
    }

    #[test]
    fn nodes_get_ranges_of_their_own_and_a_ready_condition_ages() {
        let folder = tempfile::tempdir().unwrap();
        let nodes = load(folder.path());
        let node = json!({"kind": "Node", "metadata": {"name": "x"}});
        let first = nodes.create("edge-0001", node.clone()).unwrap();
        assert_eq!(first.pointer("/spec/podCIDR"), Some(&json!("10.42.0.0/24")));
        let second = nodes.create("edge-0002", node.clone()).unwrap();
        assert_eq!(
            second.pointer("/spec/podCIDR"),
            Some(&json!("10.42.1.0/24"))
        );
        assert!(matches!(
            nodes.create("edge-0001", node),
            Err(NodesError::Exists(_))
        ));

        let ready = |time: String| json!({"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": time}]});
        nodes.update_status("edge-0001", &ready(now())).unwrap();
        let old = OffsetDateTime::now_utc() - Duration::seconds(41);
        nodes
            .update_status("edge-0002", &ready(old.format(&Rfc3339).unwrap()))
            .unwrap();
        let ready: Vec<_> = load(folder.path())
            .summaries()
            .into_iter()
            .map(|n| n.ready)
            .collect();
        assert_eq!(ready, ["True", "Unknown"]);
        assert!(matches!(
            nodes.update_status("edge-0003", &json!({})),
            Err(NodesError::Missing(_))
        ));
    }
}
