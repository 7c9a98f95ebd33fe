//! A node whose configuration and state are sealed by its TPM: its life, and all that does not open
//! them.

use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chain::{Address, Mist};
use k3s_double::control::{Command, Unsealed};

use seal::envelope::Envelope;
use seal::release::{Phase, ReleasePolicies};
use seal::tpm::crypto::sha256;
use seal::tpm::pcr;

use crate::devnet::Devnet;
use crate::disk::Disk;
use crate::lab::Context;
use crate::node::{self, eventually, health, text_at};
use crate::qemu::{Machine, MachineOptions};
use crate::scenarios::privileges::check_secret_file;
use crate::tpm::Tpm;
use crate::tpm::interposer::{self, Behind, Interposer};

pub(super) const SEALED: &str = "daas/node.sealed";
/// The configuration is out, and sealed.
pub(super) const TAKEN: &str = r"daas: init INFO seal=tpm";
pub(super) const STATE: &str = r"daas: init INFO state_encryption=tpm";
/// The boot phase is over.
pub(super) const RUNNING: &str = r"daas: measure INFO measured: phase=run";
/// Where an ext4 superblock has its magic number, and what it is.
const SUPERBLOCK: (usize, [u8; 2]) = (1024 + 0x38, [0x53, 0xef]);
/// `TPM2_PCR_Extend` (TPM 2.0 Library, Part 2, 6.5.2).
const PCR_EXTEND: u32 = 0x182;
/// Part of a file that is read at once.
const CHUNK: usize = 1 << 20;

pub(super) async fn sealed_node_lives_and_root_unseals_nothing(context: &Context) -> Result<()> {
    let devnet = context.devnet().await?;
    let disk = context.disk()?;
    let tpm = context.tpm().await?;
    disk.write_configuration(&devnet.sealed_node_toml()?)?;
    let options = context.measured_machine(&disk, &tpm)?;

    let first = context.power_on(&options).await?;
    first
        .expect("the plain configuration is overwritten and removed")
        .await?;
    node::joined(&first, &devnet).await?;
    let stake = devnet.stake().await?;
    check_health(&first).await?;
    root_unseals_nothing(&first, &devnet, &disk).await?;
    check_secret_file(&devnet, wire::paths::DOCUMENT, "0400", 0).await?;
    let mut first = first;
    node::switch_off(&mut first).await?;
    drop(first);
    ensure!(
        !disk.list_esp("daas")?.contains(&"node.toml".to_owned()),
        "the plain configuration is still there"
    );
    let key = devnet.node_key().to_suiprivkey()?;
    ensure!(
        !holds(disk.path(), key.as_bytes())?,
        "the node's key stands on the disk in the plain"
    );
    let head = disk.read("state", SUPERBLOCK.0 + 2)?;
    ensure!(
        !head.ends_with(&SUPERBLOCK.1),
        "the state partition is a plain file system"
    );

    // the same node again, after a power cut, and with another image of the same publisher
    let sealed = disk.read_from_esp(SEALED)?;
    let update = context.lab.uki(&context.lab.publisher(0)?, |parts| {
        parts.command_line.push_str(" update");
    })?;
    disk.install_uki(&update.program)?;
    let asked = Asked::default();
    let mut options = options;
    options.interposer = Some(asks_in_both_phases(&sealed, &update.policies, &asked)?);
    let mut second = context.power_on(&options).await?;
    node::joined(&second, &devnet).await?;
    ensure!(
        devnet.stake().await? == stake,
        "the stake is another after an update"
    );
    opens_in_the_boot_phase_alone(&asked)?;
    second.cut_power().await?;
    drop(second);
    ensure!(
        disk.read_from_esp(SEALED)? == sealed,
        "the update sealed the configuration anew"
    );
    Ok(())
}

/// What came of each attempt to unseal: nothing, or why it was refused.
type Asked = Arc<Mutex<Vec<Result<(), String>>>>;

