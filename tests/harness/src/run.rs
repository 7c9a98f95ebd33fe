//! A node for people: its console in this terminal, a devnet beside it.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use chain::Verdict;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::devnet::evidence::Demand;
use crate::devnet::{Description, Devnet, DevnetOptions, K3s};
use crate::disk::Disk;
use crate::lab::{DISK_SIZE, Lab, directory};
use crate::node::{self, eventually, number_at};
use crate::qemu::{Boot, Firmware, Machine, MachineOptions};
use crate::stops::Stops;
use crate::terminal::{self, Key, RawMode};
use crate::timeline;
use crate::tpm::{Authority, Tpm};

/// Chunks of console output that may wait for a slow terminal.
const CONSOLE_CHUNKS: usize = 1024;

/// How to run a node.
pub struct RunOptions {
    /// Where the devnet's files lie, for [`crate::devnet::slash`] too.
    pub devnet: PathBuf,
    /// The whole life without a keypress.
    pub demo: bool,
    /// The kernel without the firmware: starts faster.
    pub direct: bool,
}

/// Runs a node until it is off.
///
/// # Errors
/// When something does not start; in the demo also when the life does not end by the slash.
pub async fn run(lab: &Lab, options: &RunOptions) -> Result<()> {
    say(&format!("k3s: {}", lab.k3s));
    say(&format!("machine: 2 CPUs, 2 GiB, {}", lab.accelerator));
    let mut stops = Stops::new()?;
    let devnet_options = DevnetOptions {
        programs: lab.programs.clone(),
        k3s: lab.k3s.clone(),
        node_id: "edge-0001".to_owned(),
        directory: options.devnet.clone(),
    };
    let mut devnet = tokio::select! {
        devnet = Devnet::start(&devnet_options) => devnet?,
        () = stops.next() => bail!("stopped before the node was started"),
    };
    say(&format!(
        "devnet: fullnode, master, k3s server and time server run; files and logs in {}",
        options.devnet.display()
    ));

    let place = directory()?;
    let disk = Disk::from_image(
        &lab.image.join("disk.raw"),
        &place.path().join("disk.raw"),
        DISK_SIZE,
    )?;
    let boot = if options.direct {
        lab.direct_boot(lab.command_line()?)
    } else {
        Boot::Firmware(Firmware::new(&place.path().join("variables.fd"))?)
    };
    let mut machine_options =
        MachineOptions::new(lab.accelerator, boot, vec![disk.path().to_owned()]);
    machine_options.reboots = !options.demo;
    if options.direct {
        machine_options.configuration = Some(devnet.write_node_toml()?);
    } else {
        let maker = Authority::new(&place.path().join("maker"))?;
        let place = place.path().join("tpm");
        std::fs::create_dir_all(&place).context("cannot create the TPM's folder")?;
        machine_options.tpm = Some(Tpm::manufacture(&place, &maker).await?);
        let measured = lab.measured()?;
        devnet
            .demand_evidence(&Demand {
                endorsement_roots: &maker.roots_pem()?,
                secure_boot_certificate: None,
                root_hash: measured.root_hash()?,
                pcr11: measured.pcr11()?,
            })
            .await?;
        say("the master demands evidence of the TPM; the node seals what it is given");
        devnet.write_node_toml()?;
        disk.write_configuration(&devnet.sealed_node_toml()?)?;
    }
    let (tap, bytes) = mpsc::channel(CONSOLE_CHUNKS);
    let mut machine = Machine::start(&machine_options, place.path(), Some(tap)).await?;
    devnet.set_health_port(machine.health_port())?;
    say(&format!(
        "status page: curl http://127.0.0.1:{}/health",
        machine.health_port()
    ));
    let console = tokio::spawn(terminal::show(bytes));

    let outcome = if options.demo {
        tokio::select! {
            outcome = live(&mut machine, &devnet, lab) => outcome,
            () = stops.next() => Err(anyhow::anyhow!("stopped before the end of the demo")),
        }
    } else {
        say("slash the node from another terminal: ./build.sh slash");
        say("Ctrl-C presses the power button; a second one cuts the power. The node's console:");
        watch(&mut machine, &mut stops).await
    };
    Description::remove(&options.devnet);
    finish(&machine, console, outcome).await
}

