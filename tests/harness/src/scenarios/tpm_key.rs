//! The key in a node's TPM, and who tries to destroy it from within the node. Sections in comments are
//! those of the TPM 2.0 Library, Part 3, revision 1.59.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use k3s_double::control::{Command, TpmAnswer};
use seal::tpm::STORAGE_ROOT_KEY;
use seal::tpm::nv::COUNTER;
use wire::{paths, users};

use super::attested::demanding;
use super::privileges;
use super::sealed_configuration::{SEALED, STATE, TAKEN, fund, funding_address};
use super::services::acknowledged;
use crate::devnet::Devnet;
use crate::lab::Context;
use crate::node::{self, eventually};
use crate::qemu::Machine;

/// `TPM_RH_OWNER` and `TPM_RH_LOCKOUT` (Part 2, 7.4).
const OWNER: u32 = 0x4000_0001;
const LOCKOUT: u32 = 0x4000_000a;
/// The register that the boot's phases are measured into.
const KERNEL: u32 = 11;
/// An authorisation area of one empty password: `TPM_RS_PW`, no nonce, no attributes, no password.
const EMPTY_PASSWORD: [u8; 9] = [0x40, 0, 0, 9, 0, 0, 0, 0, 0];
/// `TPM_RC_COMMAND_CODE` (Part 2, 6.6.3): there is no such command.
const NO_SUCH_COMMAND: u32 = 0x143;
/// `TPM_RC_DISABLED` (Part 2, 6.6.3).
const DISABLED: u32 = 0x120;
/// `TPM_RC_NV_AUTHORIZATION` (Part 2, 6.6.3).
const NV_AUTHORIZATION: u32 = 0x149;

/// A command that destroys the node's key, or what the key needs.
struct Destroyer {
    name: &'static str,
    request: Vec<u8>,
}

/// Each is one that a TPM takes with empty passwords, as it leaves its factory.
fn destroyers() -> Vec<Destroyer> {
    let one = |name, code, handles: &[u32], passwords, parameters: &[u8]| Destroyer {
        name,
        request: command(code, handles, passwords, parameters),
    };
    let key = STORAGE_ROOT_KEY;
    // TPML_DIGEST_VALUES (Part 2, 10.9.6) of one digest of SHA-256
    let digest = [&[0, 0, 0, 1, 0, 0x0b][..], &[7; 32]].concat();
    vec![
        // 22.2: the key signs in the phase that was measured
        one("TPM2_PCR_Extend", 0x182, &[KERNEL], 1, &digest),
        // 31.8: what is sealed opens up to a count
        one("TPM2_NV_Increment", 0x134, &[OWNER, COUNTER], 1, &[]),
        one("TPM2_NV_Increment", 0x134, &[OWNER, COUNTER], 1, &[]),
        // 31.4
        one("TPM2_NV_UndefineSpace", 0x122, &[OWNER, COUNTER], 1, &[]),
        // 28.5: the key is a child of the storage root key
        one(
            "TPM2_EvictControl",
            0x120,
            &[OWNER, key],
            1,
            &key.to_be_bytes(),
        ),
        // 24.8
        one(
            "TPM2_HierarchyChangeAuth",
            0x129,
            &[OWNER],
            1,
            &[0, 1, b'x'],
        ),
        // 24.6
        one("TPM2_Clear", 0x126, &[LOCKOUT], 1, &[]),
    ]
}

fn command(code: u32, handles: &[u32], passwords: usize, parameters: &[u8]) -> Vec<u8> {
    let passwords = EMPTY_PASSWORD.repeat(passwords);
    let mut body: Vec<u8> = handles
        .iter()
        .flat_map(|handle| handle.to_be_bytes())
        .collect();
    body.extend(
        u32::try_from(passwords.len())
            .unwrap_or_default()
            .to_be_bytes(),
    );
    body.extend(passwords);
    body.extend(parameters);
    let size = u32::try_from(10 + body.len()).unwrap_or_default();
    [
        // TPM_ST_SESSIONS
        &[0x80, 2][..],
        &size.to_be_bytes(),
        &code.to_be_bytes(),
        &body,
    ]
    .concat()
}

