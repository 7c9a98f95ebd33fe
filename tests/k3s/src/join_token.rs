//! Join tokens: the three forms that k3s takes, and the hash that pins the cluster's CA.
//!
//! Source: k3s, `pkg/clientaccess/token.go` (forms, hash) and Kubernetes' bootstrap tokens
//! (`[a-z0-9]{6}.[a-z0-9]{16}`).

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use thiserror::Error;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

/// What a full token starts with.
const PREFIX: &str = "K10";
/// SHA-256 in hexadecimal digits.
const HASH_LENGTH: usize = 64;

/// A token is none of the forms that k3s takes.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum TokenError {
    /// Nothing there.
    #[error("token must not be empty")]
    Empty,
    /// `K10` and a hash of another length.
    #[error("invalid token CA hash length")]
    HashLength,
    /// No credentials behind the hash.
    #[error("invalid token format")]
    Format,
}

/// A CA bundle does not hold certificates.
#[derive(Debug, Error)]
#[error("the CA bundle holds no readable PEM certificate")]
pub struct BundleError;

/// A kubeadm-style bootstrap token: short-lived, sent as `Bearer`.
#[derive(Clone, PartialEq, Eq)]
pub struct BootstrapToken {
    /// Six characters, not secret.
    pub id: String,
    /// Sixteen characters.
    pub secret: Zeroizing<String>,
}

impl BootstrapToken {
    /// Parses `id.secret`; `None` for any other form.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.split_once('.')?;
        let part = |part: &str, length| {
            part.len() == length
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase())
        };
        (part(id, 6) && part(secret, 16)).then(|| Self {
            id: id.to_owned(),
            secret: Zeroizing::new(secret.to_owned()),
        })
    }

    /// `id.secret`.
    pub fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{}.{}", self.id, self.secret.as_str()))
    }
}

/// How the bearer of a token proves itself.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// HTTP Basic.
    Password {
        /// As the token names it; agents always send `node`.
        user: String,
        /// The cluster's shared secret.
        password: Zeroizing<String>,
    },
    /// HTTP Bearer.
    Bootstrap(BootstrapToken),
}

/// A parsed join token.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// The pinned hash of the cluster's CA; a bare password has none.
    pub ca_hash: Option<String>,
    /// Who the bearer is.
    pub credentials: Credentials,
}

impl std::fmt::Debug for JoinToken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("JoinToken")
            .field("ca_hash", &self.ca_hash)
            .finish_non_exhaustive()
    }
}

impl JoinToken {
    /// Parses a bare password, a bootstrap token, or `K10<hash>::<credentials>`.
    ///
    /// # Errors
    /// [`TokenError`], in k3s's words.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        if text.is_empty() {
            return Err(TokenError::Empty);
        }
        let Some(full) = text.strip_prefix(PREFIX) else {
            let credentials = match BootstrapToken::parse(text) {
                Some(token) => Credentials::Bootstrap(token),
                None => Credentials::Password {
                    user: String::new(),
                    password: Zeroizing::new(text.to_owned()),
                },
            };
            return Ok(Self {
                ca_hash: None,
                credentials,
            });
        };
        let (ca_hash, credentials) = match full.split_once("::") {
            Some(("", credentials)) => (None, credentials),
            Some((hash, _)) if hash.len() != HASH_LENGTH => return Err(TokenError::HashLength),
            Some((hash, credentials)) => (Some(hash.to_owned()), credentials),
            None => (None, full),
        };
        let credentials = match BootstrapToken::parse(credentials) {
            Some(token) => Credentials::Bootstrap(token),
            None => match credentials.split_once(':') {
                Some((user, password)) if !password.is_empty() => Credentials::Password {
                    user: user.to_owned(),
                    password: Zeroizing::new(password.to_owned()),
                },
                _ => return Err(TokenError::Format),
            },
        };
        Ok(Self {
            ca_hash,
            credentials,
        })
    }
}

/// The full form of a token: what a server writes to its token files.
pub fn format(ca_hash: &str, credentials: &str) -> Zeroizing<String> {
    Zeroizing::new(format!("{PREFIX}{ca_hash}::{credentials}"))
}

