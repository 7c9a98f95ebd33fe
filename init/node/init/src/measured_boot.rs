//! The boot as the TPM sees it: PCR 11 is extended by the name of each phase that begins.
//!
//! The boot stub has measured the unified kernel image into PCR 11 before the kernel started. `init`
//! adds "boot" in the initramfs, and "run" once what is sealed is out: from then on nothing on this
//! machine, root included, brings the TPM to unseal it again before the next boot.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use seal::release::{MAX_FILE, Phase, ReleasePolicies};
use seal::tpm::error::Error as TpmError;
use seal::tpm::transport::DEVICE;
use seal::tpm::{Tpm, pcr};
use thiserror::Error;
use wire::paths::EVENT_LOG;
use wire::users;

use crate::tpm_device::{self, Presence};
use crate::{files, log};

pub(crate) use seal::release::POLICIES;
/// The publisher's key, which is measured.
pub(crate) const RELEASE_KEY: &str = "/run/daas/release/key.pem";
/// That the phase "run" has begun.
const RUN_MARK: &str = "/run/daas/release/run";

/// Where the stub leaves its sections in the initramfs: systemd-stub(7), `.pcrsig`, `.pcrpkey`.
const FROM_STUB: [(&str, &str); 2] = [
    ("/.extra/tpm2-pcr-signature.json", POLICIES),
    ("/.extra/tpm2-pcr-public-key.pem", RELEASE_KEY),
];
/// Where the kernel has the event log (Documentation/security/tpm/tpm_event_log.rst).
const KERNEL_EVENT_LOG: &str = "/sys/kernel/security/tpm0/binary_bios_measurements";
/// Longer than any firmware's log: they have some hundred KiB at the most.
const EVENT_LOG_LIMIT: usize = 1024 * 1024;

/// How often the boot phase is tried: the kernel gives a command up after some seconds.
const ATTEMPTS: u32 = 5;

