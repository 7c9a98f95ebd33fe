//! Who a request comes from: a client certificate, a password, or a token.
//!
//! As in k3s, one proof that holds is enough; a proof that does not hold is only an error when no
//! other one holds. Source: k3s, `pkg/authenticator` and `pkg/server/auth`; Kubernetes'
//! bootstrap token authenticator.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use thiserror::Error;
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use super::access::{Access, AccessError};
use super::secrets::Secrets;
use crate::join_token::BootstrapToken;
use crate::tls::ClientAuthority;

/// The group of agents that know the cluster's shared secret.
pub(super) const AGENTS: &str = "k3s:agent";
/// The group of servers.
pub(super) const SERVERS: &str = "k3s:server";
/// The group of kubelets with a certificate.
pub(super) const NODES: &str = "system:nodes";
/// What a kubelet's user name begins with.
pub(super) const NODE_USER: &str = "system:node:";

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
    /// The tokens of service accounts cannot be read.
    #[error("the tokens of service accounts cannot be read")]
    Tokens(#[from] AccessError),
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
    secrets: Arc<Secrets>,
    access: Arc<Access>,
}

impl Authenticator {
    /// Takes the passwords of the users `node` and `server`.
    pub(super) fn new(
        node_password: &str,
        server_password: &str,
        client_authority: ClientAuthority,
        secrets: Arc<Secrets>,
        access: Arc<Access>,
    ) -> Self {
        let passwords = vec![
            ("node", AGENTS, Sha256::digest(node_password).into()),
            ("server", SERVERS, Sha256::digest(server_password).into()),
        ];
        Self {
            passwords,
            client_authority,
            secrets,
            access,
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
        let value = value.trim();
        let Some(token) = BootstrapToken::parse(value) else {
            return self.access.bearer(value)?.ok_or(AuthError::Bearer);
        };
        let groups = self
            .secrets
            .groups_of(&token, OffsetDateTime::now_utc())
            .ok_or(AuthError::Bearer)?;
        Ok(User {
            name: format!("system:bootstrap:{}", token.id),
            groups,
        })
    }
}
