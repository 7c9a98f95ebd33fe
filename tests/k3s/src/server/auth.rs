//! Who a request comes from: a client certificate, a password, or a bootstrap token.
//!
//! As in k3s, one proof that holds is enough; a proof that does not hold is only an error when no
//! other one holds. Source: k3s, `pkg/authenticator` and `pkg/server/auth`; Kubernetes'
//! bootstrap token authenticator.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use crate::files::{self, FileError};
use crate::tls::ClientAuthority;
use crate::token::BootstrapToken;

/// The group of agents that know the cluster's shared secret.
pub(super) const AGENTS: &str = "k3s:agent";
/// The group of servers.
pub(super) const SERVERS: &str = "k3s:server";
/// The group of kubelets with a certificate.
pub(super) const NODES: &str = "system:nodes";
/// The group of bearers of a bootstrap token.
pub(super) const BOOTSTRAPPERS: &str = "system:bootstrappers";
/// What a kubelet's user name begins with.
pub(super) const NODE_USER: &str = "system:node:";

/// The token file is no longer than this.
const FILE_LIMIT: u64 = 256 * 1024;

/// A request whose proof of identity does not hold.
#[derive(Debug, Error)]
pub(super) enum AuthError {
    /// No such user, or another password.
    #[error("invalid username/password combination")]
    Password,
    /// No such token, or one that has expired.
    #[error("invalid bearer token")]
    Bearer,
    /// Not issued by the client CA, or expired.
    #[error("the client certificate is not valid")]
    Certificate(#[source] rustls::Error),
    /// The bootstrap tokens cannot be read.
    #[error("the bootstrap tokens cannot be read")]
    Tokens(#[from] TokensError),
}

/// The file of bootstrap tokens.
#[derive(Debug, Error)]
pub enum TokensError {
    /// Reading or writing.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its contents.
    #[error("the file of bootstrap tokens is broken")]
    Format(#[from] serde_json::Error),
    /// The kernel gave no randomness.
    #[error("no random bytes")]
    Random(#[from] getrandom::Error),
}

/// Who a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The user's name.
    pub name: String,
    /// Its groups.
    pub groups: Vec<String>,
}

impl User {
    /// Whether the user is in one of `groups`.
    pub fn is_in(&self, groups: &[&str]) -> bool {
        self.groups
            .iter()
            .any(|group| groups.contains(&group.as_str()))
    }

    /// The node that a kubelet's certificate names.
    pub fn node(&self) -> Option<&str> {
        if self.is_in(&[NODES]) {
            self.name.strip_prefix(NODE_USER)
        } else {
            None
        }
    }
}

/// Decides who a request comes from.
pub(super) struct Authenticator {
    /// User, group, and hash of the password.
    passwords: Vec<(&'static str, &'static str, [u8; 32])>,
    client_authority: ClientAuthority,
    /// Bootstrap tokens.
    pub tokens: Tokens,
}

impl Authenticator {
    /// Takes the passwords of the users `node` and `server`.
    pub(super) fn new(
        node_password: &str,
        server_password: &str,
        client_authority: ClientAuthority,
        tokens: Tokens,
    ) -> Self {
        let passwords = vec![
            ("node", AGENTS, Sha256::digest(node_password).into()),
            ("server", SERVERS, Sha256::digest(server_password).into()),
        ];
        Self {
            passwords,
            client_authority,
            tokens,
        }
    }

    /// The user behind a request, or `None` when it carries no proof at all.
    ///
    /// # Errors
    /// No proof holds; the error is of the last one tried.
    pub(super) fn authenticate(
        &self,
        headers: &HeaderMap,
        certificates: &[CertificateDer<'_>],
    ) -> Result<Option<User>, AuthError> {
        let by_certificate = match certificates {
            [] => Ok(None),
            chain => self.by_certificate(chain).map(Some),
        };
        if let Ok(Some(user)) = by_certificate {
            return Ok(Some(user));
        }
        let header = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        match header.and_then(|header| header.split_once(' ')) {
            Some((scheme, value)) if scheme.eq_ignore_ascii_case("basic") => {
                self.by_password(value).map(Some)
            }
            Some((scheme, value)) if scheme.eq_ignore_ascii_case("bearer") => {
                self.by_token(value).map(Some)
            }
            _ => by_certificate,
        }
    }

    fn by_certificate(&self, chain: &[CertificateDer<'_>]) -> Result<User, AuthError> {
        self.client_authority
            .verify(chain)
            .map_err(AuthError::Certificate)?;
        let unreadable = || AuthError::Certificate(rustls::CertificateError::BadEncoding.into());
        let leaf = chain.first().ok_or_else(unreadable)?;
        let (_, leaf) = X509Certificate::from_der(leaf).map_err(|_| unreadable())?;
        let text = |value: &x509_parser::x509::AttributeTypeAndValue<'_>| {
            value.as_str().map(str::to_owned).ok()
        };
        let name = leaf
            .subject()
            .iter_common_name()
            .find_map(text)
            .ok_or_else(unreadable)?;
        let groups = leaf
            .subject()
            .iter_organization()
            .filter_map(text)
            .collect();
        Ok(User { name, groups })
    }

    fn by_password(&self, value: &str) -> Result<User, AuthError> {
        let decoded = Zeroizing::new(STANDARD.decode(value).map_err(|_| AuthError::Password)?);
        let decoded = std::str::from_utf8(&decoded).map_err(|_| AuthError::Password)?;
        let (user, password) = decoded.split_once(':').ok_or(AuthError::Password)?;
        let hash: [u8; 32] = Sha256::digest(password).into();
        self.passwords
            .iter()
            .find(|(name, _, expected)| *name == user && *expected == hash)
            .map(|(name, group, _)| User {
                name: (*name).to_owned(),
                groups: vec![(*group).to_owned()],
            })
            .ok_or(AuthError::Password)
    }

    fn by_token(&self, value: &str) -> Result<User, AuthError> {
        let token = BootstrapToken::parse(value.trim()).ok_or(AuthError::Bearer)?;
        if !self
            .tokens
            .holds(&token, OffsetDateTime::now_utc().unix_timestamp())?
        {
            return Err(AuthError::Bearer);
        }
        Ok(User {
            name: format!("system:bootstrap:{}", token.id),
            groups: vec![
                BOOTSTRAPPERS.to_owned(),
                "system:bootstrappers:k3s:default-node-token".to_owned(),
            ],
        })
    }
}

/// Bootstrap tokens, in a file that may also be edited by hand while the server runs.
pub(super) struct Tokens {
    path: PathBuf,
    /// Held over reading and writing back.
    writing: Mutex<()>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredToken {
    /// `id.secret`.
    token: String,
    /// Unix seconds; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
}

impl Tokens {
    /// Keeps tokens in `path`, which need not exist.
    pub(super) fn at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            writing: Mutex::new(()),
        }
    }

    /// Makes a token that expires at `expires_at`, in Unix seconds.
    ///
    /// # Errors
    /// [`TokensError`].
    pub(super) fn create(&self, expires_at: Option<i64>) -> Result<BootstrapToken, TokensError> {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let mut random = Zeroizing::new([0u8; 22]);
        getrandom::fill(random.as_mut_slice())?;
        let text: Zeroizing<String> = Zeroizing::new(
            random
                .iter()
                .map(|byte| {
                    char::from(
                        ALPHABET
                            .get(usize::from(byte % 32))
                            .copied()
                            .unwrap_or(b'a'),
                    )
                })
                .collect(),
        );
        let (id, secret) = text.split_at(6);
        let token = BootstrapToken {
            id: id.to_owned(),
            secret: Zeroizing::new(secret.to_owned()),
        };
        self.change(|tokens| {
            tokens.push(StoredToken {
                token: token.text().to_string(),
                expires_at,
            });
        })?;
        Ok(token)
    }

    /// Forgets the token with this id.
    ///
    /// # Errors
    /// [`TokensError`].
    pub(super) fn delete(&self, id: &str) -> Result<(), TokensError> {
        self.change(|tokens| {
            tokens.retain(|stored| stored.token.split('.').next() != Some(id));
        })
    }

    /// Whether `token` is known and has not expired at `now`, in Unix seconds.
    ///
    /// # Errors
    /// [`TokensError`].
    pub(super) fn holds(&self, token: &BootstrapToken, now: i64) -> Result<bool, TokensError> {
        let text = token.text();
        Ok(self.read()?.iter().any(|stored| {
            stored.token == *text && stored.expires_at.is_none_or(|expires_at| now < expires_at)
        }))
    }

    fn read(&self) -> Result<Vec<StoredToken>, TokensError> {
        match files::read_if_present(&self.path, FILE_LIMIT)? {
            Some(text) => Ok(serde_json::from_str(&text)?),
            None => Ok(Vec::new()),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Vec<StoredToken>)) -> Result<(), TokensError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tokens = self.read()?;
        change(&mut tokens);
        Ok(files::write(
            &self.path,
            &serde_json::to_vec_pretty(&tokens)?,
            0o600,
        )?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_made_expire_and_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.json");
        let tokens = Tokens::at(&path);
        let token = tokens.create(Some(1000)).unwrap();
        assert!(BootstrapToken::parse(&token.text()).is_some());
        assert!(tokens.holds(&token, 999).unwrap());
        assert!(!tokens.holds(&token, 1000).unwrap());
        let lasting = tokens.create(None).unwrap();
        assert!(Tokens::at(&path).holds(&lasting, i64::MAX).unwrap());
        tokens.delete(&lasting.id).unwrap();
        assert!(!tokens.holds(&lasting, 0).unwrap());
        assert!(tokens.holds(&token, 0).unwrap());
    }
}
