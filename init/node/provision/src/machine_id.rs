//! The machine-id (machine-id(5)): random at the first boot, then kept on the state disk.
//!
//! `/etc` is read-only; `/etc/machine-id` is a link into `/run/daas/etc`.

use std::fs;
use std::io::{self, Read};

use wire::paths::ETC;

/// Where the machine-id outlives a restart.
const STORED: &str = "/var/lib/daas/machine-id";
/// machine-id(5): 32 hexadecimal digits.
const DIGITS: usize = 32;
const FILE_LIMIT: usize = 4096;

/// The machine can't be given its machine-id.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MachineIdError {
    #[error("{file} cannot be written")]
    Write {
        file: String,
        #[source]
        source: io::Error,
    },
    #[error("no random bytes for a machine-id")]
    Random(#[source] io::Error),
}

/// Takes the machine-id that the state keeps; at the first boot makes one, and lets the state keep it. For
/// after the state is mounted.
///
/// # Errors
/// See [`MachineIdError`].
pub(crate) fn settle() -> Result<(), MachineIdError> {
    let stored = files::read_text(STORED, FILE_LIMIT).ok();
    let id = match stored.as_deref().filter(|id| is_machine_id(id)) {
        Some(id) => id.to_owned(),
        None => {
            if stored.is_some() {
                tracing::warn!(file = STORED, "it holds no machine-id and is replaced");
            }
            let id = random()?;
            write(STORED, &id, 0o444)?;
            id
        }
    };
    write(&format!("{ETC}/machine-id"), &id, 0o644)
}

fn write(file: &str, id: &str, mode: u32) -> Result<(), MachineIdError> {
    files::replace(file, format!("{id}\n").as_bytes(), mode).map_err(|source| {
        MachineIdError::Write {
            file: file.to_owned(),
            source,
        }
    })
}

fn is_machine_id(id: &str) -> bool {
    id.len() == DIGITS
        && id
            .bytes()
            .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
        && id.bytes().any(|digit| digit != b'0')
}

/// 128 random bits, marked as a version 4 UUID, as machine-id(5) wants new ones.
fn random() -> Result<String, MachineIdError> {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .map_err(MachineIdError::Random)?;
    let bits = u128::from_be_bytes(bytes);
    let version = 0xf << 76;
    let variant = 0b11 << 62;
    let bits = (bits & !version & !variant) | (4 << 76) | (0b10 << 62);
    Ok(format!("{bits:032x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_machine_id_is_a_version_4_uuid() {
        let id = random().unwrap();
        assert!(is_machine_id(&id), "{id}");
        assert_eq!(&id[12..13], "4");
        assert!("89ab".contains(&id[16..17]), "{id}");
        assert_ne!(id, random().unwrap());
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
}
