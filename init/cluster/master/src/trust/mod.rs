//! Who the master is, and what it asks of nodes beside their stake.

mod error;
pub(crate) mod reports;
pub(crate) mod settings;

use std::path::Path;

use attest_verify::tee_report::Roots;
use attest_verify::{ManufacturerRoots, Policy, RootsError, certificate_digests};
use chain::{ObjectId, PublicKey};
use master_api::{Base64, ChallengeProof, ChallengeRequest, EncodingError, RegisterResponse};
use pinned_http::tls::key_sha256;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tracing::{info, warn};
use zeroize::Zeroizing;

pub use error::TrustError;
pub use reports::ReportSettings;
pub use settings::{EnclaveSettings, EvidenceSettings, FirmwareMode, TrustSettings};

use crate::files::{read_bounded, read_secret};

/// Who the master is, and what it asks of nodes beside their stake. By default it proves nothing of
/// itself, and asks for nothing.
#[derive(Default)]
pub struct Trust {
    /// The key that the chain knows.
    pub enclave: Option<Enclave>,
    /// What evidence is asked for.
    pub attestation: Option<Attestation>,
    /// SHA-256 of the public key (SubjectPublicKeyInfo) that the master shows in TLS.
    pub tls_key_sha256: [u8; 32],
}

/// What evidence is asked for.
pub struct Attestation {
    /// Whether nodes without it are refused.
    pub required: bool,
    /// What it is verified against.
    pub policy: Policy,
    /// The registry of releases on chain.
    pub releases: ObjectId,
    /// What becomes of firmware that a TPM has not shown before.
    pub firmware: FirmwareMode,
}

/// The key by which the master proves itself to nodes.
pub struct Enclave {
    id: ObjectId,
    key: Ed25519KeyPair,
    public: PublicKey,
}

impl Trust {
    /// Reads the files that the settings name. `certificate` is the TLS server's chain.
    ///
    /// # Errors
    /// Names the file that is at fault.
    pub fn load(settings: &TrustSettings, certificate: &Path) -> Result<Self, TrustError> {
        let enclave = settings.enclave.as_ref();
        let evidence = settings.evidence.as_ref();
        Ok(Self {
            enclave: enclave.map(Enclave::load).transpose()?,
            attestation: evidence
                .map(|evidence| Attestation::load(settings.required, evidence))
                .transpose()?,
            tls_key_sha256: tls_key_sha256(certificate)?,
        })
    }

    /// Says in the log what nodes may rely on, and what is asked of them.
    pub(crate) fn announce(&self) {
        match &self.enclave {
            Some(enclave) => info!(
                enclave = %enclave.id,
                public_key = %enclave.public_key(),
                tls_key_sha256 = hex::encode(self.tls_key_sha256),
                "the master proves its key"
            ),
            None => warn!("no [enclave]: nodes know the master by its certificate alone"),
        }
        match &self.attestation {
            Some(attestation) => info!(
                required = attestation.required,
                secure_boot = attestation.policy.secure_boot.is_some(),
                reports = attestation.reports(),
                firmware = ?attestation.firmware,
                admitted_endorsement_keys = attestation.policy.admitted_keys.len(),
                allowed_firmware = attestation.policy.firmware.as_ref().map_or(0, Vec::len),
                releases = %attestation.releases,
                "evidence of nodes is verified"
            ),
            None => warn!("no evidence is asked for: nodes are admitted on their stake alone"),
        }
    }

    /// The proof that goes with a challenge, where there is a key.
    pub(crate) fn prove(
        &self,
        request: &ChallengeRequest,
        nonce: &Base64,
        timestamp: u64,
    ) -> Result<Option<ChallengeProof>, EncodingError> {
        let Some(enclave) = &self.enclave else {
            return Ok(None);
        };
        let mut proof = ChallengeProof {
            enclave: enclave.id.to_string(),
            public_key: Base64(enclave.public_key().to_flagged_bytes()),
            tls_key_sha256: Base64(self.tls_key_sha256.to_vec()),
            timestamp,
            signature: Base64(Vec::new()),
        };
        proof.signature = enclave.sign(&proof.signed_bytes(request, nonce)?);
        Ok(Some(proof))
    }

    /// The signature of an answer to a registration, where there is a key.
    pub(crate) fn sign_answer(
        &self,
        answer: &RegisterResponse,
        request: &[u8; 32],
    ) -> Result<Option<Base64>, EncodingError> {
        let Some(enclave) = &self.enclave else {
            return Ok(None);
        };
        let bytes = Zeroizing::new(answer.signed_bytes(request)?);
        Ok(Some(enclave.sign(&bytes)))
    }
}

