//! Certificates of the vendors': what a report's own chain needs beyond `webpki`.
//!
//! AMD's certificates are signed by RSASSA-PSS with parameters that DER forbids (the default trailer
//! is spelt out), and carry critical facts in extensions of AMD's. `webpki` knows neither, so their
//! chain, which has always three links, is checked here.

use ring::signature::{ECDSA_P384_SHA384_FIXED, RSA_PSS_2048_8192_SHA384, UnparsedPublicKey};
use x509_cert::Certificate as Parsed;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::oid::AssociatedOid as _;
use x509_cert::der::{Decode as _, Header, Reader as _, SliceReader, Tag};
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};

/// The longest certificate, in bytes, that is looked at.
const MAXIMUM: usize = 8 * 1024;

/// `id-RSASSA-PSS`, RFC 4055, section 3.1.
const RSASSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
/// `rsaEncryption`, RFC 3279, section 2.3.1.
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// `id-ecPublicKey`, RFC 5480, section 2.1.1.
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// `secp384r1`, RFC 5480, section 2.1.1.1.
const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
/// `id-at-commonName`, RFC 5280, appendix A.1.
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// `RSASSA-PSS-params` (RFC 4055, section 3.1) of SHA-384, MGF1 with SHA-384 and 48 bytes of salt,
/// up to the trailer field.
const PSS_SHA384: &[u8] = &[
    0xa0, 0x0f, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05,
    0x00, 0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08,
    0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0xa2,
    0x03, 0x02, 0x01, 0x30,
];
/// The trailer field, 1, as AMD writes it.
const PSS_TRAILER: &[u8] = &[0xa3, 0x03, 0x02, 0x01, 0x01];

/// A certificate, and the bytes that its issuer signed.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    parsed: Parsed,
    signed: Vec<u8>,
}

impl Certificate {
    /// Reads a certificate; nothing when it is none.
    pub(crate) fn from_der(der: &[u8]) -> Option<Self> {
        if der.len() > MAXIMUM {
            return None;
        }
        let parsed = Parsed::from_der(der).ok()?;
        // what was signed is what stands there, not what an encoder would make of it
        let mut reader = SliceReader::new(der).ok()?;
        let header = Header::decode(&mut reader).ok()?;
        if header.tag() != Tag::Sequence {
            return None;
        }
        let signed = reader.tlv_bytes().ok()?.to_vec();
        Some(Self { parsed, signed })
    }

    /// Whether that certificate's key, an RSA one, has signed this one, by RSASSA-PSS with SHA-384,
    /// and the names say the same. Says nothing of what that key may sign.
    pub(crate) fn is_signed_by(&self, issuer: &Self) -> bool {
        let tbs = self.parsed.tbs_certificate();
        let key = issuer.parsed.tbs_certificate().subject_public_key_info();
        tbs.issuer() == issuer.parsed.tbs_certificate().subject()
            && tbs.signature() == self.parsed.signature_algorithm()
            && self.is_pss_sha384()
            && key.algorithm.oid == RSA_ENCRYPTION
            && self.parsed.signature().as_bytes().is_some_and(|signature| {
                UnparsedPublicKey::new(
                    &RSA_PSS_2048_8192_SHA384,
                    key.subject_public_key.raw_bytes(),
                )
                .verify(&self.signed, signature)
                .is_ok()
            })
    }

    fn is_pss_sha384(&self) -> bool {
        let algorithm = self.parsed.signature_algorithm();
        let parameters = algorithm
            .parameters
            .as_ref()
            .filter(|parameters| parameters.value().starts_with(PSS_SHA384))
            .map(|parameters| &parameters.value()[PSS_SHA384.len()..]);
        algorithm.oid == RSASSA_PSS
            && parameters.is_some_and(|trailer| trailer.is_empty() || trailer == PSS_TRAILER)
    }

    /// Whether the key may sign certificates.
    pub(crate) fn is_authority(&self) -> bool {
        let tbs = self.parsed.tbs_certificate();
        let constraints = tbs.get_extension::<BasicConstraints>();
        let usage = tbs.get_extension::<KeyUsage>();
        matches!(constraints, Ok(Some((_, constraints))) if constraints.ca)
            && match usage {
                Ok(Some((_, usage))) => usage.key_cert_sign(),
                Ok(None) => true,
                Err(_) => false,
            }
    }

    /// Whether every extension that must be understood is one that is looked at.
    pub(crate) fn has_only_known_critical_extensions(&self) -> bool {
        let mut extensions = self
            .parsed
            .tbs_certificate()
            .extensions()
            .into_iter()
            .flatten();
        extensions.all(|extension| {
            !extension.critical
                || [BasicConstraints::OID, KeyUsage::OID].contains(&extension.extn_id)
        })
    }

    /// Whether the certificate is valid at that time, in seconds since 1970.
    pub(crate) fn is_valid_at(&self, now: u64) -> bool {
        let validity = self.parsed.tbs_certificate().validity();
        let seconds = |time: &x509_cert::time::Time| time.to_unix_duration().as_secs();
        (seconds(&validity.not_before)..=seconds(&validity.not_after)).contains(&now)
    }

    /// The content of an extension; nothing when it is absent, or there twice.
    pub(crate) fn extension(&self, oid: ObjectIdentifier) -> Option<&[u8]> {
        let extensions = self.parsed.tbs_certificate().extensions()?;
        let mut found = extensions.iter().filter(|found| found.extn_id == oid);
        match (found.next(), found.next()) {
            (Some(extension), None) => Some(extension.extn_value.as_bytes()),
            _ => None,
        }
    }

    /// The common name, if there is exactly one.
    pub(crate) fn common_name(&self) -> Option<String> {
        let subject = self.parsed.tbs_certificate().subject();
        let mut names = subject.iter().filter(|name| name.oid == COMMON_NAME);
        let name = names.next().filter(|_| names.next().is_none())?;
        Some(String::from_utf8_lossy(name.value.value()).into_owned())
    }

    /// Whether this key, one on P-384, has signed the message by ECDSA with SHA-384. The signature
    /// is r and s, big-endian, 48 bytes each.
    pub(crate) fn has_signed(&self, message: &[u8], signature: &[u8; 96]) -> bool {
        let key = self.parsed.tbs_certificate().subject_public_key_info();
        let curve = key.algorithm.parameters.as_ref();
        key.algorithm.oid == EC_PUBLIC_KEY
            && curve.and_then(|curve| curve.decode_as().ok()) == Some(SECP384R1)
            && UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, key.subject_public_key.raw_bytes())
                .verify(message, signature)
                .is_ok()
    }
}
