//! The recovery key: shown once when it is made, and taken back from a person when the TPM can't open
//! what it sealed, as after a change of the firmware.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use seal::envelope::{self, RecoveryKey};
use seal::tpm::crypto::Point;
use seal::tpm::policy::Unsatisfied;
use zeroize::Zeroizing;

use crate::system_partition::{self, DIRECTORY, SystemPartition};
use kernel::block_devices::BlockDevice;

/// Not a log: what is written here is kept nowhere.
const CONSOLE: &str = "/dev/console";
/// Below [`DIRECTORY`] on an EFI system partition: the key as it was shown.
pub(crate) const FILE: &str = "recovery.key";
/// The public part of the configuration's key, for `provision measure`.
const PUBLIC: &str = "/run/daas/release/recovery-key";
/// Longer than a key with any white space that a person adds.
const LIMIT: usize = 1024;
/// What a person can do where a key was made.
pub(crate) const HINT: &str = "write its recovery key into daas/recovery.key on the EFI system \
                               partition and restart";

/// Shows the key on the console.
///
/// # Errors
/// What the system says.
pub(super) fn show(key: &RecoveryKey) -> io::Result<()> {
    let mut console = OpenOptions::new().write(true).open(CONSOLE)?;
    console.write_all(b"\r\n*** RECOVERY KEY, shown this once: write it down, and keep it off this machine ***\r\n")?;
    console.write_all(key.to_text().as_bytes())?;
    console.write_all(
        b"\r\n*** When the TPM can't open configuration and state, as after a change of the firmware: write it \
          into daas/recovery.key on the EFI system partition. `seal recover node.sealed -o node.toml` opens \
          the configuration elsewhere ***\r\n\r\n",
    )
}

/// Whether a recovery key is for this: the machine is not what it was. An image that is not the
/// publisher's, or an older one, an older copy, an edited file are not for it to let in.
pub(crate) fn is_for(error: &envelope::Error) -> bool {
    use envelope::Error;
    matches!(
        error,
        Error::OtherTpm { .. }
            | Error::Cleared
            | Error::OtherOrCleared { .. }
            | Error::Policy(Unsatisfied::SecureBoot)
    )
}

/// The key that a person put into this machine. One that can't be read is told, and none.
pub(crate) fn find() -> Option<RecoveryKey> {
    partitions().iter().find_map(|partition| {
        let place = format!("{}:{DIRECTORY}/{FILE}", partition.path().display());
        match read(partition) {
            Ok(text) => {
                let key = RecoveryKey::from_text(&text?);
                key.inspect_err(|error| tracing::error!("{place}: {}", log::chain(error)))
                    .ok()
            }
            Err(error) => {
                tracing::warn!(%error, place, "can't be read");
                None
            }
        }
    })
}

/// Overwrites and removes the key: what it was for is done.
pub(crate) fn forget() {
    for partition in partitions() {
        let place = format!("{}:{DIRECTORY}/{FILE}", partition.path().display());
        let is_there = SystemPartition::open(&partition)
            .and_then(|mounted| Ok(mounted.read(FILE)?.is_some()))
            .unwrap_or_default();
        if !is_there {
            continue;
        }
        let gone =
            SystemPartition::open_for_writing(&partition).and_then(|mounted| mounted.forget(FILE));
        match gone {
            Ok(_) => tracing::info!(place, "the recovery key is overwritten and removed"),
            Err(error) => tracing::error!(
                %error,
                place,
                "the recovery key can't be removed: remove it by hand, it opens all that is sealed here"
            ),
        }
    }
}

/// Keeps the public part of the key that opens the configuration which was taken, for the state. Nothing
/// vouches for that part in a file that was not opened.
///
/// # Errors
/// What the system says.
pub(super) fn keep_public(key: &Point) -> io::Result<()> {
    if let Some(directory) = Path::new(PUBLIC).parent() {
        fs::create_dir_all(directory)?;
    }
    files::replace(PUBLIC, &key.to_sec1(), 0o600)
}

/// What [`keep_public`] kept; none: no such key was asked for.
///
/// # Errors
/// What the system says; `InvalidData` for what is no such key.
pub(crate) fn public() -> io::Result<Option<Point>> {
    let bytes = match files::read_bounded(PUBLIC, LIMIT) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    Point::from_sec1(&bytes)
        .map(Some)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn partitions() -> Vec<BlockDevice> {
    let partitions = system_partition::all().unwrap_or_else(|error| {
        tracing::warn!(%error, "disks can't be listed");
        Vec::new()
    });
    if !partitions.is_empty() {
        system_partition::load_modules();
    }
    partitions
}

fn read(partition: &BlockDevice) -> io::Result<Option<Zeroizing<String>>> {
    read_from(&SystemPartition::open(partition)?)
}

fn read_from(mounted: &SystemPartition) -> io::Result<Option<Zeroizing<String>>> {
    let Some(file) = mounted.read(FILE)? else {
        return Ok(None);
    };
    // room from the start: a buffer that grows leaves copies of secrets behind
    let mut text = Zeroizing::new(String::with_capacity(LIMIT + 2));
    let bound = u64::try_from(LIMIT).unwrap_or(u64::MAX);
    file.take(bound.saturating_add(1))
        .read_to_string(&mut text)?;
    match text.len() > LIMIT {
        true => Err(io::Error::other(format!("it is longer than {LIMIT} bytes"))),
        false => Ok(Some(text)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_key_is_read_as_a_person_wrote_it_within_a_bound() {
        let folder = tempfile::tempdir().unwrap();
        let partition = SystemPartition::folder(folder.path());
        assert!(read_from(&partition).unwrap().is_none());
        let key = RecoveryKey::generate().unwrap();
        let path = folder.path().join(DIRECTORY).join(FILE);
        fs::create_dir(folder.path().join(DIRECTORY)).unwrap();
        fs::write(&path, format!(" {}\r\n", key.to_text().to_uppercase())).unwrap();
        let text = read_from(&partition).unwrap().unwrap();
        assert_eq!(
            RecoveryKey::from_text(&text).unwrap().public(),
            key.public()
        );
        for bad in [vec![b' '; LIMIT + 1], vec![0xff; 8]] {
            fs::write(&path, bad).unwrap();
            assert!(read_from(&partition).is_err());
        }
    }
}
