//! The maker of the TPMs here: swtpm's own certificate authority, which signs endorsement keys as
//! manufacturers do.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::PoisonError;

use anyhow::{Context, Result, ensure};
use seal::tpm::crypto::Point;

/// A certificate authority with a root, an authority below it that signs, and a number for each
/// certificate.
#[derive(Debug)]
pub struct Authority {
    directory: PathBuf,
    /// `swtpm_localca` makes its keys when it first signs; two at a time would make two.
    signing: Mutex<()>,
}

impl Authority {
    /// An authority of its own folder. Its keys are made when it first signs.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn new(directory: &Path) -> Result<Self> {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        let place = directory.display();
        // swtpm-localca.conf(5)
        let configuration = format!(
            "statedir = {place}\nsigningkey = {place}/signing-key.pem\nissuercert = {place}/issuer.pem\n\
             certserial = {place}/serial\n"
        );
        let options =
            "--platform-manufacturer K3s-DaaS\n--platform-version 1\n--platform-model test\n";
        for (name, text) in [
            ("localca.conf", configuration.as_str()),
            ("localca.options", options),
        ] {
            std::fs::write(directory.join(name), text)
                .with_context(|| format!("cannot write {name}"))?;
        }
        Ok(Self {
            directory: directory.to_owned(),
            signing: Mutex::default(),
        })
    }

    /// Issues the certificate (DER) of an endorsement key, as `swtpm_setup` has it done. `directory` takes
    /// files on the way.
    ///
    /// # Errors
    /// When `swtpm_localca` is missing or fails.
    pub fn endorse(&self, key: &Point, directory: &Path) -> Result<Vec<u8>> {
        let _one_at_a_time = self.signing.lock().unwrap_or_else(PoisonError::into_inner);
        let coordinates = format!(
            "x={},y={},id=secp256r1",
            hex::encode(key.x),
            hex::encode(key.y)
        );
        let output = Command::new("swtpm_localca")
            .args([
                "--type",
                "ek",
                "--tpm2",
                "--decryption",
                "--ek",
                &coordinates,
            ])
            .arg("--dir")
            .arg(directory)
            .args(["--vmid", "harness"])
            .args(["--tpm-spec-family", "2.0", "--tpm-spec-level", "0"])
            .args(["--tpm-spec-revision", "164"])
            .args(["--tpm-manufacturer", "id:00001014"])
            .args(["--tpm-model", "swtpm", "--tpm-version", "id:20191023"])
            .arg("--configfile")
            .arg(self.directory.join("localca.conf"))
            .arg("--optsfile")
            .arg(self.directory.join("localca.options"))
            .stdin(Stdio::null())
            .output()
            .context("cannot start swtpm_localca: install the package swtpm-tools")?;
        ensure!(
            output.status.success(),
            "swtpm_localca: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        let path = directory.join("ek.cert");
        std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// What a master that trusts this maker is configured with, in PEM: the root and the authority below
    /// it, which TPMs do not carry. Only an authority that has signed has them.
    ///
    /// # Errors
    /// When it has not signed yet.
    pub fn roots_pem(&self) -> Result<String> {
        let read = |name| {
            let path = self.directory.join(name);
            std::fs::read_to_string(&path).with_context(|| {
                format!(
                    "the authority has not signed yet: cannot read {}",
                    path.display()
                )
            })
        };
        Ok(format!(
            "{}{}",
            read("swtpm-localca-rootca-cert.pem")?,
            read("issuer.pem")?
        ))
    }
}
