//! Secrets of the namespace `kube-system`, and those of them that are bootstrap tokens.
//!
//! Source: Kubernetes, `pkg/apis/core/validation` (Secrets) and
//! `plugin/pkg/auth/authenticator/token/bootstrap` (who bears a token).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use thiserror::Error;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use super::objects::{self, ObjectError, Query};
use crate::files::{self, FileError};
use crate::join_token::BootstrapToken;

/// The namespace that tokens live in.
pub(super) const NAMESPACE: &str = "kube-system";
/// The type of Secrets that are bootstrap tokens.
const TOKEN_TYPE: &str = "bootstrap.kubernetes.io/token";
/// The group of every bearer of a bootstrap token.
pub(super) const BOOTSTRAPPERS: &str = "system:bootstrappers";
/// The groups that `k3s token create` gives.
const DEFAULT_GROUPS: &str = "system:bootstrappers:k3s:default-node-token";
/// Kubernetes' `MaxSecretSize`.
const LARGEST: usize = 1024 * 1024;
/// The double's own: the file beside the Secrets with the secret parts of all bootstrap tokens.
pub const EVER_MADE: &str = "bootstrap-tokens-ever-made";
/// The file is no longer than this.
const FILE_LIMIT: u64 = 16 * 1024 * 1024;

/// The memory of Secrets failed or refused.
#[derive(Debug, Error)]
pub enum SecretsError {
    /// Reading or writing.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file's contents.
    #[error("the file of Secrets is broken")]
    Format(#[from] serde_json::Error),
    /// Not a Secret.
    #[error("Secret is invalid: {0}")]
    Invalid(#[from] ObjectError),
    /// Another type than the API knows.
    #[error("Secret is invalid: data[{key}]: {expected}")]
    Data {
        /// Which entry.
        key: String,
        /// What should stand there.
        expected: &'static str,
    },
    /// A Secret of that name exists.
    #[error("secrets {0:?} already exists")]
    Exists(String),
    /// None does.
    #[error("secrets {0:?} not found")]
    Missing(String),
    /// The kernel gave no randomness.
    #[error("no random bytes")]
    Random(#[from] getrandom::Error),
}

/// All Secrets.
pub(super) struct Secrets {
    path: PathBuf,
    secrets: Mutex<BTreeMap<String, Value>>,
}

impl Secrets {
    /// Loads `path` when it exists.
    ///
    /// # Errors
    /// The file is unreadable or broken.
    pub(super) fn load(path: &Path) -> Result<Self, SecretsError> {
        let secrets = match files::read_if_present(path, FILE_LIMIT)? {
            Some(text) => serde_json::from_str(&text)?,
            None => BTreeMap::new(),
        };
        Ok(Self {
            path: path.to_owned(),
            secrets: Mutex::new(secrets),
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Value>> {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the Secrets; the file changes before the memory does.
    fn change<R>(
        &self,
        change: impl FnOnce(&mut BTreeMap<String, Value>) -> Result<R, SecretsError>,
    ) -> Result<R, SecretsError> {
        let mut secrets = self.lock();
        let mut changed = secrets.clone();
        let result = change(&mut changed)?;
        files::write(&self.path, &serde_json::to_vec(&changed)?, 0o600)?;
        *secrets = changed;
        Ok(result)
    }

    /// Creates a Secret.
    ///
    /// # Errors
    /// [`SecretsError`].
    pub(super) fn create(&self, mut object: Value) -> Result<Value, SecretsError> {
        objects::check_kind(&object, "Secret")?;
        let name = objects::check_metadata(&object)?;
        let namespace = object
            .pointer("/metadata/namespace")
            .and_then(Value::as_str);
        if namespace.is_some_and(|namespace| namespace != NAMESPACE) {
            return Err(ObjectError::Kind("a Secret of the namespace kube-system").into());
        }
        check_data(&mut object)?;
        objects::stamp(&mut object)?;
        self.change(|secrets| {
            if secrets.contains_key(&name) {
                return Err(SecretsError::Exists(name));
            }
            self.remember(&object)?;
            secrets.insert(name, object.clone());
            Ok(object)
        })
    }

    /// Keeps the secret part of a bootstrap token in [`EVER_MADE`], a line each, also when its
    /// Secret is gone: tests look for it in places where it must not be.
    fn remember(&self, object: &Value) -> Result<(), SecretsError> {
        let secret = object
            .pointer("/data/token-secret")
            .and_then(|encoded| STANDARD.decode(encoded.as_str()?).ok())
            .and_then(|secret| String::from_utf8(secret).ok());
        let Some(secret) = secret else {
            return Ok(());
        };
        let path = self.path.with_file_name(EVER_MADE);
        let mut all = files::read_if_present(&path, FILE_LIMIT)?.unwrap_or_default();
        all.push_str(&secret);
        all.push('\n');
        Ok(files::write(&path, all.as_bytes(), 0o600)?)
    }

    /// A page of Secrets.
    pub(super) fn list(&self, query: &Query, accept: &str) -> Value {
        query.list("Secret", self.lock().iter(), accept)
    }

    /// One Secret.
    ///
    /// # Errors
    /// [`SecretsError::Missing`].
    pub(super) fn get(&self, name: &str) -> Result<Value, SecretsError> {
        let missing = || SecretsError::Missing(name.to_owned());
        self.lock().get(name).cloned().ok_or_else(missing)
    }

    /// Deletes a Secret.
    ///
    /// # Errors
    /// [`SecretsError`].
    pub(super) fn delete(&self, name: &str) -> Result<(), SecretsError> {
        self.change(|secrets| match secrets.remove(name) {
            Some(_) => Ok(()),
            None => Err(SecretsError::Missing(name.to_owned())),
        })
    }

    /// Makes a bootstrap token that expires at `expires_at`, as `k3s token create` does.
    ///
    /// # Errors
    /// [`SecretsError`].
    pub(super) fn create_token(
        &self,
        expires_at: Option<OffsetDateTime>,
    ) -> Result<BootstrapToken, SecretsError> {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let mut random = Zeroizing::new([0u8; 22]);
        getrandom::fill(random.as_mut_slice())?;
        let letter = |byte: &u8| {
            ALPHABET
                .get(usize::from(byte % 32))
                .copied()
                .unwrap_or(b'a')
        };
        let text: Zeroizing<String> =
            Zeroizing::new(random.iter().map(letter).map(char::from).collect());
        let (id, secret) = text.split_at(6);
        let mut data = json!({
            "token-id": id, "token-secret": secret,
            "usage-bootstrap-authentication": "true", "auth-extra-groups": DEFAULT_GROUPS,
        });
        if let Some(expires_at) = expires_at.and_then(|time| time.format(&Rfc3339).ok()) {
            objects::merge(&mut data, &json!({"expiration": expires_at}));
        }
        self.create(json!({
            "kind": "Secret", "apiVersion": "v1", "type": TOKEN_TYPE,
            "metadata": {"name": format!("bootstrap-token-{id}")}, "stringData": data,
        }))?;
        Ok(BootstrapToken {
            id: id.to_owned(),
            secret: Zeroizing::new(secret.to_owned()),
        })
    }

    /// The groups of whoever bears `token` at `now`; none where no Secret vouches for it.
    pub(super) fn groups_of(
        &self,
        token: &BootstrapToken,
        now: OffsetDateTime,
    ) -> Option<Vec<String>> {
        let secret = self.get(&format!("bootstrap-token-{}", token.id)).ok()?;
        let field = |key: &str| {
            let encoded = secret.get("data")?.get(key)?.as_str()?;
            String::from_utf8(STANDARD.decode(encoded).ok()?).ok()
        };
        let vouched = secret.get("type") == Some(&json!(TOKEN_TYPE))
            && field("token-id").as_ref() == Some(&token.id)
            && field("token-secret").as_ref() == Some(&*token.secret)
            && field("usage-bootstrap-authentication").as_deref() == Some("true");
        // a time that can't be read is over
        let over = field("expiration").is_some_and(|text| {
            OffsetDateTime::parse(&text, &Rfc3339).map_or(true, |expires_at| now >= expires_at)
        });
        if !vouched || over {
            return None;
        }
        let extra = field("auth-extra-groups").unwrap_or_default();
        let mut groups = vec![BOOTSTRAPPERS.to_owned()];
        for group in extra.split(',').filter(|group| !group.is_empty()) {
            if !is_bootstrap_group(group) {
                return None;
            }
            groups.push(group.to_owned());
        }
        Some(groups)
    }
}

/// `\Asystem:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]\z`.
fn is_bootstrap_group(group: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    group
        .strip_prefix("system:bootstrappers:")
        .is_some_and(|rest| {
            rest.len() <= 256
                && rest
                    .bytes()
                    .all(|byte| plain(byte) || b":-".contains(&byte))
                && rest.bytes().last().is_some_and(plain)
        })
}

/// Folds `stringData` into `data`, and checks keys, encoding and size.
fn check_data(object: &mut Value) -> Result<(), SecretsError> {
    let fields = object.as_object_mut().ok_or(ObjectError::Kind("Secret"))?;
    let wrong = |key: &str, expected| SecretsError::Data {
        key: key.to_owned(),
        expected,
    };
    let map = |value: Option<Value>, key| match value {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(map)) => Ok(map),
        Some(_) => Err(wrong(key, "expected an object")),
    };
    let mut data = map(fields.remove("data"), "data")?;
    for (key, value) in map(fields.remove("stringData"), "stringData")? {
        let text = value
            .as_str()
            .ok_or_else(|| wrong(&key, "expected a string"))?;
        data.insert(key, json!(STANDARD.encode(text)));
    }
    let mut size = 0;
    for (key, value) in &data {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if key.is_empty() || key.len() > 253 || !key.bytes().all(plain) {
            return Err(wrong(
                key,
                "a valid config key: alphanumeric, '-', '_' or '.'",
            ));
        }
        let bytes = value.as_str().and_then(|text| STANDARD.decode(text).ok());
        size += bytes.ok_or_else(|| wrong(key, "expected base64"))?.len();
    }
    if size > LARGEST {
        return Err(wrong("", "must have at most 1048576 bytes"));
    }
    fields.insert("data".into(), Value::Object(data));
    let kind = fields.entry("type").or_insert_with(|| json!("Opaque"));
    if !kind.is_string() {
        return Err(wrong("type", "expected a string"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;

    #[test]
    fn tokens_are_made_expire_and_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets.json");
        let secrets = Secrets::load(&path).unwrap();
        let end = OffsetDateTime::from_unix_timestamp(1000).unwrap();
        let before = end - Duration::SECOND;
        let token = secrets.create_token(Some(end)).unwrap();
        assert!(BootstrapToken::parse(&token.text()).is_some());
        assert_eq!(
            secrets.groups_of(&token, before).unwrap(),
            [BOOTSTRAPPERS, DEFAULT_GROUPS]
        );
        assert!(secrets.groups_of(&token, end).is_none());
        let lasting = secrets.create_token(None).unwrap();
        let again = Secrets::load(&path).unwrap();
        assert!(again.groups_of(&lasting, end).is_some());
        again
            .delete(&format!("bootstrap-token-{}", lasting.id))
            .unwrap();
        assert!(again.groups_of(&lasting, end).is_none());
        assert!(again.groups_of(&token, before).is_some());
    }

    #[test]
    fn a_secret_that_is_not_quite_a_token_vouches_for_nobody() {
        let good = json!({
            "token-id": "abcdef", "token-secret": "0123456789abcdef",
            "usage-bootstrap-authentication": "true", "expiration": "2100-01-01T00:00:00Z",
        });
        let groups = |kind: &str, name: &str, change: Value| {
            let folder = tempfile::tempdir().unwrap();
            let secrets = Secrets::load(&folder.path().join("secrets.json")).unwrap();
            let mut data = good.clone();
            objects::merge(&mut data, &change);
            let secret = json!({
                "kind": "Secret", "apiVersion": "v1", "type": kind,
                "metadata": {"name": name}, "stringData": data,
            });
            secrets.create(secret).unwrap();
            let token = BootstrapToken::parse("abcdef.0123456789abcdef").unwrap();
            secrets.groups_of(&token, OffsetDateTime::now_utc())
        };
        let name = "bootstrap-token-abcdef";
        assert!(groups(TOKEN_TYPE, name, json!({})).is_some());
        assert!(groups("Opaque", name, json!({})).is_none());
        assert!(groups(TOKEN_TYPE, "abcdef", json!({})).is_none());
        for change in [
            json!({"token-id": "abcdeg"}),
            json!({"token-secret": "0123456789abcdee"}),
            json!({"usage-bootstrap-authentication": "yes"}),
            json!({"expiration": "2001-01-01T00:00:00Z"}),
            json!({"expiration": "tomorrow"}),
            json!({"auth-extra-groups": "system:masters"}),
        ] {
            assert!(
                groups(TOKEN_TYPE, name, change.clone()).is_none(),
                "{change}"
            );
        }
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = Secrets::load(&folder.path().join("secrets.json")).unwrap();
        let good = json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "a"}});
        for change in [
            json!({"kind": "Node"}),
            json!({"apiVersion": "v2"}),
            json!({"metadata": {"name": "A"}}),
            json!({"metadata": {"namespace": "default"}}),
            json!({"data": {"a": "not base64!"}}),
            json!({"stringData": {"a b": ""}}),
            json!({"stringData": {"a": 1}}),
        ] {
            let mut object = good.clone();
            objects::merge(&mut object, &change);
            assert!(secrets.create(object).is_err(), "{change}");
        }
        secrets.create(good.clone()).unwrap();
        assert!(matches!(secrets.create(good), Err(SecretsError::Exists(_))));
    }
}
