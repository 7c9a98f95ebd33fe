//! The recovery key: what a machine that changed does not open any more, its owner does.

use anyhow::{Context as _, Result, ensure};

use super::sealed_configuration::{STATE, TAKEN, refuses};
use crate::lab::Context;
use crate::node;
use crate::qemu::{Boot, Owner};

/// Where a person writes it.
const FILE: &str = "daas/recovery.key";
/// A key as it is shown.
const KEY: &str = "^((?:[0-9a-f]{4}-){16}[0-9a-f]{4})$";
/// What a node says to whom it may have given a key.
const HINT: &str = "write its recovery key into daas/recovery.key";

pub(super) async fn recovery_key_opens_what_new_firmware_shuts_out(
    context: &Context,
) -> Result<()> {
    let devnet = context.devnet().await?;
    let disk = context.disk()?;
    let tpm = context.tpm().await?;
    let toml = devnet.sealed_node_toml()?;
    disk.write_configuration(&format!("recovery_key = true\n{toml}"))?;
    let options = context.measured_machine(&disk, &tpm)?;
    let mut machine = context.power_on(&options).await?;
    machine.expect("RECOVERY KEY, shown this once").await?;
    let shown = machine.expect(KEY).await?;
    let key = shown.groups.first().context("no group")?.clone();
    machine
        .expect("the configuration's recovery key opens the state, too")
        .await?;
    node::joined(&machine, &devnet).await?;
    let stake = devnet.stake().await?;
    machine.cut_power().await?;
    drop(machine);

    // an update of the firmware's lists
    let Boot::Firmware(firmware) = &options.boot else {
        anyhow::bail!("the machine has no firmware");
    };
    firmware.trust_too(&Owner::new(&context.directory().join("another"))?)?;
    refuses(context, &options, &disk, HINT, HINT).await?;

    disk.write_to_esp(FILE, format!("{}\r\n", key.to_uppercase()).as_bytes())?;
    let mut machine = context.power_on(&options).await?;
    for line in [
        "state WARN the state is opened by its recovery key",
        "configure WARN the configuration is opened by its recovery key",
        "the recovery key is overwritten and removed",
    ] {
        machine.expect(line).await?;
    }
    node::joined(&machine, &devnet).await?;
    ensure!(
        devnet.stake().await? == stake,
        "the stake is another after the recovery"
    );
    machine.cut_power().await?;
    drop(machine);
    ensure!(
        !disk.list_esp("daas")?.contains(&"recovery.key".to_owned()),
        "the recovery key is still there"
    );

    // it is this machine's again
    let machine = context.power_on(&options).await?;
    machine.expect(TAKEN).await?;
    machine.expect(STATE).await?;
    let console = machine.console.text();
    ensure!(
        !console.contains("by its recovery key"),
        "the key was asked for again"
    );
    Ok(())
}
