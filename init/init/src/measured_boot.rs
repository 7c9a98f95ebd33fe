//! The boot as the TPM sees it: PCR 11 is extended by the name of each phase that begins.
//!
//! The boot stub has measured the unified kernel image into PCR 11 before the kernel started. `init`
//! adds "boot" in the initramfs, and "run" once what is sealed is out: from then on nothing on this
//! machine, root included, brings the TPM to unseal it again before the next boot.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::ExitCode;

use seal::release::{MAX_FILE, Phase, ReleasePolicies};
use seal::tpm::transport::DEVICE;
use seal::tpm::{Tpm, pcr};
use thiserror::Error;

use crate::{files, log, owner, setup};

/// What the publisher signed about this image.
pub(crate) const POLICIES: &str = "/run/daas/release/policies.json";
/// The publisher's key, which is measured.
pub(crate) const RELEASE_KEY: &str = "/run/daas/release/key.pem";
/// The firmware's and the stub's log of what they measured, for the staker.
const EVENT_LOG: &str = "/run/daas/evidence/event-log";
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

/// A phase that could not begin.
#[derive(Debug, Error)]
pub(crate) enum MeasureError {
    #[error(transparent)]
    Tpm(#[from] seal::tpm::error::Error),
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
/// than the publisher signed.
pub(crate) fn begin() {
    for (from, to) in FROM_STUB {
        if let Err(error) = carry(from, to) {
            tracing::error!(%error, from, "can't be taken along to the root");
        }
    }
    if !Path::new(DEVICE).exists() {
        tracing::info!("no TPM 2.0: the boot is not measured");
        return;
    }
    match extend(Phase::Boot) {
        Ok(()) => tracing::info!("measured: phase=boot"),
        Err(error) => {
            let error = log::chain(&error);
            tracing::error!(
                error,
                "the boot phase can't be measured: nothing will unseal"
            );
        }
    }
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

fn extend(phase: Phase) -> Result<(), seal::tpm::error::Error> {
    let mut tpm = Tpm::open(Path::new(DEVICE))?;
    tpm.extend_pcr(pcr::KERNEL, &pcr::phase_digest(phase.name()))
}

/// Hands the TPM to the staker, and lays out what it shows to the master. Without a TPM there is
/// nothing to do.
pub(crate) fn prepare() {
    if Path::new(DEVICE).exists() {
        let given = chown(DEVICE, Some(setup::STAKER), Some(setup::STAKER))
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

/// The task `init measure`: ends the boot phase, and lets those start that come after it if the state is
/// the configuration's. To be called when what is sealed is out; it measures once, however often it is
/// called.
pub(crate) fn run() -> ExitCode {
    if let Err(error) = end_boot_phase() {
        tracing::error!("the boot phase can't be ended: {}", log::chain(&error));
        return ExitCode::FAILURE;
    }
    match owner::check() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", log::chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn end_boot_phase() -> Result<(), MeasureError> {
    if Path::new(RUN_MARK).exists() || !Path::new(DEVICE).exists() {
        return Ok(());
    }
    if !has_begun()? {
        extend(Phase::Run)?;
        tracing::info!("measured: phase=run; what is sealed stays sealed until the next boot");
    }
    let keep = |source| MeasureError::Keep {
        path: RUN_MARK,
        source,
    };
    if let Some(directory) = Path::new(RUN_MARK).parent() {
        fs::create_dir_all(directory).map_err(keep)?;
    }
    files::replace(RUN_MARK, b"", 0o644).map_err(keep)
}

/// Whether an earlier call ended the phase and then was cut off before it left its mark.
fn has_begun() -> Result<bool, MeasureError> {
    let policies = files::read_bounded(POLICIES, MAX_FILE).ok();
    let Some(policies) = policies.and_then(|json| ReleasePolicies::from_json(&json).ok()) else {
        return Ok(false);
    };
    let measured = Tpm::open(Path::new(DEVICE))?.read_pcr(pcr::KERNEL)?;
    Ok(policies.phase_of(&measured) == Some(Phase::Run))
}

/// Whether the phase "run" has begun.
pub(crate) fn is_running() -> bool {
    Path::new(RUN_MARK).exists()
}
