//! What becomes of a report: what it says, or why it is refused.

use std::time::Duration;

use attest::tee_report::TeeKind;
use thiserror::Error;

/// What a report says that was believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedReport {
    /// Whose report it is.
    pub kind: TeeKind,
    /// What was launched: the launch measurement of SEV-SNP, MRTD of TDX, PCR 0 of Nitro.
    pub measurement: [u8; 48],
    /// Which machine it is: the chip of SEV-SNP (64 bytes; zeros when the host masks it), the PPID
    /// of TDX, the name of Nitro's module.
    pub machine: Vec<u8>,
    /// The security version of the platform, for people to read.
    pub platform: String,
}

/// Why a report is not believed, or says something else than it should. One sentence each.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A kind without a policy.
    #[error("no {0} report is taken here")]
    KindNotTaken(TeeKind),
    /// The bytes are something else.
    #[error("the {kind} report is malformed: {what}")]
    Malformed {
        /// Whose report it should be.
        kind: TeeKind,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A version that is not known.
    #[error("the {kind} report has version {version}, which is not known here")]
    Version {
        /// Whose report it is.
        kind: TeeKind,
        /// Its version.
        version: u32,
    },
    /// Nothing says whose key has signed the report.
    #[error(
        "no certificate of the key that signed the SEV-SNP report came with it, and none is at hand"
    )]
    NoCertificate,
    /// The certificate is not a vendor's, or not valid now.
    #[error(
        "the certificates of the {0} report do not lead to a root that is trusted, or have expired"
    )]
    Chain(TeeKind),
    /// The certificate is for another chip or for other firmware.
    #[error("the certificate of the SEV-SNP report is for another {0}")]
    ForeignCertificate(&'static str),
    /// The signature is not the key's.
    #[error("the signature of the {0} report is wrong")]
    Signature(TeeKind),
    /// There is nothing to judge the quote by.
    #[error("there is no collateral to judge the TDX quote by: fetch it for this platform first")]
    NoCollateral,
    /// The quote does not stand up against the collateral.
    #[error("the TDX quote does not stand up to its collateral: {0}")]
    Quote(String),
    /// The machine can be looked into.
    #[error("the {0} report is of a machine in debug mode, whose memory others can read")]
    Debug(TeeKind),
    /// The machine can be moved.
    #[error("the {0} report is of a machine that may be migrated to another host")]
    Migratable(TeeKind),
    /// Made for somebody or something else.
    #[error("the {0} report is bound to other data than this registration's")]
    ReportData(TeeKind),
    /// Another Nitro document than the one asked for.
    #[error("the user data of the Nitro document is not what is expected")]
    UserData,
    /// Something else was launched.
    #[error("the {kind} report is of an image that is not approved, by {what}")]
    Measurement {
        /// Whose report it is.
        kind: TeeKind,
        /// The register that differs.
        what: &'static str,
    },
    /// A level below the one that the operating system runs at.
    #[error(
        "the SEV-SNP report was made at privilege level {found}, and at most {maximum} is taken"
    )]
    PrivilegeLevel {
        /// The level in the report.
        found: u32,
        /// The least privileged level that is taken.
        maximum: u32,
    },
    /// Firmware with known holes.
    #[error(
        "the firmware of the SEV-SNP platform is too old: {component} {found} of at least {minimum}"
    )]
    Firmware {
        /// The component.
        component: &'static str,
        /// Its security version.
        found: u8,
        /// The least that is taken.
        minimum: u8,
    },
    /// Firmware with known holes, as Intel says.
    #[error("the firmware of the TDX platform has the status {0}, which is not taken")]
    Status(String),
    /// An advisory that must be dealt with.
    #[error("the TDX platform is open to {0}")]
    Advisory(String),
    /// Too old.
    #[error("the Nitro document is {} s old, and at most {} s are taken", .age.as_secs(), .maximum.as_secs())]
    Stale {
        /// How old it is.
        age: Duration,
        /// How old it may be.
        maximum: Duration,
    },
    /// From the future.
    #[error("the Nitro document is dated {} s ahead of this clock", .0.as_secs())]
    Future(Duration),
}

impl Refusal {
    /// The refusal's code, for machines to match.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::KindNotTaken(_) => "report-kind",
            Self::Malformed { .. } => "report-malformed",
            Self::Version { .. } => "report-version",
            Self::NoCertificate => "report-certificate-missing",
            Self::Chain(_) => "report-chain",
            Self::ForeignCertificate(_) => "report-certificate-foreign",
            Self::Signature(_) => "report-signature",
            Self::NoCollateral => "report-collateral-missing",
            Self::Quote(_) => "report-quote",
            Self::Debug(_) => "report-debug",
            Self::Migratable(_) => "report-migratable",
            Self::ReportData(_) => "report-data",
            Self::UserData => "report-user-data",
            Self::Measurement { .. } => "report-measurement",
            Self::PrivilegeLevel { .. } => "report-privilege-level",
            Self::Firmware { .. } => "report-firmware",
            Self::Status(_) => "report-platform-status",
            Self::Advisory(_) => "report-advisory",
            Self::Stale { .. } => "report-stale",
            Self::Future(_) => "report-future",
        }
    }
}
