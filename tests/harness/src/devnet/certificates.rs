//! The devnet's certificate authority and the certificates of its services.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData as _,
};
use seal::tpm::crypto::sha256;

use super::node::{HOST, HOST6};
use crate::qemu::CLOUD_HOST;

/// By what names a node and this host reach the devnet: in the machine, QEMU's user networking maps
/// 10.0.2.2, or its counterpart in a cloud's network, to this host's loopback.
const NAMES: [&str; 5] = ["127.0.0.1", HOST, HOST6, CLOUD_HOST, "localhost"];

/// A certificate authority that signs for the devnet's services, for as long as it runs.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// Where a service's certificate chain and key lie.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// PEM.
    pub certificate: PathBuf,
    /// PKCS #8 PEM, mode 0600.
    pub key: PathBuf,
    /// SHA-256 of the public key (SubjectPublicKeyInfo, RFC 5280), by which the chain knows a master.
    pub public_key_sha256: [u8; 32],
}

impl Authority {
    /// A new authority.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new() -> Result<Self> {
        let mut parameters = CertificateParams::new(Vec::new()).context("no names")?;
        parameters
            .distinguished_name
            .push(DnType::CommonName, "K3s-DaaS devnet");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().context("cannot make the devnet's CA key")?;
        let certificate = parameters
            .self_signed(&key)
            .context("cannot sign the devnet's CA")?;
        let pem = certificate.pem();
        Ok(Self {
            issuer: Issuer::new(parameters, key),
            pem,
        })
    }

    /// The root certificate, PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Makes a certificate for one service and writes it and its key into `directory`.
    ///
    /// # Errors
    /// When it cannot be made or written.
    pub fn issue(&self, service: &str, directory: &Path) -> Result<Certificate> {
        let names = NAMES.map(str::to_owned);
        let mut parameters = CertificateParams::new(names).context("a name is not valid")?;
        parameters
            .distinguished_name
            .push(DnType::CommonName, service);
        parameters.use_authority_key_identifier_extension = true;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().with_context(|| format!("no key for {service}"))?;
        let certificate = parameters
            .signed_by(&key, &self.issuer)
            .with_context(|| format!("cannot sign the certificate of {service}"))?;
        let files = Certificate {
            certificate: directory.join(format!("{service}.crt")),
            key: directory.join(format!("{service}.key")),
            public_key_sha256: sha256(&[&key.subject_public_key_info()]),
        };
        fs::write(&files.certificate, certificate.pem())
            .with_context(|| format!("cannot write {}", files.certificate.display()))?;
        write_secret(&files.key, &key.serialize_pem())?;
        Ok(files)
    }
}

/// Writes a file that only its owner can read.
///
/// # Errors
/// When it cannot be written.
pub fn write_secret(path: &Path, text: &str) -> Result<()> {
    let write = || -> std::io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(text.as_bytes())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_for_its_owner_alone_also_over_an_older_file() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new().unwrap();
        fs::write(directory.path().join("master.key"), "old").unwrap();
        let files = authority.issue("master", directory.path()).unwrap();
        let mode = fs::metadata(&files.key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(
            fs::read_to_string(&files.key)
                .unwrap()
                .contains("PRIVATE KEY")
        );
        assert!(
            fs::read_to_string(&files.certificate)
                .unwrap()
                .contains("BEGIN CERTIFICATE")
        );
    }
}
