//! `TPM2_Clear` by the operating system, and that it is switched off.
//!
//! To clear a TPM is to give it another seed for its owner's keys: all that was sealed, and every key in it
//! that is not the manufacturer's, is lost. The lockout's authorisation value, which is empty as a TPM leaves
//! its factory, is enough for it, until `TPM2_ClearControl` switches that off. The platform alone, which
//! is the firmware, switches it on again: whoever stands before the machine still clears its TPM in the
//! firmware's setup.

use tpm2_protocol::data::{TpmCc, TpmRh};
use zeroize::Zeroizing;

use super::{Request, Session, Tpm, error::Error, malformed, object::hierarchy};

/// `TPM_CAP_TPM_PROPERTIES` (Part 2, 6.12).
const PROPERTIES: u32 = 6;
/// `TPM_PT_PERMANENT` (Part 2, 6.13).
const PERMANENT: u32 = 0x200;
/// `TPMA_PERMANENT` (Part 2, 8.6): the lockout's authorisation value is not empty.
const LOCKOUT_AUTH_SET: u32 = 1 << 2;
/// The same: `TPM2_Clear` is switched off.
const DISABLE_CLEAR: u32 = 1 << 8;

/// Whether the operating system can clear the TPM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clear {
    /// It can't: an earlier boot has switched it off.
    WasOff,
    /// It can't: it was switched off now.
    Off,
    /// Only who knows the lockout's password can, and can switch it off.
    HasPassword,
}

impl Tpm {
    /// `TPMA_PERMANENT`: Part 3, 30.2.
    fn permanent(&mut self) -> Result<u32, Error> {
        let command = TpmCc::GetCapability;
        let parameters: Vec<u8> = [PROPERTIES, PERMANENT, 1]
            .iter()
            .flat_map(|word| word.to_be_bytes())
            .collect();
        let request = Request {
            command,
            handles: &[],
            parameters: Zeroizing::new(parameters),
            encrypt: false,
            decrypt: false,
            reply_handles: 0,
        };
        let reply = self.call(request, &mut [])?;
        // whether there is more; the capability, one property, its tag, its value (Part 2, 10.9.8)
        let words = reply.parameters.get(1..).and_then(|rest| {
            let (words, []) = rest.as_chunks::<4>() else {
                return None;
            };
            let words: Vec<u32> = words.iter().map(|word| u32::from_be_bytes(*word)).collect();
            <[u32; 4]>::try_from(words).ok()
        });
        match words {
            Some([PROPERTIES, 1, PERMANENT, value]) => Ok(value),
            _ => Err(malformed(command, "it is another capability")),
        }
    }

    /// Switches `TPM2_Clear` off for the operating system, for good: `TPM2_ClearControl` (Part 3, 24.7) by
    /// the lockout's authorisation value. Where that is not empty, nothing is tried: a wrong one shuts the
    /// lockout itself for a while.
    ///
    /// # Errors
    ///
    /// When the TPM refuses, or says afterwards that it is not so.
    pub fn switch_clear_off(&mut self) -> Result<Clear, Error> {
        let permanent = self.permanent()?;
        if permanent & DISABLE_CLEAR != 0 {
            return Ok(Clear::WasOff);
        }
        if permanent & LOCKOUT_AUTH_SET != 0 {
            return Ok(Clear::HasPassword);
        }
        let command = TpmCc::ClearControl;
        let (lockout, name) = hierarchy(TpmRh::Lockout);
        let request = Request {
            command,
            handles: &[(lockout, &name)],
            // TPMI_YES_NO: disable
            parameters: Zeroizing::new(vec![1]),
            encrypt: false,
            decrypt: false,
            reply_handles: 0,
        };
        self.call(request, &mut [&mut Session::password()])?;
        if self.permanent()? & DISABLE_CLEAR == 0 {
            return Err(malformed(command, "clear is still on"));
        }
        Ok(Clear::Off)
    }
}