/// The hash of a CA bundle that tokens pin: of the file's bytes when it holds one certificate, of
/// the root's DER when it holds a chain.
///
/// # Errors
/// `bundle` holds no certificate in PEM.
pub fn ca_hash(bundle: &[u8]) -> Result<String, BundleError> {
    let certificates = CertificateDer::pem_slice_iter(bundle)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| BundleError)?;
    let hashed: &[u8] = match certificates.as_slice() {
        [] => return Err(BundleError),
        [_] => bundle,
        // A chain that leads to no root is hashed as it stands, as k3s does.
        chain => root_of(chain).unwrap_or(bundle),
    };
    Ok(hex::encode(Sha256::digest(hashed)))
}

/// Walks from the first certificate to a self-signed one, each signature checked.
fn root_of<'a>(chain: &'a [CertificateDer<'static>]) -> Option<&'a [u8]> {
    let parsed = chain
        .iter()
        .map(|der| {
            X509Certificate::from_der(der)
                .ok()
                .map(|(_, certificate)| (der, certificate))
        })
        .collect::<Option<Vec<_>>>()?;
    let mut current = parsed.first()?;
    // A chain is no longer than the bundle; a loop ends here.
    for _ in 0..parsed.len() {
        if current.1.subject() == current.1.issuer() {
            return Some(current.0);
        }
        current = parsed.iter().find(|(_, issuer)| {
            issuer.subject() == current.1.issuer()
                && current
                    .1
                    .verify_signature(Some(issuer.public_key()))
                    .is_ok()
        })?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> (Option<String>, String, String) {
        match JoinToken::parse(text).unwrap() {
            JoinToken {
                ca_hash,
                credentials: Credentials::Password { user, password },
            } => (ca_hash, user, password.to_string()),
            other => panic!("a bootstrap token: {other:?}"),
        }
    }

    #[test]
    fn the_forms_of_k3s_are_taken() {
        let hash = "a".repeat(64);
        assert_eq!(password("hunter2"), (None, String::new(), "hunter2".into()));
        assert_eq!(
            password(&format!("K10{hash}::server:hunter:2")),
            (Some(hash.clone()), "server".into(), "hunter:2".into())
        );
        assert_eq!(password("K10::node:x"), (None, "node".into(), "x".into()));
        for text in [
            "abcdef.0123456789abcdef".to_owned(),
            format!("K10{hash}::abcdef.0123456789abcdef"),
        ] {
            let token = JoinToken::parse(&text).unwrap();
            let Credentials::Bootstrap(bootstrap) = token.credentials else {
                panic!("{text}")
            };
            assert_eq!(bootstrap.text().as_str(), "abcdef.0123456789abcdef");
        }
    }

    #[test]
    fn what_k3s_refuses_is_refused() {
        assert_eq!(JoinToken::parse(""), Err(TokenError::Empty));
        assert_eq!(
            JoinToken::parse("K10abc::node:x"),
            Err(TokenError::HashLength)
        );
        assert_eq!(JoinToken::parse("K10::node"), Err(TokenError::Format));
        assert_eq!(JoinToken::parse("K10::node:"), Err(TokenError::Format));
        assert!(BootstrapToken::parse("ABCDEF.0123456789abcdef").is_none());
        assert!(BootstrapToken::parse("abcdef.0123456789abcde").is_none());
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let token = JoinToken::parse(&format!("K10{}::server:hunter2", "b".repeat(64))).unwrap();
        assert!(!format!("{token:?}").contains("hunter2"));
    }

    #[test]
    fn one_certificate_is_hashed_as_the_file_and_a_chain_by_its_root() {
        use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
        let parameters = |name: &str| {
            let mut parameters = CertificateParams::default();
            parameters.distinguished_name = rcgen::DistinguishedName::new();
            parameters.distinguished_name.push(DnType::CommonName, name);
            parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            parameters
        };
        let root_key = KeyPair::generate().unwrap();
        let root = parameters("root").self_signed(&root_key).unwrap();
        let single = root.pem().into_bytes();
        assert_eq!(
            ca_hash(&single).unwrap(),
            hex::encode(Sha256::digest(&single))
        );

        let root_parameters = parameters("root");
        let issuer = Issuer::from_params(&root_parameters, &root_key);
        let key = KeyPair::generate().unwrap();
        let intermediate = parameters("intermediate").signed_by(&key, &issuer).unwrap();
        let chain = format!("{}{}", intermediate.pem(), root.pem());
        assert_eq!(
            ca_hash(chain.as_bytes()).unwrap(),
            hex::encode(Sha256::digest(root.der()))
        );
        assert!(ca_hash(b"no certificate").is_err());
    }
}
