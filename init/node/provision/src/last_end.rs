//! `provision last-end`: how the last boot ended, told once the state is there. What the kernel kept of a crash (pstore)
//! is moved to the state.
//!
//! Nothing waits for it, and nothing depends on it: a machine whose firmware keeps nothing runs the same.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use kernel::modules::Loader;
use rustix::fs::{AtFlags, Dir, Mode, OFlags, openat, unlinkat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use wire::paths::{CRASHES, LAST_END};

use crate::state::BOOT_PHASE_OVER;

/// What keeps the kernel's last words in the firmware's variables, where the machine has them
/// (Documentation/ABI/testing/pstore).
const MODULE: &str = "efi_pstore";
const FIRMWARE: &str = "/sys/firmware/efi";
/// What `provision state` found on the state, for this task, which comes later.
const FOUND: &str = "/run/daas/last-end";
/// What a new state holds in the place of a reason: there was no boot before.
pub(crate) const NEW: &str = "new";
/// What a state holds as long as its boot has not ended.
const RUNNING: &str = "running";
/// More than the name of a reason.
const END_LIMIT: usize = 64;
/// A record's bound: `kmsg_bytes` of the kernel is 10 KiB, compressed or not, and a record holds less than one.
const RECORD_LIMIT: u64 = 256 * 1024;
/// How many records are taken at once. A crash leaves a dozen.
const RECORDS: usize = 64;
/// How many crashes are kept; the oldest go.
const KEPT: usize = 10;
/// The line of a crash that says what it was.
const PANIC: &str = "Kernel panic - not syncing: ";

/// Runs the task. What can't be told or kept is said, and fails nothing.
pub(crate) fn run() -> ExitCode {
    let end = files::read_text(FOUND, END_LIMIT).ok();
    match collect() {
        Ok(Some(Crash { directory, what })) => {
            let place = directory.display();
            tracing::warn!(
                "the last boot ended in a crash of the kernel: {what} (its last words: {place})"
            );
        }
        Ok(None) => match end.as_deref() {
            // a state of an image that left no word
            None | Some(NEW | "") => {}
            Some(RUNNING) => tracing::warn!(
                "the last boot did not end in order: the power failed, the machine was reset, or it crashed where \
                 nothing keeps the kernel's last words"
            ),
            Some(reason) => tracing::info!("the last boot ended in order: {reason}"),
        },
        Err(error) => tracing::warn!(%error, "what the kernel kept of the last boot can't be read"),
    }
    ExitCode::SUCCESS
}

/// Takes what PID 1 left at the end of the last boot out of the state, which was just mounted: from now on it is this
/// boot's. What could not be left there, as the state was shut, `restarted` says.
pub(crate) fn take(restarted: bool) {
    take_at(Path::new(LAST_END), Path::new(FOUND), restarted);
}

fn take_at(end: &Path, found: &Path, restarted: bool) {
    let word = match restarted {
        true => BOOT_PHASE_OVER.to_owned(),
        false => word_of(end),
    };
    // A file of its own, whatever was put there. Not synced, as a boot waits for it: where the power fails within
    // seconds, the former word is told again.
    let _ = fs::remove_file(end);
    let taken = write_new(end, RUNNING).and_then(|()| fs::write(found, word));
    if let Err(error) = taken {
        tracing::warn!(%error, "how the last boot ended can't be told");
    }
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
}

/// The word that the state holds; none: it never held any.
fn word_of(path: &Path) -> String {
    match files::read_text(path, END_LIMIT) {
        Ok(text) if text.is_empty() => RUNNING.to_owned(),
        Ok(text) => {
            let known = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
            if text.bytes().all(known) {
                text
            } else {
                String::new()
            }
        }
        Err(_) => String::new(),
    }
}

/// A crash that was kept.
#[derive(Debug, PartialEq, Eq)]
struct Crash {
    directory: PathBuf,
    what: String,
}

fn collect() -> io::Result<Option<Crash>> {
    if Path::new(FIRMWARE).exists() {
        let loaded = Loader::open().map(|mut loader| loader.load(MODULE));
        if !matches!(loaded, Ok(Ok(()))) {
            tracing::debug!("nothing keeps the kernel's last words: {MODULE} is not loaded");
        }
    }
    let Some(store) = open()? else {
        return Ok(None);
    };
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH);
    let name = seconds.unwrap_or_default().as_secs().to_string();
    move_records(&store, Path::new(CRASHES), &name)
}

/// Opens the file system of what was kept; none: this kernel has none. The mount is nowhere in the tree.
fn open() -> io::Result<Option<OwnedFd>> {
    let Ok(context) = fsopen("pstore", FsOpenFlags::FSOPEN_CLOEXEC) else {
        return Ok(None);
    };
    fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
        | MountAttrFlags::MOUNT_ATTR_NOSUID;
    Ok(Some(fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        attributes,
    )?))
}

