//! Boot from the disk image alone, as on a real machine.

use anyhow::{Context as _, Result, ensure};
use k3s_double::control::Command;
use serde_json::Value;

use crate::lab::Context;
use crate::node;
use crate::qemu::Ending;
use crate::qemu::{Boot, Firmware};

/// What the machine's battery-backed clock says: long before any image was built.
const WRONG_CLOCK: &str = "2001-02-03T04:05:06";

pub(super) async fn firmware_boot_and_power_button(context: &Context) -> Result<()> {
    let devnet = context.devnet().await?;
    let disk = context.disk()?;
    // no -kernel, no firmware item: all that the node knows lies on its disk
    disk.write_configuration(&devnet.node_toml()?)?;
    let mut options = context.machine(&disk)?;
    options.boot = Boot::Firmware(Firmware::new(&context.directory().join("variables"))?);
    options.clock = Some(WRONG_CLOCK.to_owned());
    let mut machine = context.power_on(&options).await?;

    node::joined(&machine, &devnet).await?;
    let stake = devnet.stake().await?;
    ensure!(
        stake.amount.0 == crate::devnet::STAKE,
        "the chain has the stake {stake:?}"
    );

    node::switch_off(&mut machine).await?;
    let state = disk.state(context.directory())?;
    state.check()?;
    let kept = state
        .read("/log/daas/node.log")
        .context("no log was kept")?;
    ensure!(
        kept.contains("phase=joined"),
        "the kept log does not tell of this boot"
    );
    Ok(())
}

pub(super) async fn next_boot_tells_how_the_last_one_ended(context: &Context) -> Result<()> {
    let devnet = context.devnet().await?;
    let disk = context.disk()?;
    disk.write_configuration(&devnet.node_toml()?)?;
    let mut options = context.machine(&disk)?;
    options.boot = Boot::Firmware(Firmware::new(&context.directory().join("variables"))?);
    let mut machine = context.power_on(&options).await?;
    node::joined(&machine, &devnet).await?;
    machine.expect("done service=last-end").await?;
    ensure!(
        !machine.console.text().contains("the last boot"),
        "a first boot tells of one before it"
    );
    // the kernel is gone before it could reply
    let control = devnet.cluster.control()?;
    let node = devnet.node_name()?;
    let crash = control.command::<Value>(&node, &Command::Crash);
    ensure!(crash.await.is_err(), "the kernel did not crash");
    ensure!(
        machine.wait_end().await? == Ending::Reboot,
        "the machine did not restart after a crash"
    );
    drop(machine);

    let mut machine = context.power_on(&options).await?;
    machine
        .expect("the last boot ended in a crash of the kernel: sysrq triggered crash")
        .await?;
    node::switch_off(&mut machine).await?;
    drop(machine);
    let state = disk.state(context.directory())?;
    state.check()?;
    ensure!(
        state.list("/log/daas/crashes")?.len() == 1,
        "the kernel's last words were not kept"
    );

    let mut machine = context.power_on(&options).await?;
    machine
        .expect("the last boot ended in order: power-button")
        .await?;
    machine.cut_power().await?;
    drop(machine);
    let mut machine = context.power_on(&options).await?;
    machine
        .expect("the last boot did not end in order: the power failed")
        .await?;
    machine.cut_power().await
}
