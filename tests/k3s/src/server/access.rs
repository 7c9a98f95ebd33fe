//! What users may do with the Kubernetes API: role-based access control over the manifests in
//! `<data-dir>/server/manifests`, and the tokens of service accounts.
//!
//! Source: Kubernetes, `plugin/pkg/auth/authorizer/rbac` and the TokenRequest API. k3s applies
//! manifests in YAML too; the double takes JSON alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use thiserror::Error;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use super::auth::User;
use crate::files::{self, FileError};

/// Who may do everything.
pub(super) const MASTERS: &str = "system:masters";
/// A manifest, or the file of tokens, is no longer than this.
const FILE_LIMIT: u64 = 1024 * 1024;
/// The shortest life of a service account's token, as the TokenRequest API has it, and the one
/// that it gives where none is asked for.
const SHORTEST: i64 = 600;
const DEFAULT_LIFE: i64 = 3600;

/// Access cannot be decided on or given.
#[derive(Debug, Error)]
pub enum AccessError {
    /// Reading or writing.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file's contents.
    #[error("{0} is no JSON of the kind that is expected")]
    Format(PathBuf, #[source] serde_json::Error),
    /// No such service account.
    #[error("serviceaccounts {0:?} not found")]
    Missing(String),
    /// A life that is too short.
    #[error("spec.expirationSeconds: may not specify a duration less than 10 minutes")]
    Life,
    /// The kernel gave no randomness.
    #[error("no random bytes")]
    Random(#[from] getrandom::Error),
}

/// What somebody wants to do.
#[derive(Debug)]
pub(super) struct Wish<'a> {
    /// `get`, `list`, `create`, `patch` or `delete`.
    pub(super) verb: &'static str,
    /// Such as `nodes`.
    pub(super) resource: &'static str,
    /// None for what belongs to the cluster.
    pub(super) namespace: Option<&'a str>,
    /// None for lists and for what is to be created.
    pub(super) name: Option<&'a str>,
}

/// Decides and gives.
pub(super) struct Access {
    manifests: PathBuf,
    tokens_file: PathBuf,
    /// Held over reading and writing back.
    writing: Mutex<()>,
}

#[derive(Serialize, Deserialize)]
struct ServiceToken {
    user: String,
    namespace: String,
    /// Unix seconds.
    expires_at: i64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Rule {
    #[serde(rename = "apiGroups")]
    api_groups: Vec<String>,
    resources: Vec<String>,
    verbs: Vec<String>,
    #[serde(rename = "resourceNames")]
    resource_names: Vec<String>,
}

impl Rule {
    fn allows(&self, wish: &Wish<'_>) -> bool {
        let has =
            |list: &[String], wanted: &str| list.iter().any(|one| one == wanted || one == "*");
        let named = self.resource_names.is_empty()
            || wish
                .name
                .is_some_and(|name| self.resource_names.iter().any(|one| one == name));
        // no two groups have a resource of one name here
        let group = if wish.resource.starts_with("validatingadmission") {
            "admissionregistration.k8s.io"
        } else {
            ""
        };
        has(&self.api_groups, group)
            && has(&self.resources, wish.resource)
            && has(&self.verbs, wish.verb)
            && named
    }
}

impl Access {
    /// Manifests in `manifests`, tokens in `tokens_file`; neither need exist.
    pub(super) fn at(manifests: &Path, tokens_file: &Path) -> Self {
        Self {
            manifests: manifests.to_owned(),
            tokens_file: tokens_file.to_owned(),
            writing: Mutex::new(()),
        }
    }

