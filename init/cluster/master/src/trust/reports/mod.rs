//! Reports of trusted execution environments: what the configuration says of them, and who verifies
//! them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use attest::tee_report::{TeeKind, TeeReport, report_data};
use attest_verify::tee_report::sev_snp::{self, Tcb};
use attest_verify::tee_report::tdx::{self, Collateral, MAXIMUM_COLLATERAL, TcbStatus};
use attest_verify::tee_report::{Expectations, Roots, VerifiedReport, nitro, verify};
use attest_verify::{Fault, ReportVerifier, Reports};
use master_api::RefusalCode;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use seal::tpm::crypto::Digest;
use serde::Deserialize;
use tracing::error;

use super::error::TrustError;
use crate::files::read_up_to;
use crate::settings::error::MasterSettingsError;

/// The longest file of chips' certificates, in bytes: some hundred of them.
const LONGEST_CERTIFICATES: u64 = 1024 * 1024;
/// How old a Nitro document may be. That it is fresh says its nonce.
const NITRO_AGE: Duration = Duration::from_secs(5 * 60);
/// The least privileged level of a machine of SEV-SNP (VMPL).
const LAST_VMPL: u32 = 3;
/// The standings of a TDX platform that can be taken; Intel's words, of which `Revoked` is left out.
const STATUSES: [TcbStatus; 8] = [
    TcbStatus::UpToDate,
    TcbStatus::SWHardeningNeeded,
    TcbStatus::ConfigurationNeeded,
    TcbStatus::ConfigurationAndSWHardeningNeeded,
    TcbStatus::OutOfDate,
    TcbStatus::OutOfDateConfigurationNeeded,
    TcbStatus::TDRelaunchAdvised,
    TcbStatus::TDRelaunchAdvisedConfigurationNeeded,
];

