//! The boot phase, in which the TPM unseals: nothing that the state disk holds runs in it.

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k3s_double::control::{Command, PLANTED, Planted};
use regex::Regex;
use seal::release::Phase;
use seal::tpm::pcr;

use super::sealed_configuration::{RUNNING, SEALED, STATE};
use crate::lab::Context;
use crate::node;
use crate::qemu::Machine;

/// Containerd, or what depends on it.
const STARTED: &str = "started service=(containerd|staker|k3s)";
/// The node has looked everywhere for a configuration, the state disk included.
const UNCONFIGURED: &str = "degraded=configuration detail=";
/// Whoever is root once plants a container that starts by itself, and takes the sealed configuration away,
/// so that the boot phase does not end.
pub(super) async fn nothing_of_the_state_starts_in_the_boot_phase(context: &Context) -> Result<()> {
    let devnet = context.devnet().await?;
    let disk = context.disk()?;
    let tpm = context.tpm().await?;
    disk.write_configuration(&devnet.sealed_node_toml()?)?;
    let options = context.measured_machine(&disk, &tpm)?;
    let mut first = context.power_on(&options).await?;
    node::joined(&first, &devnet).await?;
    let sealed = disk.read_from_esp(SEALED)?;
    let plant = Command::Plant {
        sealed: STANDARD.encode(&sealed),
    };
    let control = devnet.cluster.control()?;
    let _: Planted = control
        .command(&devnet.node_name()?, &plant)
        .await
        .context("the container cannot be planted")?;
    node::switch_off(&mut first).await?;
    drop(first);

    // the phase goes on: the configuration is looked for again and again, and nothing starts meanwhile
    disk.remove_from_esp(SEALED)?;
    let mut waiting = context.power_on(&options).await?;
    waiting.expect(STATE).await?;
    waiting.expect(UNCONFIGURED).await?;
    nothing_started(&waiting).await?;
    for look in ["first_look", "second_look", "third_look"] {
        // none that it could take, but one that it tells of
        disk.write_configuration(&format!("version = 1\n{look} = true\n"))?;
        waiting
            .expect(&format!(r"daas/node\.toml:.*{look}"))
            .await?;
    }
    disk.remove_from_esp("daas/node.toml")?;
    nothing_started(&waiting).await?;
    let registers = waiting.cut_power_and_measure(&[pcr::KERNEL]).await?;
    let boot = Phase::Boot.predict(&context.lab.measured()?.pcr11()?);
    ensure!(
        registers.get(&pcr::KERNEL) == Some(&boot),
        "PCR {} is not that of the boot phase",
        pcr::KERNEL
    );
    drop(waiting);

    // with its configuration the node goes on, in this order, and the planted container stays what it is
    let mut last = context.power_on(&options).await?;
    last.expect(UNCONFIGURED).await?;
    nothing_started(&last).await?;
    disk.write_to_esp(SEALED, &sealed)?;
    let ended = last.expect(RUNNING).await?;
    let started = last.expect("started service=containerd").await?;
    ensure!(
        ended.index < started.index,
        "containerd started before the boot phase had ended"
    );
    node::joined(&last, &devnet).await?;
    node::running_pod(&last, &devnet).await?;
    ensure!(
        last.console.find(&Regex::new(PLANTED)?, 0).is_none(),
        "a container of the state disk was started by itself"
    );
    node::switch_off(&mut last).await
}

/// Fails where something of the state disk runs, and waits for what the planted container has to say then.
async fn nothing_started(machine: &Machine) -> Result<()> {
    let Some(found) = machine.console.find(&Regex::new(STARTED)?, 0) else {
        return Ok(());
    };
    let planted = match machine.expect(PLANTED).await {
        Ok(found) => found.line.text,
        Err(_) => "the planted container says nothing".to_owned(),
    };
    bail!("in the boot phase: {}; {planted}", found.line.text)
}