    /// Whether the user may.
    ///
    /// # Errors
    /// A manifest cannot be read.
    pub(super) fn allows(&self, user: &User, wish: &Wish<'_>) -> Result<bool, AccessError> {
        if user.is_in(&[MASTERS]) {
            return Ok(true);
        }
        let objects = self.objects()?;
        let text = |object: &Value, pointer: &str| {
            let text = object.pointer(pointer).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        let rules_of = |kind: &str, name: &str, namespace: &str| -> Vec<Rule> {
            let role = objects.iter().find(|object| {
                text(object, "/kind") == kind
                    && text(object, "/metadata/name") == name
                    && (kind == "ClusterRole" || text(object, "/metadata/namespace") == namespace)
            });
            role.and_then(|role| serde_json::from_value(role.get("rules")?.clone()).ok())
                .unwrap_or_default()
        };
        Ok(objects.iter().any(|binding| {
            let namespace = text(binding, "/metadata/namespace");
            let binds = match text(binding, "/kind").as_str() {
                "ClusterRoleBinding" => true,
                "RoleBinding" => wish.namespace == Some(namespace.as_str()),
                _ => false,
            };
            let subjects = binding.get("subjects").and_then(Value::as_array);
            binds
                && subjects.into_iter().flatten().any(|subject| {
                    let name = text(subject, "/name");
                    match text(subject, "/kind").as_str() {
                        "ServiceAccount" => {
                            user.name == account_user(&text(subject, "/namespace"), &name)
                        }
                        "User" => user.name == name,
                        "Group" => user.is_in(&[name.as_str()]),
                        _ => false,
                    }
                })
                && rules_of(
                    &text(binding, "/roleRef/kind"),
                    &text(binding, "/roleRef/name"),
                    &namespace,
                )
                .iter()
                .any(|rule| rule.allows(wish))
        }))
    }

    /// Every object of every manifest.
    pub(super) fn objects(&self) -> Result<Vec<Value>, AccessError> {
        let unreadable = |source| FileError::new("read", &self.manifests, source);
        let entries = match std::fs::read_dir(&self.manifests) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(unreadable(error).into()),
        };
        let mut objects = Vec::new();
        for entry in entries {
            let path = entry.map_err(unreadable)?.path();
            if path.extension() != Some("json".as_ref()) {
                tracing::warn!(path = %path.display(), "the double applies JSON alone");
                continue;
            }
            let text = files::read(&path, FILE_LIMIT)?;
            let object: Value = serde_json::from_str(&text)
                .map_err(|error| AccessError::Format(path.clone(), error))?;
            match object.get("items").and_then(Value::as_array) {
                Some(items) => objects.extend(items.iter().cloned()),
                None => objects.push(object),
            }
        }
        Ok(objects)
    }

    /// Answers a TokenRequest: a token of a service account, for a time.
    ///
    /// # Errors
    /// [`AccessError`].
    pub(super) fn create_token(
        &self,
        namespace: &str,
        name: &str,
        request: &Value,
    ) -> Result<Value, AccessError> {
        let exists = self.objects()?.iter().any(|object| {
            object.get("kind") == Some(&json!("ServiceAccount"))
                && object.pointer("/metadata/name") == Some(&json!(name))
                && object.pointer("/metadata/namespace") == Some(&json!(namespace))
        });
        if !exists {
            return Err(AccessError::Missing(name.to_owned()));
        }
        let wanted = request
            .pointer("/spec/expirationSeconds")
            .and_then(Value::as_i64);
        let life = wanted.unwrap_or(DEFAULT_LIFE);
        if life < SHORTEST {
            return Err(AccessError::Life);
        }
        let mut random = Zeroizing::new([0u8; 32]);
        getrandom::fill(random.as_mut_slice())?;
        let token = Zeroizing::new(format!("k3s-double-{}", hex::encode(random.as_slice())));
        let expires_at = OffsetDateTime::now_utc() + Duration::seconds(life.min(366 * 86400));
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tokens = self.tokens()?;
        tokens.insert(
            hex::encode(Sha256::digest(token.as_bytes())),
            ServiceToken {
                user: account_user(namespace, name),
                namespace: namespace.to_owned(),
                expires_at: expires_at.unix_timestamp(),
            },
        );
        let text = serde_json::to_vec(&tokens)
            .map_err(|error| AccessError::Format(self.tokens_file.clone(), error))?;
        files::write(&self.tokens_file, &text, 0o600)?;
        Ok(json!({
            "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"expirationSeconds": life},
            "status": {
                "token": token.as_str(),
                "expirationTimestamp": expires_at.format(&Rfc3339).unwrap_or_default(),
            },
        }))
    }