/// Asks the TPM for what is sealed, just before the boot phase ends and just after: the same question, by the
/// same program, with the same file and the same policies.
fn asks_in_both_phases(sealed: &[u8], policies: &str, asked: &Asked) -> Result<Interposer> {
    let envelope = Envelope::from_bytes(sealed)?;
    let releases = ReleasePolicies::from_json(policies.as_bytes())?;
    let run = sha256(&[Phase::Run.name().as_bytes()]);
    let asked = Arc::clone(asked);
    Ok(Interposer::new(move |command, tpm| {
        let ask = |tpm: &mut Behind| {
            let opened = envelope.open(&mut tpm.client(), seal::node::LABEL, &releases);
            let outcome = opened.map(drop).map_err(|error| format!("{error:?}"));
            asked
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(outcome);
        };
        let ends_boot_phase = interposer::code(command) == PCR_EXTEND
            && interposer::word(command, 10) == u32::from(pcr::KERNEL)
            && command.ends_with(&run);
        if !ends_boot_phase {
            return tpm.pass(command);
        }
        ask(tpm);
        let reply = tpm.pass(command)?;
        ask(tpm);
        Ok(reply)
    }))
}

fn opens_in_the_boot_phase_alone(asked: &Asked) -> Result<()> {
    let asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
    match asked.as_slice() {
        [Ok(()), Err(refused)] if refused.contains("NotReleased") => Ok(()),
        other => {
            bail!("the TPM was asked before the boot phase ended and after, and gave {other:?}")
        }
    }
}

async fn check_health(machine: &Machine) -> Result<()> {
    eventually(
        "/health tells how secrets are kept",
        machine.patience(),
        || async {
            let health = health(machine).await?;
            ensure!(
                text_at(&health, "/seal") == "tpm"
                    && text_at(&health, "/state_encryption") == "tpm"
                    && text_at(&health, "/tpm/storage_root_key").len() > 100,
                "/health says {health}"
            );
            Ok(())
        },
    )
    .await
}

/// Root inside the machine has the sealed file, the policies and the TPM, as the boot had, and asks the
/// TPM for what the boot got from it: the TPM refuses.
async fn root_unseals_nothing(machine: &Machine, devnet: &Devnet, disk: &Disk) -> Result<()> {
    machine.expect(RUNNING).await?;
    let control = devnet.cluster.control()?;
    let sealed = STANDARD.encode(disk.read_from_esp(SEALED)?);
    let attempt: Unsealed = control
        .command(&devnet.node_name()?, &Command::Unseal { sealed })
        .await
        .context("root's attempt to unseal")?;
    ensure!(
        !attempt.opened
            && attempt
                .refusal
                .contains("the TPM refused TPM_CC_PolicyAuthorize"),
        "root's attempt to unseal gave {attempt:?}"
    );
    Ok(())
}

pub(super) async fn key_born_in_the_tpm_stakes(context: &Context) -> Result<()> {
    let devnet = context.devnet().await?;
    let disk = context.disk()?;
    let tpm = context.tpm().await?;
    disk.write_configuration(&devnet.node_toml_with_key_in_tpm()?)?;
    let options = context.measured_machine(&disk, &tpm)?;

    let mut first = context.power_on(&options).await?;
    let address = funding_address(&first).await?;
    // the code for a telephone's camera
    first.expect("▄▄▄▄").await?;
    first.expect("degraded=balance-short").await?;
    fund(&first, &devnet, address).await?;
    node::joined(&first, &devnet).await?;
    first.cut_power().await?;
    drop(first);

    let spent = devnet.chain().await?.balance(address).await?;
    let mut second = context.power_on(&options).await?;
    node::joined(&second, &devnet).await?;
    ensure!(
        devnet.chain().await?.balance(address).await? == spent,
        "the node paid for a transaction at a restart"
    );
    node::switch_off(&mut second).await
}