/// What becomes of reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Mode {
    /// They are not looked at.
    Ignored,
    /// Those that come must hold.
    Verified,
    /// And one that proves the launch must come.
    Required,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TcbTable {
    boot_loader: u8,
    tee: u8,
    snp: u8,
    microcode: u8,
    fmc: u8,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SevSnpTable {
    minimum_tcb: TcbTable,
    maximum_vmpl: u32,
    certificates: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TdxTable {
    collateral: Option<PathBuf>,
    statuses: Option<Vec<String>>,
    refused_advisories: Vec<String>,
}

/// What is asked of reports.
#[derive(Debug, Clone)]
pub struct ReportSettings {
    /// Whether a node without a report that proves its launch is refused.
    pub required: bool,
    /// The least of every part of an SEV-SNP platform's firmware.
    pub minimum_tcb: Tcb,
    /// The least privileged level (VMPL) that may ask for an SEV-SNP report.
    pub maximum_vmpl: u32,
    /// Certificates of SEV-SNP chips whose hosts give none, and of their issuers: a PEM file.
    pub sev_snp_certificates: Option<PathBuf>,
    /// What Intel says of TDX platforms: a file of `dcap-qvl`'s JSON, read for each quote.
    pub tdx_collateral: Option<PathBuf>,
    /// The standings of a TDX platform that are taken.
    pub tdx_statuses: Vec<TcbStatus>,
    /// Advisories of Intel's to which a TDX platform may not be open.
    pub refused_advisories: Vec<String>,
}

impl ReportSettings {
    /// `None`: reports are not looked at.
    pub(super) fn parse(
        path: &Path,
        folder: &Path,
        mode: Mode,
        sev_snp: Option<SevSnpTable>,
        tdx: Option<TdxTable>,
    ) -> Result<Option<Self>, MasterSettingsError> {
        let wrong = |field, found: &str, expected| MasterSettingsError::Field {
            path: path.to_owned(),
            field,
            found: found.to_owned(),
            expected,
        };
        if mode == Mode::Ignored {
            return match sev_snp.is_some() || tdx.is_some() {
                false => Ok(None),
                true => Err(wrong(
                    "attestation.reports",
                    "ignored",
                    "verified or required, where there is [attestation.sev_snp] or [attestation.tdx]",
                )),
            };
        }
        let (sev_snp, tdx) = (sev_snp.unwrap_or_default(), tdx.unwrap_or_default());
        if sev_snp.maximum_vmpl > LAST_VMPL {
            return Err(wrong(
                "attestation.sev_snp.maximum_vmpl",
                &sev_snp.maximum_vmpl.to_string(),
                "a privilege level from 0 to 3; 0 but where a paravisor runs below the system",
            ));
        }
        let TcbTable {
            boot_loader,
            tee,
            snp,
            microcode,
            fmc,
        } = sev_snp.minimum_tcb;
        let status = |name: &String| {
            let mut known = STATUSES.into_iter();
            known
                .find(|status| format!("{status:?}") == *name)
                .ok_or_else(|| {
                    wrong(
                        "attestation.tdx.statuses",
                        name,
                        "Intel's words: UpToDate, SWHardeningNeeded, ConfigurationNeeded, \
                         ConfigurationAndSWHardeningNeeded, OutOfDate, OutOfDateConfigurationNeeded, \
                         TDRelaunchAdvised or TDRelaunchAdvisedConfigurationNeeded",
                    )
                })
        };
        Ok(Some(Self {
            required: mode == Mode::Required,
            minimum_tcb: Tcb {
                boot_loader,
                tee,
                snp,
                microcode,
                fmc,
            },
            maximum_vmpl: sev_snp.maximum_vmpl,
            sev_snp_certificates: sev_snp.certificates.map(|file| folder.join(file)),
            tdx_collateral: tdx.collateral.map(|file| folder.join(file)),
            tdx_statuses: match tdx.statuses {
                None => vec![TcbStatus::UpToDate],
                Some(names) => names.iter().map(status).collect::<Result<_, _>>()?,
            },
            refused_advisories: tdx.refused_advisories,
        }))
    }

    /// Reads the files that are named, and gives who verifies reports up to these roots.
    ///
    /// # Errors
    /// Names the file that is at fault.
    pub fn load(&self, roots: Roots) -> Result<Reports, TrustError> {
        let certificates = match &self.sev_snp_certificates {
            None => Vec::new(),
            Some(path) => read_chips(path)?,
        };
        let verifier = Verifier {
            roots,
            sev_snp: sev_snp::Policy {
                // which image was launched, the release decides
                measurements: None,
                minimum_tcb: self.minimum_tcb,
                maximum_vmpl: self.maximum_vmpl,
                host_data: None,
                certificates,
            },
            tdx: tdx::Policy {
                images: None,
                collateral: None,
                statuses: self.tdx_statuses.clone(),
                advisories: self.refused_advisories.clone(),
            },
            collateral: self.tdx_collateral.clone(),
        };
        // said at the start already; the file is read again for each quote
        verifier.collateral()?;
        Ok(Reports {
            verifier: Box::new(verifier),
            required: self.required,
        })
    }
}

fn read_chips(path: &Path) -> Result<Vec<Vec<u8>>, TrustError> {
    let text = read_up_to(path, LONGEST_CERTIFICATES)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text)
        .map(|certificate| certificate.map(|certificate| certificate.to_vec()))
        .collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(TrustError::Chips {
            path: path.to_owned(),
        }),
    }
}

/// Verifies reports up to the vendors' roots.
struct Verifier {
    roots: Roots,
    sev_snp: sev_snp::Policy,
    tdx: tdx::Policy,
    collateral: Option<PathBuf>,
}

impl Verifier {
    fn collateral(&self) -> Result<Option<Collateral>, TrustError> {
        let Some(path) = &self.collateral else {
            return Ok(None);
        };
        let json = read_up_to(path, MAXIMUM_COLLATERAL as u64)?;
        let collateral = Collateral::from_json(&json).map_err(|source| TrustError::Collateral {
            path: path.clone(),
            source,
        })?;
        Ok(Some(collateral))
    }
}

impl ReportVerifier for Verifier {
    fn verify(
        &self,
        report: &TeeReport,
        qualifying_data: &Digest,
        now: u64,
    ) -> Result<VerifiedReport, Fault> {
        let tdx = match report.kind() {
            TeeKind::Tdx => Some(tdx::Policy {
                collateral: self.collateral().map_err(|failure| {
                    error!(
                        "TDX quotes can't be judged: {:#}",
                        anyhow::Error::new(failure)
                    );
                    let message = "the master can't read what TDX quotes are judged by";
                    Fault::new(RefusalCode::Unavailable, message)
                })?,
                ..self.tdx.clone()
            }),
            _ => None,
        };
        let expectations = Expectations {
            report_data: report_data(qualifying_data),
            sev_snp: Some(self.sev_snp.clone()),
            tdx,
            nitro: Some(nitro::Policy {
                images: None,
                user_data: None,
                maximum_age: NITRO_AGE,
            }),
        };
        Ok(verify(report, &expectations, &self.roots, now)?)
    }
}

#[cfg(test)]
pub(crate) mod tests;
