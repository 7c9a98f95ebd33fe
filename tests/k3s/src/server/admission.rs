//! ConfigMaps, and the one ValidatingAdmissionPolicy that the double can evaluate: which Nodes
//! kubelets may create.
//!
//! Source: Kubernetes, `staging/src/k8s.io/apiserver/pkg/admission/plugin/policy/validating`. The
//! double evaluates no CEL: it knows what the expressions of this one policy say, and refuses to go on
//! where a policy has others. ConfigMaps come from the manifests; what is patched into them is kept in
//! `<data-dir>/server/db/configmaps.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::access::{Access, AccessError};
use super::auth::User;
use super::objects;
use crate::files::{self, FileError};

/// The file is no longer than this.
const FILE_LIMIT: u64 = 64 * 1024 * 1024;
/// What a ConfigMap holds at the most, in bytes (`MaxConfigMapSize`).
const LARGEST: usize = 1024 * 1024;
/// What the double takes the policy's expressions to be.
const CONDITION: &str = "'system:nodes' in request.userInfo.groups";
const HERE: &str = "object.metadata.name.matches('^.+-[0-9a-f]{10}$') ? \
                    object.metadata.name.endsWith(params.metadata.name.substring(18)) : \
                    params.metadata.name.substring(18) == 'others'";
/// What `substring(18)` takes off a ConfigMap's name.
const PREFIX: &str = "k3s-daas-admitted-";
const VALIDATION: &str =
    "!variables.here || (has(params.data) && object.metadata.name in params.data)";

/// ConfigMaps or policies failed, or refuse.
#[derive(Debug, Error)]
pub enum AdmissionError {
    /// Reading or writing.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file's contents.
    #[error("the file of ConfigMaps is broken")]
    Format(#[from] serde_json::Error),
    /// The manifests.
    #[error(transparent)]
    Manifests(#[from] AccessError),
    /// No such ConfigMap.
    #[error("configmaps {0:?} not found")]
    Missing(String),
    /// It was changed since.
    #[error(
        "Operation cannot be fulfilled on configmaps {0:?}: the object has been modified; please \
         apply your changes to the latest version and try again"
    )]
    Modified(String),
    /// Not strings, or too many of them.
    #[error("ConfigMap is invalid: data: {0}")]
    Invalid(&'static str),
    /// A policy that the double does not know.
    #[error(
        "the double can't evaluate the ValidatingAdmissionPolicy {0:?}: its expressions differ"
    )]
    Unknown(String),
    /// The policy says no.
    #[error(
        "nodes {node:?} is forbidden: ValidatingAdmissionPolicy {policy:?} with binding {binding:?} \
         denied request: {message}"
    )]
    Denied {
        /// The Node.
        node: String,
        /// The policy.
        policy: String,
        /// Its binding.
        binding: String,
        /// The policy's words.
        message: String,
    },
}

/// ConfigMaps and policies.
pub(super) struct Admission {
    access: Arc<Access>,
    path: PathBuf,
    /// What was patched into ConfigMaps: `namespace/name` → data.
    data: Mutex<BTreeMap<String, Map<String, Value>>>,
}

