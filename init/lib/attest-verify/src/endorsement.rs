//! Certificates of endorsement keys: TCG EK Credential Profile for TPM 2.0, version 2.3.
//!
//! No revocation lists are asked: manufacturers publish few, and none in a form that a master could
//! read in time. A root that is no longer trusted is taken out of the file.

use master_api::RefusalCode;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime, pem::PemObject as _};
use seal::tpm::{
    Public,
    crypto::{Digest, Point, sha256},
};
use webpki::{EndEntityCert, Error as WebpkiError, KeyUsage, anchor_from_trusted_cert};
use x509_cert::{
    Certificate,
    der::{Decode as _, asn1::ObjectIdentifier},
    ext::pkix::ExtendedKeyUsage,
};

use crate::fault::Fault;

/// `tcg-kp-EKCertificate`, 2.23.133.8.1 (EK Credential Profile, 3.2.16), as DER without its header.
const ENDORSEMENT: &[u8] = &[0x67, 0x81, 0x05, 0x08, 0x01];

/// The same as text.
const ENDORSEMENT_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.8.1");

/// The most certificates in a file.
const MOST: usize = 256;

/// The SubjectPublicKeyInfo of a P-256 key up to its point (RFC 5480, 2.1.1).
const P256: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A file of certificates that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RootsError {
    /// Nothing in it, or something that is no certificate.
    #[error("expected 1 to {MOST} certificates in PEM form")]
    Pem,
    /// One that can't be a root.
    #[error("certificate {0} of the file can't be used as a root")]
    Root(usize),
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, RootsError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .take(MOST + 1)
        .collect::<Result<_, _>>()
        .map_err(|_| RootsError::Pem)?;
    if (1..=MOST).contains(&certificates.len()) {
        Ok(certificates)
    } else {
        Err(RootsError::Pem)
    }
}

/// SHA-256 of each certificate of a PEM file.
///
/// # Errors
/// When there is none, or something else.
pub fn certificate_digests(pem: &[u8]) -> Result<Vec<Digest>, RootsError> {
    Ok(certificates(pem)?
        .iter()
        .map(|certificate| sha256(&[certificate.as_ref()]))
        .collect())
}

/// An endorsement key that counts without a manufacturer's certificate, because an operator says so: many firmware
/// TPMs and those of some clouds carry none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmittedKey {
    /// The key's name: `000b`, the identifier of SHA-256, and the SHA-256 of its public area (TPM 2.0 Library, Part 1,
    /// 16, "Names"), in hexadecimal.
    pub name: String,
    /// Why the operator admits it.
    pub reason: String,
}

/// The name of an endorsement key, as [`AdmittedKey::name`] has it.
pub(crate) fn name(endorsement: &Public) -> Result<String, Fault> {
    let name = endorsement.name();
    let name =
        name.map_err(|error| Fault::new(RefusalCode::EvidenceMalformed, error.to_string()))?;
    Ok(hex::encode(name.to_bytes()))
}

/// The key is one that a TPM makes by the template of the TCG's: a TPM that has it uses it for nothing but to prove
/// that another key is in the same TPM.
///
/// # Errors
/// When it is of another template.
pub(crate) fn check_template(endorsement: &Public) -> Result<(), Fault> {
    if endorsement.is_endorsement_key().unwrap_or(false) {
        return Ok(());
    }
    Err(Fault::new(
        RefusalCode::EndorsementUntrusted,
        "the endorsement key is not of the TCG's P-256 template (L-2)",
    ))
}