/// Sends coins to a key that was made in a TPM, and waits until it has staked with them.
pub(super) async fn fund(machine: &Machine, devnet: &Devnet, address: Address) -> Result<()> {
    devnet.send(address, Mist(crate::devnet::FUNDS / 2)).await?;
    let found = machine
        .expect(r"registered .*the stake (0x[0-9a-f]{64}) of")
        .await?;
    let record = found.groups.first().context("no record on the console")?;
    devnet.follow(record.parse()?, address).await
}

pub(super) async fn funding_address(machine: &Machine) -> Result<Address> {
    let found = machine.expect(r"send SUI to (0x[0-9a-f]{64})").await?;
    let address = found.groups.first().context("no address on the console")?;
    Ok(address.parse()?)
}

/// A node that is provisioned and off.
struct Provisioned {
    disk: Disk,
    tpm: Tpm,
    options: MachineOptions,
}

/// Provisions a node with an image of a security version.
async fn provision(context: &Context, devnet: &Devnet, version: u16) -> Result<Provisioned> {
    let disk = context.disk()?;
    let tpm = context.tpm().await?;
    if version > 0 {
        let publisher = context.lab.publisher(version)?;
        disk.install_uki(&context.lab.uki(&publisher, |_| {})?.program)?;
    }
    disk.write_configuration(&devnet.sealed_node_toml()?)?;
    let options = context.measured_machine(&disk, &tpm)?;
    let mut machine = context.power_on(&options).await?;
    machine.expect(TAKEN).await?;
    machine.expect(STATE).await?;
    // the boot phase is over, and the state has its owner
    machine.expect("started service=staker").await?;
    machine.cut_power().await?;
    Ok(Provisioned { disk, tpm, options })
}

/// The machine takes neither configuration nor state, and says why; nothing is written.
pub(super) async fn refuses(
    context: &Context,
    options: &MachineOptions,
    disk: &Disk,
    configuration: &str,
    state: &str,
) -> Result<()> {
    let sealed = disk.read_from_esp(SEALED)?;
    let head = disk.read("state", CHUNK)?;
    let mut machine = context.power_on(options).await?;
    machine
        .expect(&format!(
            "degraded=configuration detail=.*(?:{configuration})"
        ))
        .await?;
    machine
        .expect(&format!("degraded=state-disk detail=.*(?:{state})"))
        .await?;
    machine.cut_power().await?;
    ensure!(
        disk.read_from_esp(SEALED)? == sealed && disk.read("state", CHUNK)? == head,
        "something was written where nothing was opened ({configuration})"
    );
    Ok(())
}

pub(super) async fn another_image_unseals_nothing(context: &Context) -> Result<()> {
    let devnet = context.devnet().await?;
    let node = provision(context, &devnet, 1).await?;
    let genuine = node.disk.read_from_esp(image::disk::UKI_PATH)?;
    let lab = &context.lab;
    let not_as_signed = "the release key has signed no policy for the measured kernel";
    let state = "its publisher has signed nothing for what was booted";

    // the policies that the publisher signed, with a changed command line, and a changed initramfs
    for change in [change_command_line, change_initramfs] {
        let changed = lab.tampered_uki(&lab.publisher(1)?, change)?;
        node.disk.install_uki(&changed)?;
        refuses(context, &node.options, &node.disk, not_as_signed, state).await?;
    }

    // an older release, genuine, and below the floor that the newer one has set
    let older = lab.uki(&lab.publisher(0)?, |_| {})?;
    node.disk.install_uki(&older.program)?;
    refuses(context, &node.options, &node.disk, "at the floor 1", state).await?;

    // the genuine image, with a command line from outside
    node.disk.install_uki(&genuine)?;
    node.disk
        .boot_with_command_line(&format!("{} other", lab.command_line()?))?;
    refuses(
        context,
        &node.options,
        &node.disk,
        "from outside its image",
        "was given a command line or credentials",
    )
    .await?;
    node.disk.boot_as_it_is()?;

    // as it was: nothing was lost
    let mut machine = context.power_on(&node.options).await?;
    machine.expect(TAKEN).await?;
    machine.expect(STATE).await?;
    machine.cut_power().await
}

