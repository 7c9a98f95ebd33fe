//! Networks that are not what a node hopes for.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::devnet::certificates::write_secret;
use crate::devnet::node::HOST6;
use crate::lab::Context;
use crate::node;

/// How often, and for how long, a cable is pulled that flaps.
const FLAPS: u32 = 10;
const FLAP: Duration = Duration::from_millis(300);

/// The network has IPv6 alone, by router advertisements; then its cable flaps.
pub(super) async fn ipv6_alone_joins_and_flaps(context: &Context) -> Result<()> {
    let devnet = context.devnet_on_ipv6().await?;
    let disk = context.disk()?;
    let mut options = context.machine(&disk)?;
    let path = context.directory().join("node.toml");
    // IPv4 is looked for, and is not there
    write_secret(&path, &devnet.node_toml_by(&format!("[{HOST6}]"), "")?)?;
    options.configuration = Some(path);
    options.ipv6_alone = true;
    let mut machine = context.power_on(&options).await?;
    machine
        .expect("daas: netd INFO link is used .*addresses=.*fd00:5:")
        .await?;
    node::joined(&machine, &devnet).await?;
    node::running_pod(&machine, &devnet).await?;
    ensure!(
        !machine.console.text().contains("degraded=network"),
        "the network was degraded on the way"
    );

    let mark = machine.console.position();
    for _ in 0..FLAPS {
        machine.set_cable(false).await?;
        tokio::time::sleep(FLAP).await;
        machine.set_cable(true).await?;
        tokio::time::sleep(FLAP).await;
    }
    machine.expect_after(mark, "carrier is back").await?;
    // the node answers its server over the same tunnel, or a new one
    node::ready(&machine, &devnet).await?;
    node::running_pod(&machine, &devnet).await?;
    Ok(())
}
