//! The disks that an image can be written to, and what they are.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::contents::Contents;
use super::system::System;
use crate::progress::human_size;

/// Devices that the kernel makes itself, and drives that no machine boots this system from: optical, floppy,
/// and raw flash.
const NO_CANDIDATES: [&str; 9] = ["loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd", "mtd"];
/// The ends of the names of an eMMC's own areas (`mmcblk0boot0`, `mmcblk0rpmb`).
const MMC_AREAS: [&str; 4] = ["boot0", "boot1", "rpmb", "gp0"];
/// A SCSI disk's page with its serial number: length of what stands before it (SPC-6, 7.7.16).
const PAGE_HEADER: usize = 4;

/// How a disk is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the names say it
pub enum Bus {
    Usb,
    Nvme,
    Sata,
    Mmc,
    Virtio,
    Scsi,
    Loop,
    Other,
}

impl fmt::Display for Bus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Usb => "usb",
            Self::Nvme => "nvme",
            Self::Sata => "sata",
            Self::Mmc => "mmc",
            Self::Virtio => "virtio",
            Self::Scsi => "scsi",
            Self::Loop => "loop",
            Self::Other => "other",
        })
    }
}

/// A whole disk.
#[derive(Debug, Clone)]
pub struct Disk {
    /// The kernel's name.
    pub name: String,
    /// The device node.
    pub node: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// How it is connected.
    pub bus: Bus,
    /// Vendor and model, where it says them.
    pub model: Option<String>,
    /// Its serial number, where it says one.
    pub serial: Option<String>,
}

impl Disk {
    /// What the kernel knows of a whole device.
    #[must_use]
    pub fn of(system: &System, name: &str) -> Self {
        let path = system.path(name);
        Self {
            name: name.to_owned(),
            node: system.node(name),
            size: system.size(name),
            bus: bus(name, &path),
            model: model(system, name),
            serial: serial(system, name, &path),
        }
    }

    /// What is on it.
    #[must_use]
    pub fn contents(&self) -> Contents {
        match File::open(&self.node) {
            Ok(disk) => Contents::of(&disk, self.size),
            Err(error) => Contents::Unreadable(error.to_string()),
        }
    }
}

impl fmt::Display for Disk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:<14} {:>11}  {:<6}  {:<28}  {}",
            self.node.display().to_string(),
            human_size(self.size),
            self.bus,
            self.model.as_deref().unwrap_or("-"),
            self.serial.as_deref().unwrap_or("-"),
        )
    }
}

/// The whole disks of this machine that hold a medium, in the order of their names.
#[must_use]
pub fn all(system: &System) -> Vec<Disk> {
    system
        .disks()
        .iter()
        .filter(|name| is_candidate(name))
        .map(|name| Disk::of(system, name))
        .filter(|disk| disk.size > 0)
        .collect()
}

fn is_candidate(name: &str) -> bool {
    let is_area = name.starts_with("mmcblk") && MMC_AREAS.iter().any(|area| name.ends_with(area));
    !is_area && !NO_CANDIDATES.iter().any(|prefix| name.starts_with(prefix))
}

/// A device that is built of others (`dm-0`, `md0`) or of memory, which no machine boots from.
pub(super) fn is_built_of_others(name: &str) -> bool {
    let prefixes = ["ram", "zram", "dm-", "md"];
    prefixes.iter().any(|prefix| {
        name.strip_prefix(prefix).is_some_and(|rest| {
            rest.starts_with(|first: char| first.is_ascii_digit() || first == '_')
        })
    })
}

/// The bus by the device's path in sysfs. A disk in a USB enclosure passes for one of SCSI or ATA, too, so that the
/// outer one counts.
fn bus(name: &str, path: &Path) -> Bus {
    let has = |prefix: &str| {
        path.iter().filter_map(|part| part.to_str()).any(|part| {
            part.strip_prefix(prefix)
                .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
        })
    };
    match name {
        _ if has("usb") => Bus::Usb,
        _ if name.starts_with("loop") => Bus::Loop,
        _ if name.starts_with("nvme") => Bus::Nvme,
        _ if name.starts_with("mmcblk") => Bus::Mmc,
        _ if has("virtio") => Bus::Virtio,
        _ if has("ata") => Bus::Sata,
        _ if name.starts_with("sd") => Bus::Scsi,
        _ => Bus::Other,
    }
}

fn model(system: &System, name: &str) -> Option<String> {
    let attribute = |attribute| {
        system
            .attribute(name, attribute)
            .and_then(|text| shown(&text))
    };
    // "ATA" is what libata says of every disk; a virtio disk's vendor is a number
    let vendor =
        attribute("device/vendor").filter(|vendor| vendor != "ATA" && !vendor.starts_with("0x"));
    let model = attribute("device/model").or_else(|| attribute("device/name"))?;
    Some(match vendor {
        Some(vendor) => format!("{vendor} {model}"),
        None => model,
    })
}

fn serial(system: &System, name: &str, path: &Path) -> Option<String> {
    let page = || {
        let page = system.bytes(name, "device/vpd_pg80")?;
        shown(&String::from_utf8_lossy(page.get(PAGE_HEADER..)?))
    };
    let of_usb_device = || {
        let device = path
            .ancestors()
            .find(|directory| directory.join("idVendor").exists())?;
        shown(&files::read_text(device.join("serial"), 4096).ok()?)
    };
    ["device/serial", "serial"]
        .iter()
        .find_map(|attribute| {
            system
                .attribute(name, attribute)
                .and_then(|text| shown(&text))
        })
        .or_else(page)
        .or_else(of_usb_device)
}

/// A device's own word, without what a terminal would obey; `None` where nothing is left.
fn shown(text: &str) -> Option<String> {
    let text: String = text.chars().filter(|letter| !letter.is_control()).collect();
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}