impl Attestation {
    /// What becomes of reports of trusted execution environments, in one word.
    fn reports(&self) -> &'static str {
        match &self.policy.reports {
            None => "ignored",
            Some(reports) if reports.required => "required",
            Some(_) => "verified",
        }
    }

    fn load(required: bool, settings: &EvidenceSettings) -> Result<Self, TrustError> {
        let roots = match &settings.endorsement_roots {
            Some(path) => read_certificates(path, ManufacturerRoots::from_pem)?,
            None => ManufacturerRoots::default(),
        };
        let secure_boot = settings.secure_boot_certificates.as_ref();
        Ok(Self {
            required,
            policy: Policy {
                roots,
                admitted_keys: settings.admitted_endorsement_keys.clone(),
                secure_boot: secure_boot
                    .map(|path| read_certificates(path, certificate_digests))
                    .transpose()?,
                firmware: settings.allowed_firmware.clone(),
                reports: settings
                    .reports
                    .as_ref()
                    .map(|reports| reports.load(Roots::vendors()))
                    .transpose()?,
            },
            releases: settings.releases,
            firmware: settings.firmware,
        })
    }
}

impl Enclave {
    /// A key with its object on chain, from a seed (RFC 8032, 5.1.5). `None`: it is not 32 bytes long.
    #[must_use]
    pub fn from_seed(id: ObjectId, seed: &[u8]) -> Option<Self> {
        Self::new(id, Ed25519KeyPair::from_seed_unchecked(seed).ok()?)
    }

    fn load(settings: &EnclaveSettings) -> Result<Self, TrustError> {
        let wrong = || TrustError::Key {
            path: settings.key.clone(),
        };
        let bytes = read_secret(&settings.key)?;
        if bytes.len() == error::SEED {
            return Self::from_seed(settings.id, &bytes).ok_or_else(wrong);
        }
        let document = PrivatePkcs8KeyDer::from_pem_slice(&bytes).map_err(|_| wrong())?;
        // openssl writes version 1, without the public key
        let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(document.secret_pkcs8_der())
            .map_err(|_| wrong())?;
        Self::new(settings.id, key).ok_or_else(wrong)
    }

    fn new(id: ObjectId, key: Ed25519KeyPair) -> Option<Self> {
        let public = key.public_key().as_ref().try_into().ok()?;
        let public = PublicKey::from_ed25519_bytes(public);
        Some(Self { id, key, public })
    }

    /// The public key, as the chain registers it.
    #[must_use]
    pub const fn public_key(&self) -> PublicKey {
        self.public
    }

    fn sign(&self, bytes: &[u8]) -> Base64 {
        Base64(self.key.sign(bytes).as_ref().to_vec())
    }
}

fn read_certificates<T>(
    path: &Path,
    read: impl FnOnce(&[u8]) -> Result<T, RootsError>,
) -> Result<T, TrustError> {
    read(&read_bounded(path)?).map_err(|source| TrustError::Certificates {
        path: path.to_owned(),
        source,
    })
}

/// SHA-256 of the public key (SubjectPublicKeyInfo) of a chain's first certificate: what the chain
/// knows of the TLS server, and what nodes see of it.
///
/// # Errors
/// When the file can't be read, or does not begin with a certificate.
pub fn tls_key_sha256(certificate: &Path) -> Result<[u8; 32], TrustError> {
    let wrong = || TrustError::Leaf {
        path: certificate.to_owned(),
    };
    let text = read_bounded(certificate)?;
    let leaf = CertificateDer::from_pem_slice(&text).map_err(|_| wrong())?;
    key_sha256(&leaf).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use ring::rand::SystemRandom;

    use super::*;

    fn load(content: &[u8], mode: u32) -> Result<Enclave, TrustError> {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("enclave.key");
        fs::write(&key, content).unwrap();
        fs::set_permissions(&key, Permissions::from_mode(mode)).unwrap();
        Enclave::load(&EnclaveSettings {
            id: ObjectId::from_bytes([1; 32]),
            key,
        })
    }

    #[test]
    fn a_key_is_a_seed_or_pkcs8_that_others_cannot_read() {
        let seed = load(&[7; 32], 0o600).unwrap();
        let known = Enclave::from_seed(ObjectId::from_bytes([1; 32]), &[7; 32]).unwrap();
        assert_eq!(seed.public_key(), known.public_key());
        // as `openssl genpkey -algorithm ed25519` writes it (RFC 8410, 7): the same seed
        let mut der = hex::decode("302e020100300506032b657004220420").unwrap();
        der.extend([7; 32]);
        let pem = |der: &[u8]| {
            use base64::Engine as _;
            let text = base64::engine::general_purpose::STANDARD.encode(der);
            format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
        };
        let openssl = load(pem(&der).as_bytes(), 0o600).unwrap();
        assert_eq!(openssl.public_key(), known.public_key());
        let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        assert!(load(pem(made.as_ref()).as_bytes(), 0o640).is_ok());
        let exposed = load(&[7; 32], 0o644).err().unwrap();
        assert!(matches!(exposed, TrustError::File(_)), "{exposed}");
        let elsewhere = rcgen::KeyPair::generate().unwrap().serialize_pem();
        for wrong in [&[7; 31][..], b"", elsewhere.as_bytes()] {
            let error = load(wrong, 0o600).err().unwrap();
            assert!(matches!(error, TrustError::Key { .. }), "{error}");
        }
    }
}
