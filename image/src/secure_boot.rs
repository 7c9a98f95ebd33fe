//! Signatures that firmware checks before it starts a program (UEFI Specification, 32.5: Authenticode).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The key that signs boot loader and kernel image, and its certificate, which the machine's `db` has.
#[derive(Clone, Debug)]
pub struct SecureBoot {
    /// An RSA private key in PEM.
    pub key: PathBuf,
    /// The X.509 certificate in PEM.
    pub certificate: PathBuf,
}

impl SecureBoot {
    /// Signs a program in place, with the host's `sbsign`. What it measures into PCR 11 stays the same.
    ///
    /// # Errors
    /// When `sbsign` is missing or refuses; the program is then as it was.
    pub fn sign(&self, program: &Path) -> Result<()> {
        let mut name = program.as_os_str().to_owned();
        name.push(".signed");
        let signed = PathBuf::from(name);
        let output = Command::new("sbsign")
            .arg("--key")
            .arg(&self.key)
            .arg("--cert")
            .arg(&self.certificate)
            .arg("--output")
            .arg(&signed)
            .arg(program)
            .stdin(Stdio::null())
            .output()
            .context("can't run sbsign; install the package sbsigntool")?;
        if !output.status.success() {
            _ = fs::remove_file(&signed);
            bail!(
                "sbsign failed ({}): {}",
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        fs::rename(&signed, program).with_context(|| format!("can't name {}", program.display()))
    }
}
