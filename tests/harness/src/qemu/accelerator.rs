//! KVM where it really works, TCG elsewhere.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use crate::process::ManagedProcess;

/// A kernel under a KVM that works prints its first line within a fraction of this.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// What runs the guest's instructions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Accelerator {
    /// The host's processor.
    Kvm,
    /// QEMU's translator, tens of times slower.
    Tcg,
}

impl Accelerator {
    /// Takes KVM only after a kernel has printed a line under it: `/dev/kvm` may exist, and even
    /// make a machine, on hosts where no kernel gets anywhere.
    pub async fn probe(kernel: &Path, directory: &Path) -> Self {
        // for whoever reads and writes /dev/kvm; QEMU says no by itself, only later
        if std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/kvm")
            .is_err()
        {
            return Self::Tcg;
        }
        let mut arguments: Vec<OsString> = Self::Kvm
            .arguments()
            .into_iter()
            .map(OsString::from)
            .collect();
        arguments.extend(
            [
                "-nodefaults",
                "-display",
                "none",
                "-machine",
                "q35",
                "-m",
                "512",
                "-no-reboot",
            ]
            .map(OsString::from),
        );
        arguments.extend(["-serial", "stdio", "-kernel"].map(OsString::from));
        arguments.push(kernel.into());
        let command_line = "console=ttyS0,115200 earlyprintk=serial,ttyS0,115200 panic=-1";
        arguments.extend(["-append", command_line].map(OsString::from));
        let program = Path::new("qemu-system-x86_64");
        let record = directory.join("kvm-probe.log");
        let Ok(process) = ManagedProcess::spawn("the KVM probe", program, arguments, &record)
        else {
            return Self::Tcg;
        };
        match process.log.wait("Linux version", 0, PROBE_TIMEOUT).await {
            Ok(_) => Self::Kvm,
            Err(_) => Self::Tcg,
        }
    }

    /// QEMU's arguments for it.
    pub(super) fn arguments(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Self::Tcg => ["-accel", "tcg,thread=multi", "-cpu", "max"],
        }
    }

    /// How long one thing in a guest may take before a scenario gives up on it. Generous on
    /// purpose: it bounds a hang, it does not judge speed.
    pub fn patience(self) -> Duration {
        match self {
            Self::Kvm => Duration::from_secs(180),
            Self::Tcg => Duration::from_secs(480),
        }
    }
}

impl std::fmt::Display for Accelerator {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Kvm => "KVM",
            Self::Tcg => "TCG (no KVM that works was found; everything in the node is much slower)",
        })
    }
}
