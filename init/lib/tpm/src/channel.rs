//! Commands on their way: framed, sent, and sent again while the TPM is busy.

use std::{path::Path, thread, time::Duration};

use tpm2_protocol::{
    TpmWriter,
    data::{TpmCc, TpmRc, TpmRcBase},
};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::transport::{Device, MAX_MESSAGE, Transport};

/// Bytes of a header: tag, size, command or response code (Part 3, 4.4).
pub const HEADER: usize = 10;

/// How often a command is sent again that the TPM was too busy for, with a pause that doubles from
/// 10 ms: 5 s in all. The kernel's driver does the same for its own commands.
const RETRIES: u32 = 9;

/// An open TPM, as far as single commands go.
pub struct Channel {
    transport: Box<dyn Transport>,
}

impl Channel {
    /// Takes a transport over.
    #[must_use]
    pub fn new(transport: Box<dyn Transport>) -> Self {
        Self { transport }
    }

    /// Opens a TPM's device node, see [`crate::transport::DEVICE`].
    ///
    /// # Errors
    ///
    /// When it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self::new(Box::new(Device::open(path)?)))
    }

    /// Sends a message, again while the TPM is busy. A refused command rolls no nonce, so that the
    /// same bytes are good again (Part 1, 19.6.3.2).
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with the response code; what the transport says.
    pub fn send(&mut self, command: TpmCc, message: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        let mut pause = Duration::from_millis(10);
        for attempt in 0.. {
            let reply = self.transport.transact(message)?;
            let code = header(command, &reply)?.code;
            let busy = TpmRc::try_from(code).is_ok_and(|code| {
                matches!(
                    code.base(),
                    TpmRcBase::Retry
                        | TpmRcBase::Yielded
                        | TpmRcBase::Testing
                        | TpmRcBase::NvRate
                        // what another process has loaded, or a key that is being looked for, takes the room
                        | TpmRcBase::Memory
                        | TpmRcBase::ObjectMemory
                        | TpmRcBase::SessionMemory
                )
            });
            if code == 0 {
                return Ok(reply);
            }
            if !busy || attempt == RETRIES {
                return Err(Error::Refused { command, code });
            }
            thread::sleep(pause);
            pause *= 2;
        }
        Err(malformed(command, "the TPM stays busy"))
    }
}

/// The wire bytes of a structure.
///
/// # Errors
///
/// [`Error::TooLong`] for more than [`MAX_MESSAGE`] bytes.
pub fn marshal(
    command: TpmCc,
    write: impl FnOnce(&mut TpmWriter<'_>) -> tpm2_protocol::TpmResult<()>,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut buffer = Zeroizing::new(vec![0; MAX_MESSAGE]);
    let mut writer = TpmWriter::new(&mut buffer);
    write(&mut writer).map_err(|_| Error::TooLong(command))?;
    let length = writer.len();
    buffer.truncate(length);
    Ok(buffer)
}

/// The error for a reply of the wrong structure.
#[must_use]
pub fn malformed(command: TpmCc, what: &'static str) -> Error {
    Error::Malformed { command, what }
}

/// What a reply begins with (Part 3, 4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Whether authorisations follow (`TPM_ST`).
    pub tag: u16,
    /// The response code; zero: success.
    pub code: u32,
}

/// Reads the header of a reply.
///
/// # Errors
///
/// [`Error::Malformed`] where it is cut, or its size is not that of the reply.
pub fn header(command: TpmCc, reply: &[u8]) -> Result<Header, Error> {
    let short = || malformed(command, "it is shorter than a header");
    if reply.len() > MAX_MESSAGE {
        return Err(malformed(command, "it is longer than any reply"));
    }
    let (tag, rest) = reply.split_first_chunk().ok_or_else(short)?;
    let (size, rest) = rest.split_first_chunk().ok_or_else(short)?;
    let (code, _) = rest.split_first_chunk().ok_or_else(short)?;
    if usize::try_from(u32::from_be_bytes(*size)) != Ok(reply.len()) {
        return Err(malformed(command, "its size is not what its header says"));
    }
    Ok(Header {
        tag: u16::from_be_bytes(*tag),
        code: u32::from_be_bytes(*code),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// A TPM that answers by these response codes, one a command.
    struct Scripted(VecDeque<u32>);

    impl Transport for Scripted {
        fn transact(&mut self, _: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
            let code = self.0.pop_front().expect("a command too many");
            let mut reply = vec![0x80, 1, 0, 0, 0, 10];
            reply.extend(code.to_be_bytes());
            Ok(Zeroizing::new(reply))
        }
    }

    fn send(codes: &[u32]) -> Result<Zeroizing<Vec<u8>>, Error> {
        let codes = codes.iter().copied().collect();
        Channel::new(Box::new(Scripted(codes))).send(TpmCc::PcrRead, &[])
    }

    #[test]
    fn command_refused_for_a_moment_is_sent_again() {
        // Part 2, 6.6.3, table 17 (TPM_RC): RETRY, YIELDED, TESTING, NV_RATE, MEMORY, OBJECT_MEMORY, SESSION_MEMORY
        for code in [0x922, 0x908, 0x90a, 0x920, 0x904, 0x902, 0x903] {
            assert!(send(&[code, code, 0]).is_ok(), "{code:#x}");
        }
    }

    #[test]
    fn command_refused_for_longer_is_not_sent_again() {
        // LOCKOUT, PCR_CHANGED, POLICY_FAIL
        for code in [0x921, 0x128, 0x99d] {
            let refused = send(&[code]);
            assert!(matches!(refused, Err(Error::Refused { code: found, .. }) if found == code));
        }
    }
}
