//! The state disk of a machine with a TPM: encrypted, opened by that machine alone, and wiped on
//! purpose.

use anyhow::{Context as _, Result, ensure};

use super::sealed_configuration::{SEALED, TAKEN};
use crate::disk::Disk;
use crate::lab::Context;
use crate::qemu::{Ending, MachineOptions};

/// The state partition's label.
const STATE: &str = "state";
/// Where the two places of the header are (`init/node/provision/src/state/header.rs`).
const HEADERS: [u64; 2] = [64 * 1024, 128 * 1024];
/// What a header begins with.
const MAGIC: &[u8] = b"DAASDISK";
/// Where an ext4 superblock has its magic number, and what it is.
const SUPERBLOCK: (usize, [u8; 2]) = (1024 + 0x38, [0x53, 0xef]);
/// What is cleared by a reset.
const HEAD: usize = 16 * 1024 * 1024;

/// Where the header's mark of an owner is, and what it is.
const OWNER_MARK: (u64, &[u8]) = (192 * 1024, b"DAASOWND");

const MADE: &str = r"state INFO making the state file system device=\S+ encrypted=true";
const MOUNTED: &str = r"state INFO state mounted encryption=tpm";

pub(super) async fn sealed_state_opens_for_its_own_machine_alone(context: &Context) -> Result<()> {
    let devnet = context.devnet().await?;
    let tpm = context.tpm().await?;

    // a state in the plain: somebody may have put it there
    let disk = context.disk()?;
    let version = context.directory().join("version");
    std::fs::write(&version, "1\n").context("cannot write a file")?;
    disk.make_state("daas-state", Some(&version))?;
    let options = context.measured_machine(&disk, &tpm)?;
    refused(
        context,
        &options,
        &disk,
        "is not encrypted, and on this machine",
    )
    .await?;

    // the power fails while it is made, and again once it is there
    let disk = context.disk()?;
    let options = context.measured_machine(&disk, &tpm)?;
    seen(context, &options, MADE).await?;
    let console = seen(context, &options, MOUNTED).await?;
    ensure!(
        console.contains("making the state file system"),
        "a half-made state was taken for one"
    );
    // the mark of an owner, and no owner's name: damaged, not made anew
    disk.flip_byte(STATE, OWNER_MARK.0)?;
    let machine = context.power_on(&options).await?;
    machine
        .expect("names no owner, though it has had one, or holds volumes")
        .await?;
    machine.expect("degraded=state-disk detail=").await?;
    drop(machine);
    disk.flip_byte(STATE, OWNER_MARK.0)?;
    // nobody's yet: whoever knew its key could have put it there
    disk.write_configuration(&devnet.sealed_node_toml()?)?;
    let machine = context.power_on(&options).await?;
    machine
        .expect("the state of an earlier boot has no owner: it is made anew")
        .await?;
    machine.expect(MOUNTED).await?;
    // the configuration has it now
    machine.expect("started service=staker").await?;
    drop(machine);
    let head = disk.read(STATE, HEAD)?;
    ensure!(
        HEADERS.iter().all(|at| usize::try_from(*at)
            .ok()
            .and_then(|at| head.get(at..))
            .is_some_and(|place| place.starts_with(MAGIC))),
        "the state has not its header in both places"
    );
    let mark = usize::try_from(OWNER_MARK.0)?;
    ensure!(
        head.get(mark..)
            .is_some_and(|place| place.starts_with(OWNER_MARK.1)),
        "the state's header has not the mark of its owner"
    );
    ensure!(
        head.get(SUPERBLOCK.0..SUPERBLOCK.0 + 2) != Some(SUPERBLOCK.1.as_slice()),
        "the state is a plain file system"
    );
    let console = seen(context, &options, MOUNTED).await?;
    ensure!(
        !console.contains("making the state file system"),
        "the state was made anew"
    );

    // an update: another image of the same publisher
    let kept = disk.read_from_esp(image::disk::UKI_PATH)?;
    let publisher = context.lab.publisher(0)?;
    let update = context
        .lab
        .uki(&publisher, |parts| parts.command_line.push_str(" update"))?;
    disk.install_uki(&update.program)?;
    seen(context, &options, MOUNTED).await?;
    disk.install_uki(&kept)?;

    // a copy of the header is damaged
    disk.flip_byte(STATE, HEADERS[1] + 40)?;
    // it is written by the time that the state is mounted
    let console = seen(context, &options, MOUNTED).await?;
    ensure!(
        console.contains("a copy of the state's header is written anew"),
        "a damaged copy of the header was not noticed"
    );

    let other = context.tpm().await?;
    let elsewhere = context.measured_machine(&disk, &other)?;
    refused(context, &elsewhere, &disk, "was made on another machine").await?;
    let mut without = options.clone();
    without.tpm = None;
    refused(context, &without, &disk, "this machine has no TPM").await?;

    let copy = disk.copy(&context.directory().join("copy.raw"))?;
    for at in HEADERS {
        copy.flip_byte(STATE, at + 40)?;
    }
    let mut damaged = options.clone();
    damaged.disks = vec![copy.path().to_owned()];
    refused(
        context,
        &damaged,
        &copy,
        "both copies of its header are damaged",
    )
    .await?;

    tpm.clear().await?;
    refused(context, &options, &disk, "this machine's TPM was cleared").await
}

