//! Reports of trusted execution environments, as part of a node's evidence.

use attest::tee_report::TeeReport;
use master_api::RefusalCode;
use seal::tpm::crypto::Digest;

use crate::{
    fault::Fault,
    tee_report::{Refusal, VerifiedReport},
};

/// Whoever verifies reports of trusted execution environments.
pub trait ReportVerifier: Send + Sync {
    /// Verifies a report that must be over this data, at this time in seconds since 1970-01-01 UTC.
    /// Which image was launched is not its business.
    ///
    /// # Errors
    /// When it does not hold.
    fn verify(
        &self,
        report: &TeeReport,
        qualifying_data: &Digest,
        now: u64,
    ) -> Result<VerifiedReport, Fault>;
}

/// What is asked of reports.
pub struct Reports {
    /// Who verifies those that come.
    pub verifier: Box<dyn ReportVerifier>,
    /// Whether a node without a report that proves its launch is refused.
    pub required: bool,
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        let code = match &refusal {
            Refusal::Debug(_) | Refusal::Migratable(_) => RefusalCode::TeeDebug,
            Refusal::ReportData(_)
            | Refusal::UserData
            | Refusal::Stale { .. }
            | Refusal::Future(_) => RefusalCode::TeeReportData,
            Refusal::Firmware { .. } | Refusal::Status(_) | Refusal::Advisory(_) => {
                RefusalCode::TeeFirmware
            }
            Refusal::Measurement { .. } => RefusalCode::TeeLaunch,
            // what is missing is the master's to get
            Refusal::NoCollateral => RefusalCode::Unavailable,
            _ => RefusalCode::TeeReport,
        };
        Self::new(code, refusal.to_string())
    }
}

impl Reports {
    /// Verifies every report.
    pub(crate) fn check(
        &self,
        reports: &[TeeReport],
        data: &Digest,
        now: u64,
    ) -> Result<Vec<VerifiedReport>, Fault> {
        if self.required && reports.is_empty() {
            return Err(Fault::new(
                RefusalCode::TeeReportMissing,
                "this master admits machines in a trusted execution environment alone (SEV-SNP, TDX or \
                 Nitro), and no report of one came",
            ));
        }
        reports
            .iter()
            .map(|report| self.verifier.verify(report, data, now))
            .collect()
    }
}
