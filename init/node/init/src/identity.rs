//! The hostname, and the files that tell programs of it.
//!
//! `/etc` is read-only; its `hostname`, `hosts` and `machine-id` are links to `/run/daas/etc`.

use std::fs;
use std::io;

use wire::NodeName;
use wire::paths::ETC;

/// The name until a configuration gives one.
const UNNAMED: &str = "localhost";

/// The machine can't be given its identity.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    #[error("{file} cannot be written")]
    Write {
        file: String,
        #[source]
        source: io::Error,
    },
    #[error("the kernel does not take the hostname")]
    SetHostname(#[source] io::Error),
}

/// Gives the machine the hostname `localhost` for the time until the configuration is there.
///
/// # Errors
/// See [`IdentityError`].
pub(crate) fn prepare() -> Result<(), IdentityError> {
    fs::create_dir_all(ETC).map_err(|source| write_error(ETC, source))?;
    name_machine(UNNAMED)
}

/// Names the machine: in the kernel, in `/etc/hostname` and in `/etc/hosts`.
///
/// # Errors
/// See [`IdentityError`].
pub(crate) fn set_hostname(name: &NodeName) -> Result<(), IdentityError> {
    name_machine(name.as_str())
}

fn name_machine(name: &str) -> Result<(), IdentityError> {
    write("hostname", &format!("{name}\n"))?;
    write("hosts", &hosts(name))?;
    rustix::system::sethostname(name.as_bytes())
        .map_err(|errno| IdentityError::SetHostname(errno.into()))
}

/// hosts(5). The machine's own name on a loopback address of its own, as Debian has it, so that it
/// resolves without a network.
fn hosts(name: &str) -> String {
    let mut text = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n".to_owned();
    if name != UNNAMED {
        text.push_str(&format!("127.0.1.1 {name}\n"));
    }
    text
}

fn write(name: &str, content: &str) -> Result<(), IdentityError> {
    let file = format!("{ETC}/{name}");
    files::replace(&file, content.as_bytes(), 0o644).map_err(|source| write_error(&file, source))
}

fn write_error(file: &str, source: io::Error) -> IdentityError {
    IdentityError::Write {
        file: file.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_knows_its_own_name() {
        assert!(hosts("edge-0001").ends_with("127.0.1.1 edge-0001\n"));
        assert!(!hosts("localhost").contains("127.0.1.1"));
    }
}
