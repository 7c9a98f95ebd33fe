//! A command to a TPM as it comes in: its header and its handles, parsed once.

use std::fmt;

use tpm::channel::HEADER;
use tpm::transport::MAX_MESSAGE;
use tpm2_protocol::data::{TpmCc, TpmSt};

/// Bytes of a handle (Part 2, 7.1).
const HANDLE: usize = 4;

/// The number of a command (`TPM_CC`; Part 2, 6.5.2), known or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code(pub u32);

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match TpmCc::try_from(self.0) {
            Ok(code) => code.fmt(formatter),
            Err(_) => write!(formatter, "{:#x}", self.0),
        }
    }
}

/// Bytes that are no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Fewer bytes than a header has, or more than any command.
    #[error("{0} bytes are no command: one has {HEADER} to {MAX_MESSAGE}")]
    Length(usize),
    /// The size in the header is another than that of what came.
    #[error("the header names {named} bytes, and {found} came")]
    Size {
        /// In the header.
        named: u32,
        /// That came.
        found: usize,
    },
    /// The tag is none of a command.
    #[error("the tag {0:#06x} is none of a command")]
    Tag(u16),
}

/// A command whose header fits it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Command<'a> {
    code: Code,
    has_sessions: bool,
    body: &'a [u8],
}

impl<'a> Command<'a> {
    /// Reads the header: tag, size, code (Part 3, 4.3).
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let wrong_length = Malformed::Length(bytes.len());
        if bytes.len() > MAX_MESSAGE {
            return Err(wrong_length);
        }
        let (tag, rest) = bytes.split_first_chunk().ok_or(wrong_length)?;
        let (size, rest) = rest.split_first_chunk().ok_or(wrong_length)?;
        let (code, body) = rest.split_first_chunk().ok_or(wrong_length)?;
        let (tag, named) = (u16::from_be_bytes(*tag), u32::from_be_bytes(*size));
        let has_sessions = match tag {
            tag if tag == TpmSt::Sessions.value() => true,
            tag if tag == TpmSt::NoSessions.value() => false,
            tag => return Err(Malformed::Tag(tag)),
        };
        if usize::try_from(named) != Ok(bytes.len()) {
            return Err(Malformed::Size {
                named,
                found: bytes.len(),
            });
        }
        Ok(Self {
            code: Code(u32::from_be_bytes(*code)),
            has_sessions,
            body,
        })
    }

    /// What is asked for.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// Whether an authorisation area follows the handles.
    #[must_use]
    pub fn has_sessions(&self) -> bool {
        self.has_sessions
    }

    /// The parameters of a command with so many handles: what follows them, and the authorisation area where there is
    /// one (its size, then the area: Part 1, 18.6.2). None where it is cut.
    #[must_use]
    pub fn parameters(&self, handles: usize) -> Option<&'a [u8]> {
        let rest = self.body.get(handles.checked_mul(HANDLE)?..)?;
        if !self.has_sessions {
            return Some(rest);
        }
        let (size, rest) = rest.split_first_chunk()?;
        rest.get(usize::try_from(u32::from_be_bytes(*size)).ok()?..)
    }

    /// The first `count` words of four bytes behind the header: the handles of a command that has so many;
    /// none where it is cut.
    #[must_use]
    pub fn words(&self, count: usize) -> Option<impl ExactSizeIterator<Item = u32> + 'a> {
        let area = self.body.get(..count.checked_mul(HANDLE)?)?;
        let (words, _) = area.as_chunks::<HANDLE>();
        Some(words.iter().map(|word| u32::from_be_bytes(*word)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `TPM2_PCR_Extend` of PCR 11, cut behind its handle.
    const CUT: [u8; 14] = [0x80, 2, 0, 0, 0, 14, 0, 0, 1, 0x82, 0, 0, 0, 11];

    #[test]
    fn command_with_handles_is_parsed() {
        let command = Command::parse(&CUT).unwrap();
        assert_eq!(command.code(), Code(0x182));
        assert_eq!(command.code().to_string(), "TPM_CC_PCR_Extend");
        assert!(command.has_sessions());
        assert_eq!(command.words(0).unwrap().count(), 0);
        assert!(command.words(1).unwrap().eq([11]));
        assert!(command.words(2).is_none());
        assert_eq!(command.parameters(1), None, "the area is cut");
        let whole = [
            0x80, 2, 0, 0, 0, 21, 0, 0, 1, 0x82, 0, 0, 0, 11, 0, 0, 0, 1, 9, 7, 7,
        ];
        let command = Command::parse(&whole).unwrap();
        assert_eq!(command.parameters(1), Some([7, 7].as_slice()));
        assert_eq!(command.parameters(3), None);
        assert!(command.words(usize::MAX).is_none());
        assert_eq!(Code(0x2000_0001).to_string(), "0x20000001");
    }

    #[test]
    fn bytes_that_are_no_command_are_refused() {
        for length in 0..HEADER {
            let cut = CUT.get(..length).unwrap();
            assert_eq!(Command::parse(cut), Err(Malformed::Length(length)));
        }
        for length in HEADER..CUT.len() {
            let cut = CUT.get(..length).unwrap();
            let size = Malformed::Size {
                named: 14,
                found: length,
            };
            assert_eq!(Command::parse(cut), Err(size));
        }
        let long = [CUT.as_slice(), &[0]].concat();
        assert!(matches!(
            Command::parse(&long),
            Err(Malformed::Size { found: 15, .. })
        ));
        let longest = vec![0; MAX_MESSAGE + 1];
        assert_eq!(
            Command::parse(&longest),
            Err(Malformed::Length(MAX_MESSAGE + 1))
        );
        for tag in [0, 0x8000, 0x8003, 0x00c4, 0xffff_u16] {
            let mut other = CUT;
            other[..2].copy_from_slice(&tag.to_be_bytes());
            assert_eq!(Command::parse(&other), Err(Malformed::Tag(tag)));
        }
    }
}