pub(super) async fn tpm_key_outlives_a_compromised_staker(context: &Context) -> Result<()> {
    let tpm = context.tpm().await?;
    let disk = context.disk()?;
    let options = context.measured_machine(&disk, &tpm)?;
    // the key signs, and the TPM quotes for the master
    let (devnet, _) = demanding(context, None).await?;
    disk.write_configuration(&devnet.node_toml_with_key_in_tpm()?)?;

    let mut first = context.power_on(&options).await?;
    let address = funding_address(&first).await?;
    fund(&first, &devnet, address).await?;
    node::joined(&first, &devnet).await?;

    let all = node::processes(&devnet).await?;
    let broker = node::only(&all, "tpm-broker")?;
    ensure!(
        (broker.uid, broker.gid) == (users::TPM_BROKER, users::TPM_BROKER)
            && broker.capabilities == privileges::capabilities(0)
            && broker.no_new_privileges
            && broker.seccomp == 2,
        "the broker has too many rights: {broker:?}"
    );
    let mut done = Vec::new();
    done.extend(as_staker(&devnet, paths::TPM_BROKER, refused_by_broker).await?);
    done.extend(as_staker(&devnet, paths::TPM, refused_by_kernel).await?);
    done.extend(as_root(&devnet).await?);
    ensure!(
        done.is_empty(),
        "the TPM's key can be destroyed from within the node:\n{}",
        done.join("\n")
    );
    first
        .expect("daas: tpm-broker WARN .*command=TPM_CC_Clear")
        .await?;
    goes_on(&first).await?;
    first.cut_power().await?;
    drop(first);

    let spent = devnet.chain().await?.balance(address).await?;
    let mut second = context.power_on(&options).await?;
    node::joined(&second, &devnet).await?;
    goes_on(&second).await?;
    ensure!(
        devnet.chain().await?.balance(address).await? == spent,
        "the node paid for a transaction at a restart"
    );
    node::switch_off(&mut second).await?;
    drop(second);

    // the hierarchies stay the owner's: the machine is flashed anew, with what its TPM still holds
    let fresh = context.disk()?;
    fresh.write_configuration(&devnet.sealed_node_toml()?)?;
    let third = context
        .power_on(&context.measured_machine(&fresh, &tpm)?)
        .await?;
    third.expect(TAKEN).await?;
    third.expect(STATE).await?;
    third.expect("started service=staker").await?;
    Ok(())
}

pub(super) async fn reset_of_a_tpm_key_asks_twice(context: &Context) -> Result<()> {
    let tpm = context.tpm().await?;
    let disk = context.disk()?;
    let options = context.measured_machine(&disk, &tpm)?;
    let devnet = context.devnet().await?;
    disk.write_configuration(&devnet.node_toml_with_key_in_tpm()?)?;
    let mut machine = context.power_on(&options).await?;
    let address = funding_address(&machine).await?;
    machine.cut_power().await?;
    drop(machine);
    let sealed = disk.read_from_esp(SEALED)?;

    // --yes is no answer, nor is another key's address
    let other = format!("0x{}", "0".repeat(64));
    for forget_key in [None, Some(other.as_str())] {
        let error = crate::reset::disk(disk.path(), true, forget_key)
            .err()
            .context("a reset was chosen that nobody has confirmed")?;
        ensure!(
            error.to_string().contains(&address.to_string()) && !disk.resets()?,
            "the reset was refused with: {error:#}"
        );
    }

    // chosen in the boot menu: nobody answers, and nothing is changed
    disk.choose_reset(true)?;
    let mut machine = context.power_on(&options).await?;
    machine.expect(&address.to_string()).await?;
    machine.expect("powers off in 60 seconds").await?;
    machine.type_bytes(b"yes\r")?;
    machine.expect("nothing was changed").await?;
    machine.wait_power_off().await?;
    drop(machine);
    ensure!(
        disk.read_from_esp(SEALED)? == sealed && !disk.resets()?,
        "a reset that nobody confirmed has changed something"
    );
    let mut machine = context.power_on(&options).await?;
    ensure!(
        funding_address(&machine).await? == address,
        "the node has another key"
    );
    machine.cut_power().await?;
    drop(machine);

    // the address confirms, on the console
    disk.choose_reset(true)?;
    let mut machine = context.power_on(&options).await?;
    machine.expect("powers off in 60 seconds").await?;
    let digits = address.to_string();
    let digits = digits.get(..10).context("a short address")?;
    machine.type_bytes(format!("{digits}\r").as_bytes())?;
    machine
        .expect("this node was reset, as it was asked to be")
        .await?;
    machine.wait_power_off().await?;
    drop(machine);
    ensure!(
        disk.read_from_esp(SEALED).is_err(),
        "the configuration is still there"
    );

    // a new key on the same TPM, and the reset confirmed from outside
    disk.write_configuration(&devnet.node_toml_with_key_in_tpm()?)?;
    let mut machine = context.power_on(&options).await?;
    let second = funding_address(&machine).await?;
    machine.cut_power().await?;
    drop(machine);
    ensure!(second != address, "a key that was reset is there again");
    crate::reset::disk(disk.path(), true, Some(&second.to_string()))?;
    let mut machine = context.power_on(&options).await?;
    machine
        .expect("this node was reset, as it was asked to be")
        .await?;
    machine.wait_power_off().await
}

