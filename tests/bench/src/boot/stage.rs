//! What boots: kernels, initramfses, disks and TPMs, made once for all rounds.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use harness::devnet::{Devnet, DevnetOptions};
use harness::disk::Disk;
use harness::lab::{DISK_SIZE, Lab};
use harness::node;
use harness::qemu::{Boot, Machine, MachineOptions};
use harness::tpm::Tpm;
use initramfs::verity::{RootHash, Superblock};
use tempfile::TempDir;

use super::marks::AGENT_STARTED;
use super::row::Row;
use crate::peers::packages::Packages;
use crate::peers::{busybox, initramfs as archives, systemd};

/// The root's partitions on the disk (`image::disk`).
const ROOT: &str = "root-a";
const ROOT_VERITY: &str = "root-a-verity";
/// Where the kernel finds those under QEMU.
const DEVICES: (&str, &str) = ("/dev/vda2", "/dev/vda3");

/// Everything that the rounds share.
pub(super) struct Stage<'a> {
    lab: &'a Lab,
    place: TempDir,
    devnet: Devnet,
    /// The kernel's command line of the image.
    command_line: String,
    configuration: PathBuf,
    /// A fresh disk with a configuration that is to be sealed.
    sealing: Option<Disk>,
    /// Disks of nodes that have run: without a TPM, and with this one.
    run: Option<Disk>,
    run_with_tpm: Option<(Disk, PathBuf)>,
    /// systemd's disk, and its root hash.
    systemd: Option<(Disk, String)>,
}

