//! In which cloud a machine is: by what its firmware says of itself, before anybody is asked.
//!
//! The address of a metadata service means nothing elsewhere: on a network at home, whoever likes can
//! answer there. So only a machine whose DMI names a cloud asks.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// Where Linux shows DMI (Documentation/ABI/testing/sysfs-class-dmi; SMBIOS 3.7, types 1 and 3).
const DMI: &str = "/sys/class/dmi/id";
/// The longest value that is read, in bytes: strings of SMBIOS are short.
const LIMIT: u64 = 256;
/// The chassis of every machine of Azure, which other machines of that vendor's hypervisor do not have
/// (cloud-init: `DataSourceAzure`, `AZURE_CHASSIS_ASSET_TAG`).
const AZURE_ASSET_TAG: &str = "7783-7084-3265-9085-8269-3286-77";

/// The longest user data that a cloud may hand over, in bytes: room for the longest document, sealed, in
/// base64.
pub const MAXIMUM_USER_DATA: usize = 128 * 1024;

/// A cloud with a metadata service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cloud {
    /// Amazon EC2.
    Ec2,
    /// Google Compute Engine.
    Google,
    /// Microsoft Azure.
    Azure,
    /// Any that is built with OpenStack's Nova.
    OpenStack,
    /// DigitalOcean.
    DigitalOcean,
    /// Hetzner Cloud.
    Hetzner,
}

impl Cloud {
    /// Every cloud that is known.
    pub const ALL: &'static [Self] = &[
        Self::Ec2,
        Self::Google,
        Self::Azure,
        Self::OpenStack,
        Self::DigitalOcean,
        Self::Hetzner,
    ];

    /// The cloud that this machine is in; none: it is in none, or its firmware does not say so.
    #[must_use]
    pub fn of_this_machine() -> Option<Self> {
        Self::from_dmi(Path::new(DMI))
    }

    /// As [`Self::of_this_machine`], from a folder with the files of DMI.
    #[must_use]
    pub fn from_dmi(folder: &Path) -> Option<Self> {
        let vendor = value(folder, "sys_vendor");
        let product = value(folder, "product_name");
        match vendor.as_str() {
            "Amazon EC2" => Some(Self::Ec2),
            // the same vendor makes notebooks
            "Google" if product == "Google Compute Engine" => Some(Self::Google),
            "Microsoft Corporation" if value(folder, "chassis_asset_tag") == AZURE_ASSET_TAG => {
                Some(Self::Azure)
            }
            "DigitalOcean" => Some(Self::DigitalOcean),
            "Hetzner" => Some(Self::Hetzner),
            // "OpenStack Foundation" unless the operator has changed it; the product seldom is
            _ if vendor.starts_with("OpenStack")
                || matches!(product.as_str(), "OpenStack Nova" | "OpenStack Compute") =>
            {
                Some(Self::OpenStack)
            }
            _ => None,
        }
    }

    /// Its name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ec2 => "Amazon EC2",
            Self::Google => "Google Compute Engine",
            Self::Azure => "Microsoft Azure",
            Self::OpenStack => "OpenStack",
            Self::DigitalOcean => "DigitalOcean",
            Self::Hetzner => "Hetzner Cloud",
        }
    }
}

impl fmt::Display for Cloud {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A value, without white space at its ends; empty: there is none that can be read.
fn value(folder: &Path, name: &str) -> String {
    let mut bytes = Vec::new();
    let read =
        File::open(folder.join(name)).and_then(|file| file.take(LIMIT).read_to_end(&mut bytes));
    match read {
        Ok(_) => String::from_utf8_lossy(&bytes).trim().to_owned(),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cloud(files: &[(&str, &str)]) -> Option<Cloud> {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            std::fs::write(folder.path().join(name), format!("{text}\n")).expect("a file");
        }
        Cloud::from_dmi(folder.path())
    }

    #[test]
    fn every_cloud_is_known_by_its_firmware() {
        let azure = [
            ("sys_vendor", "Microsoft Corporation"),
            ("chassis_asset_tag", AZURE_ASSET_TAG),
        ];
        let google = [
            ("sys_vendor", "Google"),
            ("product_name", "Google Compute Engine"),
        ];
        assert_eq!(cloud(&[("sys_vendor", "Amazon EC2")]), Some(Cloud::Ec2));
        assert_eq!(cloud(&google), Some(Cloud::Google));
        assert_eq!(cloud(&azure), Some(Cloud::Azure));
        for files in [
            [
                ("sys_vendor", "OpenStack Foundation"),
                ("product_name", "x"),
            ],
            [
                ("sys_vendor", "Some Cloud"),
                ("product_name", "OpenStack Nova"),
            ],
        ] {
            assert_eq!(cloud(&files), Some(Cloud::OpenStack));
        }
        assert_eq!(
            cloud(&[("sys_vendor", "DigitalOcean")]),
            Some(Cloud::DigitalOcean)
        );
        assert_eq!(cloud(&[("sys_vendor", "Hetzner")]), Some(Cloud::Hetzner));
    }

    #[test]
    fn machines_of_no_cloud_ask_nobody() {
        for files in [
            &[][..],
            &[("sys_vendor", "QEMU"), ("product_name", "Standard PC")],
            &[("sys_vendor", "Google"), ("product_name", "Eve")],
            &[
                ("sys_vendor", "Microsoft Corporation"),
                ("product_name", "Virtual Machine"),
            ],
            &[("sys_vendor", "Amazon EC2 of somebody else")],
            &[("product_name", "Amazon EC2")],
        ] {
            assert_eq!(cloud(files), None, "{files:?}");
        }
    }
}
