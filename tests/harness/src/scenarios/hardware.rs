//! Machines as they are bought: each boots from a disk and joins over a network card of real hardware's kinds.

use anyhow::Result;

use crate::lab::Context;
use crate::node;
use crate::qemu::{Boot, DiskController, Firmware, NetworkCard};

/// What a machine has, and what starts it.
struct Hardware {
    disk: DiskController,
    card: NetworkCard,
    /// The firmware has a driver for the disk; else QEMU loads kernel and initramfs by itself.
    firmware: bool,
}

/// From power-on to a running pod, and off again.
async fn joins(context: &Context, hardware: Hardware) -> Result<()> {
    let devnet = context.devnet().await?;
    let disk = context.disk()?;
    disk.write_configuration(&devnet.node_toml()?)?;
    let mut options = context.machine(&disk)?;
    options.disk_controller = hardware.disk;
    options.network_card = hardware.card;
    if hardware.firmware {
        options.boot = Boot::Firmware(Firmware::new(&context.directory().join("variables"))?);
    }
    let mut machine = context.power_on(&options).await?;
    node::joined(&machine, &devnet).await?;
    node::running_pod(&machine, &devnet).await?;
    node::switch_off(&mut machine).await?;
    disk.state(context.directory())?.check()
}

pub(super) async fn metal_sata_and_e1000e_joins(context: &Context) -> Result<()> {
    let hardware = Hardware {
        disk: DiskController::Ahci,
        card: NetworkCard::E1000e,
        firmware: true,
    };
    joins(context, hardware).await
}

pub(super) async fn metal_nvme_and_igb_joins(context: &Context) -> Result<()> {
    let hardware = Hardware {
        disk: DiskController::Nvme,
        card: NetworkCard::Igb,
        firmware: true,
    };
    joins(context, hardware).await
}

pub(super) async fn metal_usb_stick_and_usb_network_joins(context: &Context) -> Result<()> {
    let hardware = Hardware {
        disk: DiskController::UsbStorage,
        card: NetworkCard::Usb,
        firmware: true,
    };
    joins(context, hardware).await
}

pub(super) async fn metal_usb_attached_scsi_joins(context: &Context) -> Result<()> {
    let hardware = Hardware {
        disk: DiskController::UsbAttachedScsi,
        card: NetworkCard::E1000e,
        firmware: false,
    };
    joins(context, hardware).await
}

pub(super) async fn metal_sd_card_joins(context: &Context) -> Result<()> {
    let hardware = Hardware {
        disk: DiskController::SdCard,
        card: NetworkCard::Igb,
        firmware: false,
    };
    joins(context, hardware).await
}
