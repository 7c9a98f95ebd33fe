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
    use fixtures::software_tpm::{Publisher, STUB, Swtpm};
    use seal::release::Phase;

    use super::*;

    #[test]
    fn measure_after_the_stub_is_the_phase_that_is_signed() {
        let swtpm = Swtpm::new();
        swtpm.open().extend_pcr(pcr::KERNEL, &STUB).unwrap();
        measure(|| Ok(Channel::new(swtpm.channel()))).unwrap();
        let measured = swtpm.open().read_pcr(pcr::KERNEL).unwrap();
        let signed = Publisher::new().release(&STUB, 1);
        assert_eq!(signed.phase_of(&measured), Some(Phase::Boot));
        assert_eq!(PHASE, Phase::Boot.name());
        assert_eq!(SECTION_LIMIT, seal::release::MAX_FILE);
    }
}
