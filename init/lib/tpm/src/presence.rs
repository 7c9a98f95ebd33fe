//! Whether this machine has a TPM. A machine whose TPM did not come up is not one that has none: what
//! it makes without encryption would stay so.

use std::fs;
use std::io;
use std::path::Path;

use crate::transport::DEVICE;

/// What the firmware says about its TPM (TCG ACPI Specification, "TPM2"), where it has one that it
/// did not switch off; as the kernel shows it (Documentation/ABI/testing/sysfs-firmware-acpi).
const FIRMWARE_TABLE: &str = "/sys/firmware/acpi/tables/TPM2";
/// How the ACPI namespace names a TPM 2.0 (TCG ACPI Specification, `_HID`).
const ACPI_NAME: &str = "MSFT0101";
/// The buses that the kernel's drivers for it are on: `tpm_crb` and `tpm_tis` (drivers/char/tpm).
const BUSES: [&str; 2] = ["/sys/bus/acpi", "/sys/bus/platform"];

/// What there is of a TPM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// This machine has none, or its firmware switched it off.
    Absent,
    /// It has one, and the kernel drives it.
    Ready,
    /// The firmware tells of one, and the kernel could not start it.
    NotStarted,
}

/// What there is now.
pub fn presence() -> Presence {
    of(Path::new(DEVICE), Path::new(FIRMWARE_TABLE))
}

fn of(device: &Path, firmware_table: &Path) -> Presence {
    if device.exists() {
        Presence::Ready
    } else if firmware_table.exists() {
        Presence::NotStarted
    } else {
        Presence::Absent
    }
}

/// Asks the kernel to try once more to start a TPM: its driver gives one up that took too long to
/// answer (Documentation/ABI/testing/sysfs-bus: `drivers_probe`).
pub fn start_again() -> Presence {
    for bus in BUSES {
        if let Err(error) = probe(Path::new(bus)) {
            tracing::warn!(%error, bus, "the kernel did not look for a TPM again");
        }
    }
    presence()
}

fn probe(bus: &Path) -> io::Result<()> {
    for entry in fs::read_dir(bus.join("devices"))? {
        let name = entry?.file_name();
        if let Some(name) = name.to_str().filter(|name| name.starts_with(ACPI_NAME)) {
            files::write_existing(bus.join("drivers_probe"), name)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tpm_that_did_not_come_up_is_not_taken_for_none() {
        let directory = tempfile::tempdir().unwrap();
        let (device, table) = (
            directory.path().join("tpmrm0"),
            directory.path().join("TPM2"),
        );
        assert_eq!(of(&device, &table), Presence::Absent);
        fs::write(&table, "TPM2").unwrap();
        assert_eq!(of(&device, &table), Presence::NotStarted);
        fs::write(&device, "").unwrap();
        assert_eq!(of(&device, &table), Presence::Ready);
        fs::remove_file(&table).unwrap();
        assert_eq!(of(&device, &table), Presence::Ready);
    }

    #[test]
    fn only_a_tpm_is_probed() {
        let bus = tempfile::tempdir().unwrap();
        let devices = bus.path().join("devices");
        let probed = bus.path().join("drivers_probe");
        fs::create_dir(&devices).unwrap();
        fs::write(&probed, "").unwrap();
        fs::write(devices.join("PNP0C0C:00"), "").unwrap();
        probe(bus.path()).unwrap();
        assert_eq!(fs::read(&probed).unwrap(), b"");
        fs::write(devices.join("MSFT0101:00"), "").unwrap();
        probe(bus.path()).unwrap();
        assert_eq!(fs::read(&probed).unwrap(), b"MSFT0101:00");
    }
}
