//! Configurations of rustls for clients that trust pinned roots alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ring::digest::{SHA256, digest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, VerifierBuilderError, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring::default_provider};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use thiserror::Error;

/// Certificates that can't be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// Not PEM, or no certificate in it.
    #[error("no certificate in PEM form")]
    Pem,
    /// A certificate that can't be a root.
    #[error("a certificate that can't be used as a root")]
    Root(#[source] rustls::Error),
    /// The roots can't be checked against.
    #[error("the roots can't be checked against")]
    Verifier(#[source] VerifierBuilderError),
    /// TLS can't be set up: a client's own certificate does not fit its key.
    #[error("TLS can't be set up")]
    Configuration(#[source] rustls::Error),
}

/// The certificates of a PEM file, at least one.
///
/// # Errors
/// [`TlsError::Pem`].
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| TlsError::Pem)?;
    if certificates.is_empty() {
        return Err(TlsError::Pem);
    }
    Ok(certificates)
}

/// Root certificates, at least one.
#[derive(Debug, Clone)]
pub struct Roots(Arc<RootCertStore>);

impl Roots {
    /// Reads a PEM file.
    ///
    /// # Errors
    /// When there is no certificate in it, or one that can't be a root.
    pub fn from_pem(pem: &[u8]) -> Result<Self, TlsError> {
        let mut store = RootCertStore::empty();
        for certificate in certificates(pem)? {
            store.add(certificate).map_err(TlsError::Root)?;
        }
        Ok(Self(Arc::new(store)))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The roots as rustls takes them.
    #[must_use]
    pub fn store(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.0)
    }
}

/// A client's own certificate.
#[derive(Debug)]
pub struct Identity {
    /// Its chain, the certificate itself first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its private key.
    pub key: PrivateKeyDer<'static>,
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}

/// Trust in these roots alone, with a certificate of one's own or without.
///
/// # Errors
/// When the certificate does not fit its key.
pub fn rooted(roots: &Roots, identity: Option<Identity>) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Configuration)?
        .with_root_certificates(roots.store());
    match identity {
        Some(Identity { chain, key }) => builder
            .with_client_auth_cert(chain, key)
            .map_err(TlsError::Configuration),
        None => Ok(builder.with_no_client_auth()),
    }
}

/// A public key that a server has to show.
#[derive(Debug, Clone)]
pub struct KeyPin {
    /// See [`key_sha256`].
    key: [u8; 32],
    other: Arc<AtomicBool>,
}

impl KeyPin {
    /// Pins the key with this SHA-256.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self {
            key,
            other: Arc::default(),
        }
    }

    /// The SHA-256 of the key.
    #[must_use]
    pub const fn key(&self) -> &[u8; 32] {
        &self.key
    }

    /// Whether another key was shown, under a certificate that the roots vouch for, since this was asked
    /// last.
    #[must_use]
    pub fn took_another(&self) -> bool {
        self.other.swap(false, Ordering::Relaxed)
    }
}

/// SHA-256 of a certificate's public key (SubjectPublicKeyInfo).
///
/// # Errors
/// When it is no certificate.
pub fn key_sha256(certificate: &CertificateDer<'_>) -> Result<[u8; 32], rustls::Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    let mut key = [0; 32];
    key.copy_from_slice(digest(&SHA256, &parsed.subject_public_key_info()).as_ref());
    Ok(key)
}

/// Trust in these roots alone over TLS 1.3, every connection with a handshake of its own; with a pin, in
/// one key alone. The key is looked at before the first byte of a request goes out.
///
/// # Errors
/// [`TlsError`] never happens for roots that are there.
pub fn pinned(roots: &Roots, pin: Option<KeyPin>) -> Result<ClientConfig, TlsError> {
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.store(), provider())
        .build()
        .map_err(TlsError::Verifier)?;
    let verifier = Verifier {
        roots: verifier,
        pin,
    };
    let mut tls = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Configuration)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    // a resumed connection shows no certificate
    tls.resumption = Resumption::disabled();
    Ok(tls)
}

/// The roots' word, and beside it that of a pinned key.
#[derive(Debug)]
struct Verifier {
    roots: Arc<WebPkiServerVerifier>,
    pin: Option<KeyPin>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.roots.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )?;
        if let Some(pin) = &self.pin
            && key_sha256(end_entity)? != pin.key
        {
            pin.other.store(true, Ordering::Relaxed);
            return Err(rustls::Error::General(
                "the certificate is of another key than the one that is pinned".to_owned(),
            ));
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.roots
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.roots
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.roots.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    #[test]
    fn a_file_without_a_usable_root_is_refused() {
        for text in ["", "junk"] {
            let error = Roots::from_pem(text.as_bytes()).unwrap_err();
            assert!(matches!(error, TlsError::Pem), "{error}");
        }
        let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let error = Roots::from_pem(junk.as_bytes()).unwrap_err();
        assert!(matches!(error, TlsError::Root(_)), "{error}");
    }

    #[test]
    fn a_pin_takes_its_key_alone_and_remembers_another() {
        let certificate = || {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec!["server".to_owned()]).unwrap();
            params.self_signed(&key).unwrap()
        };
        let (ours, another) = (certificate(), certificate());
        let roots = Roots::from_pem((ours.pem() + &another.pem()).as_bytes()).unwrap();
        assert_eq!(roots.count(), 2);
        let pin = KeyPin::new(key_sha256(ours.der()).unwrap());
        let verifier = Verifier {
            roots: WebPkiServerVerifier::builder_with_provider(roots.store(), provider())
                .build()
                .unwrap(),
            pin: Some(pin.clone()),
        };
        let verify = |certificate: &CertificateDer<'_>| {
            let name = ServerName::try_from("server").unwrap();
            verifier.verify_server_cert(certificate, &[], &name, &[], UnixTime::now())
        };
        verify(ours.der()).unwrap();
        assert!(!pin.took_another());
        verify(another.der()).unwrap_err();
        assert!(pin.took_another());
        assert!(!pin.took_another());
        // a key that no root vouches for is no other master's
        verify(certificate().der()).unwrap_err();
        assert!(!pin.took_another());
    }
}