/// A phase that could not begin.
#[derive(Debug, Error)]
pub(crate) enum MeasureError {
    #[error(transparent)]
    Tpm(#[from] TpmError),
    #[error("{path} can't be kept")]
    Keep {
        path: &'static str,
        #[source]
        source: io::Error,
    },
}

/// Begins the phase "boot". For the initramfs, before anything runs from the root.
///
/// A machine without a TPM boots, too. Where this fails nothing unseals, since PCR 11 then is another
/// than the publisher signed. It is tried again, since a TPM that other machines share can be slow: the
/// kernel gives a command up that takes longer than its class may.
pub(crate) fn begin() {
    for (from, to) in FROM_STUB {
        if let Err(error) = carry(from, to) {
            tracing::error!(%error, from, "can't be taken along to the root");
        }
    }
    let mut presence = tpm_device::presence();
    for _ in 1..ATTEMPTS {
        if presence != Presence::NotStarted {
            break;
        }
        tracing::warn!(
            "the firmware tells of a TPM 2.0 that the kernel could not start: once more"
        );
        presence = tpm_device::start_again();
    }
    match presence {
        Presence::Absent => tracing::info!("no TPM 2.0: the boot is not measured"),
        Presence::NotStarted => {
            tracing::error!("the TPM did not start: the boot is not measured, nothing will unseal");
        }
        Presence::Ready => match measure(Phase::Boot, signed_policies().as_ref(), open) {
            Ok(()) => tracing::info!("measured: phase=boot"),
            Err(error) => {
                let error = log::chain(&error);
                tracing::error!(
                    error,
                    "the boot phase can't be measured: nothing will unseal"
                );
            }
        },
    }
}

fn open() -> Result<Tpm, TpmError> {
    Tpm::open(Path::new(DEVICE))
}

/// Extends PCR 11 by a phase, once: an attempt whose reply was lost may have done it.
///
/// Without a word of the publisher nobody can tell, and nothing is sealed: there is one attempt then.
fn measure(
    phase: Phase,
    signed: Option<&ReleasePolicies>,
    open: impl Fn() -> Result<Tpm, TpmError>,
) -> Result<(), TpmError> {
    let extend = |tpm: &mut Tpm| tpm.extend_pcr(pcr::KERNEL, &pcr::phase_digest(phase.name()));
    let Some(signed) = signed else {
        return extend(&mut open()?);
    };
    let attempt = || {
        let mut tpm = open()?;
        match signed.phase_of(&tpm.read_pcr(pcr::KERNEL)?) {
            Some(found) if found == phase => Ok(()),
            _ => extend(&mut tpm),
        }
    };
    for _ in 1..ATTEMPTS {
        match attempt() {
            Ok(()) => return Ok(()),
            Err(error) => {
                let error = log::chain(&error);
                tracing::warn!(error, phase = phase.name(), "not measured yet: once more");
            }
        }
    }
    attempt()
}

/// What the publisher signed, where it can be read. Whoever unseals says what is wrong with it.
fn signed_policies() -> Option<ReleasePolicies> {
    let json = files::read_bounded(POLICIES, MAX_FILE).ok()?;
    ReleasePolicies::from_json(&json).ok()
}

fn carry(from: &str, to: &str) -> io::Result<()> {
    let content = match files::read_bounded(from, MAX_FILE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    if let Some(directory) = Path::new(to).parent() {
        fs::create_dir_all(directory)?;
    }
    files::replace(to, &content, 0o644)
}

/// Hands the TPM to the staker, and lays out what it shows to the master. Without a TPM there is
/// nothing to do.
pub(crate) fn prepare() {
    if Path::new(DEVICE).exists() {
        let given = chown(DEVICE, Some(users::STAKER), Some(users::STAKER))
            .and_then(|()| fs::set_permissions(DEVICE, Permissions::from_mode(0o600)));
        if let Err(error) = given {
            tracing::error!(%error, "the TPM can't be handed to the staker");
        }
    }
    let kept = match files::read_bounded(KERNEL_EVENT_LOG, EVENT_LOG_LIMIT) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Ok(content) => files::replace(EVENT_LOG, &content, 0o644),
        Err(error) => Err(error),
    };
    if let Err(error) = kept {
        tracing::warn!(%error, "the firmware's event log can't be kept");
    }
}

/// Ends the boot phase. It measures once, however often it is called.
///
/// # Errors
/// [`MeasureError`].
pub(crate) fn end_boot_phase() -> Result<(), MeasureError> {
    if Path::new(RUN_MARK).exists() || !Path::new(DEVICE).exists() {
        return Ok(());
    }
    measure(Phase::Run, signed_policies().as_ref(), open)?;
    tracing::info!("measured: phase=run; what is sealed stays sealed until the next boot");
    let keep = |source| MeasureError::Keep {
        path: RUN_MARK,
        source,
    };
    if let Some(directory) = Path::new(RUN_MARK).parent() {
        fs::create_dir_all(directory).map_err(keep)?;
    }
    files::replace(RUN_MARK, b"", 0o644).map_err(keep)
}

/// Whether the phase "run" has begun.
pub(crate) fn is_running() -> bool {
    Path::new(RUN_MARK).exists()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use seal::tpm::transport::Transport;
    use zeroize::Zeroizing;

    use super::*;
    use crate::software_tpm::{Publisher, STUB, Swtpm};

    /// `TPM_CC_PCR_Extend` (TPM 2.0 library, part 2, 6.5.2), where a command has its code.
    const EXTEND: [u8; 4] = [0, 0, 1, 0x82];

    /// A TPM whose first commands to extend a PCR seem to fail: the kernel gave them up before they
    /// reached it, or after.
    struct Slow {
        channel: Box<dyn Transport>,
        losses: Arc<AtomicUsize>,
        reaches: bool,
    }

    impl Transport for Slow {
        fn transact(&mut self, command: &[u8]) -> Result<Zeroizing<Vec<u8>>, TpmError> {
            let lost = command.get(6..10) == Some(&EXTEND)
                && self
                    .losses
                    .try_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                        left.checked_sub(1)
                    })
                    .is_ok();
            if !lost {
                return self.channel.transact(command);
            }
            if self.reaches {
                self.channel.transact(command)?;
            }
            Err(TpmError::Channel(io::ErrorKind::TimedOut.into()))
        }
    }

    /// What PCR 11 is after a boot on a TPM that loses so many replies, and whether that was taken for
    /// a success.
    fn boot(losses: u32, reaches: bool, knows: bool) -> (bool, Option<Phase>) {
        let swtpm = Swtpm::new();
        swtpm.open().extend_pcr(pcr::KERNEL, &STUB).unwrap();
        let signed = Publisher::new().release(&STUB, 1);
        let losses = Arc::new(AtomicUsize::new(usize::try_from(losses).unwrap()));
        let outcome = measure(Phase::Boot, knows.then_some(&signed), || {
            Ok(Tpm::new(Box::new(Slow {
                channel: swtpm.channel(),
                losses: Arc::clone(&losses),
                reaches,
            })))
        });
        let measured = swtpm.open().read_pcr(pcr::KERNEL).unwrap();
        (outcome.is_ok(), signed.phase_of(&measured))
    }

    #[test]
    fn a_phase_is_measured_once_however_often_it_is_tried() {
        for losses in [0, 1, ATTEMPTS - 1] {
            for reaches in [false, true] {
                let found = boot(losses, reaches, true);
                assert_eq!(found, (true, Some(Phase::Boot)), "{losses} lost, {reaches}");
            }
        }
    }

    #[test]
    fn a_tpm_that_never_answers_is_given_up() {
        assert_eq!(boot(ATTEMPTS, false, true), (false, None));
    }

    #[test]
    fn nothing_is_tried_twice_where_nobody_can_tell_what_was_done() {
        assert_eq!(boot(1, true, false), (false, Some(Phase::Boot)));
        assert_eq!(boot(0, false, false), (true, Some(Phase::Boot)));
    }
}
