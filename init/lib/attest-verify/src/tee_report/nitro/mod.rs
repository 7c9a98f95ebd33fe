//! AWS Nitro Enclaves: the document that the hypervisor's security module makes of an enclave.

mod document;

use std::time::Duration;

use attest::tee_report::TeeKind;
use coset::iana::Algorithm;
use coset::{CborSerializable as _, CoseSign1, Header, RegisteredLabelWithPrivate};
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use document::Document;

use super::certificate::Certificate;
use super::outcome::{Refusal, VerifiedReport};
use super::roots::Roots;

/// How far the machine's clock may be ahead of ours.
const SKEW: Duration = Duration::from_secs(60);

/// An approved image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image {
    /// PCR 0: the whole enclave image.
    pub pcr0: [u8; 48],
    /// PCR 1: kernel and boot ramdisk.
    pub pcr1: [u8; 48],
    /// PCR 2: the application.
    pub pcr2: [u8; 48],
}

/// What a Nitro document must say. Its nonce must be the expected report data.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The images that are approved. `None`: the caller judges [`VerifiedReport::measurement`].
    pub images: Option<Vec<Image>>,
    /// The user data that must be in it; nothing when there must be none.
    pub user_data: Option<Vec<u8>>,
    /// How old it may be.
    pub maximum_age: Duration,
}

/// Verifies a document. See [`crate::tee_report::verify()`].
pub(super) fn verify(
    bytes: &[u8],
    report_data: &[u8; 64],
    policy: &Policy,
    roots: &Roots,
    now: u64,
) -> Result<VerifiedReport, Refusal> {
    let document = authenticate(bytes, roots, now)?;
    check(document, report_data, policy, now)
}

/// Reads a document and verifies its signature, up to AWS's root.
fn authenticate(bytes: &[u8], roots: &Roots, now: u64) -> Result<Document, Refusal> {
    const KIND: TeeKind = TeeKind::Nitro;
    let malformed = |what| Refusal::Malformed { kind: KIND, what };
    let envelope = CoseSign1::from_slice(bytes).map_err(|_| malformed("it is no COSE_Sign1"))?;
    let expected = Header {
        alg: Some(RegisteredLabelWithPrivate::Assigned(Algorithm::ES384)),
        ..Header::default()
    };
    // what is not signed says nothing
    if envelope.protected.header != expected || envelope.unprotected != Header::default() {
        return Err(malformed("its headers say other than ES384"));
    }
    let payload = envelope.payload.as_deref();
    let document = Document::parse(payload.ok_or_else(|| malformed("it has no payload"))?)?;

    let chain = Refusal::Chain(KIND);
    let root = CertificateDer::from(roots.aws.as_slice());
    let anchor = anchor_from_trusted_cert(&root).map_err(|_| chain.clone())?;
    let leaf = CertificateDer::from(document.certificate.as_slice());
    let authorities: Vec<_> = document
        .authorities
        .iter()
        .map(|certificate| CertificateDer::from(certificate.as_slice()))
        .collect();
    EndEntityCert::try_from(&leaf)
        .and_then(|leaf| {
            leaf.verify_for_usage(
                &[webpki::ring::ECDSA_P384_SHA384],
                &[anchor],
                &authorities,
                UnixTime::since_unix_epoch(Duration::from_secs(now)),
                // no certificate of these chains is limited to a use
                KeyUsage::client_auth(),
                None,
                None,
            )
            .map(|_| ())
        })
        .map_err(|_| chain.clone())?;

    let key = Certificate::from_der(&document.certificate).ok_or(chain)?;
    envelope.verify_signature(&[], |signature, signed| match signature.try_into() {
        Ok(signature) if key.has_signed(signed, signature) => Ok(()),
        _ => Err(Refusal::Signature(KIND)),
    })?;
    Ok(document)
}

/// Compares what a document says with what it should.
fn check(
    document: Document,
    report_data: &[u8; 64],
    policy: &Policy,
    now: u64,
) -> Result<VerifiedReport, Refusal> {
    const KIND: TeeKind = TeeKind::Nitro;
    let pcr = |index: u8, name| {
        let value = document.pcrs.get(&index).copied();
        value.ok_or(Refusal::Measurement {
            kind: KIND,
            what: name,
        })
    };
    let found = Image {
        pcr0: pcr(0, "PCR 0")?,
        pcr1: pcr(1, "PCR 1")?,
        pcr2: pcr(2, "PCR 2")?,
    };
    // in debug mode they are all zeros
    if [found.pcr0, found.pcr1, found.pcr2].contains(&[0; 48]) {
        return Err(Refusal::Debug(KIND));
    }
    let (now, made) = (
        Duration::from_secs(now),
        Duration::from_millis(document.timestamp),
    );
    let ahead = made.saturating_sub(now);
    if ahead > SKEW {
        return Err(Refusal::Future(ahead));
    }
    let age = now.saturating_sub(made);
    if age > policy.maximum_age {
        return Err(Refusal::Stale {
            age,
            maximum: policy.maximum_age,
        });
    }
    if document.nonce.as_deref() != Some(report_data.as_slice()) {
        return Err(Refusal::ReportData(KIND));
    }
    if document.user_data != policy.user_data {
        return Err(Refusal::UserData);
    }
    if let Some(images) = &policy.images
        && !images.contains(&found)
    {
        let what = match images.iter().find(|image| image.pcr0 == found.pcr0) {
            None => "PCR 0",
            Some(image) if image.pcr1 != found.pcr1 => "PCR 1",
            Some(_) => "PCR 2",
        };
        return Err(Refusal::Measurement { kind: KIND, what });
    }
    Ok(VerifiedReport {
        kind: KIND,
        measurement: found.pcr0,
        machine: document.module.clone().into_bytes(),
        platform: document.module,
    })
}

#[cfg(test)]
mod tests;
