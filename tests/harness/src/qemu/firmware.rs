//! UEFI firmware (OVMF) and its variables, which outlive a power-off.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Where OVMF lies: Debian and Ubuntu, Fedora, Arch Linux.
const PLAIN: [(&str, &str); 3] = [
    (
        "/usr/share/OVMF/OVMF_CODE_4M.fd",
        "/usr/share/OVMF/OVMF_VARS_4M.fd",
    ),
    (
        "/usr/share/edk2/ovmf/OVMF_CODE.fd",
        "/usr/share/edk2/ovmf/OVMF_VARS.fd",
    ),
    (
        "/usr/share/edk2/x64/OVMF_CODE.4m.fd",
        "/usr/share/edk2/x64/OVMF_VARS.4m.fd",
    ),
];
/// The one that keeps its variables in system management mode, so that Secure Boot holds.
const SECURE: [(&str, &str); 3] = [
    (
        "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd",
        "/usr/share/OVMF/OVMF_VARS_4M.fd",
    ),
    (
        "/usr/share/edk2/ovmf/OVMF_CODE.secboot.fd",
        "/usr/share/edk2/ovmf/OVMF_VARS.fd",
    ),
    (
        "/usr/share/edk2/x64/OVMF_CODE.secboot.4m.fd",
        "/usr/share/edk2/x64/OVMF_VARS.4m.fd",
    ),
];
/// The owner that keys in the variables are filed under: any will do.
const OWNER: &str = "5c1f0f5e-3a0e-4c7b-9a55-6b3364616173";

/// One machine's firmware with its variables. Clones are the same machine's.
#[derive(Clone, Debug)]
pub struct Firmware {
    pub(super) code: &'static str,
    pub(super) variables: PathBuf,
    pub(super) secure: bool,
}

impl Firmware {
    /// As from the factory, without Secure Boot; `variables` is the file that takes its variables.
    ///
    /// # Errors
    /// When this host has no firmware, or the file cannot be written.
    pub fn new(variables: &Path) -> Result<Self> {
        Self::from_templates(&PLAIN, variables, false)
    }

    /// With Secure Boot on, and the owner's certificate as platform key, key exchange key and the only
    /// entry of `db`.
    ///
    /// # Errors
    /// When this host has no such firmware, or `virt-fw-vars` is missing or fails.
    pub fn with_secure_boot(variables: &Path, owner: &Owner) -> Result<Self> {
        let firmware = Self::from_templates(&SECURE, variables, true)?;
        firmware.enroll(&["--set-pk", "--add-kek", "--add-db"], owner, &["--sb"])?;
        Ok(firmware)
    }

    /// Adds an owner's certificate to what the machine trusts, as an update of its lists does: its
    /// Secure Boot state is another then, whether that is on or off. The machine must be off.
    ///
    /// # Errors
    /// When `virt-fw-vars` is missing or fails.
    pub fn trust_too(&self, owner: &Owner) -> Result<()> {
        self.enroll(&["--add-db"], owner, &[])
    }

    fn enroll(&self, lists: &[&str], owner: &Owner, further: &[&str]) -> Result<()> {
        let mut command = Command::new("virt-fw-vars");
        command.arg("--inplace").arg(&self.variables);
        for list in lists {
            command.args([list, OWNER]).arg(&owner.certificate);
        }
        let output = command
            .args(further)
            .stdin(Stdio::null())
            .output()
            .context("cannot start virt-fw-vars; build.sh installs it")?;
        ensure!(
            output.status.success(),
            "virt-fw-vars: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    fn from_templates(
        places: &[(&'static str, &str)],
        variables: &Path,
        secure: bool,
    ) -> Result<Self> {
        let (code, template) = places
            .iter()
            .find(|(code, _)| Path::new(code).exists())
            .with_context(|| {
                let name = places.first().map_or("", |(code, _)| code);
                format!("no UEFI firmware found ({name}): install the package ovmf")
            })?;
        std::fs::copy(template, variables)
            .with_context(|| format!("cannot copy {template} to {}", variables.display()))?;
        Ok(Self {
            code,
            variables: variables.to_owned(),
            secure,
        })
    }
}

/// The owner of machines with Secure Boot: a key, and its certificate, which those machines trust.
#[derive(Clone, Debug)]
pub struct Owner {
    /// An RSA private key in PEM.
    pub key: PathBuf,
    /// Its certificate in PEM.
    pub certificate: PathBuf,
}

impl Owner {
    /// Makes a key; it and its certificate go into `directory`.
    ///
    /// # Errors
    /// When `openssl` is missing or fails.
    pub fn new(directory: &Path) -> Result<Self> {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        let owner = Self {
            key: directory.join("owner.key"),
            certificate: directory.join("owner.pem"),
        };
        // RSA with 2048 bits is what all firmware takes
        let output = Command::new("openssl")
            .args([
                "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", "3650",
            ])
            .args(["-subj", "/CN=owner of this machine"])
            .arg("-keyout")
            .arg(&owner.key)
            .arg("-out")
            .arg(&owner.certificate)
            .stdin(Stdio::null())
            .output()
            .context("cannot start openssl")?;
        ensure!(
            output.status.success(),
            "openssl: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(owner)
    }
}
