//! A TPM that is busy with something else while the node boots, and one that gives nothing out for as long as the boot
//! phase lasts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use anyhow::{Context as _, Result, ensure};
use seal::tpm::nv;

use super::sealed_configuration::TAKEN;
use crate::lab::Context;
use crate::node;
use crate::qemu::Ending;
use crate::tpm::interposer::{self, Interposer};

/// Commands (TPM 2.0 Library, Part 2, 6.5.2).
const POLICY_NV: u32 = 0x149;
const POLICY_PCR: u32 = 0x17f;
const UNSEAL: u32 = 0x15e;
/// `TPM_RC_LOCKOUT`, `TPM_RC_RETRY` and `TPM_RC_TESTING` (Part 2, 6.6.3).
const LOCKOUT: u32 = 0x921;
const RETRY: u32 = 0x922;
const TESTING: u32 = 0x90a;
/// How often a PCR is extended behind a policy that was just checked: as often as a boot loads modules.
const EXTENSIONS: u32 = 60;

const MOUNTED: &str = r"state INFO state mounted encryption=tpm";
const PHASE_ENDED: &str = r"measure INFO measured: phase=run";

/// Extends PCR 10 by zeros, as the kernel's IMA does with each module that it measures.
fn extend_pcr_10() -> Vec<u8> {
    let mut command = vec![0x80, 2, 0, 0, 0, 0];
    // TPM2_PCR_Extend of PCR 10, by an empty password, with one digest of SHA-256
    command.extend(0x182_u32.to_be_bytes());
    command.extend(10_u32.to_be_bytes());
    command.extend(9_u32.to_be_bytes());
    command.extend([0x40, 0, 0, 9, 0, 0, 0, 0, 0]);
    command.extend(1_u32.to_be_bytes());
    command.extend([0, 0x0b]);
    command.extend([0; 32]);
    let length = u8::try_from(command.len()).unwrap_or_default();
    if let Some(size) = command.get_mut(5) {
        *size = length;
    }
    command
}

pub(super) async fn tpm_busy_at_boot_delays_and_fails_nothing(context: &Context) -> Result<()> {
    let devnet = context.devnet().await?;
    let disk = context.disk()?;
    let tpm = context.tpm().await?;
    disk.write_configuration(&devnet.sealed_node_toml()?)?;
    let mut options = context.measured_machine(&disk, &tpm)?;
    let mut machine = context.power_on(&options).await?;
    machine.expect(TAKEN).await?;
    machine.expect(PHASE_ENDED).await?;
    machine.expect(MOUNTED).await?;
    machine.cut_power().await?;
    drop(machine);

    let extended = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&extended);
    let mut busy = 0_u32;
    options.interposer = Some(Interposer::new(move |command, tpm| {
        let code = interposer::code(command);
        busy = busy.wrapping_add(1);
        // what a TPM that tests itself, or starts to, answers to anything
        if code == UNSEAL && busy.is_multiple_of(2) {
            return Ok(interposer::refusal(RETRY));
        }
        if busy.is_multiple_of(7) {
            return Ok(interposer::refusal(TESTING));
        }
        let reply = tpm.pass(command)?;
        if code == POLICY_PCR && counter.fetch_add(1, Ordering::SeqCst) < EXTENSIONS {
            tpm.pass(&extend_pcr_10())?;
        }
        Ok(reply)
    }));
    let mut machine = context.power_on(&options).await?;
    node::joined(&machine, &devnet).await?;
    ensure!(
        extended.load(Ordering::SeqCst) > EXTENSIONS,
        "no policy was checked while PCR 10 was extended"
    );
    let console = machine.console.text();
    for task in ["state", "configure", "measure"] {
        ensure!(
            !console.contains(&format!("ended service={task}")),
            "{task} failed, and had to start again"
        );
    }
    let at = |line: &str| {
        let found = console.find(line);
        found.with_context(|| format!("the console has no line with {line}"))
    };
    ensure!(
        at("state mounted")? < at("measured: phase=run")?,
        "the boot phase ended before the state was open"
    );
    machine.cut_power().await
}

pub(super) async fn state_shut_out_restarts_the_machine_once(context: &Context) -> Result<()> {
    let devnet = context.devnet().await?;
    let disk = context.disk()?;
    let tpm = context.tpm().await?;
    disk.write_configuration(&devnet.sealed_node_toml()?)?;
    let locked = Arc::new(AtomicBool::new(false));
    let mut options = context.measured_machine(&disk, &tpm)?;
    let is_locked = Arc::clone(&locked);
    options.interposer = Some(Interposer::new(move |command, tpm| {
        let of_state = interposer::code(command) == POLICY_NV
            && interposer::word(command, 14) == nv::STATE_COUNTER;
        match of_state && is_locked.load(Ordering::SeqCst) {
            true => Ok(interposer::refusal(LOCKOUT)),
            false => tpm.pass(command),
        }
    }));
    let mut machine = context.power_on(&options).await?;
    machine.expect(MOUNTED).await?;
    machine.expect("started service=staker").await?;
    machine.cut_power().await?;
    drop(machine);

    // for as long as that may pass by itself, the boot phase goes on
    locked.store(true, Ordering::SeqCst);
    let mut machine = context.power_on(&options).await?;
    machine.expect("the TPM is locked for a while").await?;
    let started = machine
        .expect(r"started service=measure process=\d+ seconds=(\d+)")
        .await?;
    let seconds: u32 = started.groups.first().context("no seconds")?.parse()?;
    // the waits between as many tries as the state has (init/node/init/src/service/table/entries.rs)
    ensure!(
        seconds > 61,
        "the boot phase ended after {seconds} s, before the state had its tries"
    );
    machine
        .expect("did not open before the boot phase ended.*the machine restarts, once")
        .await?;
    machine
        .expect("power action=reboot reason=boot-phase-over")
        .await?;
    ensure!(
        machine.wait_end().await? == Ending::Reboot,
        "the machine did not restart"
    );
    drop(machine);

    // it does not restart for ever: it stays up, and says what is wrong
    let mut machine = context.power_on(&options).await?;
    machine
        .expect(
            "degraded=state-disk detail=.*did not open before the boot phase ended.*after which",
        )
        .await?;
    machine.expect("started service=staker").await?;
    ensure!(
        !machine.console.text().contains("stopping reason="),
        "the machine restarts again"
    );
    machine.cut_power().await?;
    drop(machine);

    locked.store(false, Ordering::SeqCst);
    let mut machine = context.power_on(&options).await?;
    machine
        .expect("the state's key is there, after the restart for its sake")
        .await?;
    node::joined(&machine, &devnet).await?;
    machine.cut_power().await
}
