//! Boot from the disk image alone, as on a real machine.

use anyhow::{Context as _, Result, ensure};

use crate::lab::Context;
use crate::node;
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
