//! What started the machine: the firmware, as the TPM's registers name it.
//!
//! Nobody publishes what a firmware measures, so no value is known to be right. What can be asked is that it
//! measures at all, that it is one that the operator has listed, and whether it is the one that a TPM showed
//! before.

use std::fmt;

use seal::tpm::crypto::Digest;

use attest::event_log::EventLog;
use master_api::RefusalCode;

use crate::fault::Fault;

/// The firmware of a machine, by what it has measured of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Firmware {
    /// Register 0: the firmware's own code.
    pub pcr0: Digest,
    /// Register 2: the code of cards and drivers that the firmware runs.
    pub pcr2: Digest,
}

impl fmt::Display for Firmware {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (pcr0, pcr2) = (hex::encode(self.pcr0), hex::encode(self.pcr2));
        write!(formatter, "pcr0={pcr0} pcr2={pcr2}")
    }
}

/// An entry of an operator's list. What it does not name may be anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AllowedFirmware {
    /// Register 0.
    pub pcr0: Option<Digest>,
    /// Register 2.
    pub pcr2: Option<Digest>,
}

impl AllowedFirmware {
    fn allows(&self, firmware: &Firmware) -> bool {
        self.pcr0.is_none_or(|pcr0| pcr0 == firmware.pcr0)
            && self.pcr2.is_none_or(|pcr2| pcr2 == firmware.pcr2)
    }
}

/// A firmware that measures nothing of itself, or nothing of what it starts, says nothing of either.
pub(crate) fn check_measured(log: &EventLog<'_>) -> Result<(), Fault> {
    for (register, what) in [(0, "itself"), (4, "what it starts")] {
        if !log.measures(register) {
            return Err(Fault::new(
                RefusalCode::Firmware,
                format!(
                    "the firmware has measured nothing of {what}: register {register} is empty"
                ),
            ));
        }
    }
    Ok(())
}

/// The firmware is on the operator's list, where there is one.
pub(crate) fn check_allowed(
    firmware: &Firmware,
    allowed: Option<&[AllowedFirmware]>,
) -> Result<(), Fault> {
    if allowed.is_none_or(|list| list.iter().any(|entry| entry.allows(firmware))) {
        return Ok(());
    }
    Err(Fault::new(
        RefusalCode::Firmware,
        format!("the machine's firmware is not one that the master allows ({firmware})"),
    ))
}