fn change_command_line(parts: &mut image::uki::Parts) {
    parts.command_line.push_str(" systemd.unit=rescue");
}

fn change_initramfs(parts: &mut image::uki::Parts) {
    // a second archive behind the first, as the kernel takes them
    parts.initramfs.extend_from_slice(&[0; 512]);
}

pub(super) async fn another_machine_unseals_nothing(context: &Context) -> Result<()> {
    let devnet = context.devnet().await?;
    let node = provision(context, &devnet, 0).await?;

    // the disk in another machine
    let other = context.measured_machine(&node.disk, &context.tpm().await?)?;
    refuses(
        context,
        &other,
        &node.disk,
        "sealed for another machine's TPM",
        "was made on another machine",
    )
    .await?;

    // a sealed file that somebody edited
    let genuine = node.disk.read_from_esp(SEALED)?;
    let mut edited = genuine.clone();
    edit(&mut edited)?;
    node.disk.write_to_esp(SEALED, &edited)?;
    let mut machine = context.power_on(&node.options).await?;
    machine
        .expect("degraded=configuration detail=.*was edited after it was sealed")
        .await?;
    machine.cut_power().await?;
    drop(machine);
    node.disk.write_to_esp(SEALED, &genuine)?;

    // another document beside it: only whoever holds the node's key replaces it
    let foreign = devnet.foreign_node_toml()?;
    node.disk.write_configuration(&foreign)?;
    let mut machine = context.power_on(&node.options).await?;
    machine
        .expect("degraded=configuration detail=.*another configuration is sealed on this node")
        .await?;
    machine.cut_power().await?;
    drop(machine);

    // nor one that keeps its secrets in the plain, whatever key it names
    node.disk.write_configuration(&devnet.node_toml()?)?;
    let mut machine = context.power_on(&node.options).await?;
    machine
        .expect("degraded=configuration detail=.*another configuration is sealed on this node")
        .await?;
    machine.cut_power().await?;
    drop(machine);

    // and in its place it gets no state
    node.disk.remove_from_esp(SEALED)?;
    let head = node.disk.read("state", CHUNK)?;
    node.disk
        .write_configuration(&format!("recovery_key = true\n{foreign}"))?;
    let mut machine = context.power_on(&node.options).await?;
    machine.expect("RECOVERY KEY, shown this once").await?;
    machine
        .expect("degraded=service detail=.*the state belongs to another configuration")
        .await?;
    ensure!(
        !machine.console.text().contains("started service=staker"),
        "the staker was started beside somebody else's state"
    );
    machine.cut_power().await?;
    drop(machine);
    ensure!(
        node.disk.read("state", CHUNK)? == head,
        "somebody else's recovery key was let near the state's"
    );
    node.disk.write_to_esp(SEALED, &genuine)?;

    // its own machine, whose TPM was cleared
    node.tpm.clear().await?;
    refuses(
        context,
        &node.options,
        &node.disk,
        "TPM was cleared since",
        "TPM was cleared since",
    )
    .await
}

/// Changes a byte of what is sealed, and the checksum behind it with it, as somebody would who wants the
/// file to be taken.
fn edit(sealed: &mut [u8]) -> Result<()> {
    let (content, checksum) = sealed
        .split_last_chunk_mut::<32>()
        .context("the sealed file is too short")?;
    *content.last_mut().context("the sealed file is empty")? ^= 1;
    *checksum = sha256(&[content]);
    Ok(())
}

/// Whether a file holds these bytes, wherever.
fn holds(path: &Path, needle: &[u8]) -> Result<bool> {
    let mut file =
        std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut window = Vec::with_capacity(CHUNK + needle.len());
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = file.read(&mut chunk)?;
        if length == 0 {
            return Ok(false);
        }
        window.extend_from_slice(chunk.get(..length).unwrap_or_default());
        if memchr::memmem::find(&window, needle).is_some() {
            return Ok(true);
        }
        let keep = window.len().saturating_sub(needle.len());
        window.drain(..keep);
    }
}
