//! Reports against what is expected of them.

use attest::tee_report::{REPORT_DATA, TeeKind, TeeReport};

use super::outcome::{Refusal, VerifiedReport};
use super::roots::Roots;
use super::{nitro, sev_snp, tdx};

/// What a report must say. A kind without a policy is not taken.
#[derive(Debug, Clone)]
pub struct Expectations {
    /// What the report must be bound to: the same bytes as the node had it made over.
    pub report_data: [u8; REPORT_DATA],
    /// For SEV-SNP.
    pub sev_snp: Option<sev_snp::Policy>,
    /// For TDX.
    pub tdx: Option<tdx::Policy>,
    /// For Nitro.
    pub nitro: Option<nitro::Policy>,
}

/// Verifies a report: its signature up to a root, what it is bound to, and what it says.
///
/// `now` is in seconds since 1970.
///
/// # Errors
///
/// The first thing that speaks against the report.
pub fn verify(
    report: &TeeReport,
    expectations: &Expectations,
    roots: &Roots,
    now: u64,
) -> Result<VerifiedReport, Refusal> {
    let kind = report.kind();
    let refused = Refusal::KindNotTaken(kind);
    let data = &expectations.report_data;
    match kind {
        TeeKind::SevSnp => {
            let policy = expectations.sev_snp.as_ref().ok_or(refused)?;
            sev_snp::verify(report.bytes(), report.auxiliary(), data, policy, roots, now)
        }
        TeeKind::Tdx => {
            let policy = expectations.tdx.as_ref().ok_or(refused)?;
            tdx::verify(report.bytes(), data, policy, roots, now)
        }
        TeeKind::Nitro => {
            let policy = expectations.nitro.as_ref().ok_or(refused)?;
            nitro::verify(report.bytes(), data, policy, roots, now)
        }
    }
}