impl Admission {
    /// Loads `path` when it exists.
    ///
    /// # Errors
    /// The file is unreadable or broken.
    pub(super) fn load(access: Arc<Access>, path: &Path) -> Result<Self, AdmissionError> {
        let data = match files::read_if_present(path, FILE_LIMIT)? {
            Some(text) => serde_json::from_str(&text)?,
            None => BTreeMap::new(),
        };
        Ok(Self {
            access,
            path: path.to_owned(),
            data: Mutex::new(data),
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Map<String, Value>>> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A ConfigMap.
    ///
    /// # Errors
    /// [`AdmissionError::Missing`].
    pub(super) fn config_map(&self, namespace: &str, name: &str) -> Result<Value, AdmissionError> {
        self.find(&self.access.objects()?, namespace, name)
    }

    fn find(
        &self,
        manifests: &[Value],
        namespace: &str,
        name: &str,
    ) -> Result<Value, AdmissionError> {
        let found = manifests.iter().find(|object| {
            text(object, "/kind") == "ConfigMap"
                && text(object, "/metadata/name") == name
                && text(object, "/metadata/namespace") == namespace
        });
        let missing = || AdmissionError::Missing(name.to_owned());
        let mut object = found.cloned().ok_or_else(missing)?;
        if let Some(patched) = self.lock().get(&format!("{namespace}/{name}")) {
            objects::merge(&mut object, &json!({"data": patched}));
        }
        let version = json!({"metadata": {"resourceVersion": version(&object)}});
        objects::merge(&mut object, &version);
        Ok(object)
    }

    /// A policy or a binding, as the manifests have it, with the defaults that a real server fills in.
    ///
    /// # Errors
    /// [`AdmissionError::Missing`].
    pub(super) fn object(&self, kind: &str, name: &str) -> Result<Value, AdmissionError> {
        let manifests = self.access.objects()?;
        let found = manifests
            .iter()
            .find(|object| text(object, "/kind") == kind && text(object, "/metadata/name") == name);
        let mut object = found
            .cloned()
            .ok_or_else(|| AdmissionError::Missing(name.to_owned()))?;
        if let Some(constraints) = object.pointer_mut("/spec/matchConstraints") {
            objects::merge(
                constraints,
                &json!({"matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {}}),
            );
        }
        Ok(object)
    }

    /// Applies a merge patch to a ConfigMap's data.
    ///
    /// # Errors
    /// [`AdmissionError`].
    pub(super) fn patch(
        &self,
        namespace: &str,
        name: &str,
        patch: &Value,
    ) -> Result<Value, AdmissionError> {
        let current = self.config_map(namespace, name)?;
        let expected = patch.pointer("/metadata/resourceVersion");
        if expected
            .is_some_and(|expected| Some(expected) != current.pointer("/metadata/resourceVersion"))
        {
            return Err(AdmissionError::Modified(name.to_owned()));
        }
        let entries = patch.get("data").and_then(Value::as_object);
        let entries = entries.ok_or(AdmissionError::Invalid("the double patches data alone"))?;
        if !entries
            .values()
            .all(|value| value.is_null() || value.is_string())
        {
            return Err(AdmissionError::Invalid("not strings"));
        }
        let mut data = self.lock();
        let mut changed = data.clone();
        let map = changed.entry(format!("{namespace}/{name}")).or_default();
        for (key, value) in entries {
            if value.is_null() {
                map.remove(key);
            } else {
                map.insert(key.clone(), value.clone());
            }
        }
        if serde_json::to_vec(map)?.len() > LARGEST {
            return Err(AdmissionError::Invalid(
                "too long: may not be more than 1048576 bytes",
            ));
        }
        files::write(&self.path, &serde_json::to_vec(&changed)?, 0o600)?;
        *data = changed;
        drop(data);
        self.config_map(namespace, name)
    }

    /// Whether the policies of the manifests let a user create a Node.
    ///
    /// # Errors
    /// [`AdmissionError::Denied`] where one does not.
    pub(super) fn node(&self, user: &User, node: &str) -> Result<(), AdmissionError> {
        let manifests = self.access.objects()?;
        let of = |kind: &'static str| {
            let is = move |object: &&Value| text(object, "/kind") == kind;
            manifests.iter().filter(is)
        };
        for policy in of("ValidatingAdmissionPolicy") {
            let name = text(policy, "/metadata/name");
            let known = [
                ("/spec/matchConditions/0/expression", CONDITION),
                ("/spec/variables/0/expression", HERE),
                ("/spec/validations/0/expression", VALIDATION),
            ];
            if !known
                .iter()
                .all(|(at, expected)| text(policy, at) == *expected)
            {
                return Err(AdmissionError::Unknown(name.to_owned()));
            }
            if !user.is_in(&["system:nodes"]) {
                continue;
            }
            for binding in of("ValidatingAdmissionPolicyBinding") {
                if text(binding, "/spec/policyName") != name {
                    continue;
                }
                self.bound(&manifests, policy, binding, node)?;
            }
        }
        Ok(())
    }

    /// What one binding says.
    fn bound(
        &self,
        manifests: &[Value],
        policy: &Value,
        binding: &Value,
        node: &str,
    ) -> Result<(), AdmissionError> {
        let denied = |message: &str| AdmissionError::Denied {
            node: node.to_owned(),
            policy: text(policy, "/metadata/name").to_owned(),
            binding: text(binding, "/metadata/name").to_owned(),
            message: message.to_owned(),
        };
        let parameter = self.find(
            manifests,
            text(binding, "/spec/paramRef/namespace"),
            text(binding, "/spec/paramRef/name"),
        );
        let parameter = match parameter {
            Err(AdmissionError::Missing(_))
                if text(binding, "/spec/paramRef/parameterNotFoundAction") == "Deny" =>
            {
                return Err(denied(
                    "no params found for policy binding with `Deny` action",
                ));
            }
            parameter => parameter?,
        };
        let name = text(&parameter, "/metadata/name");
        let shard = name
            .get(PREFIX.len()..)
            .ok_or_else(|| denied("index out of range: 18"))?;
        let here = if is_staked(node) {
            node.ends_with(shard)
        } else {
            shard == "others"
        };
        let admitted = parameter
            .get("data")
            .is_some_and(|data| data.get(node).is_some());
        if here && !admitted {
            return Err(denied(text(policy, "/spec/validations/0/message")));
        }
        Ok(())
    }
}

/// A version of a ConfigMap: another for other data.
fn version(config_map: &Value) -> String {
    let data = config_map.get("data").map(Value::to_string);
    hex::encode(&Sha256::digest(data.unwrap_or_default())[..8])
}

/// `^.+-[0-9a-f]{10}$`.
fn is_staked(node: &str) -> bool {
    node.rsplit_once('-').is_some_and(|(id, digits)| {
        !id.is_empty()
            && digits.len() == 10
            && digits
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    })
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}
