//! A node for people: its console in this terminal, a devnet beside it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use chain::Verdict;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::devnet::evidence::Demand;
use crate::devnet::{Description, Devnet, DevnetOptions, K3s};
use crate::disk::Disk;
use crate::lab::{DISK_SIZE, Lab, directory};
use crate::node::{self, eventually, number_at};
use crate::qemu::{Boot, Firmware, Machine, MachineOptions};
use crate::reset::{Asker, Control};
use crate::stops::Stops;
use crate::terminal::{self, Key, RawMode};
use crate::timeline;
use crate::tpm::{Authority, Tpm};

/// Chunks of console output that may wait for a slow terminal.
const CONSOLE_CHUNKS: usize = 1024;

/// How long a node that is to be reset has to switch itself off: nothing of it is to be kept.
const POWER_OFF: Duration = Duration::from_secs(120);

/// How long the master has to remove a Node whose stake is slashed: it looks at every stake once a minute.
const NODE_REMOVAL: Duration = Duration::from_secs(150);

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
        ipv6_alone: false,
    };
    let place = directory()?;
    // both take longer than the devnet: they are made beside it
    let disk = tokio::task::spawn_blocking({
        let (image, copy) = (lab.image.join("disk.raw"), place.path().join("disk.raw"));
        move || Disk::from_image(&image, &copy, DISK_SIZE)
    });
    let chip = (!options.direct).then(|| tokio::spawn(manufacture(place.path().to_owned())));
    let mut devnet = tokio::select! {
        devnet = Devnet::start(&devnet_options) => devnet?,
        () = stops.next() => bail!("stopped before the node was started"),
    };
    say(&format!(
        "devnet: fullnode, master, k3s server and time server run; files and logs in {}",
        options.devnet.display()
    ));

    let disk = disk.await.context("the disk's copy broke off")??;
    let boot = if options.direct {
        lab.direct_boot(lab.command_line()?)
    } else {
        Boot::Firmware(Firmware::new(&place.path().join("variables.fd"))?)
    };
    let mut machine_options =
        MachineOptions::new(lab.accelerator, boot, vec![disk.path().to_owned()]);
    machine_options.reboots = !options.demo;
    if let Some(chip) = chip {
        let (maker, tpm) = chip.await.context("the TPM's maker broke off")??;
        machine_options.tpm = Some(tpm);
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
    } else {
        machine_options.configuration = Some(devnet.write_node_toml()?);
    }
    let control = Control::listen(place.path().join("control"))?;
    devnet.set_control(control.path())?;
    let mut desk = Desk {
        options: machine_options,
        place,
        disk,
        control,
        stops,
    };
    let outcome = if options.demo {
        desk.demo(&mut devnet, lab).await
    } else {
        desk.serve(&mut devnet, options.direct).await
    };
    Description::remove(&options.devnet);
    outcome
}

/// A maker of TPMs, and one of its TPMs, in folders below `place`.
async fn manufacture(place: PathBuf) -> Result<(Authority, Tpm)> {
    let maker = Authority::new(&place.join("maker"))?;
    let place = place.join("tpm");
    std::fs::create_dir_all(&place).context("cannot create the TPM's folder")?;
    let tpm = Tpm::manufacture(&place, &maker).await?;
    Ok((maker, tpm))
}

/// What a node's machine is switched on with, and by whom.
struct Desk {
    options: MachineOptions,
    place: TempDir,
    disk: Disk,
    control: Control,
    stops: Stops,
}

impl Desk {
    async fn power_on(&self, devnet: &mut Devnet) -> Result<(Machine, JoinHandle<()>)> {
        let (tap, bytes) = mpsc::channel(CONSOLE_CHUNKS);
        let machine = Machine::start(&self.options, self.place.path(), Some(tap)).await?;
        devnet.set_health_port(machine.health_port())?;
        say(&format!(
            "status page: curl http://127.0.0.1:{}/health",
            machine.health_port()
        ));
        Ok((machine, tokio::spawn(terminal::show(bytes))))
    }

    async fn demo(&mut self, devnet: &mut Devnet, lab: &Lab) -> Result<()> {
        let (mut machine, console) = self.power_on(devnet).await?;
        let outcome = tokio::select! {
            outcome = live(&mut machine, devnet, lab) => outcome,
            () = self.stops.next() => Err(anyhow::anyhow!("stopped before the end of the demo")),
        };
        finish(&machine, console, outcome).await
    }

