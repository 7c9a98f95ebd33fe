//! `tee-report` ↔ staker: one request and one answer, each a datagram over a `SOCK_SEQPACKET` socket
//! (unix(7)).
//!
//! The staker asks for the report of a trusted execution environment, which root alone can get.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::report::{MAXIMUM_AUXILIARY, MAXIMUM_REPORT, REPORT_DATA, TeeReport};

/// Where `tee-report` listens. It belongs to the staker's user.
pub const SOCKET: &str = "/run/daas/report.sock";

/// Where `tee-report` says whether the machine has a source of reports: [`SOURCE`] or [`NO_SOURCE`].
pub const SOURCE_FILE: &str = "/run/daas/evidence/report-source";
/// The machine has a source, and the socket is there.
pub const SOURCE: &str = "present";
/// The machine has none, and nobody listens.
pub const NO_SOURCE: &str = "none";

/// The longest words of a failure, in bytes.
pub const MAXIMUM_FAILURE: usize = 1024;

/// A request in bytes: its format, and the data.
pub const REQUEST: usize = 1 + REPORT_DATA;

/// The longest answer in bytes: two parts with their lengths, the format, and two tags.
pub const MAXIMUM_ANSWER: usize = MAXIMUM_REPORT + MAXIMUM_AUXILIARY + 16;

/// The format that is written, and the only one that is read.
const FORMAT: u8 = 1;

/// A report over this data is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportRequest {
    /// What it is to be bound to.
    pub report_data: [u8; REPORT_DATA],
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReportAnswer {
    /// The report, as the machine gave it.
    Report(TeeReport),
    /// The machine has no source of reports after all.
    NoSource,
    /// It has one, which gives none.
    Failed {
        /// One sentence for a person.
        message: String,
    },
}

/// A datagram that is no request or no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReportMessageError {
    /// It has a length that it can't have.
    #[error("a message of {found} bytes; expected {expected}")]
    Length {
        /// What it has.
        found: usize,
        /// What it should have.
        expected: String,
    },
    /// Another format.
    #[error("a message of the format {0}; expected {FORMAT}")]
    Format(u8),
    /// Not the structure of its format.
    #[error("a message that is not of the structure of its format")]
    Structure,
}

impl ReportRequest {
    /// Writes it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(REQUEST);
        bytes.push(FORMAT);
        bytes.extend_from_slice(&self.report_data);
        bytes
    }

    /// Reads it.
    ///
    /// # Errors
    /// When it is of another length or format.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ReportMessageError> {
        let (format, data) = bytes.split_first().ok_or_else(|| request_length(bytes))?;
        if *format != FORMAT {
            return Err(ReportMessageError::Format(*format));
        }
        let report_data = data.try_into().map_err(|_| request_length(bytes))?;
        Ok(Self { report_data })
    }
}

fn request_length(bytes: &[u8]) -> ReportMessageError {
    ReportMessageError::Length {
        found: bytes.len(),
        expected: REQUEST.to_string(),
    }
}

impl ReportAnswer {
    /// A failure, in as many of these words as go into an answer.
    #[must_use]
    pub fn failed(mut message: String) -> Self {
        message.truncate(message.floor_char_boundary(MAXIMUM_FAILURE));
        Self::Failed { message }
    }

    /// Writes it: a byte for the format, then BCS.
    ///
    /// # Errors
    /// When a part is out of its bounds.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ReportMessageError> {
        self.check()?;
        let mut bytes = vec![FORMAT];
        bcs::serialize_into(&mut bytes, self).map_err(|_| ReportMessageError::Structure)?;
        Ok(bytes)
    }

    /// Reads it.
    ///
    /// # Errors
    /// When it is too long, of another format or structure, or a part is out of its bounds.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ReportMessageError> {
        if bytes.len() > MAXIMUM_ANSWER {
            return Err(too_long(bytes.len(), MAXIMUM_ANSWER));
        }
        let answer: Self = match bytes.split_first() {
            Some((&FORMAT, rest)) => {
                bcs::from_bytes(rest).map_err(|_| ReportMessageError::Structure)?
            }
            Some((format, _)) => return Err(ReportMessageError::Format(*format)),
            None => return Err(ReportMessageError::Structure),
        };
        answer.check()?;
        Ok(answer)
    }

    fn check(&self) -> Result<(), ReportMessageError> {
        match self {
            Self::Failed { message } if message.len() > MAXIMUM_FAILURE => {
                Err(too_long(message.len(), MAXIMUM_FAILURE))
            }
            // a report has its bounds of itself
            Self::Failed { .. } | Self::Report(_) | Self::NoSource => Ok(()),
        }
    }
}

