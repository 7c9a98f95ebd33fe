//! The last steps: nothing runs but PID 1, nothing is mounted, the machine goes off or restarts.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount_remount, unmount};
use rustix::process::{Signal, WaitOptions, wait};
use rustix::system::{RebootCommand, reboot};
use tracing::{error, info, warn};
use wire::paths::LAST_END;
use wire::status::Phase;

use super::Reason;
use super::memory::forget_credentials;
use kernel::watchdog::Watchdog;
use log::LogQueue;
use log::timeline;

/// After so long the machine goes off whatever still hangs: a disk that does not answer must not
/// keep a slashed node running.
const LAST_RESORT: Duration = Duration::from_secs(20);
/// How long processes have to end after SIGTERM, and after SIGKILL.
const END_LIMIT: Duration = Duration::from_secs(2);
/// How often it is looked whether the watchdog is to be told that all is well.
const PET_PAUSE: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(20);
/// How long the log may take to write what waits.
const LOG_LIMIT: Duration = Duration::from_secs(2);
/// File systems can hold one another: each pass frees some.
const PASSES: u32 = 5;

/// What the kernel keeps until the end, and holds no data.
const KEPT: [&str; 4] = ["/proc", "/sys", "/dev", "/run"];

/// Ends everything and powers off, or restarts where the reason asks for that. Does not return.
pub(crate) fn finish(reason: Reason, log: &LogQueue, watchdog: Option<Watchdog>) -> ! {
    let watchdog = Arc::new(Mutex::new(watchdog));
    let of_guard = Arc::clone(&watchdog);
    let guard = sys::thread::spawn_without_signals("last-resort", move || {
        pet_until(&of_guard, timeline::now().saturating_add(LAST_RESORT));
        log::emergency("the last steps hang: the machine ends without them");
        end(reason);
    });
    if let Err(error) = guard {
        warn!(%error, "there is no guard against a hanging end");
    }
    end_processes();
    if reason.forgets_secrets() {
        forget_credentials(Path::new("/"));
    }
    if !log.close(LOG_LIMIT) {
        warn!("the log's last lines may not be on the disk");
    }
    leave_end(Path::new(LAST_END), reason);
    unmount_all();
    rustix::fs::sync();
    timeline::mark(Phase::Stopped);
    if let Some(watchdog) = lock(&watchdog).take() {
        watchdog.stop();
    }
    let action = if reason.restarts() {
        "reboot"
    } else {
        "power-off"
    };
    info!("power action={action} reason={reason}");
    // so that the console has the line
    log.close(LOG_LIMIT);
    end(reason)
}

fn end(reason: Reason) -> ! {
    if reason.restarts() {
        let refused = reboot(RebootCommand::Restart);
        log::emergency(&format!("the machine can't be restarted: {refused:?}"));
    }
    power_off()
}

/// Leaves word for the next boot. Where there is no state, that is no news.
fn leave_end(path: &Path, reason: Reason) {
    if path.parent().is_some_and(Path::is_dir)
        && let Err(error) = files::replace(path, format!("{reason}\n").as_bytes(), 0o600)
    {
        warn!(%error, "the next boot is not told why this one ended");
    }
}

/// Tells the watchdog that all is well for as long as the last steps may take: it would cut them
/// off, and a machine that it restarts is not off.
fn pet_until(watchdog: &Mutex<Option<Watchdog>>, end: Duration) {
    loop {
        let now = timeline::now();
        if let Some(watchdog) = lock(watchdog).as_mut() {
            watchdog.pet(now);
        }
        let left = end.saturating_sub(now);
        if left.is_zero() {
            return;
        }
        thread::sleep(left.min(PET_PAUSE));
    }
}

/// A thread that panicked leaves a watchdog that can be told and stopped all the same.
fn lock(watchdog: &Mutex<Option<Watchdog>>) -> MutexGuard<'_, Option<Watchdog>> {
    watchdog.lock().unwrap_or_else(PoisonError::into_inner)
}

/// reboot(2). A machine that can't switch itself off is halted: it must not start again.
pub(crate) fn power_off() -> ! {
    loop {
        for command in [RebootCommand::PowerOff, RebootCommand::Halt] {
            if let Err(error) = reboot(command) {
                log::emergency(&format!("the machine can't be powered off: {error}"));
            }
        }
        thread::sleep(LAST_RESORT);
    }
}

