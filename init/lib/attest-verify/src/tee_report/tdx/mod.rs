//! Intel TDX: the quote that the quoting enclave makes of a trust domain's report.
//!
//! Signatures and the platform's standing are judged by `dcap-qvl`, as Intel's own library does.

use attest::tee_report::TeeKind;
use dcap_qvl::quote::{AuthData, Quote, Report as Body};
use dcap_qvl::verify::QuoteVerifier;
use dcap_qvl::{QuoteCollateralV3, QuotePolicy};
use thiserror::Error;

pub use dcap_qvl::TcbStatus;

use super::outcome::{Refusal, VerifiedReport};
use super::roots::Roots;

/// The longest collateral in bytes of JSON. A usual one has 25 KiB.
pub const MAXIMUM_COLLATERAL: usize = 512 * 1024;
/// The longest text of a library's error, in characters, that a refusal takes over.
const MAXIMUM_ERROR: usize = 200;

/// `TDATTRIBUTES`, bits 0 to 7 (TUD): any of them makes the trust domain untrusted; bit 0 is DEBUG.
/// Intel TDX Module Base Architecture Specification (348549), section "ATTRIBUTES".
const ATTRIBUTES_UNTRUSTED: u64 = 0xff;
/// `TDATTRIBUTES`, bit 29: MIGRATABLE.
const ATTRIBUTES_MIGRATABLE: u64 = 1 << 29;

/// Certification data that is the platform's chain of certificates, as PEM. Intel's TDX DCAP Quoting
/// Library API, appendix A.3.9.
const PCK_CHAIN: u16 = 5;

/// What Intel says of a platform: certificates, revocations, and the standing of its firmware.
/// Every part is signed by Intel, so that it may come from anybody.
#[derive(Debug, Clone)]
pub struct Collateral(QuoteCollateralV3);

/// Why something is no collateral.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CollateralError {
    /// Too long.
    #[error("the collateral has {0} bytes, and at most {MAXIMUM_COLLATERAL} are taken")]
    TooLong(usize),
    /// Not the JSON that it should be.
    #[error("the collateral is not the JSON object of dcap-qvl's collateral of version 3")]
    Malformed(#[from] serde_json::Error),
}

impl Collateral {
    /// Reads collateral, as `dcap-qvl` writes it after fetching it from a provisioning service.
    ///
    /// # Errors
    ///
    /// When it is something else.
    pub fn from_json(json: &[u8]) -> Result<Self, CollateralError> {
        if json.len() > MAXIMUM_COLLATERAL {
            return Err(CollateralError::TooLong(json.len()));
        }
        Ok(Self(serde_json::from_slice(json)?))
    }
}

/// An approved image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image {
    /// MRTD: the virtual firmware.
    pub mrtd: [u8; 48],
    /// RTMR 0 to 3, where they are looked at: 0 the firmware's settings, 1 kernel and boot loader, 2
    /// the rest of the operating system. An image is told by 1 and 2, not by MRTD.
    pub rtmrs: [Option<[u8; 48]>; 4],
}

/// What a TDX quote must say.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The images that are approved. `None`: the caller judges [`VerifiedReport::measurement`].
    pub images: Option<Vec<Image>>,
    /// What the quote is judged by. Without it every quote is refused.
    pub collateral: Option<Collateral>,
    /// The standings of the platform that are taken. [`TcbStatus::Revoked`] never is.
    pub statuses: Vec<TcbStatus>,
    /// Advisories of Intel's, as `INTEL-SA-00837`, to which the platform may not be open.
    pub advisories: Vec<String>,
}

/// Verifies a quote. See [`crate::tee_report::verify()`].
pub(super) fn verify(
    bytes: &[u8],
    report_data: &[u8; 64],
    policy: &Policy,
    roots: &Roots,
    now: u64,
) -> Result<VerifiedReport, Refusal> {
    const KIND: TeeKind = TeeKind::Tdx;
    let quote = parse(bytes)?;
    let Collateral(mut collateral) = policy.collateral.clone().ok_or(Refusal::NoCollateral)?;
    // the platform's certificates are those in the quote
    collateral.pck_certificate_chain = None;
    // the attributes are ours to judge, with refusals of our own
    let claims = QuoteVerifier::new(roots.intel.clone())
        .allow_debug(true)
        .verify_with_policy(bytes, collateral, now, &QuotePolicy::claims_only(now))
        .map_err(|error| {
            Refusal::Quote(format!("{error:#}").chars().take(MAXIMUM_ERROR).collect())
        })?;
    let not_tdx = Refusal::Malformed {
        kind: KIND,
        what: "it is of an SGX enclave",
    };
    let body = claims.report.as_td10().ok_or(not_tdx)?;

    // from here on the quote is the platform's word
    let attributes = u64::from_le_bytes(body.td_attributes);
    if attributes & ATTRIBUTES_UNTRUSTED != 0 {
        return Err(Refusal::Debug(KIND));
    }
    if attributes & ATTRIBUTES_MIGRATABLE != 0 {
        return Err(Refusal::Migratable(KIND));
    }
    if body.report_data != *report_data {
        return Err(Refusal::ReportData(KIND));
    }
    let status = claims.tcb.status;
    check_standing(status, &claims.tcb.advisory_ids, policy)?;
    let rtmrs = [body.rt_mr0, body.rt_mr1, body.rt_mr2, body.rt_mr3];
    if let Some(images) = &policy.images {
        approved(images, &body.mr_td, &rtmrs)
            .map_err(|what| Refusal::Measurement { kind: KIND, what })?;
    }
    Ok(VerifiedReport {
        kind: KIND,
        measurement: body.mr_td,
        machine: claims.platform.pck.ppid.clone(),
        platform: format!(
            "{status:?}, quote {}, FMSPC {}",
            quote.header.version,
            hex::encode(claims.platform.pck.fmspc)
        ),
    })
}

