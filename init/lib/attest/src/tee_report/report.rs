//! A report of a trusted execution environment, with its bounds.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The length in bytes of what a report is bound to: `REPORT_DATA` of SEV-SNP and of TDX, the nonce
/// of a Nitro document.
pub const REPORT_DATA: usize = 64;

/// What a report is bound to where that is a digest: it, and zeros behind it.
#[must_use]
pub fn report_data(digest: &[u8; 32]) -> [u8; REPORT_DATA] {
    let mut data = [0; REPORT_DATA];
    for (to, from) in data.iter_mut().zip(digest) {
        *to = *from;
    }
    data
}

/// The longest report, in bytes: `TSM_REPORT_OUTBLOB_MAX` of Linux, include/linux/tsm.h.
pub const MAXIMUM_REPORT: usize = 32 * 1024;

/// The longest data beside a report, in bytes: as `TSM_REPORT_OUTBLOB_MAX`.
pub const MAXIMUM_AUXILIARY: usize = 32 * 1024;

/// Whose report it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TeeKind {
    /// AMD SEV-SNP: an `ATTESTATION_REPORT`, with the host's table of certificates beside it.
    SevSnp,
    /// Intel TDX: a quote of version 4 or 5.
    Tdx,
    /// AWS Nitro Enclaves: an attestation document, which is a `COSE_Sign1`.
    Nitro,
}

impl fmt::Display for TeeKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::SevSnp => "SEV-SNP",
            Self::Tdx => "TDX",
            Self::Nitro => "Nitro",
        })
    }
}

/// Why something is no report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SizeError {
    /// Nothing in it.
    #[error("the report is empty")]
    Empty,
    /// A report past [`MAXIMUM_REPORT`].
    #[error("the report has {0} bytes, and at most {MAXIMUM_REPORT} are taken")]
    TeeReport(usize),
    /// Auxiliary data past [`MAXIMUM_AUXILIARY`].
    #[error("the data beside the report has {0} bytes, and at most {MAXIMUM_AUXILIARY} are taken")]
    Auxiliary(usize),
}

/// A report as the machine gave it. Nothing in it is believed before it was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unbounded")]
pub struct TeeReport {
    kind: TeeKind,
    bytes: Vec<u8>,
    auxiliary: Vec<u8>,
}

/// A report whose sizes nobody has looked at.
#[derive(Deserialize)]
#[serde(rename = "TeeReport", deny_unknown_fields)]
struct Unbounded {
    kind: TeeKind,
    bytes: Vec<u8>,
    auxiliary: Vec<u8>,
}

impl TryFrom<Unbounded> for TeeReport {
    type Error = SizeError;

    fn try_from(report: Unbounded) -> Result<Self, SizeError> {
        Self::new(report.kind, report.bytes, report.auxiliary)
    }
}

impl TeeReport {
    /// A report, and what came beside it, which may be nothing.
    ///
    /// # Errors
    ///
    /// When there is no report, or either is too long.
    pub fn new(kind: TeeKind, bytes: Vec<u8>, auxiliary: Vec<u8>) -> Result<Self, SizeError> {
        if bytes.is_empty() {
            return Err(SizeError::Empty);
        }
        if bytes.len() > MAXIMUM_REPORT {
            return Err(SizeError::TeeReport(bytes.len()));
        }
        if auxiliary.len() > MAXIMUM_AUXILIARY {
            return Err(SizeError::Auxiliary(auxiliary.len()));
        }
        Ok(Self {
            kind,
            bytes,
            auxiliary,
        })
    }

    /// Whose report it is.
    #[must_use]
    pub fn kind(&self) -> TeeKind {
        self.kind
    }

    /// The report itself, as its kind lays it out.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What came beside it: for SEV-SNP the host's table of certificates.
    #[must_use]
    pub fn auxiliary(&self) -> &[u8] {
        &self.auxiliary
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_stands_before_zeros() {
        let data = report_data(&[7; 32]);
        assert_eq!(data, [[7; 32], [0; 32]].concat().as_slice());
    }

    #[test]
    fn sizes_are_bounded_also_in_what_is_read_from_the_wire() {
        let report = |bytes, auxiliary| TeeReport::new(TeeKind::Tdx, bytes, auxiliary);
        assert_eq!(report(vec![], vec![]), Err(SizeError::Empty));
        assert_eq!(
            report(vec![0; MAXIMUM_REPORT + 1], vec![]),
            Err(SizeError::TeeReport(MAXIMUM_REPORT + 1))
        );
        assert_eq!(
            report(vec![0], vec![0; MAXIMUM_AUXILIARY + 1]),
            Err(SizeError::Auxiliary(MAXIMUM_AUXILIARY + 1))
        );
        let longest = report(vec![1; MAXIMUM_REPORT], vec![2; MAXIMUM_AUXILIARY]).unwrap();
        let wire = bcs::to_bytes(&longest).unwrap();
        assert_eq!(bcs::from_bytes::<TeeReport>(&wire).unwrap(), longest);

        let too_long =
            bcs::to_bytes(&(TeeKind::Tdx, vec![0u8; MAXIMUM_REPORT + 1], vec![0u8])).unwrap();
        let error = bcs::from_bytes::<TeeReport>(&too_long).unwrap_err();
        assert!(error.to_string().contains("at most 32768"), "{error}");
    }
}