/// SIGTERM for everybody, then SIGKILL. From PID 1, `kill(-1)` reaches all but itself (kill(2)).
fn end_processes() {
    for signal in [Signal::TERM, Signal::KILL] {
        // ESRCH: nobody is left
        if let Err(error) = sys::process::signal_everybody(signal)
            && error.raw_os_error() != Some(Errno::SRCH.raw_os_error())
        {
            warn!(%error, "processes can't be signalled");
        }
        let mut left = END_LIMIT;
        while !reap() && !left.is_zero() {
            thread::sleep(PAUSE);
            left = left.saturating_sub(PAUSE);
        }
    }
    if !reap() {
        warn!("processes remain that can't be killed");
    }
}

/// Reaps what has ended; `true` when no child is left. Orphans are children of PID 1, so that
/// this is everybody.
fn reap() -> bool {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return false,
            Err(_) => return true,
        }
    }
}

/// Unmounts the newest mounts first. What can't be unmounted is made read-only.
fn unmount_all() {
    for _ in 0..PASSES {
        let mounts = mounts();
        let mut freed = false;
        for path in mounts.iter().rev() {
            freed |= unmount(path.as_path(), UnmountFlags::NOFOLLOW).is_ok();
        }
        if mounts.is_empty() || !freed {
            break;
        }
    }
    for path in mounts() {
        match mount_remount(path.as_path(), MountFlags::RDONLY, c"") {
            Ok(()) => warn!(path = %path.display(), "made read-only, since it can't be unmounted"),
            Err(error) => {
                error!(path = %path.display(), %error, "can't be unmounted nor made read-only");
            }
        }
    }
    info!("file systems unmounted");
}

/// What is mounted and can hold data, oldest first.
fn mounts() -> Vec<PathBuf> {
    parse_mounts(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
}

/// The fifth field of each line is the mount point (proc_pid_mountinfo(5)).
fn parse_mounts(text: &str) -> Vec<PathBuf> {
    text.lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(unescape)
        .filter(|path| path != "/")
        .filter(|path| {
            let kept = |kept: &&str| Path::new(path).starts_with(kept);
            !KEPT.iter().any(kept) || path.starts_with("/run/")
        })
        .map(PathBuf::from)
        .collect()
}

/// White space and backslashes stand as a backslash and three octal digits.
fn unescape(field: &str) -> String {
    let mut text = field.to_owned();
    for (escaped, character) in [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ] {
        text = text.replace(escaped, character);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_data_is_found_with_the_newest_last() {
        let text = "\
21 1 253:0 / / ro,relatime shared:1 - erofs /dev/mapper/root ro
22 21 0:21 / /proc rw - proc proc rw
23 21 0:22 / /sys rw - sysfs sysfs rw
24 23 0:23 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw
25 21 0:5 / /dev rw - devtmpfs devtmpfs rw
26 25 0:24 / /dev/shm rw - tmpfs tmpfs rw
27 21 0:25 / /run rw - tmpfs tmpfs rw
28 21 254:6 / /var rw - ext4 /dev/vda6 rw
29 28 0:40 / /var/lib/kubelet/pods/a\\040b rw - tmpfs tmpfs rw
30 27 0:41 / /run/netns/cni-1 rw - nsfs nsfs rw
31 21 0:42 / /procedures rw - tmpfs tmpfs rw
";
        let found = parse_mounts(text);
        let expected = [
            "/var",
            "/var/lib/kubelet/pods/a b",
            "/run/netns/cni-1",
            "/procedures",
        ];
        assert_eq!(found, expected.map(PathBuf::from));
    }

    #[test]
    fn end_is_left_where_there_is_a_state() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("daas/last-end");
        leave_end(&path, Reason::PowerButton);
        assert!(!path.exists());
        fs::create_dir(directory.path().join("daas")).unwrap();
        leave_end(&path, Reason::PowerButton);
        assert_eq!(fs::read_to_string(&path).unwrap(), "power-button\n");
    }

    #[test]
    fn the_watchdog_is_told_until_it_is_stopped_or_the_time_is_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("watchdog");
        fs::write(&path, b"").unwrap();
        let watchdog = Watchdog::open(&path, Duration::ZERO).unwrap();
        let watchdog = Mutex::new(Some(watchdog));
        // over from the start: it is told once more, and nothing hangs
        pet_until(&watchdog, Duration::ZERO);
        assert_eq!(fs::read(&path).unwrap(), b"\0");
        lock(&watchdog).take().unwrap().stop();
        pet_until(&watchdog, Duration::ZERO);
        assert_eq!(fs::read(&path).unwrap(), b"\0V");
    }

    #[test]
    fn this_machine_s_mounts_can_be_read() {
        assert!(!mounts().contains(&PathBuf::from("/")));
        assert!(!mounts().contains(&PathBuf::from("/proc")));
    }
}
