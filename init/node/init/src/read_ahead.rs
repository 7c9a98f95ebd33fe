//! Reads programs ahead of their start, while the boot waits for the state disk and the TPM.

use std::fs::File;
use std::io::{self, Read};

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

/// Reads a file, so that it lies in the page cache, and gives its length in bytes. posix_fadvise(2) would read but a
/// fraction of it (mm/readahead.c, `force_page_cache_ra`).
fn read(program: &str) -> io::Result<usize> {
    let mut file = File::open(program)?;
    let mut buffer = vec![0; 128 * 1024];
    let mut length: usize = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(length),
            Ok(count) => length = length.saturating_add(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
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
    }

    #[test]
    fn read_of_a_program_reads_all_of_it() {
        let length = std::fs::metadata("/proc/self/exe").unwrap().len();
        assert_eq!(read("/proc/self/exe").unwrap() as u64, length);
    }
}
