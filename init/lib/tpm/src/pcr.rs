//! Platform configuration registers: what was measured.

use tpm2_protocol::{
    TpmMarshal,
    basic::TpmBuffer,
    data::{
        TpmAlgId, TpmCc, TpmSt, TpmlDigestValues, TpmlPcrSelection, TpmsPcrSelect,
        TpmsPcrSelection, TpmtHa, TpmuHa,
    },
    frame::{TpmPcrReadResponse, TpmUnmarshalBody},
};

use crate::channel::{Channel, HEADER, header, malformed, marshal};
use crate::error::Error;
use crate::{Digest, sha256};

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
///
/// # Errors
///
/// [`Error::NoPcr`] for a number above 23.
pub fn selection(pcrs: &[u8]) -> Result<TpmlPcrSelection, Error> {
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

/// Reads a PCR of the SHA-256 bank.
///
/// # Errors
///
/// When the TPM does not keep that bank; what the TPM and the way to it say.
pub fn read(channel: &mut Channel, pcr: u8) -> Result<Digest, Error> {
    let code = TpmCc::PcrRead;
    let wanted = selection(&[pcr])?;
    let parameters = marshal(code, |writer| wanted.marshal(writer))?;
    let reply = channel.send(code, &frame(TpmSt::NoSessions, code, &[&parameters])?)?;
    let body = body(code, TpmSt::NoSessions, &reply)?;
    let reply = TpmPcrReadResponse::unmarshal_body(&[], body)
        .map_err(|_| malformed(code, "its parameters have another structure"))?;
    let value = match &*reply.pcr_values {
        [value] if reply.pcr_selection_out == wanted => value,
        _ => return Err(Error::NoBank(pcr)),
    };
    (**value)
        .try_into()
        .map_err(|_| malformed(code, "a value has not the length of SHA-256"))
}

/// Extends a PCR of the SHA-256 bank. It does not go back before the next boot.
///
/// # Errors
///
/// When the TPM refuses; what the way to it says.
pub fn extend(channel: &mut Channel, pcr: u8, by: &Digest) -> Result<(), Error> {
    let code = TpmCc::PcrExtend;
    if pcr >= COUNT {
        return Err(Error::NoPcr(pcr));
    }
    let too_long = |_| Error::TooLong(code);
    let mut digests = TpmlDigestValues::default();
    let digest = TpmBuffer::try_from(by.as_slice()).map_err(too_long)?;
    digests
        .try_push(TpmtHa {
            hash_alg: TpmAlgId::Sha256,
            digest: TpmuHa::Digest(digest),
        })
        .map_err(too_long)?;
    let parameters = marshal(code, |writer| digests.marshal(writer))?;
    // a PCR's handle is its number (Part 2, 7.2)
    let handle = u32::from(pcr).to_be_bytes();
    let message = frame(
        TpmSt::Sessions,
        code,
        &[&handle, &EMPTY_PASSWORD, &parameters],
    )?;
    let reply = channel.send(code, &message)?;
    if body(code, TpmSt::Sessions, &reply)? == NO_PARAMETERS {
        Ok(())
    } else {
        Err(malformed(code, "it is not an empty one"))
    }
}

/// How often [`extend_once`] tries: the kernel gives a command up after some seconds.
const ATTEMPTS: u32 = 5;

/// Extends a PCR exactly once, and tries again where that fails: an attempt whose reply was lost may
/// have done it. `open` opens the TPM anew for each attempt; `is_done` says of a value that an earlier
/// caller has extended it already. Nothing else may extend that PCR meanwhile.
///
/// # Errors
///
/// That of the last attempt.
pub fn extend_once(
    pcr: u8,
    by: &Digest,
    is_done: impl Fn(&Digest) -> bool,
    open: impl Fn() -> Result<Channel, Error>,
) -> Result<(), Error> {
    let mut before = None;
    let mut attempt = || {
        let mut channel = open()?;
        let value = read(&mut channel, pcr)?;
        let before = *before.get_or_insert(value);
        if is_done(&value) || value == extended(&before, by) {
            return Ok(());
        }
        extend(&mut channel, pcr, by)
    };
    for _ in 1..ATTEMPTS {
        match attempt() {
            Ok(()) => return Ok(()),
            Err(error) => {
                let error = wire::error::chain(&error);
                tracing::warn!(pcr, error, "not measured yet: trying again");
            }
        }
    }
    attempt()
}

/// The authorization area for a PCR, whose authorization value is empty (Part 1, 18.6; Part 2, 10.13.2):
/// its size, `TPM_RS_PW`, no nonce, no attribute, no password.
const EMPTY_PASSWORD: [u8; 13] = [0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0];

/// What follows the header of a reply without parameters: their size, then the password session's
/// acknowledgement (Part 2, 10.13.3): no nonce, `continueSession`, no code.
const NO_PARAMETERS: [u8; 9] = [0, 0, 0, 0, 0, 0, 1, 0, 0];

/// A command: tag, size, code, and what follows (Part 3, 4.4).
fn frame(tag: TpmSt, code: TpmCc, parts: &[&[u8]]) -> Result<Vec<u8>, Error> {
    let body = parts.concat();
    let size =
        u32::try_from(HEADER.saturating_add(body.len())).map_err(|_| Error::TooLong(code))?;
    let head = [
        &tag.value().to_be_bytes() as &[u8],
        &size.to_be_bytes(),
        &code.value().to_be_bytes(),
    ];
    Ok([head.concat(), body].concat())
}

/// What follows the header of a reply.
fn body(code: TpmCc, tag: TpmSt, reply: &[u8]) -> Result<&[u8], Error> {
    if header(code, reply)?.tag != tag.value() {
        return Err(malformed(
            code,
            "its tag does not fit the command's sessions",
        ));
    }
    reply
        .get(HEADER..)
        .ok_or_else(|| malformed(code, "it ends too early"))
}
