//! Secrets that lie on tmpfs.

use std::io;
use std::path::{Path, PathBuf};

use crate::configure::SECRET_FILE;
use crate::files;
use crate::service::AGENT_DIRECTORY;

/// Overwrites and removes every secret. What fails is logged, and the others go on.
pub(crate) fn forget_secrets() {
    for file in [
        PathBuf::from(SECRET_FILE),
        Path::new(AGENT_DIRECTORY).join("token"),
    ] {
        match files::forget(&file) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                tracing::warn!(%error, file = %file.display(), "a secret can't be removed");
                continue;
            }
        }
        tracing::info!(file = %file.display(), "secret removed");
    }
}