/// Shows the rest of the console, then the timeline.
async fn finish(machine: &Machine, console: JoinHandle<()>, outcome: Result<()>) -> Result<()> {
    console.abort();
    let _ = console.await;
    let entries = timeline::read(&machine.console);
    if !entries.is_empty() {
        println!("\nTimeline (seconds since the kernel started, and since power-on):\n");
        println!("{}", timeline::table(&entries));
    }
    if outcome.is_err() {
        println!("End of the console:\n{}", machine.console.tail(40));
    }
    outcome
}

/// Passes keys to the console and waits for the machine's end.
async fn watch(machine: &mut Machine, stops: &mut Stops) -> Result<()> {
    let raw = RawMode::enter();
    let mut keys = raw.as_ref().map(RawMode::keys);
    let mut pressed = false;
    loop {
        let key = async {
            match &mut keys {
                Some(keys) => keys.recv().await,
                None => std::future::pending().await,
            }
        };
        let stop = tokio::select! {
            ended = machine.wait_shutdown() => {
                drop(raw);
                ended?;
                say("the node has switched the machine off");
                return Ok(());
            }
            key = key => match key {
                Some(Key::Text(bytes)) => {
                    machine.type_bytes(&bytes)?;
                    false
                }
                Some(Key::Interrupt) => true,
                None => {
                    keys = None;
                    false
                }
            },
            () = stops.next() => true,
        };
        if stop && pressed {
            drop(raw);
            say("the power is cut");
            return machine.cut_power().await;
        }
        if stop {
            pressed = true;
            say("power button pressed; Ctrl-C once more cuts the power");
            machine.press_power_button().await?;
        }
    }
}

/// The whole life: join, work, stake, heartbeat, slash, power-off. Each step is looked at where it
/// takes effect: on the chain, in the cluster, and at the machine.
async fn live(machine: &mut Machine, devnet: &Devnet, lab: &Lab) -> Result<()> {
    node::joined(machine, devnet).await?;
    say("demo: the node has joined; the k3s server has a ready Node");
    if lab.k3s == K3s::Double {
        let pod = node::running_pod(machine, devnet).await?;
        let address = pod.sandbox.map(|sandbox| sandbox.ip).unwrap_or_default();
        say(&format!(
            "demo: containerd runs the pod {} at {address}",
            pod.name
        ));
    }
    let stake = devnet.stake().await?;
    ensure!(
        stake.verdict == Verdict::Active,
        "the chain has the stake {stake:?}"
    );
    say(&format!(
        "demo: the chain has the stake {} of {}",
        stake.record, stake.amount
    ));
    eventually(
        "the master acknowledges a heartbeat",
        machine.patience(),
        || async {
            let health = node::health(machine).await?;
            number_at(&health, "/heartbeat/acknowledged")
                .filter(|count| *count > 0)
                .with_context(|| format!("/health says {health}"))
        },
    )
    .await?;
    say("demo: the master has acknowledged a heartbeat. Now the stake is slashed");
    let slashed = devnet.slash().await?;
    say(&format!(
        "demo: slashed on the chain; {} are left",
        slashed.amount
    ));
    machine
        .expect("power action=power-off reason=slashed")
        .await?;
    machine.wait_power_off().await?;
    let after = devnet.stake().await?;
    ensure!(
        after.verdict == Verdict::Slashed,
        "the chain has the stake {after:?}"
    );
    say("demo: the machine is off, by itself, because of the slash");
    Ok(())
}

/// Slashes the node of a running devnet.
///
/// # Errors
/// When no devnet runs, the node has no stake, or the chain refuses.
pub async fn slash(devnet: &std::path::Path) -> Result<()> {
    let description = Description::read(devnet)?;
    let (executed, stake) = crate::devnet::slash(&description).await?;
    say(&format!(
        "transaction {} in checkpoint {}: the stake {} of {} is slashed, {} are left",
        executed.transaction, executed.checkpoint, stake.record, stake.node_id, stake.amount
    ));
    Ok(())
}

fn say(text: &str) {
    println!("==> {text}");
}
