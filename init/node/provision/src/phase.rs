//! The phase of the boot that the TPM is in, as far as this program ends it: "boot" until what is sealed is out,
//! then "run".

use std::fs;
use std::io;
use std::path::Path;

use seal::release::{MAX_FILE, Phase, ReleasePolicies};
use thiserror::Error;
use tpm::channel::Channel;
use tpm::error::Error as TpmError;
use tpm::pcr;
use tpm::transport::DEVICE;
use wire::paths::RELEASE_POLICIES;

/// That the phase "run" has begun.
const RUN_MARK: &str = "/run/daas/release/run";

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

/// Ends the boot phase. It measures once, however often it is called.
///
/// # Errors
/// [`MeasureError`].
pub(crate) fn end_boot_phase() -> Result<(), MeasureError> {
    if Path::new(RUN_MARK).exists() || !Path::new(DEVICE).exists() {
        return Ok(());
    }
    measure(signed_policies().as_ref(), || {
        Channel::open(Path::new(DEVICE))
    })?;
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

/// Whether the phase "run" has begun, by the TPM's own word where it gives one: `provision measure` may be about to note
/// it.
pub(crate) fn has_ended() -> bool {
    let measured = || -> Result<tpm::Digest, TpmError> {
        pcr::read(&mut Channel::open(Path::new(DEVICE))?, pcr::KERNEL)
    };
    is_running()
        || measured().is_ok_and(|value| {
            signed_policies().is_some_and(|signed| signed.phase_of(&value) == Some(Phase::Run))
        })
}

/// Extends PCR 11 by the phase, once: an earlier run of this task may have done it, which what the publisher
/// signed tells.
fn measure(
    signed: Option<&ReleasePolicies>,
    open: impl Fn() -> Result<Channel, TpmError>,
) -> Result<(), TpmError> {
    let is_done =
        |value: &tpm::Digest| signed.and_then(|signed| signed.phase_of(value)) == Some(Phase::Run);
    pcr::extend_once(
        pcr::KERNEL,
        &pcr::phase_digest(Phase::Run.name()),
        is_done,
        open,
    )
}

/// What the publisher signed, where it can be read. What unseals says what is wrong with it.
fn signed_policies() -> Option<ReleasePolicies> {
    let json = files::read_bounded(RELEASE_POLICIES, MAX_FILE).ok()?;
    ReleasePolicies::from_json(&json).ok()
}

#[cfg(test)]
mod tests {
    use fixtures::software_tpm::{Publisher, STUB, Swtpm};

    use super::*;

    #[test]
    fn measure_run_twice_extends_once() {
        let swtpm = Swtpm::new();
        swtpm.open().extend_pcr(pcr::KERNEL, &STUB).unwrap();
        let boot = pcr::phase_digest(Phase::Boot.name());
        swtpm.open().extend_pcr(pcr::KERNEL, &boot).unwrap();
        let signed = Publisher::new().release(&STUB, 1);
        // the first run was ended before it could note that it was through
        for _ in 0..2 {
            measure(Some(&signed), || Ok(Channel::new(swtpm.channel()))).unwrap();
            let measured = swtpm.open().read_pcr(pcr::KERNEL).unwrap();
            assert_eq!(signed.phase_of(&measured), Some(Phase::Run));
        }
    }
}
