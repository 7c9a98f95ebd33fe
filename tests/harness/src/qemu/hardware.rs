//! The devices that a machine has its disks and its network behind.

/// What disks are behind.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum DiskController {
    /// virtio, as clouds have it.
    #[default]
    VirtioBlk,
    /// SATA, by the chip set's AHCI controller.
    Ahci,
    /// NVMe.
    Nvme,
    /// A USB stick: USB mass storage, bulk only.
    UsbStorage,
    /// A USB disk that speaks the USB Attached SCSI protocol. OVMF has no driver for it.
    UsbAttachedScsi,
    /// An SD card in a reader on PCI; its size must be a power of two. OVMF has no driver for it.
    SdCard,
}

impl DiskController {
    /// The `-device` options for the disk with this number, whose drive is `disk<number>`: the controller, where
    /// the machine has none yet, and the disk.
    pub(super) fn devices(self, number: usize) -> Vec<String> {
        let disk = |device: &str, more: &str| {
            format!("{device},drive=disk{number},{more}bootindex={}", number + 1)
        };
        match self {
            Self::VirtioBlk => vec![disk("virtio-blk-pci", "")],
            Self::Ahci => vec![disk("ide-hd", &format!("bus=ide.{number},"))],
            Self::Nvme => vec![disk("nvme", &format!("serial=nvme{number},"))],
            Self::UsbStorage => vec![
                format!("qemu-xhci,id=xhci{number}"),
                disk("usb-storage", &format!("bus=xhci{number}.0,")),
            ],
            Self::UsbAttachedScsi => vec![
                format!("qemu-xhci,id=xhci{number}"),
                format!("usb-uas,id=uas{number},bus=xhci{number}.0"),
                disk("scsi-hd", &format!("bus=uas{number}.0,")),
            ],
            Self::SdCard => vec![
                "sdhci-pci".to_owned(),
                format!("sd-card,drive=disk{number}"),
            ],
        }
    }
}

/// What the network is behind.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum NetworkCard {
    /// virtio, as clouds have it.
    #[default]
    Virtio,
    /// Intel's 82574L, of desktops and small servers.
    E1000e,
    /// Intel's 82576, of servers.
    Igb,
    /// A network adapter on USB, which speaks CDC Ethernet.
    Usb,
}

impl NetworkCard {
    /// The `-device` options of the card on this network. No option ROM: nothing boots over the network here.
    pub(super) fn devices(self, network: &str) -> Vec<String> {
        let card = |device: &str| vec![format!("{device},netdev={network},romfile=")];
        match self {
            Self::Virtio => card("virtio-net-pci"),
            Self::E1000e => card("e1000e"),
            Self::Igb => card("igb"),
            Self::Usb => vec![
                "qemu-xhci,id=xhcinet".to_owned(),
                format!("usb-net,netdev={network},bus=xhcinet.0"),
            ],
        }
    }
}
