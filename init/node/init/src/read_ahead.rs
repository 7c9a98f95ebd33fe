//! Reads programs ahead of their start, while the boot waits for the state disk and the TPM.

use std::fs::File;
use std::io;

use rustix::fs::{Advice, fadvise};

/// What the boot waits for longest, and most of the time for its own pages: they are decompressed and verified as
/// they are read.
const PROGRAMS: [&str; 1] = ["/usr/bin/containerd"];

/// Starts the thread that reads. Without it everything works, and takes longer.
pub(crate) fn start() {
    let started = sys::thread::spawn_without_signals("read-ahead", || {
        for program in PROGRAMS {
            if let Err(error) = read(program) {
                tracing::warn!(program, %error, "a program is not read ahead");
            }
        }
    });
    if let Err(error) = started {
        tracing::warn!(%error, "no program is read ahead");
    }
}

/// Has the kernel read a file into its page cache (posix_fadvise(2)).
fn read(program: &str) -> io::Result<()> {
    // no length: to the end
    Ok(fadvise(File::open(program)?, 0, None, Advice::WillNeed)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_of_a_missing_program_is_an_error() {
        assert_eq!(
            read("/no/such").unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        read("/proc/self/exe").unwrap();
    }
}
