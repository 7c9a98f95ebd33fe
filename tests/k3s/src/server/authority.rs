//! The server's certificate authorities: made at the first start, kept in `<data-dir>/server/tls`.
//!
//! Names and lifetimes as k3s makes them (`pkg/daemons/control/deps`, dynamiclistener): ECDSA
//! P-256, ten years for a CA, 365 days for a leaf, whose validity begins with its CA's.

use std::net::IpAddr;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
    SanType,
};
use thiserror::Error;
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::files::{self, FileError};
use crate::tls::{self, TlsError};

/// A CA's file is no longer than this.
const FILE_LIMIT: u64 = 64 * 1024;

/// A certificate authority cannot be made, read or used.
#[derive(Debug, Error)]
pub enum AuthorityError {
    /// Its files.
    #[error(transparent)]
    File(#[from] FileError),
    /// One of the two files is missing.
    #[error("{0} has only one of its two files, certificate and key")]
    Half(String),
    /// The certificate cannot be read back.
    #[error("the certificate authority's certificate cannot be read")]
    Certificate,
    /// Its PEM cannot be read back.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Signing or parsing failed.
    #[error("certificate work failed")]
    Rcgen(#[from] rcgen::Error),
}

/// What a leaf is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// To serve.
    Server,
    /// To prove who a client is.
    Client,
}

/// What a leaf says.
pub struct Leaf<'a> {
    /// The subject's common name: the user, for clients.
    pub common_name: &'a str,
    /// The subject's organisations: the groups, for clients.
    pub organizations: &'a [&'a str],
    /// What it is for.
    pub usage: Usage,
    /// Names that it serves.
    pub dns_names: Vec<String>,
    /// Addresses that it serves.
    pub addresses: Vec<IpAddr>,
}

/// A certificate authority.
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
    not_before: OffsetDateTime,
}

