//! A configuration with mistakes, mended while the node runs.

use anyhow::{Context as _, Result, ensure};

use crate::lab::Context;

pub(super) async fn broken_configuration_waits_for_a_good_one(context: &Context) -> Result<()> {
    let devnet = context.devnet().await?;
    let good = devnet.node_toml()?;
    let line_of = |text: &str| {
        good.lines()
            .position(|line| line.starts_with(text))
            .map(|index| index + 1)
            .with_context(|| format!("node.toml has no {text}"))
    };
    let disk = context.disk()?;
    // three mistakes of three kinds: a value, a number's bound, a field that does not exist
    let stake_line = line_of("stake_mist")?;
    let id_line = line_of("id = ")?;
    let broken = good
        .replace(
            &format!("id = \"{}\"", devnet.node_id()),
            "id = \"Edge_0001\"",
        )
        .replace(
            &format!("stake_mist = {}", crate::devnet::STAKE),
            "stake_mist = -5",
        );
    ensure!(broken != good, "nothing was broken");
    disk.write_configuration(&broken)?;
    let mut machine = context.power_on(&context.machine(&disk)?).await?;
    machine.expect("degraded=configuration").await?;
    for (line, field) in [(id_line, "node.id"), (stake_line, "chain.stake_mist")] {
        let pattern = format!(
            r"daas/node\.toml:{line}: {}: .+; expected .+ \(.+\)",
            regex::escape(field)
        );
        machine.expect(&pattern).await?;
    }
    let key = devnet.node_key().to_suiprivkey()?;
    ensure!(
        !machine.console.text().contains(key.as_str()),
        "the console shows the node's key"
    );

    // then one with a field that does not exist, found without a reboot
    let mark = machine.console.position();
    disk.write_configuration(&good.replace("stake_mist", "steak_mist"))?;
    let pattern = format!(r"daas/node\.toml:{stake_line}: .*steak_mist");
    machine.expect_after(mark, &pattern).await?;
    ensure!(
        machine.is_running().await?,
        "the node does not run any more"
    );

    let mark = machine.console.position();
    disk.write_configuration(&good)?;
    machine
        .expect_after(mark, "recovered=configuration")
        .await?;
    machine
        .expect_after(mark, r"timeline phase=configured seconds=\d")
        .await?;
    machine
        .expect_after(mark, r"timeline phase=registered seconds=\d")
        .await?;
    let stake = devnet.stake().await?;
    ensure!(
        stake.amount.0 == crate::devnet::STAKE,
        "the chain has the stake {stake:?}"
    );
    Ok(())
}