/// Compares how Intel sees the platform with what is taken.
fn check_standing(
    status: TcbStatus,
    advisories: &[String],
    policy: &Policy,
) -> Result<(), Refusal> {
    if status == TcbStatus::Revoked || !policy.statuses.contains(&status) {
        return Err(Refusal::Status(format!("{status:?}")));
    }
    let refused = advisories.iter().find(|found| {
        let mut refused = policy.advisories.iter();
        refused.any(|refused| refused.eq_ignore_ascii_case(found))
    });
    refused.map_or(Ok(()), |found| Err(Refusal::Advisory(found.clone())))
}

/// Reads a quote, and tells those that are something else than TDX's by name.
fn parse(bytes: &[u8]) -> Result<Quote, Refusal> {
    const KIND: TeeKind = TeeKind::Tdx;
    let malformed = |what| Refusal::Malformed { kind: KIND, what };
    let quote = Quote::parse(bytes).map_err(|_| malformed("it is no quote"))?;
    match (quote.header.version, &quote.report) {
        (_, Body::SgxEnclave(_)) => return Err(malformed("it is of an SGX enclave")),
        (4 | 5, _) => {}
        (version, _) => {
            return Err(Refusal::Version {
                kind: KIND,
                version: version.into(),
            });
        }
    }
    if quote.inner_cert_type() != PCK_CHAIN {
        return Err(malformed("its platform's certificates are not in it"));
    }
    if !is_exact(bytes, &quote) {
        return Err(malformed("its lengths are not those of its parts"));
    }
    Ok(quote)
}

/// Whether every length in a quote is that of what it holds, which the library lets pass, and only
/// zeros follow: none of that is signed. Intel's TDX DCAP Quoting Library API, appendix A.3.
fn is_exact(bytes: &[u8], quote: &Quote) -> bool {
    /// Signature and attestation key, P-256, and the head of the certification data behind them.
    const AUTHENTICATION: usize = 64 + 64 + 2 + 4;
    /// The quoting enclave's report, its signature, and the two lengths behind them.
    const QUOTING_ENCLAVE: usize = 384 + 64 + 2 + 2 + 4;
    /// The kind of certification data that such a report is.
    const QUOTING_ENCLAVE_REPORT: u16 = 6;
    let AuthData::V4(data) = &quote.auth_data else {
        return false;
    };
    let Some((length, rest)) = bytes
        .get(quote.signed_length()..)
        .and_then(|bytes| bytes.split_first_chunk())
    else {
        return false;
    };
    let length = u32::from_le_bytes(*length) as usize;
    let certification = data.certification_data.body.data.len();
    let kind = data.certification_data.cert_type;
    let enclave = &data.qe_report_data;
    let parts = enclave.qe_auth_data.data.len() + enclave.certification_data.body.data.len();
    kind == QUOTING_ENCLAVE_REPORT
        && length == AUTHENTICATION + certification
        && certification == QUOTING_ENCLAVE + parts
        && rest
            .get(length..)
            .is_some_and(|rest| rest.iter().all(|byte| *byte == 0))
}

/// Whether there is an approved image of these measurements; else the register that differs.
fn approved(images: &[Image], mrtd: &[u8; 48], rtmrs: &[[u8; 48]; 4]) -> Result<(), &'static str> {
    const NAMES: [&str; 4] = ["RTMR 0", "RTMR 1", "RTMR 2", "RTMR 3"];
    let mut differs = "MRTD";
    for image in images.iter().filter(|image| image.mrtd == *mrtd) {
        let mut registers = NAMES.iter().zip(image.rtmrs.iter().zip(rtmrs));
        match registers.find(|(_, (expected, found))| expected.is_some_and(|e| e != **found)) {
            None => return Ok(()),
            Some((name, _)) => differs = name,
        }
    }
    Err(differs)
}

#[cfg(test)]
mod tests;
