//! State partitions that are not this system's to write to.

use anyhow::{Context as _, Result, ensure};

use crate::disk::Disk;
use crate::lab::{Context, DISK_SIZE};
use crate::node;
use crate::qemu::MachineOptions;

pub(super) async fn foreign_state_is_left_untouched(context: &Context) -> Result<()> {
    let devnet = context.devnet().await?;
    let image = context.lab.image.join("disk.raw");
    let image_size = std::fs::metadata(&image)
        .context("cannot look at the image")?
        .len();

    let disk = context.disk()?;
    let version = context.directory().join("version");
    std::fs::write(&version, "2\n").context("cannot write a file")?;
    disk.make_state("daas-state", Some(&version))?;
    refused(
        context,
        &context.node(&disk, &devnet)?,
        &disk,
        "has version 2, and this system knows",
    )
    .await?;

    let disk = context.disk_of_size(DISK_SIZE)?;
    disk.make_state("photos", None)?;
    refused(
        context,
        &context.node(&disk, &devnet)?,
        &disk,
        r#"labelled "photos""#,
    )
    .await?;

    // room for far less than the least that is taken
    let disk = context.disk_of_size(image_size + 256 * 1024 * 1024)?;
    let detail = r"would have \d+ MiB with all of its disk, and needs \d+ MiB";
    refused(context, &context.node(&disk, &devnet)?, &disk, detail).await
}

/// The node says why (`detail`) it does not take the disk, stays up, and has not written to it.
async fn refused(
    context: &Context,
    options: &MachineOptions,
    disk: &Disk,
    detail: &str,
) -> Result<()> {
    let before = disk.ownership()?;
    let mut machine = context.power_on(options).await?;
    machine.expect(detail).await?;
    machine.expect("degraded=state-disk detail=").await?;
    machine
        .expect(r"timeline phase=configured seconds=\d")
        .await?;
    ensure!(
        machine.is_running().await?,
        "the node ended because of its state disk"
    );
    node::switch_off(&mut machine).await?;
    ensure!(disk.ownership()? == before, "the disk was written to");
    Ok(())
}
