//! What all scenarios share: the built image and programs, and what this host can do.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::devnet::{Devnet, DevnetOptions, K3s};
use crate::disk::Disk;
use crate::log::LineLog;
use crate::measured::Trust;
use crate::qemu::{Accelerator, Boot, Machine, MachineOptions};

/// The disk that the image was written to.
pub const DISK_SIZE: u64 = 4 * 1024 * 1024 * 1024;
/// Lines of a machine's console in a failure's report.
const CONSOLE_TAIL: usize = 60;
/// Lines of any other log in a failure's report.
const LOG_TAIL: usize = 15;

/// Files and facts that do not change during a run.
#[derive(Clone, Debug)]
pub struct Lab {
    /// The image builder's output.
    pub image: PathBuf,
    /// The target that the image is of.
    pub target: String,
    /// The built programs.
    pub programs: PathBuf,
    /// Which k3s is in the image and on this host.
    pub k3s: K3s,
    /// What runs the guest's instructions.
    pub accelerator: Accelerator,
}

impl Lab {
    /// Looks at the image and tries the accelerator.
    ///
    /// # Errors
    /// When the image is not complete.
    pub async fn open(image: PathBuf, programs: PathBuf, k3s: K3s) -> Result<Self> {
        for name in [
            "disk.raw",
            "vmlinuz",
            "initramfs.img",
            "cmdline",
            "manifest.json",
        ] {
            let path = image.join(name);
            ensure!(
                path.exists(),
                "the image is not complete: {} is missing",
                path.display()
            );
        }
        let directory = directory()?;
        let accelerator = Accelerator::probe(&image.join("vmlinuz"), directory.path()).await;
        let target = target(&image.join("manifest.json"))?;
        Ok(Self {
            image,
            target,
            programs,
            k3s,
            accelerator,
        })
    }

    /// The kernel's command line, as it stands in the unified kernel image.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn command_line(&self) -> Result<String> {
        let path = self.image.join("cmdline");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        Ok(text.trim().to_owned())
    }

    /// Direct kernel boot with a command line.
    pub fn direct_boot(&self, command_line: String) -> Boot {
        Boot::Direct {
            kernel: self.image.join("vmlinuz"),
            initramfs: self.image.join("initramfs.img"),
            command_line,
        }
    }
}