/// Heartbeats are acknowledged, each with a quote of the TPM.
async fn goes_on(machine: &Machine) -> Result<()> {
    let before = acknowledged(machine).await?;
    eventually("heartbeats go on", machine.patience(), || async {
        ensure!(acknowledged(machine).await? > before, "none since");
        Ok(())
    })
    .await
}

/// What the staker's user has done by one way to the TPM, each in a line; nothing: every command was refused.
async fn as_staker(
    devnet: &Devnet,
    path: &str,
    is_refused: fn(&TpmAnswer) -> bool,
) -> Result<Vec<String>> {
    let mut done = Vec::new();
    for destroyer in destroyers() {
        let answer = ask(devnet, users::STAKER, path, &destroyer.request).await?;
        if !is_refused(&answer) {
            done.push(format!(
                "{} by the staker's user through {path}: {answer:?}",
                destroyer.name
            ));
        }
    }
    Ok(done)
}

/// What root has done, who has the TPM itself. The owner of the machine may delete his counters and keys
/// (SECURITY.md); what the TPM itself keeps from root is asked for.
async fn as_root(devnet: &Devnet) -> Result<Vec<String>> {
    let mut done = Vec::new();
    for destroyer in destroyers() {
        let expected = match destroyer.name {
            "TPM2_NV_Increment" => NV_AUTHORIZATION,
            "TPM2_Clear" => DISABLED,
            _ => continue,
        };
        let answer = ask(devnet, 0, paths::TPM, &destroyer.request).await?;
        if code(&answer) != Some(expected) {
            done.push(format!("{} by root: {answer:?}", destroyer.name));
        }
    }
    Ok(done)
}

fn refused_by_broker(answer: &TpmAnswer) -> bool {
    code(answer) == Some(NO_SUCH_COMMAND)
}

fn refused_by_kernel(answer: &TpmAnswer) -> bool {
    matches!(answer, TpmAnswer::Failed(why) if why.contains("Permission denied"))
}

/// The response code of a reply (5.2).
fn code(answer: &TpmAnswer) -> Option<u32> {
    let TpmAnswer::Reply(reply) = answer else {
        return None;
    };
    let reply = hex::decode(reply).ok()?;
    let code = reply.get(6..10)?.try_into().ok()?;
    Some(u32::from_be_bytes(code))
}

async fn ask(devnet: &Devnet, user: u32, path: &str, request: &[u8]) -> Result<TpmAnswer> {
    let command = Command::Tpm {
        user,
        path: PathBuf::from(path),
        request: hex::encode(request),
    };
    devnet
        .cluster
        .control()?
        .command(&devnet.node_name()?, &command)
        .await
        .context("a command to the TPM")
}
