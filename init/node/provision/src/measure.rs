//! `provision measure`: what is to be done between the last thing that is unsealed and the first that comes
//! after it. It ends the boot phase: PCR 11 is extended by "run", and what is sealed stays sealed until the
//! next boot.

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use seal::release::{MAX_FILE, Phase, ReleasePolicies};
use thiserror::Error;
use tpm::channel::Channel;
use tpm::error::Error as TpmError;
use tpm::pcr;
use tpm::transport::DEVICE;
use wire::paths::{RELEASE_POLICIES, STATE_ENCRYPTION};
use wire::status::Protection;

use crate::configure::recovery;
use crate::{owner, state};

/// That the phase "run" has begun.
const RUN_MARK: &str = "/run/daas/release/run";
/// Longer than the name of a [`Protection`].
const LIMIT: usize = 128;

/// The task `provision measure`: ends the boot phase, and lets those start that come after it if the state is
/// the configuration's. To be called when what is sealed is out; it measures once, however often it is
/// called.
pub(crate) fn run() -> ExitCode {
    let owner = owner::check();
    // nobody else's key is to open the state
    if owner.is_ok() && !is_running() {
        adopt_recovery_key();
    }
    if let Err(error) = end_boot_phase() {
        tracing::error!("the boot phase can't be ended: {}", log::chain(&error));
        return ExitCode::FAILURE;
    }
    // once configuration and state are open it is of no more use but to whoever takes the disk
    if Path::new(STATE_ENCRYPTION).exists() {
        recovery::forget();
    }
    match owner {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", log::chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// The recovery key that opens the configuration is to open the state, too. The state was there first.
fn adopt_recovery_key() {
    let encryption = files::read_text(STATE_ENCRYPTION, LIMIT).unwrap_or_default();
    if encryption.parse() != Ok(Protection::Tpm) {
        // none that is this configuration's is open
        return;
    }
    let key = recovery::public().map_err(|error| log::chain(&error));
    let adopted = key.and_then(|key| {
        let Some(key) = key else {
            return Ok(());
        };
        state::adopt_recovery(&key).map_err(|error| log::chain(&error))
    });
    // a node that no recovery key opens is still a node
    if let Err(error) = adopted {
        tracing::error!("the recovery key does not open the state: {error}");
    }
}

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
