//! Threads of a program that reads its signals from a descriptor.

use std::io;
use std::ptr;
use std::thread;

/// Starts a thread to which no signal is ever delivered, whenever the caller blocks its own:
/// a signal that a second thread would take never reaches signalfd(2) in the first.
///
/// # Errors
/// What the system says when it can't start a thread or change the signal mask.
pub fn spawn_without_signals<F>(name: &str, run: F) -> io::Result<thread::JoinHandle<()>>
where
    F: FnOnce() + Send + 'static,
{
    // SAFETY: both sets are plain data; the first is filled by sigfillset(3), the second by
    // pthread_sigmask(3) before it is read. A new thread inherits its creator's mask, which is set
    // back afterwards in this thread, the only one that it applies to.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        let blocked = libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        if blocked != 0 {
            return Err(io::Error::from_raw_os_error(blocked));
        }
        let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut());
        thread
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn blocked(status: &str) -> u64 {
        let status = fs::read_to_string(status).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("SigBlk:"))
            .unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap()
    }

    #[test]
    fn the_new_thread_blocks_everything_and_this_one_what_it_did() {
        let before = blocked("/proc/thread-self/status");
        let (sender, receiver) = std::sync::mpsc::channel();
        spawn_without_signals("test", move || {
            sender.send(blocked("/proc/thread-self/status")).unwrap();
        })
        .unwrap()
        .join()
        .unwrap();
        let mask = receiver.recv().unwrap();
        for signal in [libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGPWR] {
            assert_ne!(mask & (1 << (signal - 1)), 0);
        }
        assert_eq!(blocked("/proc/thread-self/status"), before);
    }
}