/// The target that an image's manifest names.
fn target(manifest: &Path) -> Result<String> {
    let text =
        std::fs::read(manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
    let manifest: serde_json::Value =
        serde_json::from_slice(&text).context("the image's manifest is malformed")?;
    let target = manifest["target"].as_str();
    Ok(target
        .context("the image's manifest names no target")?
        .to_owned())
}

/// A temporary folder with a short path, outside the checkout: unix sockets have 108 bytes for
/// theirs (unix(7)).
///
/// # Errors
/// When it cannot be created.
pub fn directory() -> Result<TempDir> {
    tempfile::Builder::new()
        .prefix("k3sd-")
        .tempdir()
        .context("cannot create a temporary folder")
}

/// One scenario's own things. Everything in it is gone when it is dropped.
pub struct Context {
    /// What all scenarios share.
    pub lab: Arc<Lab>,
    directory: TempDir,
    machines: Mutex<u32>,
    pub(crate) trust: Trust,
    evidence: Mutex<Vec<(String, LineLog)>>,
}

impl Context {
    /// An empty place for one scenario.
    ///
    /// # Errors
    /// When it has no room.
    pub fn new(lab: Arc<Lab>) -> Result<Self> {
        Ok(Self {
            lab,
            directory: directory()?,
            machines: Mutex::default(),
            trust: Trust::default(),
            evidence: Mutex::default(),
        })
    }

    /// The scenario's folder.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// How long the scenario waits at most for one thing.
    pub fn patience(&self) -> Duration {
        self.lab.accelerator.patience()
    }

    fn devnet_options(&self) -> DevnetOptions {
        DevnetOptions {
            programs: self.lab.programs.clone(),
            k3s: self.lab.k3s.clone(),
            node_id: "edge-0001".to_owned(),
            directory: self.directory().join("devnet"),
            ipv6_alone: false,
        }
    }

    /// A devnet for nodes that have IPv6 alone.
    ///
    /// # Errors
    /// When a service does not start, or this host has no IPv6.
    pub async fn devnet_on_ipv6(&self) -> Result<Devnet> {
        let options = DevnetOptions {
            ipv6_alone: true,
            ..self.devnet_options()
        };
        Devnet::start(&options).await
    }

    /// A devnet with everything running.
    ///
    /// # Errors
    /// When a service does not start.
    pub async fn devnet(&self) -> Result<Devnet> {
        Devnet::start(&self.devnet_options()).await
    }

    /// A devnet whose chain and master do not answer yet.
    ///
    /// # Errors
    /// When a service does not start.
    pub async fn devnet_without_chain_and_master(&self) -> Result<Devnet> {
        Devnet::start_without_chain_and_master(&self.devnet_options()).await
    }

    /// A fresh disk with the image on it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn disk(&self) -> Result<Disk> {
        self.disk_of_size(DISK_SIZE)
    }

    /// A fresh disk of another size.
    ///
    /// # Errors
    /// When it cannot be made, or the image is larger.
    pub fn disk_of_size(&self, size: u64) -> Result<Disk> {
        let image = self.lab.image.join("disk.raw");
        Disk::from_image(&image, &self.directory().join("disk.raw"), size)
    }

    /// A machine with this disk, started by direct kernel boot, with no configuration.
    ///
    /// # Errors
    /// When the image's command line cannot be read.
    pub fn machine(&self, disk: &Disk) -> Result<MachineOptions> {
        let boot = self.lab.direct_boot(self.lab.command_line()?);
        Ok(MachineOptions::new(
            self.lab.accelerator,
            boot,
            vec![disk.path().to_owned()],
        ))
    }

    /// As [`Self::machine`], with the devnet's configuration handed over by the firmware.
    ///
    /// # Errors
    /// When the configuration cannot be written.
    pub fn node(&self, disk: &Disk, devnet: &Devnet) -> Result<MachineOptions> {
        let mut options = self.machine(disk)?;
        options.configuration = Some(devnet.write_node_toml()?);
        Ok(options)
    }

    /// Switches a machine on.
    ///
    /// # Errors
    /// When QEMU does not start.
    pub async fn power_on(&self, options: &MachineOptions) -> Result<Machine> {
        let number = {
            let mut machines = self.machines.lock().unwrap_or_else(PoisonError::into_inner);
            *machines += 1;
            *machines
        };
        let directory = self.directory().join(format!("machine-{number}"));
        std::fs::create_dir_all(&directory).context("cannot create the machine's folder")?;
        let machine = Machine::start(options, &directory, None).await?;
        let name = format!("console of boot {number}");
        self.evidence
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((name, machine.console.clone()));
        Ok(machine)
    }

    /// What a person needs to see when the scenario failed: the end of the last machine's console
    /// and of every service's log. Full logs are copied to `records`.
    pub fn report(&self, records: &Path) -> String {
        let mut report = String::new();
        let evidence = self.evidence.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((name, log)) = evidence.last() {
            report.push_str(&format!("  end of the {name}:\n{}", log.tail(CONSOLE_TAIL)));
        }
        let mut kept = Vec::new();
        for folder in subfolders(self.directory()) {
            let place = folder
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            for file in files_with_suffix(&folder, ".log") {
                let name = file
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                if place == "devnet" {
                    let text = std::fs::read(&file).unwrap_or_default();
                    report.push_str(&format!("  end of {name}:\n{}", tail(&text)));
                }
                let target = records.join(format!("{place}-{name}"));
                if std::fs::create_dir_all(records).is_ok() && std::fs::copy(&file, &target).is_ok()
                {
                    kept.push(target);
                }
            }
        }
        if !kept.is_empty() {
            report.push_str(&format!("  full logs: {}\n", records.display()));
        }
        report
    }
}

fn tail(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text.lines().collect();
    let start = lines.len().saturating_sub(LOG_TAIL);
    lines
        .iter()
        .skip(start)
        .map(|line| format!("    {line}\n"))
        .collect()
}

fn subfolders(path: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(path)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    found.sort();
    found
}

fn files_with_suffix(path: &Path, suffix: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(path)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().ends_with(suffix))
        .collect();
    found.sort();
    found
}