fn too_long(found: usize, most: usize) -> ReportMessageError {
    ReportMessageError::Length {
        found,
        expected: format!("at most {most}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tee_report::TeeKind;

    /// An answer with a report of these lengths, as bytes that nothing has looked at.
    fn wire(bytes: usize, auxiliary: usize) -> Vec<u8> {
        let report = (TeeKind::Tdx, vec![7_u8; bytes], vec![8_u8; auxiliary]);
        // format, and the variant's tag
        let mut wire = vec![FORMAT, 0];
        bcs::serialize_into(&mut wire, &report).expect("small");
        wire
    }

    #[test]
    fn a_request_has_one_length_and_one_format() {
        let request = ReportRequest {
            report_data: [9; REPORT_DATA],
        };
        let bytes = request.to_bytes();
        assert_eq!(bytes.len(), REQUEST);
        assert_eq!(ReportRequest::from_bytes(&bytes), Ok(request));
        for wrong in [&[][..], &bytes[..REQUEST - 1], &[&bytes[..], &[0]].concat()] {
            let error = ReportRequest::from_bytes(wrong).expect_err("of another length");
            assert!(error.to_string().contains("expected 65"), "{error}");
        }
        let mut other = bytes;
        other[0] = 2;
        let error = ReportRequest::from_bytes(&other).expect_err("of another format");
        assert_eq!(error, ReportMessageError::Format(2));
    }

    #[test]
    fn the_longest_answer_comes_through_and_a_longer_one_does_not() {
        let (report, auxiliary) = (vec![7; MAXIMUM_REPORT], vec![8; MAXIMUM_AUXILIARY]);
        let longest = TeeReport::new(TeeKind::Tdx, report, auxiliary).expect("within bounds");
        let longest = ReportAnswer::Report(longest);
        let bytes = longest.to_bytes().expect("within bounds");
        assert!(bytes.len() <= MAXIMUM_ANSWER, "{}", bytes.len());
        assert_eq!(bytes, wire(MAXIMUM_REPORT, MAXIMUM_AUXILIARY));
        assert_eq!(ReportAnswer::from_bytes(&bytes), Ok(longest));
        for (bytes, auxiliary) in [(0, 0), (MAXIMUM_REPORT + 1, 0), (1, MAXIMUM_AUXILIARY + 1)] {
            assert!(ReportAnswer::from_bytes(&wire(bytes, auxiliary)).is_err());
        }
        let failed = ReportAnswer::Failed {
            message: "x".repeat(MAXIMUM_FAILURE + 1),
        };
        assert!(failed.to_bytes().is_err());
        assert!(ReportAnswer::from_bytes(&vec![FORMAT; MAXIMUM_ANSWER + 1]).is_err());
    }

    #[test]
    fn words_of_any_length_make_a_failure() {
        let answer = ReportAnswer::failed("ü".repeat(MAXIMUM_FAILURE));
        let bytes = answer.to_bytes().expect("cut");
        assert_eq!(ReportAnswer::from_bytes(&bytes), Ok(answer));
    }

    fn any_answer() -> impl Strategy<Value = ReportAnswer> {
        let kind = prop_oneof![
            Just(TeeKind::SevSnp),
            Just(TeeKind::Tdx),
            Just(TeeKind::Nitro)
        ];
        let bytes = prop::collection::vec(any::<u8>(), 1..200);
        let auxiliary = prop::collection::vec(any::<u8>(), 0..200);
        prop_oneof![
            (kind, bytes, auxiliary).prop_map(|(kind, bytes, auxiliary)| {
                ReportAnswer::Report(TeeReport::new(kind, bytes, auxiliary).expect("small"))
            }),
            Just(ReportAnswer::NoSource),
            ".{0,400}".prop_map(ReportAnswer::failed),
        ]
    }

    proptest! {
        #[test]
        fn answers_come_back_as_they_went(answer in any_answer()) {
            let bytes = answer.to_bytes().expect("within bounds");
            prop_assert_eq!(ReportAnswer::from_bytes(&bytes), Ok(answer));
        }

        #[test]
        fn any_bytes_are_read_or_refused_and_read_in_one_way(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            if let Ok(request) = ReportRequest::from_bytes(&bytes) {
                prop_assert_eq!(request.to_bytes(), bytes.clone());
            }
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = FORMAT;
            }
            if let Ok(answer) = ReportAnswer::from_bytes(&bytes) {
                prop_assert_eq!(answer.to_bytes().expect("within bounds"), bytes);
            }
        }

        #[test]
        fn an_answer_that_is_cut_or_edited_is_read_or_refused(
            answer in any_answer(),
            cut in any::<prop::sample::Index>(),
            place in any::<prop::sample::Index>(),
            value in any::<u8>(),
        ) {
            let mut bytes = answer.to_bytes().expect("within bounds");
            let end = cut.index(bytes.len());
            prop_assert!(ReportAnswer::from_bytes(&bytes[..end]).is_err());
            let place = place.index(bytes.len());
            bytes[place] = value;
            let _ = ReportAnswer::from_bytes(&bytes);
        }
    }
}