    /// The service account behind a token.
    ///
    /// # Errors
    /// The file of tokens is unreadable or broken.
    pub(super) fn bearer(&self, token: &str) -> Result<Option<User>, AccessError> {
        let hash = hex::encode(Sha256::digest(token));
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let known = self.tokens()?.remove(&hash);
        Ok(known
            .filter(|known| now < known.expires_at)
            .map(|known| User {
                groups: vec![
                    "system:serviceaccounts".to_owned(),
                    format!("system:serviceaccounts:{}", known.namespace),
                ],
                name: known.user,
            }))
    }

    fn tokens(&self) -> Result<BTreeMap<String, ServiceToken>, AccessError> {
        match files::read_if_present(&self.tokens_file, FILE_LIMIT)? {
            Some(text) => serde_json::from_str(&text)
                .map_err(|error| AccessError::Format(self.tokens_file.clone(), error)),
            None => Ok(BTreeMap::new()),
        }
    }
}

fn account_user(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = r#"{"kind": "List", "items": [
        {"kind": "ServiceAccount", "metadata": {"name": "m", "namespace": "kube-system"}},
        {"kind": "Role", "metadata": {"name": "r", "namespace": "kube-system"},
         "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]}]},
        {"kind": "RoleBinding", "metadata": {"name": "b", "namespace": "kube-system"},
         "roleRef": {"kind": "Role", "name": "r"},
         "subjects": [{"kind": "ServiceAccount", "name": "m", "namespace": "kube-system"}]},
        {"kind": "ClusterRole", "metadata": {"name": "c"},
         "rules": [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"],
                    "resourceNames": ["edge-0001"]}]},
        {"kind": "ClusterRoleBinding", "metadata": {"name": "b"},
         "roleRef": {"kind": "ClusterRole", "name": "c"},
         "subjects": [{"kind": "ServiceAccount", "name": "m", "namespace": "kube-system"}]}]}"#;

    #[test]
    fn a_service_account_may_what_its_roles_say_while_its_token_lives() {
        let folder = tempfile::tempdir().unwrap();
        let manifests = folder.path().join("manifests");
        let access = Access::at(&manifests, &folder.path().join("tokens.json"));
        let request = |seconds: i64| json!({"spec": {"expirationSeconds": seconds}});
        assert!(matches!(
            access.create_token("kube-system", "m", &request(600)),
            Err(AccessError::Missing(_))
        ));
        std::fs::create_dir(&manifests).unwrap();
        std::fs::write(manifests.join("rbac.json"), MANIFEST).unwrap();
        assert!(
            access
                .create_token("kube-system", "m", &request(599))
                .is_err()
        );
        let answer = access
            .create_token("kube-system", "m", &request(600))
            .unwrap();
        let token = answer["status"]["token"].as_str().unwrap();
        assert!(access.bearer("k3s-double-other").unwrap().is_none());
        let user = access.bearer(token).unwrap().unwrap();
        assert_eq!(user.name, "system:serviceaccount:kube-system:m");
        let wish = |verb, resource, namespace, name| Wish {
            verb,
            resource,
            namespace,
            name,
        };
        for (wish, allowed) in [
            (wish("create", "secrets", Some("kube-system"), None), true),
            (wish("get", "secrets", Some("kube-system"), None), false),
            (wish("create", "secrets", Some("default"), None), false),
            (wish("get", "nodes", None, Some("edge-0001")), true),
            (wish("get", "nodes", None, Some("edge-0002")), false),
            (wish("get", "nodes/status", None, Some("edge-0001")), false),
        ] {
            assert_eq!(access.allows(&user, &wish).unwrap(), allowed, "{wish:?}");
        }
        let other = User {
            name: "other".to_owned(),
            groups: Vec::new(),
        };
        let create = wish("create", "secrets", Some("kube-system"), None);
        assert!(!access.allows(&other, &create).unwrap());
    }
}
