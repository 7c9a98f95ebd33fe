//! Looking for secrets in environments, without showing one.

use std::io::{ErrorKind, Read};

use thiserror::Error;

use crate::control::{EnvironmentState, Needle};

/// The most bytes of an environment: the kernel's bound for one string, 32 pages, many times over
/// (execve(2)).
const LIMIT: u64 = 4 * 1024 * 1024;

/// An environment cannot be looked through.
#[derive(Debug, Error)]
pub(super) enum EnvironmentError {
    /// It would be in every text.
    #[error("an empty text stands everywhere; expected texts of at least one character")]
    EmptyNeedle,
    /// Not readable, or not in whole.
    #[error("cannot read the environment of process {0}")]
    Read(i32, #[source] std::io::Error),
}

/// What stands in the environment that process `process` was started with (`/proc/PID/environ`,
/// proc_pid_environ(5)).
pub(super) fn state(
    process: i32,
    needles: &[Needle],
) -> Result<EnvironmentState, EnvironmentError> {
    if needles.iter().any(|needle| needle.0.is_empty()) {
        return Err(EnvironmentError::EmptyNeedle);
    }
    let mut bytes = Vec::new();
    let read = std::fs::File::open(format!("/proc/{process}/environ"))
        .and_then(|file| file.take(LIMIT).read_to_end(&mut bytes));
    match read {
        // an open file of a process that is gone meanwhile reads as ESRCH
        Err(error)
            if error.kind() == ErrorKind::NotFound
                || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) =>
        {
            Ok(EnvironmentState {
                gone: true,
                names: Vec::new(),
                found: Vec::new(),
            })
        }
        Err(error) => Err(EnvironmentError::Read(process, error)),
        Ok(_) => Ok(look(&bytes, needles)),
    }
}

fn look(bytes: &[u8], needles: &[Needle]) -> EnvironmentState {
    let names = bytes
        .split(|byte| *byte == 0)
        .filter(|variable| !variable.is_empty())
        .filter_map(|variable| variable.split(|byte| *byte == b'=').next())
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect();
    let found = needles
        .iter()
        .enumerate()
        .filter(|(_, needle)| {
            bytes
                .windows(needle.0.len())
                .any(|part| part == needle.0.as_bytes())
        })
        .map(|(place, _)| place)
        .collect();
    EnvironmentState {
        gone: false,
        names,
        found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needle(text: &str) -> Needle {
        Needle(text.to_owned())
    }

    #[test]
    fn needles_stand_in_no_log() {
        assert!(!format!("{:?}", needle("hunter2")).contains("hunter2"));
    }

    #[test]
    fn secrets_are_found_and_values_are_not_shown() {
        let environment = b"PATH=/usr/bin\0TOKEN=hunter2\0";
        let needles = ["hunter1", "hunter2", "TOKEN=hun"].map(needle);
        let state = look(environment, &needles);
        assert_eq!(state.names, ["PATH", "TOKEN"]);
        assert_eq!(state.found, [1, 2]);
    }

    #[test]
    fn a_real_process_is_looked_through() {
        let mut child = std::process::Command::new("/bin/cat")
            .env_clear()
            .env("NAME", "a value to find")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // once it answers it is the program that was started, and has its environment
        let mut answer = [0; 1];
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"?").unwrap();
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut answer)
            .unwrap();
        let process = i32::try_from(child.id()).unwrap();
        let looked = state(process, &[needle("value to")]);
        child.kill().unwrap();
        child.wait().unwrap();
        let looked = looked.unwrap();
        assert_eq!(
            (looked.names, looked.found),
            (vec!["NAME".to_owned()], vec![0])
        );
        assert!(state(process, &[needle("value")]).unwrap().gone);
        assert!(matches!(
            state(1, &[needle("")]),
            Err(EnvironmentError::EmptyNeedle)
        ));
    }
}