impl Authority {
    /// Loads `<folder>/<name>.crt` and `.key`, or makes them when neither exists.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn load_or_create(
        folder: &Path,
        name: &str,
        subject: &str,
    ) -> Result<Self, AuthorityError> {
        let certificate_path = folder.join(format!("{name}.crt"));
        let key_path = folder.join(format!("{name}.key"));
        let certificate = files::read_if_present(&certificate_path, FILE_LIMIT)?;
        let key = files::read_if_present(&key_path, FILE_LIMIT)?;
        let (certificate, key) = match (certificate, key) {
            (Some(certificate), Some(key)) => (certificate, KeyPair::from_pem(&key)?),
            (None, None) => {
                let key = KeyPair::generate()?;
                let now = OffsetDateTime::now_utc();
                let mut parameters = CertificateParams::default();
                parameters.distinguished_name = DistinguishedName::new();
                let subject = format!("{subject}@{}", now.unix_timestamp());
                parameters
                    .distinguished_name
                    .push(DnType::CommonName, subject);
                parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
                parameters.key_usages = vec![
                    KeyUsagePurpose::DigitalSignature,
                    KeyUsagePurpose::KeyEncipherment,
                    KeyUsagePurpose::KeyCertSign,
                ];
                parameters.not_before = now;
                parameters.not_after = now + Duration::days(3650);
                let certificate = parameters.self_signed(&key)?.pem();
                files::write(&key_path, key.serialize_pem().as_bytes(), 0o600)?;
                files::write(&certificate_path, certificate.as_bytes(), 0o644)?;
                (certificate, key)
            }
            _ => return Err(AuthorityError::Half(name.to_owned())),
        };
        let der = tls::certificates(certificate.as_bytes())?;
        let der = der.first().ok_or(AuthorityError::Certificate)?;
        let (_, parsed) =
            X509Certificate::from_der(der).map_err(|_| AuthorityError::Certificate)?;
        let not_before = parsed.validity().not_before.to_datetime();
        Ok(Self {
            issuer: Issuer::from_ca_cert_der(der, key)?,
            certificate,
            not_before,
        })
    }

    /// The authority's certificate, in PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A chain, leaf first, for `key`.
    ///
    /// # Errors
    /// A name or address in `leaf` does not fit into a certificate.
    pub fn sign(
        &self,
        leaf: &Leaf<'_>,
        key: &impl PublicKeyData,
    ) -> Result<String, AuthorityError> {
        let mut parameters = CertificateParams::new(leaf.dns_names.clone())?;
        parameters.subject_alt_names.extend(
            leaf.addresses
                .iter()
                .map(|address| SanType::IpAddress(*address)),
        );
        parameters.distinguished_name = DistinguishedName::new();
        for organization in leaf.organizations {
            parameters
                .distinguished_name
                .push(DnType::OrganizationName, *organization);
        }
        parameters
            .distinguished_name
            .push(DnType::CommonName, leaf.common_name);
        parameters.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
        ];
        parameters.extended_key_usages = vec![match leaf.usage {
            Usage::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Usage::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        parameters.not_before = self.not_before;
        parameters.not_after = OffsetDateTime::now_utc() + Duration::days(365);
        parameters.use_authority_key_identifier_extension = true;
        let certificate = parameters.signed_by(key, &self.issuer)?;
        Ok(format!("{}{}", certificate.pem(), self.certificate))
    }

    /// A chain, leaf first, for the key of a certificate request in DER. What the request says
    /// beside its key is ignored, as k3s does.
    ///
    /// # Errors
    /// No certificate request, or one whose signature is wrong.
    pub fn sign_request(&self, leaf: &Leaf<'_>, request: &[u8]) -> Result<String, AuthorityError> {
        let request = CertificateSigningRequestParams::from_der(&request.into())?;
        self.sign(leaf, &request.public_key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::ClientAuthority;

    fn leaf<'a>() -> Leaf<'a> {
        Leaf {
            common_name: "system:node:edge-0001",
            organizations: &["system:nodes"],
            usage: Usage::Client,
            dns_names: Vec::new(),
            addresses: Vec::new(),
        }
    }

    #[test]
    fn an_authority_outlives_its_process_and_signs_what_it_verifies() {
        let folder = tempfile::tempdir().unwrap();
        let first = Authority::load_or_create(folder.path(), "client-ca", "k3s-client-ca").unwrap();
        let key = KeyPair::generate().unwrap();
        let chain = first.sign(&leaf(), &key).unwrap();
        let second =
            Authority::load_or_create(folder.path(), "client-ca", "k3s-client-ca").unwrap();
        assert_eq!(first.certificate(), second.certificate());
        let verifier = ClientAuthority::new(second.certificate().as_bytes()).unwrap();
        verifier
            .verify(&tls::certificates(chain.as_bytes()).unwrap())
            .unwrap();

        let other = tempfile::tempdir().unwrap();
        let other = Authority::load_or_create(other.path(), "client-ca", "k3s-client-ca").unwrap();
        let foreign = other.sign(&leaf(), &key).unwrap();
        assert!(
            verifier
                .verify(&tls::certificates(foreign.as_bytes()).unwrap())
                .is_err()
        );
    }

    #[test]
    fn a_lost_key_is_an_error_and_not_a_new_authority() {
        let folder = tempfile::tempdir().unwrap();
        Authority::load_or_create(folder.path(), "server-ca", "k3s-server-ca").unwrap();
        std::fs::remove_file(folder.path().join("server-ca.key")).unwrap();
        assert!(matches!(
            Authority::load_or_create(folder.path(), "server-ca", "k3s-server-ca"),
            Err(AuthorityError::Half(_))
        ));
    }

    #[test]
    fn a_broken_request_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let authority =
            Authority::load_or_create(folder.path(), "client-ca", "k3s-client-ca").unwrap();
        assert!(authority.sign_request(&leaf(), b"not a request").is_err());
    }
}