impl<'a> Stage<'a> {
    /// Makes what these rows need.
    ///
    /// # Errors
    /// When a package cannot be had, a tool fails, or a node does not join.
    pub(super) async fn prepare(lab: &'a Lab, rows: &[Row]) -> Result<Self> {
        let place = harness::lab::directory()?;
        let devnet = Devnet::start(&DevnetOptions {
            programs: lab.programs.clone(),
            k3s: lab.k3s.clone(),
            node_id: "edge-0001".to_owned(),
            directory: place.path().join("devnet"),
            ipv6_alone: false,
        })
        .await?;
        let configuration = devnet.write_node_toml()?;
        let mut stage = Self {
            lab,
            place,
            devnet,
            command_line: lab.command_line()?,
            configuration,
            sealing: None,
            run: None,
            run_with_tpm: None,
            systemd: None,
        };
        let wants = |check: fn(&Row) -> bool| rows.iter().any(check);
        // what can fail early does
        let systemd = stage.prepare_peers(rows)?;
        if wants(|row| row.has_tpm()) {
            stage
                .prepare_tpm(wants(|row| *row == Row::LaterTpm))
                .await?;
        }
        if wants(|row| row.has_run() && !row.has_tpm()) {
            let disk = stage.fresh_disk("run.raw")?;
            let options = stage.node(disk.path().to_owned());
            stage.live(options, "run").await?;
            stage.run = Some(disk);
        }
        if let Some(root) = systemd {
            stage.systemd = Some((stage.systemd_disk(&root)?, root.hash));
        }
        Ok(stage)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn fresh_disk(&self, name: &str) -> Result<Disk> {
        Disk::from_image(&self.lab.image.join("disk.raw"), &self.at(name), DISK_SIZE)
    }

    fn direct(&self, initramfs: PathBuf, more: &str) -> Boot {
        Boot::Direct {
            kernel: self.lab.image.join("vmlinuz"),
            initramfs,
            command_line: format!("{} {more}", self.command_line),
        }
    }

    /// A node without a TPM, with its configuration from the firmware.
    fn node(&self, disk: PathBuf) -> MachineOptions {
        let boot = self.direct(self.lab.image.join("initramfs.img"), "");
        let mut options = MachineOptions::new(self.lab.accelerator, boot, vec![disk]);
        options.configuration = Some(self.configuration.clone());
        options
    }

    /// A node with a TPM; its configuration is on its disk.
    fn node_with_tpm(&self, disk: PathBuf, tpm: Tpm) -> MachineOptions {
        let first = format!("rdinit=/{}", archives::NODE_WITH_TPM);
        let boot = self.direct(self.at("tpm.img"), &first);
        let mut options = MachineOptions::new(self.lab.accelerator, boot, vec![disk]);
        options.tpm = Some(tpm);
        options
    }

    /// Runs a node until its agent starts, and switches it off in order. The agent does not join: a cluster
    /// has one node of a name, and these are several.
    async fn live(&self, options: MachineOptions, name: &str) -> Result<()> {
        eprintln!("bench: a node lives once, for its later boots ({name})");
        let directory = self.at(&format!("{name}.machine"));
        fs::create_dir_all(&directory).context("cannot create a machine's folder")?;
        let mut machine = Machine::start(&options, &directory, None).await?;
        let lived = async {
            let started = format!("timeline phase={AGENT_STARTED} ");
            machine.expect(&started).await?;
            node::switch_off(&mut machine).await
        };
        let lived = lived.await;
        lived.with_context(|| format!("end of the console:\n{}", machine.console.tail(40)))
    }

    async fn prepare_tpm(&mut self, later: bool) -> Result<()> {
        let files = archives::node_with_tpm(&self.lab.image, &self.lab.programs)?;
        archives::with(&self.lab.image, &files, &self.at("tpm.img"))?;
        let disk = self.fresh_disk("sealing.raw")?;
        disk.write_configuration(&self.devnet.sealed_node_toml()?)?;
        if later {
            let run = disk.copy(&self.at("run-tpm.raw"))?;
            let tpm = self.at("tpm");
            let options =
                self.node_with_tpm(run.path().to_owned(), Tpm::without_certificate(&tpm)?);
            self.live(options, "run with a TPM").await?;
            self.run_with_tpm = Some((run, tpm));
        }
        self.sealing = Some(disk);
        Ok(())
    }

    /// Initramfses of peers, and systemd's root.
    fn prepare_peers(&self, rows: &[Row]) -> Result<Option<systemd::Root>> {
        let image = &self.lab.image;
        let programs = &self.lab.programs;
        if rows.contains(&Row::Floor) || rows.contains(&Row::Systemd) {
            archives::with(image, &archives::floor(programs)?, &self.at("floor.img"))?;
        }
        if !rows.contains(&Row::Busybox) && !rows.contains(&Row::Systemd) {
            return Ok(None);
        }
        let packages = Packages::fetch()?;
        if rows.contains(&Row::Busybox) {
            let files = busybox::tree(&packages, &self.table()?)?;
            archives::with(image, &files, &self.at("busybox.img"))?;
        }
        if !rows.contains(&Row::Systemd) {
            return Ok(None);
        }
        eprintln!("bench: writing systemd's root");
        let directory = self.at("systemd");
        fs::create_dir_all(&directory).context("cannot create a folder")?;
        systemd::build(&packages, image, programs, &directory).map(Some)
    }

    /// The disk of a node that has run, with another root in the place of the node's.
    fn systemd_disk(&self, root: &systemd::Root) -> Result<Disk> {
        let disk = self.run_disk()?.copy(&self.at("systemd.raw"))?;
        for (label, file) in [(ROOT, &root.data), (ROOT_VERITY, &root.hashes)] {
            let bytes =
                fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            disk.write(label, 0, &bytes)?;
        }
        Ok(disk)
    }

    /// The device mapper's table of the image's root, as a node makes it.
    fn table(&self) -> Result<String> {
        let hash = self.lab.measured()?.root_hash;
        let hash = RootHash::parse(&hash)?;
        let verity = self.lab.image.join("root.verity");
        let hashes =
            fs::File::open(&verity).with_context(|| format!("cannot open {}", verity.display()))?;
        let length = |path: &Path| fs::metadata(path).map(|metadata| metadata.len());
        let superblock = Superblock::read(
            &hashes,
            length(&self.lab.image.join("root.erofs"))?,
            length(&verity)?,
        )?;
        let parameters = superblock.table(DEVICES.0, DEVICES.1, &hash);
        Ok(format!("0 {} verity {parameters}", superblock.sectors()))
    }

    fn run_disk(&self) -> Result<&Disk> {
        self.run.as_ref().context("no node has run")
    }

    /// A machine for one boot of a row, with disk and TPM of its own in `directory`.
    ///
    /// # Errors
    /// When they cannot be made.
    pub(super) async fn machine(&self, row: Row, directory: &Path) -> Result<MachineOptions> {
        let path = directory.join("disk.raw");
        let copy = |disk: &Disk| -> Result<PathBuf> { Ok(disk.copy(&path)?.path().to_owned()) };
        let peer = |disk: PathBuf, archive: &str, more: &str| {
            let boot = self.direct(self.at(archive), more);
            MachineOptions::new(self.lab.accelerator, boot, vec![disk])
        };
        let floor = format!("rdinit=/{}", archives::FLOOR);
        Ok(match row {
            Row::First => {
                let image = self.lab.image.join("disk.raw");
                let disk = Disk::from_image(&image, &path, DISK_SIZE)?;
                self.node(disk.path().to_owned())
            }
            Row::Later => self.node(copy(self.run_disk()?)?),
            Row::Floor => peer(copy(self.run_disk()?)?, "floor.img", &floor),
            Row::Busybox => {
                let first = format!("rdinit=/{}", busybox::INIT);
                peer(copy(self.run_disk()?)?, "busybox.img", &first)
            }
            Row::Systemd => {
                let (disk, hash) = self.systemd.as_ref().context("systemd has no root")?;
                let more = format!("{floor} {}", systemd::COMMAND_LINE);
                let mut options = peer(copy(disk)?, "floor.img", &more);
                if let Boot::Direct { command_line, .. } = &mut options.boot {
                    *command_line = with_root_hash(command_line, hash);
                }
                options
            }
            Row::FirstTpm => {
                let disk = self.sealing.as_ref().context("no disk is to be sealed")?;
                let tpm = Tpm::without_certificate(&directory.join("tpm"))?;
                self.node_with_tpm(copy(disk)?, tpm)
            }
            Row::LaterTpm => {
                let (disk, tpm) = self
                    .run_with_tpm
                    .as_ref()
                    .context("no node has run with a TPM")?;
                let own = directory.join("tpm");
                copy_files(&tpm.join("state"), &own.join("state"))?;
                self.node_with_tpm(copy(disk)?, Tpm::without_certificate(&own)?)
            }
        })
    }
}

/// The command line with another `roothash=`.
fn with_root_hash(command_line: &str, hash: &str) -> String {
    let words = command_line.split(' ').map(|word| {
        if word.starts_with("roothash=") {
            format!("roothash={hash}")
        } else {
            word.to_owned()
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Copies the files of a folder, which has no other folders.
fn copy_files(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
    let entries = fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?;
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))
                .with_context(|| format!("cannot copy {}", entry.path().display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_root_hash_changes_one_word() {
        assert_eq!(
            with_root_hash("roothash=aa console=ttyS0 x", "bb"),
            "roothash=bb console=ttyS0 x"
        );
    }

    #[test]
    fn copy_files_takes_a_tpms_state_along() {
        let directory = tempfile::tempdir().unwrap();
        let from = directory.path().join("a");
        fs::create_dir(&from).unwrap();
        fs::write(from.join("tpm2-00.permall"), "state").unwrap();
        let to = directory.path().join("b/c");
        copy_files(&from, &to).unwrap();
        assert_eq!(fs::read(to.join("tpm2-00.permall")).unwrap(), b"state");
        assert!(copy_files(&to.join("none"), &from).is_err());
    }
}
