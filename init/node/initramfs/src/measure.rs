//! The first phase of a boot as the TPM sees it: PCR 11 is extended by the name of each phase that begins.
//!
//! The boot stub has measured the unified kernel image into PCR 11 before the kernel started. "boot" is
//! measured here; `provision measure` adds "run" once what is sealed is out: from then on nothing on this
//! machine, root included, brings the TPM to unseal it again before the next boot.

use std::fs;
use std::io;
use std::path::Path;

use tpm::channel::Channel;
use tpm::error::Error as TpmError;
use tpm::pcr;
use tpm::presence::{self, Presence};
use tpm::transport::DEVICE;
use wire::paths::{RELEASE_KEY, RELEASE_POLICIES};

/// What PCR 11 is extended by: the phase's name (`seal::release::Phase`).
const PHASE: &str = "boot";
/// Where the stub leaves its sections in the initramfs: systemd-stub(7), `.pcrsig`, `.pcrpkey`.
const FROM_STUB: [(&str, &str); 2] = [
    ("/.extra/tpm2-pcr-signature.json", RELEASE_POLICIES),
    ("/.extra/tpm2-pcr-public-key.pem", RELEASE_KEY),
];
/// Longer than either (`seal::release::MAX_FILE`).
const SECTION_LIMIT: usize = 64 * 1024;
/// How often a TPM is asked for that the kernel could not start.
const STARTS: u32 = 5;

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
    let mut presence = presence::presence();
    for _ in 1..STARTS {
        if presence != Presence::NotStarted {
            break;
        }
        tracing::warn!(
            "the firmware tells of a TPM 2.0 that the kernel could not start: once more"
        );
        presence = presence::start_again();
    }
    match presence {
        Presence::Absent => tracing::info!("no TPM 2.0: the boot is not measured"),
        Presence::NotStarted => {
            tracing::error!("the TPM did not start: the boot is not measured, nothing will unseal");
        }
        Presence::Ready => match measure(open) {
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

fn open() -> Result<Channel, TpmError> {
    Channel::open(Path::new(DEVICE))
}

/// Extends PCR 11 by the phase, once. Nothing else extends it before the root runs.
fn measure(open: impl Fn() -> Result<Channel, TpmError>) -> Result<(), TpmError> {
    pcr::extend_once(pcr::KERNEL, &pcr::phase_digest(PHASE), |_| false, open)
}

fn carry(from: &str, to: &str) -> io::Result<()> {
    let content = match files::read_bounded(from, SECTION_LIMIT) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    if let Some(directory) = Path::new(to).parent() {
        fs::create_dir_all(directory)?;
    }
    files::replace(to, &content, 0o644)
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