/// Moves the records to a folder of that name; none: there are none. A record goes only once its copy is on the disk.
fn move_records(store: &OwnedFd, crashes: &Path, name: &str) -> io::Result<Option<Crash>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let store = openat(store, ".", flags, Mode::empty())?;
    let mut records = Vec::new();
    for entry in Dir::read_from(&store)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // what the kernel names: "dmesg-efi_pstore-1234"
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if name.bytes().all(plain) && !name.starts_with('.') && records.len() < RECORDS {
            records.push(name);
        }
    }
    if records.is_empty() {
        return Ok(None);
    }
    records.sort();
    let directory = crashes.join(name);
    let mut builder = fs::DirBuilder::new();
    builder.mode(0o700).recursive(true).create(&directory)?;
    let mut what = None;
    for record in &records {
        let mut text = Vec::new();
        let file = openat(
            &store,
            record.as_str(),
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        File::from(file).take(RECORD_LIMIT).read_to_end(&mut text)?;
        let mut copy = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(directory.join(record))?;
        copy.write_all(&text)?;
        copy.sync_all()?;
        what = what.or_else(|| panic_of(&String::from_utf8_lossy(&text)));
    }
    File::open(&directory)?.sync_all()?;
    for record in &records {
        unlinkat(&store, record.as_str(), AtFlags::empty())?;
    }
    drop_oldest(crashes);
    let what = what.unwrap_or_else(|| "it does not say why".to_owned());
    Ok(Some(Crash { directory, what }))
}

/// What a record says that the crash was.
fn panic_of(record: &str) -> Option<String> {
    let line = record.lines().find(|line| line.contains(PANIC))?;
    let (_, what) = line.split_once(PANIC)?;
    Some(log::visible(what))
}

/// Keeps the newest. Their names are times: of one length, until the year 2286. What has another name is not ours.
fn drop_oldest(crashes: &Path) {
    let entries = fs::read_dir(crashes).into_iter().flatten().flatten();
    let is_time = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        path.is_dir() && name.bytes().all(|byte| byte.is_ascii_digit())
    };
    let mut kept: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_time).collect();
    kept.sort();
    let surplus = kept.len().saturating_sub(KEPT);
    for old in kept.iter().take(surplus) {
        if let Err(error) = fs::remove_dir_all(old) {
            tracing::warn!(%error, "{} can't be removed", old.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(path: &Path) -> OwnedFd {
        File::open(path).unwrap().into()
    }

    #[test]
    fn word_is_taken_once_and_only_a_known_one() {
        let directory = tempfile::tempdir().unwrap();
        let end = directory.path().join("last-end");
        let found = directory.path().join("found");
        let taken = |restarted| {
            take_at(&end, &found, restarted);
            fs::read_to_string(&found).unwrap()
        };
        assert_eq!(taken(false), "", "a state of an earlier image");
        assert_eq!(taken(false), RUNNING, "a boot that did not end");
        fs::write(&end, "power-button\n").unwrap();
        assert_eq!(taken(false), "power-button");
        assert_eq!(taken(false), RUNNING);
        assert_eq!(taken(true), BOOT_PHASE_OVER);
        for strange in ["\x1b[2J", "a b", &"x".repeat(END_LIMIT + 1)] {
            fs::write(&end, strange).unwrap();
            assert_eq!(taken(false), "", "{strange:?}");
        }
        fs::remove_file(&end).unwrap();
        std::os::unix::fs::symlink(&found, &end).unwrap();
        assert_eq!(taken(false), RUNNING, "what a link leads to");
        assert!(!fs::symlink_metadata(&end).unwrap().is_symlink());
        fs::write(&end, "").unwrap();
        assert_eq!(taken(false), RUNNING, "cut off while it was written");
    }

    #[test]
    fn records_are_moved_and_the_panic_is_found() {
        let store = tempfile::tempdir().unwrap();
        let state = tempfile::tempdir().unwrap();
        let crashes = state.path().join("crashes");
        assert_eq!(
            move_records(&opened(store.path()), &crashes, "1").unwrap(),
            None
        );
        assert!(!crashes.exists());
        fs::write(store.path().join("dmesg-efi_pstore-1"), "<6>[ 1.0] quiet\n").unwrap();
        let panic = "Panic#1 Part1\n<0>[ 9.1] Kernel panic - not syncing: sysrq triggered crash\n";
        fs::write(store.path().join("dmesg-efi_pstore-2"), panic).unwrap();
        let crash = move_records(&opened(store.path()), &crashes, "1700000000").unwrap();
        let crash = crash.unwrap();
        assert_eq!(crash.what, "sysrq triggered crash");
        assert_eq!(fs::read_dir(store.path()).unwrap().count(), 0);
        let copy = crash.directory.join("dmesg-efi_pstore-2");
        assert_eq!(fs::read_to_string(copy).unwrap(), panic);
    }

    #[test]
    fn oldest_crashes_go() {
        let state = tempfile::tempdir().unwrap();
        let store = tempfile::tempdir().unwrap();
        for time in 1_700_000_000..1_700_000_012 {
            fs::write(store.path().join("dmesg-x-1"), "x").unwrap();
            let crash =
                move_records(&opened(store.path()), state.path(), &time.to_string()).unwrap();
            assert_eq!(crash.unwrap().what, "it does not say why");
        }
        assert_eq!(fs::read_dir(state.path()).unwrap().count(), KEPT);
        assert!(!state.path().join("1700000001").exists());
    }
}