/// Whose certificates count: roots of manufacturers, or authorities below them.
#[derive(Debug, Default)]
pub struct ManufacturerRoots(Vec<TrustAnchor<'static>>);

impl ManufacturerRoots {
    /// Reads a PEM file.
    ///
    /// # Errors
    /// When there is no certificate in it, or something that can't be a root.
    pub fn from_pem(pem: &[u8]) -> Result<Self, RootsError> {
        certificates(pem)?
            .iter()
            .enumerate()
            .map(|(index, certificate)| {
                anchor_from_trusted_cert(certificate)
                    .map(|anchor| anchor.to_owned())
                    .map_err(|_| RootsError::Root(index + 1))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The certificate is of this endorsement key, and leads to one of the roots, at this time in
    /// seconds since 1970-01-01 UTC.
    pub(crate) fn check(
        &self,
        endorsement: &Public,
        certificate: Option<&[u8]>,
        now: u64,
    ) -> Result<(), Fault> {
        let untrusted = |why: String| Fault::new(RefusalCode::EndorsementUntrusted, why);
        check_template(endorsement)?;
        let Some(certificate) = certificate else {
            let name = name(endorsement)?;
            return Err(Fault::new(
                RefusalCode::EndorsementMissing,
                format!(
                    "the TPM carries no manufacturer's certificate of its P-256 endorsement key: the master's operator \
                     can admit this key by its name, {name}, in attestation.admitted_endorsement_keys"
                ),
            ));
        };
        let der = CertificateDer::from(certificate);
        let parsed = EndEntityCert::try_from(&der).map_err(|error| {
            untrusted(format!(
                "the endorsement certificate can't be read: {error}"
            ))
        })?;
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now));
        parsed
            .verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                &self.0,
                &[],
                time,
                KeyUsage::required_if_present(ENDORSEMENT),
                None,
                None,
            )
            .map_err(|error| match error {
                WebpkiError::CertExpired { .. } | WebpkiError::CertNotValidYet { .. } => {
                    Fault::new(
                        RefusalCode::EndorsementExpired,
                        format!("the endorsement certificate does not count at this time: {error}"),
                    )
                }
                _ => untrusted(format!(
                    "the endorsement certificate leads to no root that this master trusts: {error}"
                )),
            })?;
        if !is_for_endorsement(certificate) {
            return Err(untrusted(
                "the certificate is not for an endorsement key (2.23.133.8.1)".to_owned(),
            ));
        }
        let point = endorsement
            .point()
            .map_err(|error| untrusted(error.to_string()))?;
        if parsed.subject_public_key_info().as_ref() != public_key_info(&point) {
            return Err(untrusted(
                "the endorsement certificate is of another key".to_owned(),
            ));
        }
        Ok(())
    }
}

/// What webpki asks only where it is present: the purpose stands in the certificate.
fn is_for_endorsement(certificate: &[u8]) -> bool {
    Certificate::from_der(certificate)
        .ok()
        .and_then(|certificate| {
            certificate
                .tbs_certificate()
                .get_extension::<ExtendedKeyUsage>()
                .ok()?
        })
        .is_some_and(|(_, usages)| usages.0.contains(&ENDORSEMENT_OID))
}

fn public_key_info(point: &Point) -> Vec<u8> {
    [P256, &point.to_sec1()].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    /// An endorsement key of the template, at the curve's base point (SEC 2, 2.4.2).
    fn an_endorsement_key() -> Public {
        let area = "0023000b000300b20020837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa\
                    00060080004300100003001000206b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296\
                    00204fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";
        let area = hex::decode(area).expect("hex");
        let length = u16::try_from(area.len()).expect("short").to_be_bytes();
        Public::from_bytes(&[&length, area.as_slice()].concat()).expect("a public area")
    }

    fn a_certificate() -> (ManufacturerRoots, Vec<u8>) {
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::new(Vec::new())
            .and_then(|params| params.self_signed(&key))
            .expect("a certificate");
        let roots = ManufacturerRoots::from_pem(certificate.pem().as_bytes()).expect("a root");
        (roots, certificate.der().to_vec())
    }

    #[test]
    fn the_key_of_the_template_is_one() {
        assert!(
            an_endorsement_key()
                .is_endorsement_key()
                .expect("a template")
        );
    }

    proptest! {
        #[test]
        fn any_certificate_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
            let (roots, _) = a_certificate();
            prop_assert!(roots.check(&an_endorsement_key(), Some(&bytes), 0).is_err());
        }

        #[test]
        fn an_edited_certificate_is_refused(
            edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        ) {
            let (roots, mut bytes) = a_certificate();
            for (place, value) in edits {
                let place = place.index(bytes.len());
                bytes[place] = value;
            }
            let _ = is_for_endorsement(&bytes);
            prop_assert!(roots.check(&an_endorsement_key(), Some(&bytes), 0).is_err());
        }

        #[test]
        fn any_file_of_roots_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
            let _ = (ManufacturerRoots::from_pem(&bytes), certificate_digests(&bytes));
        }
    }
}
