//! From the initramfs to the root: moving the mounts, freeing the initramfs, and starting init
//! again from the root.
//!
//! The initramfs is the kernel's own first mount, which pivot_root(2) does not take, so the new
//! root is moved over it (Documentation/filesystems/ramfs-rootfs-initramfs.rst).

use std::convert::Infallible;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::mount::mount_move;

/// The program on the root.
pub const INIT: &str = "/usr/bin/init";
/// Mounts that go along,
/// `/dev` last, as a failure is shown through it.
const MOVED: [&str; 4] = ["/run", "/sys", "/proc", "/dev"];
/// `RAMFS_MAGIC` and `TMPFS_MAGIC`, include/uapi/linux/magic.h: what an initramfs lies on.
const RAM_FILE_SYSTEMS: [i64; 2] = [0x8584_58f6, 0x0102_1994];
const DEPTH_LIMIT: u32 = 32;

/// What kept the switch from happening.
#[derive(Debug, thiserror::Error)]
pub enum SwitchError {
    /// Its program can't be read.
    #[error("{INIT} on the root cannot be read")]
    Init(#[source] io::Error),
    /// A mount can't go along.
    #[error("{directory} cannot be moved to the root")]
    Move {
        /// The mount.
        directory: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The root can't be moved.
    #[error("the root cannot take the place of the initramfs")]
    Root(#[source] io::Error),
    /// Its program can't be started.
    #[error("{INIT} on the root cannot be started")]
    Start(#[source] io::Error),
}

/// Makes the file system at `new_root` the root, and executes init from there.
///
/// # Errors
/// See [`SwitchError`]; it does not return otherwise.
pub fn switch(new_root: &Path) -> Result<Infallible, SwitchError> {
    read_whole(&new_root.join(INIT.trim_start_matches('/'))).map_err(SwitchError::Init)?;
    take_over(new_root)?;
    // A clean environment: what the kernel did not know on its command line ends up there.
    let error = Command::new(INIT)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin")
        .exec();
    Err(SwitchError::Start(error))
}

/// Makes the file system at `new_root` the root of this process, with the initramfs's mounts on it.
///
/// # Errors
/// See [`SwitchError`].
pub fn take_over(new_root: &Path) -> Result<(), SwitchError> {
    for directory in MOVED {
        let target = new_root.join(directory.trim_start_matches('/'));
        mount_move(directory, &target).map_err(|errno| SwitchError::Move {
            directory,
            source: errno.into(),
        })?;
    }
    free_initramfs();
    enter(new_root).map_err(SwitchError::Root)
}

/// Reads a file to its end, so that a corrupt block in it shows now, as an error that can be told,
/// and not later as a bus error in PID 1.
fn read_whole(path: &Path) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 64 * 1024];
    while file.read(&mut buffer)? > 0 {}
    Ok(())
}

fn enter(new_root: &Path) -> io::Result<()> {
    rustix::process::chdir(new_root)?;
    mount_move(".", "/")?;
    rustix::process::chroot(".")?;
    rustix::process::chdir("/")?;
    Ok(())
}

/// Removes what is in the initramfs, whose memory is lost otherwise. It is only that: what can't
/// be removed is left.
fn free_initramfs() {
    let on_ram =
        rustix::fs::statfs("/").is_ok_and(|statfs| RAM_FILE_SYSTEMS.contains(&statfs.f_type));
    let Ok(root) = fs::metadata("/") else { return };
    // Never on anything but the initramfs, whoever starts this wherever.
    if on_ram {
        remove_below(Path::new("/"), root.dev(), 0);
    }
}

fn remove_below(directory: &Path, device: u64, depth: u32) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        // Without following links; mounts have another device and stay.
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        if metadata.dev() != device || depth >= DEPTH_LIMIT {
            continue;
        }
        let _ = if metadata.is_dir() {
            remove_below(&path, device, depth + 1);
            fs::remove_dir(&path)
        } else {
            fs::remove_file(&path)
        };
    }
}
