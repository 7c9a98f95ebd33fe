//! The recovery key, shown once.

use std::fs::OpenOptions;
use std::io::{self, Write as _};

use seal::envelope::RecoveryKey;

/// Not a log: what is written here is kept nowhere.
const CONSOLE: &str = "/dev/console";

/// Shows the key on the console.
///
/// # Errors
/// What the system says.
pub(super) fn show(key: &RecoveryKey) -> io::Result<()> {
    let mut console = OpenOptions::new().write(true).open(CONSOLE)?;
    console.write_all(b"\r\n*** RECOVERY KEY, shown this once: write it down, and keep it off this machine ***\r\n")?;
    console.write_all(key.to_text().as_bytes())?;
    console.write_all(b"\r\n*** `seal recover node.sealed -o node.toml` opens the configuration with it when the TPM can't ***\r\n\r\n")
}
