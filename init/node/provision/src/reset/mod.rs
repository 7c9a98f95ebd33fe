//! The reset on purpose: the word `daas.reset` on the kernel's command line, which the boot menu's
//! reset entry has.
//!
//! Where the TPM has made the node's Sui key, its address is named first, and a person has to confirm it
//! ([`confirm`]); else nothing is changed. Then keys go first, then what they opened:
//!
//! 1. the state partition is marked as empty, and its start overwritten: with it goes the sealed key
//!    of an encrypted state;
//! 2. the configuration on the boot disk's EFI system partition, sealed or plain, is overwritten and
//!    removed;
//! 3. the TPM's counters go, so that copies of either that were made before never open again;
//! 4. the disk is told to forget the rest of the state partition;
//! 5. where the boot menu was set to choose the reset (`build.sh reset`), it chooses the node again.
//!
//! Each step can be done twice. A power cut between two leaves a machine that starts anew, or says
//! that it is to be reset again.
//!
//! The machine powers off then, and does not restart: where the word stands on the command line for
//! good, it would do all of this at every start. The last step is left out where another was not done: the
//! next start tries again.

mod confirm;
mod menu;
mod screen;

use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use seal::tpm::{Tpm, error::Error as TpmError, nv, transport};

use kernel::console;
use sd_notify::NotifyState;
use tpm::presence::{self, Presence};

use self::confirm::Confirmed;
use crate::configure::{SEALED_FILE, SET_ASIDE};
use crate::recovery;
use crate::sealing::CannotSeal;
use crate::state;
use crate::step::Step;
use crate::system_partition::{self, DIRECTORY, SystemPartition, temporary_name};
use crate::tpm_address;

/// The plain configuration, where a person drops it.
const DOCUMENT: &str = "node.toml";
/// How long all of it may take: a TPM's command has 90 s, discarding 60 s.
const LIMIT: Duration = Duration::from_secs(300);
/// Steps that wait to be told.
const QUEUE_LENGTH: usize = 64;

/// What the thread that resets says.
enum Message {
    Step(Step),
    /// It is through.
    End,
}

/// Runs the task: resets, and shows what was done for as long as it takes to read it. PID 1 starts it and
/// nothing else where the command line asks for it, and powers off once it is through.
pub(crate) fn run() -> ExitCode {
    let screen = match confirm::ask() {
        Confirmed::No(address) => not_confirmed(&address),
        Confirmed::NoKey => wipe(None),
        Confirmed::Key(address) => wipe(Some(&address)),
    };
    // PID 1 has the watchdog
    console::show(&screen, &mut None, || {});
    // A thread that hangs in the kernel would hold up the end of this process: PID 1 is told before.
    if let Err(error) = sd_notify::notify(&[NotifyState::Ready]) {
        tracing::error!(%error, "PID 1 can't be told that the reset is through");
    }
    ExitCode::SUCCESS
}

/// Leaves everything as it is, and has the next start be the node's. Gives the screen.
fn not_confirmed(address: &str) -> String {
    tracing::warn!(address, "the reset was not confirmed: nothing was changed");
    let step = match system_partition::own() {
        Ok(Some(partition)) => menu::put_back(&partition),
        _ => None,
    };
    screen::not_confirmed(
        address,
        step.as_ref(),
        &console::version(),
        console::SHOWN_FOR,
    )
}

/// Resets. `key` is the address of the TPM's key that dies. Gives the screen.
fn wipe(key: Option<&str>) -> String {
    let (sender, receiver) = sync_channel(QUEUE_LENGTH);
    // A disk or a TPM that hangs holds up this thread, and not the end.
    let thread = sys::thread::spawn_without_signals("reset", move || {
        wipe_all(&mut |step| {
            // Nobody listens any more once time is up.
            let _ = sender.send(Message::Step(step));
        });
        let _ = sender.send(Message::End);
    });
    let mut steps = match thread {
        Ok(_) => collect(&receiver, LIMIT),
        Err(error) => vec![Step::NotDone(format!("no thread can be started: {error}"))],
    };
    if let Some(address) = key
        && steps.iter().all(|step| matches!(step, Step::Done(_)))
    {
        steps.push(Step::Done(format!("the TPM's key of {address} is gone")));
    }
    screen::render(&steps, &console::version(), console::SHOWN_FOR)
}