pub(super) async fn reset_wipes_keys_and_state(context: &Context) -> Result<()> {
    let devnet = context.devnet().await?;
    let tpm = context.tpm().await?;
    let disk = context.disk()?;
    disk.write_configuration(&devnet.sealed_node_toml()?)?;
    let options = context.measured_machine(&disk, &tpm)?;
    let machine = context.power_on(&options).await?;
    machine.expect(MOUNTED).await?;
    machine.expect(TAKEN).await?;
    machine
        .expect("the plain configuration is overwritten and removed")
        .await?;
    drop(machine);
    ensure!(
        disk.read_from_esp(SEALED).is_ok(),
        "the configuration was not sealed"
    );
    let before = disk.copy(&context.directory().join("before.raw"))?;

    disk.write_configuration("version = 1\n")?;
    crate::reset::disk(disk.path(), true, None)?;
    ensure!(disk.resets()?, "the reset is not chosen");
    let mut machine = context.power_on(&options).await?;
    machine
        .expect("this node was reset, as it was asked to be")
        .await?;
    machine.expect("powers off in 10 seconds").await?;
    ensure!(
        machine.wait_end().await? == Ending::PowerOff,
        "a machine that was reset does not power off"
    );
    let console = machine.console.tail(usize::MAX);
    ensure!(!console.contains("NOT DONE"), "the reset is not complete");
    drop(machine);
    let left = disk.list_esp("daas")?;
    ensure!(
        !left
            .iter()
            .any(|name| name == "node.toml" || name.starts_with("node.sealed")),
        "the configuration is still there: {left:?}"
    );
    ensure!(
        disk.read(STATE, HEAD)?.iter().all(|byte| *byte == 0),
        "the state's start is still there"
    );

    // it begins as a new one: the node itself has put the boot menu's choice back
    ensure!(
        !disk.resets()?,
        "the boot menu still chooses the reset: it would come at every start"
    );
    seen(context, &options, MADE).await?;
    seen(context, &options, MOUNTED).await?;
    // and a copy of the disk from before opens no more
    let mut older = options.clone();
    older.disks = vec![before.path().to_owned()];
    refused(context, &older, &before, "is an older copy").await?;
    let machine = context.power_on(&older).await?;
    machine
        .expect("degraded=configuration detail=.*it is a copy from before a reset")
        .await?;
    Ok(())
}

/// Boots until a line appears, and cuts the power; gives the console.
async fn seen(context: &Context, options: &MachineOptions, line: &str) -> Result<String> {
    let machine = context.power_on(options).await?;
    machine.expect(line).await?;
    Ok(machine.console.tail(usize::MAX))
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
    ensure!(
        machine.is_running().await?,
        "the node ended because of its state disk"
    );
    drop(machine);
    ensure!(disk.ownership()? == before, "the disk was written to");
    Ok(())
}