    /// Runs the node until it is off, or until it is off after as many resets as somebody asks for.
    async fn serve(&mut self, devnet: &mut Devnet, direct: bool) -> Result<()> {
        let raw = RawMode::enter();
        let mut keys = Keys(raw.as_ref().map(RawMode::keys));
        loop {
            let (mut machine, console) = self.power_on(devnet).await?;
            say("from another terminal: ./build.sh slash, ./build.sh reset");
            say(
                "Ctrl-C presses the power button; a second one cuts the power. The node's console:",
            );
            let outcome = watch(&mut machine, &mut self.stops, &self.control, &mut keys).await;
            let (outcome, asker) = match outcome {
                Ok(asker) => (Ok(()), asker),
                Err(error) => (Err(error), None),
            };
            finish(&machine, console, outcome).await?;
            drop(machine);
            let Some(asker) = asker else {
                if devnet
                    .stake()
                    .await
                    .is_ok_and(|stake| stake.verdict == Verdict::Slashed)
                {
                    tokio::select! {
                        removed = node_is_removed(devnet) => removed?,
                        () = keys.interrupt() => {}
                        () = self.stops.next() => {}
                    }
                }
                return Ok(());
            };
            tokio::select! {
                outcome = self.reset(devnet, direct, asker) => outcome?,
                () = keys.interrupt() => bail!("stopped in the middle of a reset"),
            }
        }
    }

    /// Lets a machine that is off reset itself, and gives it its configuration again, as one that is new.
    async fn reset(&self, devnet: &mut Devnet, direct: bool, mut asker: Asker) -> Result<()> {
        if direct {
            asker
                .tell("a machine that was started without firmware has no boot menu to choose from")
                .await;
            bail!("a node that runs by --direct can't be reset: there is no boot menu");
        }
        self.disk.choose_reset(true)?;
        asker.tell("the node is off; it resets itself").await;
        let (mut machine, console) = self.power_on(devnet).await?;
        let outcome = async {
            machine
                .expect("this node was reset, as it was asked to be")
                .await?;
            machine.wait_power_off().await
        };
        let outcome = outcome.await;
        finish(&machine, console, outcome).await?;
        ensure!(
            !self.disk.resets()?,
            "the boot menu still chooses the reset"
        );
        // as its administrator has to: the cluster still knows the node by a password that it has forgotten
        devnet.cluster.remove_node(&devnet.node_name()?).await?;
        self.disk.write_configuration(&devnet.sealed_node_toml()?)?;
        asker
            .tell("keys and state are wiped; the node starts as a new one, with its configuration")
            .await;
        asker.done().await;
        Ok(())
    }
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

/// Passes keys to the console and waits for the machine's end. Who asked for a reset, if anybody did.
async fn watch(
    machine: &mut Machine,
    stops: &mut Stops,
    control: &Control,
    keys: &mut Keys,
) -> Result<Option<Asker>> {
    let mut asker = None;
    let mut off_by = None;
    let mut pressed = false;
    loop {
        let stop = tokio::select! {
            ended = machine.wait_shutdown() => {
                ended?;
                say("the node has switched the machine off");
                return Ok(asker);
            }
            asked = control.next(), if asker.is_none() => {
                asker = Some(asked);
                say("somebody asks for a reset: power button pressed");
                machine.press_power_button().await?;
                off_by = Some(Instant::now() + POWER_OFF);
                continue;
            }
            () = reached(off_by) => {
                say("it does not switch itself off: the power is cut");
                machine.cut_power().await?;
                return Ok(asker);
            }
            key = keys.next() => match key {
                Key::Text(bytes) => {
                    machine.type_bytes(&bytes)?;
                    false
                }
                Key::Interrupt => true,
            },
            () = stops.next() => true,
        };
        if stop && pressed {
            say("the power is cut");
            machine.cut_power().await?;
            return Ok(None);
        }
        if stop {
            pressed = true;
            say("power button pressed; Ctrl-C once more cuts the power");
            machine.press_power_button().await?;
        }
    }
}

async fn reached(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// What a person types, for as long as there is a terminal.
struct Keys(Option<mpsc::Receiver<Key>>);

impl Keys {
    /// Waits for the next key; for ever where there is no terminal.
    async fn next(&mut self) -> Key {
        if let Some(keys) = &mut self.0
            && let Some(key) = keys.recv().await
        {
            return key;
        }
        self.0 = None;
        std::future::pending().await
    }

    /// Waits for Ctrl-C; other keys are nobody's.
    async fn interrupt(&mut self) {
        while self.next().await != Key::Interrupt {}
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
    node_is_removed(devnet).await
}

/// Waits until the master has removed the Node of a slashed stake from the cluster, and says so.
async fn node_is_removed(devnet: &Devnet) -> Result<()> {
    let name = devnet.node_name()?;
    say(&format!(
        "the cluster still has the Node {name}: the master looks once a minute"
    ));
    let started = Instant::now();
    eventually("the master removes the Node", NODE_REMOVAL, || async {
        let node = devnet.cluster.node(&name).await?;
        ensure!(node.is_none(), "the cluster still has the Node {name}");
        Ok(())
    })
    .await?;
    say(&format!(
        "the master has cordoned and deleted the Node {name}, {} s after the machine was off",
        started.elapsed().as_secs()
    ));
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