/// Takes the steps as they come, until the last or until time is up.
fn collect(receiver: &Receiver<Message>, limit: Duration) -> Vec<Step> {
    let began = Instant::now();
    let mut steps = Vec::new();
    loop {
        let left = limit.saturating_sub(began.elapsed());
        match receiver.recv_timeout(left) {
            Ok(Message::Step(step)) => {
                match &step {
                    Step::Done(what) => tracing::info!("reset: {what}"),
                    Step::NotDone(what) => tracing::error!("reset: NOT DONE: {what}"),
                }
                steps.push(step);
            }
            Ok(Message::End) => return steps,
            Err(RecvTimeoutError::Disconnected) => {
                let what = "the reset broke off: provision has a bug".to_owned();
                steps.push(Step::NotDone(what));
                return steps;
            }
            Err(RecvTimeoutError::Timeout) if left.is_zero() => {
                steps.push(Step::NotDone(format!(
                    "what is missing here took more than {} s: a disk or the TPM hangs",
                    limit.as_secs()
                )));
                return steps;
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

fn wipe_all(say: &mut dyn FnMut(Step)) {
    let mut complete = true;
    let mut noting = |step: Step| {
        complete &= matches!(step, Step::Done(_));
        say(step);
    };
    let wiped = state::wipe(&mut noting);
    configuration(&mut noting);
    counters(&mut noting);
    if let Some(wiped) = wiped {
        noting(state::discard(&wiped));
    }
    if complete
        && let Ok(Some(partition)) = system_partition::own()
        && let Some(step) = menu::put_back(&partition)
    {
        say(step);
    }
}

/// The configuration that the node keeps. What lies on other disks and sticks is not the node's.
fn configuration(say: &mut dyn FnMut(Step)) {
    let partition = match system_partition::own() {
        Ok(Some(partition)) => partition,
        Ok(None) => {
            let what = "the boot disk has no EFI system partition, and so no configuration";
            return say(Step::Done(what.to_owned()));
        }
        Err(error) => return say(Step::NotDone(format!("disks can't be listed: {error}"))),
    };
    system_partition::load_modules();
    let name = partition.path().display().to_string();
    match SystemPartition::open_for_writing(&partition) {
        Ok(mounted) => forget_configuration(&mounted, &name, say),
        Err(error) => say(Step::NotDone(format!("{name} can't be mounted: {error}"))),
    }
}

fn forget_configuration(mounted: &SystemPartition, partition: &str, say: &mut dyn FnMut(Step)) {
    let mut found = false;
    let temporary = [
        temporary_name(SEALED_FILE),
        temporary_name(DOCUMENT),
        temporary_name(recovery::FILE),
        temporary_name(tpm_address::FILE),
    ];
    let names = temporary.iter().map(String::as_str);
    for name in names
        .chain([
            SEALED_FILE,
            DOCUMENT,
            recovery::FILE,
            tpm_address::FILE,
            tpm_address::CONFIRMED,
        ])
        .chain(SET_ASIDE)
    {
        let file = format!("{partition}:{DIRECTORY}/{name}");
        match mounted.forget(name) {
            Ok(true) => say(Step::Done(format!("{file} is overwritten and removed"))),
            Ok(false) => continue,
            Err(error) => say(Step::NotDone(format!("{file} can't be removed: {error}"))),
        }
        found = true;
    }
    if !found {
        say(Step::Done(format!(
            "{partition}: there was no configuration"
        )));
    }
}

/// Outdates every copy of what this TPM has sealed.
fn counters(say: &mut dyn FnMut(Step)) {
    match presence::presence() {
        Presence::Ready => {}
        Presence::Absent => return say(Step::Done("this machine has no TPM".to_owned())),
        Presence::NotStarted => return say(Step::NotDone(CannotSeal::NotStarted.to_string())),
    }
    match Tpm::open(Path::new(transport::DEVICE)) {
        Ok(mut tpm) => outdate(&mut tpm, say),
        Err(error) => say(Step::NotDone(log::chain(&error))),
    }
}

fn outdate(tpm: &mut Tpm, say: &mut dyn FnMut(Step)) {
    let root = match tpm.existing_storage_root_key() {
        Ok(root) => root,
        Err(TpmError::NoStorageRootKey) => {
            return say(Step::Done(
                "the TPM holds nothing of this system".to_owned(),
            ));
        }
        Err(error) => return say(Step::NotDone(log::chain(&error))),
    };
    for (handle, of) in [
        (nv::STATE_COUNTER, "the state"),
        (nv::COUNTER, "the configuration"),
    ] {
        // deleted, as the boot phase of the image that boots by itself is needed to increment it
        let found = tpm.counter(&root, handle);
        let retired = tpm.retire_counter(handle);
        say(match (found, retired) {
            // there was none, or a reset that was cut off has deleted it
            (Ok(None), _) => continue,
            (Ok(Some(_)), Ok(())) => Step::Done(format!(
                "the TPM's counter of {of} is gone: no copy from before opens any more"
            )),
            (Err(error), _) | (_, Err(error)) => {
                Step::NotDone(format!("copies of {of} still open: {}", log::chain(&error)))
            }
        });
    }
}

#[cfg(test)]
mod tests;
