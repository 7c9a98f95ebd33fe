//! The hostname, and the files that tell programs of it.
//!
//! `/etc` is read-only; its `hostname`, `hosts` and `machine-id` are links to `/run/daas/etc`.

use std::fs;
use std::io;

use wire::paths::ETC;

/// `HOST_NAME_MAX` of Linux, gethostname(2).
const HOSTNAME_LIMIT: usize = 64;
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
    #[error(
        "{name:?} is not a hostname of at most {HOSTNAME_LIMIT} letters, digits, dashes and dots"
    )]
    Hostname { name: String },
    #[error("the kernel does not take the hostname")]
    SetHostname(#[source] io::Error),
}

/// Gives the machine the hostname `localhost` for the time until the configuration is there.
///
/// # Errors
/// See [`IdentityError`].
pub(crate) fn prepare() -> Result<(), IdentityError> {
    fs::create_dir_all(ETC).map_err(|source| write_error(ETC, source))?;
    set_hostname(UNNAMED)
}

/// Names the machine: in the kernel, in `/etc/hostname` and in `/etc/hosts`.
///
/// # Errors
/// See [`IdentityError`]; nothing is changed for a name that is none.
pub(crate) fn set_hostname(name: &str) -> Result<(), IdentityError> {
    if !is_hostname(name) {
        return Err(IdentityError::Hostname {
            name: name.to_owned(),
        });
    }
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

fn is_hostname(name: &str) -> bool {
    name.len() <= HOSTNAME_LIMIT
        && name.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        })
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
    fn hostnames() {
        for name in ["edge-0001", "a.b-c.d", "localhost", "1"] {
            assert!(is_hostname(name), "{name}");
        }
        for name in [
            "",
            ".",
            "a.",
            "-a",
            "a-",
            "a_b",
            "a b",
            "a\n",
            &"a".repeat(65),
        ] {
            assert!(!is_hostname(name), "{name}");
        }
    }

    #[test]
    fn the_machine_knows_its_own_name() {
        assert!(hosts("edge-0001").ends_with("127.0.1.1 edge-0001\n"));
        assert!(!hosts("localhost").contains("127.0.1.1"));
    }
}
