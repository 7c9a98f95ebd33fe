//! TLS as k3s uses it: trust in nothing, in one CA, or in whoever shows a certificate.

use std::sync::Arc;

use pinned_http::tls::Roots;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig,
    SignatureScheme,
};
use thiserror::Error;

/// A certificate, a key or a set of roots cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// Not PEM, or no key in it.
    #[error("no readable private key in PEM form")]
    Key,
    /// A certificate, or a set of roots.
    #[error("unusable certificate or roots")]
    Pinned(#[from] pinned_http::tls::TlsError),
    /// rustls refuses it.
    #[error("unusable certificate or key")]
    Rustls(#[from] rustls::Error),
    /// No verifier can be built from the roots.
    #[error("unusable client CA")]
    ClientCa(#[from] rustls::server::VerifierBuilderError),
}

/// A certificate chain, leaf first, and its private key.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self {
            chain: self.chain.clone(),
            key: self.key.clone_key(),
        }
    }
}

impl Identity {
    /// Reads both from PEM.
    ///
    /// # Errors
    /// One of them is missing.
    pub fn from_pem(chain: &str, key: &str) -> Result<Self, TlsError> {
        Ok(Self {
            chain: certificates(chain.as_bytes())?,
            key: PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| TlsError::Key)?,
        })
    }

    /// When the leaf expires, in Unix seconds; `None` when it cannot be parsed.
    pub fn not_after(&self) -> Option<i64> {
        use x509_parser::prelude::{FromDer, X509Certificate};
        let (_, leaf) = X509Certificate::from_der(self.chain.first()?).ok()?;
        Some(leaf.validity().not_after.timestamp())
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The certificates of a PEM bundle, at least one.
///
/// # Errors
/// No PEM certificate in it.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    Ok(pinned_http::tls::certificates(pem)?)
}

fn roots(pem: &[u8]) -> Result<Arc<RootCertStore>, TlsError> {
    Ok(Roots::from_pem(pem)?.store())
}

/// A client that takes any server certificate: for the very first `/cacerts`, whose answer the
/// token's hash then vouches for.
///
/// # Errors
/// The provider lacks the protocol versions; does not happen with ring.
pub fn unverified_client() -> Result<ClientConfig, TlsError> {
    Ok(ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer(provider())))
        .with_no_client_auth())
}

/// A client that trusts the CA bundle `ca` alone, with a certificate of its own or without.
///
/// # Errors
/// `ca` holds no certificate, or `identity` does not fit together.
pub fn pinned_client(ca: &[u8], identity: Option<&Identity>) -> Result<ClientConfig, TlsError> {
    let identity = identity.map(|identity| pinned_http::tls::Identity {
        chain: identity.chain.clone(),
        key: identity.key.clone_key(),
    });
    Ok(pinned_http::tls::rooted(&Roots::from_pem(ca)?, identity)?)
}

/// A server that asks for a client certificate and takes any; who the bearer is gets decided
/// per request by a [`ClientAuthority`], as in Go's `tls.RequestClientCert`.
///
/// # Errors
/// `identity` does not fit together.
pub fn requesting_server(identity: &Identity) -> Result<ServerConfig, TlsError> {
    server(identity, Arc::new(AnyClient(provider())))
}

/// A server that speaks to holders of a certificate of the CA bundle `client_ca` alone, as the
/// kubelet's.
///
/// # Errors
/// `identity` does not fit together, or `client_ca` holds no certificate.
pub fn demanding_server(identity: &Identity, client_ca: &[u8]) -> Result<ServerConfig, TlsError> {
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots(client_ca)?, provider()).build()?;
    server(identity, verifier)
}

fn server(
    identity: &Identity,
    verifier: Arc<dyn ClientCertVerifier>,
) -> Result<ServerConfig, TlsError> {
    Ok(ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain.clone(), identity.key.clone_key())?)
}

/// Decides whether a client certificate was issued by the client CA and is still valid.
pub struct ClientAuthority(Arc<dyn ClientCertVerifier>);

impl ClientAuthority {
    /// Trusts the CA bundle `ca`.
    ///
    /// # Errors
    /// `ca` holds no certificate.
    pub fn new(ca: &[u8]) -> Result<Self, TlsError> {
        Ok(Self(
            WebPkiClientVerifier::builder_with_provider(roots(ca)?, provider()).build()?,
        ))
    }

    /// Whether the chain, leaf first, leads to the CA and is valid now.
    ///
    /// # Errors
    /// rustls's reason.
    pub fn verify(&self, chain: &[CertificateDer<'_>]) -> Result<(), rustls::Error> {
        let Some((leaf, intermediates)) = chain.split_first() else {
            return Err(rustls::Error::NoCertificatesPresented);
        };
        self.0
            .verify_client_cert(leaf, intermediates, UnixTime::now())
            .map(|_| ())
    }
}

#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[derive(Debug)]
struct AnyClient(Arc<CryptoProvider>);

impl ClientCertVerifier for AnyClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
