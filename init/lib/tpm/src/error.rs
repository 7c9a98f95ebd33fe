//! What can go wrong between this program and the TPM, in words.

use std::{io, path::PathBuf, time::Duration};

use tpm2_protocol::data::{TpmCc, TpmRc, TpmRcBase};

/// A command that did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The device node cannot be opened.
    #[error("the TPM at {} cannot be opened; is there a TPM 2.0, and is it switched on in the firmware's setup?", path.display())]
    Open {
        /// The device node.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The program that passes commands on is not there.
    #[error("the TPM's broker at {} can't be reached", path.display())]
    Broker {
        /// Its socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Writing to or reading from the TPM failed.
    #[error("the TPM's channel failed")]
    Channel(#[source] io::Error),
    /// The TPM did not answer in time. The channel takes no further command.
    #[error("the TPM did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// An earlier command timed out, so that the next reply may not belong to the next command.
    #[error("the TPM's channel is out of step since a command that timed out; open it anew")]
    OutOfStep,
    /// The TPM refused the command.
    #[error("the TPM refused {command}: {}", describe(*.code))]
    Refused {
        /// The command.
        command: TpmCc,
        /// The response code as it came, TPM 2.0 Library Part 2, 6.6.
        code: u32,
    },
    /// The reply does not have the structure that the command's reply has.
    #[error("the TPM's reply to {command} is malformed: {what}")]
    Malformed {
        /// The command.
        command: TpmCc,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A command does not fit its structure: a value of the caller's is too long.
    #[error("a value is too long for {0}")]
    TooLong(TpmCc),
    /// The reply's authentication code is wrong.
    #[error(
        "the reply to {0} carries a wrong authentication code: something between this program and the TPM changes messages"
    )]
    ReplyForged(TpmCc),
    /// A public area does not hash to the name that came with it.
    #[error("the TPM's reply to {0} names an object by another name than its public area has")]
    WrongName(TpmCc),
    /// The storage root key's handle is empty.
    #[error("the TPM holds no storage root key at 0x81000001: it was cleared, or was never set up")]
    NoStorageRootKey,
    /// Another kind of key lies at the storage root key's handle.
    #[error(
        "the key at the TPM's handle 0x81000001 is not an ECC P-256 storage root key of the TCG's template ({0}): another system has set this TPM up; clear it in the firmware's setup"
    )]
    ForeignStorageRootKey(&'static str),
    /// A point that is not on the curve, or a scalar that is none.
    #[error("{0} is not a valid P-256 value")]
    NotP256(&'static str),
    /// The TPM has no SHA-256 bank for a PCR.
    #[error("the TPM keeps no SHA-256 bank of PCR {0}; switch the bank on in the firmware's setup")]
    NoBank(u8),
    /// No such PCR.
    #[error("there is no PCR {0}; they are numbered 0 to 23")]
    NoPcr(u8),
    /// The policy that the TPM computed is another than ours.
    #[error("the policy session does not hold the policy that it should")]
    PolicyDigest,
    /// A signature does not verify.
    #[error("{0}")]
    Signature(&'static str),
    /// The counter's handle holds something else.
    #[error("the TPM's index {0:#010x} is not the counter that it should be: {1}")]
    ForeignCounter(u32, &'static str),
    /// The system has no random numbers.
    #[error("the kernel gave no random bytes")]
    Random(#[source] io::Error),
}

impl Error {
    /// The response code's meaning, when the TPM refused the command.
    #[must_use]
    pub fn response(&self) -> Option<TpmRcBase> {
        match self {
            Self::Refused { code, .. } => TpmRc::try_from(*code).ok().map(|code| code.base()),
            _ => None,
        }
    }

    /// Whether the TPM refused since nothing is at the handle.
    ///
    /// `TPM_RC_HANDLE` is what an absent persistent object or NV index gives.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.response() == Some(TpmRcBase::Handle)
    }
}

/// A response code in words: its name in TPM 2.0 Library Part 2, tables 15 to 17, and what it
/// means to a person where that helps.
#[must_use]
pub fn describe(code: u32) -> String {
    let Ok(parsed) = TpmRc::try_from(code) else {
        return format!("response code {code:#x}, which the specification does not name");
    };
    let meaning = match parsed.base() {
        TpmRcBase::PolicyFail => "the policy is not satisfied",
        TpmRcBase::Policy => "the policy's value does not match what is measured",
        TpmRcBase::PcrChanged => "a PCR has changed since the policy was checked",
        TpmRcBase::Value => "a value is out of range or not what it should be",
        TpmRcBase::AuthFail => "a wrong authorisation value, counted against the lockout",
        TpmRcBase::BadAuth => "a wrong authorisation value; an owner's password is set",
        TpmRcBase::Lockout => "too many wrong attempts: the TPM is locked for a while",
        TpmRcBase::Handle => "there is nothing at this handle",
        TpmRcBase::Integrity => "the object was made by another TPM, or was edited",
        TpmRcBase::Signature => "the signature is not the key's",
        TpmRcBase::Initialize => "the firmware has not started the TPM",
        TpmRcBase::Failure => "the TPM failed its own test; a power cycle may help",
        TpmRcBase::NvRate => "the TPM limits writes to its memory; try again later",
        TpmRcBase::NvSpace => "the TPM's memory is full",
        TpmRcBase::NvDefined => "the index exists already",
        TpmRcBase::NvUninitialized => "the index was never written",
        TpmRcBase::ObjectMemory | TpmRcBase::SessionMemory | TpmRcBase::Memory => {
            "the TPM has no room for another object or session"
        }
        TpmRcBase::Retry | TpmRcBase::Yielded | TpmRcBase::Testing => "the TPM is busy",
        TpmRcBase::CommandCode => "this TPM does not know the command",
        TpmRcBase::Hierarchy | TpmRcBase::Disabled => "the hierarchy is switched off",
        _ => return parsed.to_string(),
    };
    format!("{meaning} ({parsed})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_told_in_words() {
        // Part 2, 6.6: format one, session 1, TPM_RC_POLICY_FAIL
        assert_eq!(
            describe(0x99d),
            "the policy is not satisfied ([TPM_RC_POLICY_FAIL, session[1]])"
        );
        assert!(describe(0x18b).contains("nothing at this handle"));
        assert!(describe(0xdead_beef).contains("0xdeadbeef"));
    }
}
