//! What was opened since the kernel started, by the kernel's own tracing, where its command line has
//! [`TRACE`](crate::control::TRACE).

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader};

use thiserror::Error;

use crate::control::{Opened, OpenedFile};

/// Documentation/trace/ftrace.rst. Reading it takes nothing away.
const BUFFER: &str = "/sys/kernel/tracing/trace";
/// A name is as long as PATH_MAX at most.
const MOST_BYTES: u64 = 1 << 30;
/// `__FMODE_EXEC` (linux/fs.h): the file is opened to be executed.
const TO_EXECUTE: u64 = 0x20;

/// The record cannot be read.
#[derive(Debug, Error)]
#[error("cannot read {BUFFER}")]
pub(super) struct OpenedError(#[source] io::Error);

/// The files below these folders, each once a program.
pub(super) fn below(folders: &[String]) -> Result<Opened, OpenedError> {
    let file = File::open(BUFFER).map_err(OpenedError)?;
    parse(BufReader::new(io::Read::take(file, MOST_BYTES)), folders).map_err(OpenedError)
}

fn parse(text: impl BufRead, folders: &[String]) -> io::Result<Opened> {
    let mut files = BTreeSet::new();
    let mut events = 0;
    let mut complete = false;
    for line in text.split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        if let Some(counts) = line.split("entries-in-buffer/entries-written: ").nth(1) {
            let counts = counts.split_whitespace().next().unwrap_or_default();
            complete = counts
                .split_once('/')
                .is_some_and(|(kept, written)| kept == written);
        }
        let Some(file) = event(&line) else { continue };
        events += 1;
        let below = |folder: &String| std::path::Path::new(&file.path).starts_with(folder);
        if folders.iter().any(below) {
            files.insert(file);
        }
    }
    Ok(Opened {
        files: files.into_iter().collect(),
        events,
        complete,
    })
}

/// `<program>-<pid> [<cpu>] … opened: (…) name="<path>" flags=0x…`
fn event(line: &str) -> Option<OpenedFile> {
    let (head, rest) = line.split_once(": opened: ")?;
    let (_, rest) = rest.split_once("name=\"")?;
    let (path, rest) = rest.rsplit_once("\" flags=0x")?;
    let flags = u64::from_str_radix(rest.trim(), 16).ok()?;
    let (task, _) = head.split_once('[')?;
    let (program, _) = task.trim().rsplit_once('-')?;
    Some(OpenedFile {
        program: program.trim().to_owned(),
        path: path.to_owned(),
        executed: flags & TO_EXECUTE != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# tracer: nop
#
# entries-in-buffer/entries-written: 4/4   #P:2
#
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
            init-1       [000] ...1.     4.1: opened: (do_filp_open+0x0/0x110) name=\"/var/lib/a\" flags=0x8000
            init-1       [000] ...1.     4.2: opened: (do_filp_open+0x0/0x110) name=\"/usr/bin/k3s\" flags=0x8020
 containerd-shim-412     [001] ...1.     5.0: opened: (do_filp_open+0x0/0x110) name=\"/var/lib/b\" flags=0x8020
            init-1       [000] ...1.     6.1: opened: (do_filp_open+0x0/0x110) name=\"/var/lib/a\" flags=0x8000
";

    #[test]
    fn events_are_files_below_the_folders() {
        let opened = parse(TEXT.as_bytes(), &["/var".to_owned()]).unwrap();
        assert!(opened.complete);
        assert_eq!(opened.events, 4);
        let file = |program: &str, path: &str, executed| OpenedFile {
            program: program.to_owned(),
            path: path.to_owned(),
            executed,
        };
        assert_eq!(
            opened.files,
            [
                file("containerd-shim", "/var/lib/b", true),
                file("init", "/var/lib/a", false)
            ]
        );
    }

    #[test]
    fn a_buffer_that_ran_over_is_not_complete() {
        let text = TEXT.replace("4/4", "4/5");
        assert!(!parse(text.as_bytes(), &[]).unwrap().complete);
        assert!(!parse(&b""[..], &[]).unwrap().complete);
    }
}
