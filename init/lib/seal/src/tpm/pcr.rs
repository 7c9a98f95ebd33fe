//! Platform configuration registers: what was measured.

use tpm2_protocol::{
    TpmMarshal,
    basic::{TpmBuffer, TpmHandle},
    data::{
        TpmAlgId, TpmCc, TpmlDigestValues, TpmlPcrSelection, TpmsPcrSelect, TpmsPcrSelection,
        TpmtHa, TpmuHa,
    },
    frame::{TpmPcrExtendCommand, TpmPcrExtendResponse, TpmPcrReadCommand, TpmPcrReadResponse},
};
use zeroize::Zeroizing;

use super::{
    Session, Tpm,
    crypto::{Digest, sha256},
    error::Error,
    malformed, marshal,
};

/// The state of Secure Boot and its keys: TCG PC Client Platform Firmware Profile 1.05, 3.3.4.8.
pub const SECURE_BOOT: u8 = 7;

/// The unified kernel image and the boot phases: the Linux TPM PCR Registry of the UAPI Group.
pub const KERNEL: u8 = 11;

/// What the kernel is given from outside its unified image: command lines, credentials, add-ons (the
/// Linux TPM PCR Registry of the UAPI Group).
pub const OVERRIDES: u8 = 12;

/// What a PCR holds that nothing was measured into since the machine started: the PC Client profile,
/// 4.6.3, for those up to 16.
pub const UNTOUCHED: Digest = [0; 32];

/// A PC's TPM has 24: TCG PC Client Platform TPM Profile 1.05, 4.6.
const COUNT: u8 = 24;

/// A selection of PCRs of the SHA-256 bank (`TPML_PCR_SELECTION`, Part 2, 10.9.7).
pub(crate) fn selection(pcrs: &[u8]) -> Result<TpmlPcrSelection, Error> {
    // three bytes are PC_CLIENT's size (PCR_SELECT_MIN), which every TPM gives back
    let mut select = [0_u8; 3];
    for pcr in pcrs {
        let byte = select
            .get_mut(usize::from(pcr / 8))
            .ok_or(Error::NoPcr(*pcr))?;
        *byte |= 1 << (pcr % 8);
    }
    let command = TpmCc::PcrRead;
    let mut list = TpmlPcrSelection::default();
    list.try_push(TpmsPcrSelection {
        hash: TpmAlgId::Sha256,
        pcr_select: TpmsPcrSelect::try_from(select.as_slice())
            .map_err(|_| Error::TooLong(command))?,
    })
    .map_err(|_| Error::TooLong(command))?;
    Ok(list)
}

pub(crate) fn selection_bytes(pcrs: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
    let list = selection(pcrs)?;
    marshal(TpmCc::PolicyPcr, |writer| list.marshal(writer))
}

/// The value of a PCR after it was extended by a digest: Part 1, 17.2.
#[must_use]
pub fn extended(value: &Digest, by: &Digest) -> Digest {
    sha256(&[value, by])
}

/// What a boot phase is measured as: the hash of its name, as systemd-pcrphase(8) does.
#[must_use]
pub fn phase_digest(name: &str) -> Digest {
    sha256(&[name.as_bytes()])
}

impl Tpm {
    /// Reads a PCR of the SHA-256 bank.
    ///
    /// # Errors
    ///
    /// When the TPM does not keep that bank.
    pub fn read_pcr(&mut self, pcr: u8) -> Result<Digest, Error> {
        let wanted = selection(&[pcr])?;
        let command = TpmPcrReadCommand {
            pcr_selection_in: wanted,
            handles: [],
        };
        let reply: TpmPcrReadResponse = self.run(&command, &[], &mut [])?;
        let value = match &*reply.pcr_values {
            [value] if reply.pcr_selection_out == wanted => value,
            _ => return Err(Error::NoBank(pcr)),
        };
        (**value)
            .try_into()
            .map_err(|_| malformed(TpmCc::PcrRead, "a value has not the length of SHA-256"))
    }

    /// Extends a PCR of the SHA-256 bank. It does not go back before the next boot.
    ///
    /// # Errors
    ///
    /// When the TPM refuses.
    pub fn extend_pcr(&mut self, pcr: u8, by: &Digest) -> Result<(), Error> {
        if pcr >= COUNT {
            return Err(Error::NoPcr(pcr));
        }
        let too_long = |_| Error::TooLong(TpmCc::PcrExtend);
        let mut digests = TpmlDigestValues::default();
        let digest = TpmBuffer::try_from(by.as_slice()).map_err(too_long)?;
        digests
            .try_push(TpmtHa {
                hash_alg: TpmAlgId::Sha256,
                digest: TpmuHa::Digest(digest),
            })
            .map_err(too_long)?;
        // a PCR's handle is its number (Part 2, 7.2), and its name is its handle
        let handle = TpmHandle::new(pcr.into());
        let command = TpmPcrExtendCommand {
            handles: [handle],
            digests,
        };
        self.run::<_, TpmPcrExtendResponse>(
            &command,
            &[&u32::from(pcr).to_be_bytes()],
            &mut [&mut Session::password()],
        )?;
        Ok(())
    }
}
