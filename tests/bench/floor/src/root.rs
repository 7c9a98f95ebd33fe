//! The root as a node opens it: the same partitions under dm-verity, found by fixed names.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use initramfs::switch_root;
use initramfs::verity::{RootHash, Superblock};
use kernel::block_devices::BlockDevice;
use kernel::command_line::CommandLine;
use kernel::modules::Loader;
use rustix::mount::{MountFlags, mount};
use sys::device_mapper::DeviceMapper;

/// What finds the disk; QEMU's machine has this one alone.
const DISK_MODULES: [&str; 2] = ["virtio_pci", "virtio_blk"];
/// What opens the root.
const OPENER_MODULES: [&str; 3] = ["dm_mod", "dm_verity", "erofs"];
/// The partitions of the image (`image::disk`).
const DATA: &str = "vda2";
const HASHES: &str = "vda3";
/// The node's state.
const STATE: &str = "/dev/vda6";
const NEW_ROOT: &str = "/sysroot";
/// The disk is there within this.
const PATIENCE: Duration = Duration::from_secs(30);

/// Opens the root and makes it the root of this process.
///
/// # Errors
/// When a module, a partition or the root itself is not as it should be.
pub fn enter() -> Result<()> {
    let command_line = CommandLine::read().context("no command line")?;
    let hash = command_line.value("roothash")?.context("no roothash=")?;
    let hash = RootHash::parse(hash)?;
    // on the other processor, as a node does
    let opener = thread::spawn(|| -> Result<()> {
        let mut loader = Loader::open()?;
        for module in OPENER_MODULES {
            loader.load(module)?;
        }
        loader.load_for("crypto-sha256");
        Ok(())
    });
    let mut loader = Loader::open()?;
    for module in DISK_MODULES {
        loader.load(module)?;
    }
    let (data, hashes) = (device(DATA)?, device(HASHES)?);
    if opener.join().is_err() {
        bail!("a thread panicked");
    }
    let superblock = Superblock::read(&hashes.open()?, data.size, hashes.size)?;
    let table = superblock.table(&data.number()?, &hashes.number()?, &hash);
    let uuid = format!("BENCH-VERITY-{hash}");
    let mapped = DeviceMapper::open()?.create_read_only(
        "root",
        &uuid,
        "verity",
        superblock.sectors(),
        &table,
    )?;
    fs::create_dir_all(NEW_ROOT)?;
    let device = format!("/dev/dm-{}", mapped.minor);
    let flags = MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID;
    mount(device, NEW_ROOT, "erofs", flags, None).context("cannot mount the root")?;
    switch_root::take_over(Path::new(NEW_ROOT))?;
    Ok(())
}

/// Mounts the node's state, which an earlier boot of a node has made.
///
/// # Errors
/// When it cannot be mounted.
pub fn mount_state() -> Result<()> {
    let flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOATIME;
    mount(STATE, "/var", "ext4", flags, None).context("cannot mount the state")
}

fn device(name: &str) -> Result<BlockDevice> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(device) = BlockDevice::from_sysfs(name)
            && device.path().exists()
        {
            return Ok(device);
        }
        if Instant::now() > deadline {
            bail!("the disk has no {name}");
        }
        thread::sleep(Duration::from_millis(2));
    }
}
