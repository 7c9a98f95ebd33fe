//! Who this machine is: machine-id, hostname and the files that tell programs so.
//!
//! `/etc` is read-only; its `hostname`, `hosts` and `machine-id` are links to `/run/daas/etc`.

use std::fs;
use std::io::{self, Read};

use wire::NodeName;

use crate::files;

const DIRECTORY: &str = "/run/daas/etc";
/// Where the machine-id outlives a restart.
const STORED_MACHINE_ID: &str = "/var/lib/daas/machine-id";
/// machine-id(5): 32 hexadecimal digits.
const MACHINE_ID_DIGITS: usize = 32;
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
    #[error("no random bytes for a machine-id")]
    Random(#[source] io::Error),
    #[error("the kernel does not take the hostname")]
    SetHostname(#[source] io::Error),
}

/// Gives the machine an identity for the time until the state and the configuration are there: a
/// random machine-id and the hostname `localhost`.
///
/// # Errors
/// See [`IdentityError`].
pub(crate) fn prepare() -> Result<(), IdentityError> {
    fs::create_dir_all(DIRECTORY).map_err(|source| write_error(DIRECTORY, source))?;
    write("machine-id", &format!("{}\n", random_machine_id()?))?;
    name_machine(UNNAMED)
}

/// Takes the machine-id that the state keeps, or on first boot lets the state keep the one that
/// the machine has. For after the state is mounted.
///
/// # Errors
/// See [`IdentityError`].
pub(crate) fn settle_machine_id() -> Result<(), IdentityError> {
    let stored = files::read_text(STORED_MACHINE_ID, FILE_LIMIT).ok();
    if let Some(id) = stored.as_deref().filter(|id| is_machine_id(id)) {
        return write("machine-id", &format!("{id}\n"));
    }
    if stored.is_some() {
        tracing::warn!(
            file = STORED_MACHINE_ID,
            "it holds no machine-id and is replaced"
        );
    }
    let current = files::read_text(format!("{DIRECTORY}/machine-id"), FILE_LIMIT).ok();
    let id = match current.filter(|id| is_machine_id(id)) {
        Some(id) => id,
        None => random_machine_id()?,
    };
    files::replace(STORED_MACHINE_ID, format!("{id}\n").as_bytes(), 0o444)
        .map_err(|source| write_error(STORED_MACHINE_ID, source))
}

const FILE_LIMIT: usize = 4096;

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

fn is_machine_id(id: &str) -> bool {
    id.len() == MACHINE_ID_DIGITS
        && id
            .bytes()
            .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
        && id.bytes().any(|digit| digit != b'0')
}

/// 128 random bits, marked as a version 4 UUID, as machine-id(5) wants new ones.
fn random_machine_id() -> Result<String, IdentityError> {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .map_err(IdentityError::Random)?;
    let bits = u128::from_be_bytes(bytes);
    let version = 0xf << 76;
    let variant = 0b11 << 62;
    let bits = (bits & !version & !variant) | (4 << 76) | (0b10 << 62);
    Ok(format!("{bits:032x}"))
}

fn write(name: &str, content: &str) -> Result<(), IdentityError> {
    let file = format!("{DIRECTORY}/{name}");
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
    fn a_new_machine_id_is_a_version_4_uuid() {
        let id = random_machine_id().unwrap();
        assert!(is_machine_id(&id), "{id}");
        assert_eq!(&id[12..13], "4");
        assert!("89ab".contains(&id[16..17]), "{id}");
        assert_ne!(id, random_machine_id().unwrap());
    }

    #[test]
    fn what_is_no_machine_id() {
        for id in [
            "",
            "0",
            &"0".repeat(32),
            &"A".repeat(32),
            &"g".repeat(32),
            &"a".repeat(33),
        ] {
            assert!(!is_machine_id(id), "{id}");
        }
    }

    #[test]
    fn the_machine_knows_its_own_name() {
        assert!(hosts("edge-0001").ends_with("127.0.1.1 edge-0001\n"));
        assert!(!hosts("localhost").contains("127.0.1.1"));
    }
}
