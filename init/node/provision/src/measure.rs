//! `provision measure`: what is to be done between the last thing that is unsealed and the first that comes
//! after it. It ends the boot phase: PCR 11 is extended by "run", and what is sealed stays sealed until the
//! next boot.

use std::path::Path;
use std::process::ExitCode;

use wire::paths::STATE_ENCRYPTION;
use wire::status::Protection;

use crate::{hand_over, owner, phase, recovery, state};

/// Longer than the name of a [`Protection`].
const LIMIT: usize = 128;

/// The task `provision measure`: ends the boot phase, and lets those start that come after it if the state is
/// the configuration's. To be called when what is sealed is out; it measures once, however often it is
/// called.
pub(crate) fn run() -> ExitCode {
    let owner = owner::check();
    // nobody else's key is to open the state
    if owner.is_ok() && !phase::is_running() {
        adopt_recovery_key();
    }
    if let Err(error) = phase::end_boot_phase() {
        tracing::error!("the boot phase can't be ended: {}", log::chain(&error));
        return ExitCode::FAILURE;
    }
    hand_over::tpm();
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
