//! Write-ahead: a signed transaction that moves coins is on disk before it is submitted, so that a
//! node that loses power in between submits the same one again. Never two stakes for one node.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tracing::warn;
use wire::NodeName;

/// The files' names in either directory.
const STAKE: &str = "stake-transaction";
const PAYOUT: &str = "payout-transaction";
/// The longest file that is read, in bytes; a Sui transaction is at most 128 KiB
/// (protocol configuration, `max_tx_size_bytes`).
const LONGEST: u64 = 256 * 1024;

/// What a transaction was made for. One that was made for anything else is not submitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purpose {
    /// The chain's id.
    pub chain_id: String,
    /// The Move package.
    pub package: String,
    /// The pool.
    pub pool: String,
    /// The node's name.
    pub node_id: NodeName,
    /// The node's key, flag byte first.
    pub node_key: Vec<u8>,
    /// The stake in MIST.
    pub amount: u64,
}

impl Purpose {
    /// Whether both are about the same stake, be it of another amount: what was begun is brought
    /// to its end first.
    fn stakes_like(&self, other: &Self) -> bool {
        let amount = self.amount;
        *self
            == Self {
                amount,
                ..other.clone()
            }
    }
}

#[derive(Serialize, Deserialize)]
struct Entry {
    purpose: Purpose,
    transaction: Vec<u8>,
}

/// The journal can't be used: nothing that it should hold may be sent, and nothing else be signed.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// No directory takes the transaction.
    #[error("no transaction is sent, as none can be kept on disk before")]
    Write(#[source] io::Error),
    /// A transaction may be under way, and can't be read.
    #[error("no transaction is signed, as one that may be under way can't be read")]
    Read(#[source] io::Error),
}

/// The pending transaction of a kind, in the first of some directories that takes it.
#[derive(Debug)]
pub struct Journal {
    directories: Vec<PathBuf>,
    purpose: Purpose,
    file: &'static str,
}

impl Journal {
    /// `directories` by order of preference: one that survives a power cut first.
    #[must_use]
    pub fn new(directories: Vec<PathBuf>, purpose: Purpose) -> Self {
        Self {
            directories,
            purpose,
            file: STAKE,
        }
    }

    /// The one beside it, for what sends the coins on that are left.
    #[must_use]
    pub fn of_payout(&self) -> Self {
        Self {
            directories: self.directories.clone(),
            purpose: self.purpose.clone(),
            file: PAYOUT,
        }
    }

    /// The transaction that was kept, where there is one for the same purpose. A file that is
    /// damaged, or too long, counts as none.
    ///
    /// # Errors
    /// [`JournalError::Read`] where a file can't be read: what it holds may have been sent.
    pub fn pending(&self) -> Result<Option<Vec<u8>>, JournalError> {
        for directory in &self.directories {
            let path = directory.join(self.file);
            let bytes = match read_bounded(&path) {
                Ok(bytes) => bytes,
                Err(error) if is_none(&error) => continue,
                Err(error) => return Err(JournalError::Read(at(&path, &error))),
            };
            match bytes.map(|bytes| bcs::from_bytes::<Entry>(&bytes)) {
                Some(Ok(entry)) if entry.purpose.stakes_like(&self.purpose) => {
                    return Ok(Some(entry.transaction));
                }
                Some(Ok(_)) => {
                    warn!(path = %path.display(), "the kept transaction is for another configuration");
                }
                Some(Err(_)) | None => {
                    warn!(path = %path.display(), "the kept transaction is damaged");
                }
            }
        }
        Ok(None)
    }

    /// Keeps a transaction: written beside, synced, renamed. Any older one is gone then.
    ///
    /// # Errors
    /// [`JournalError::Write`] with the last directory's error when none takes it, or when an
    /// older transaction, which would be found before this one, can't be removed.
    pub fn keep(&self, transaction: &[u8]) -> Result<(), JournalError> {
        let entry = Entry {
            purpose: self.purpose.clone(),
            transaction: transaction.to_vec(),
        };
        let bytes = bcs::to_bytes(&entry);
        let bytes = bytes.map_err(|error| JournalError::Write(io::Error::other(error)))?;
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for (position, directory) in self.directories.iter().enumerate() {
            let kept = write_whole(directory, self.file, &bytes);
            match kept.and_then(|()| self.remove_before(position)) {
                Ok(()) => return Ok(()),
                Err(error) => last = at(directory, &error),
            }
        }
        Err(JournalError::Write(last))
    }

    /// Removes what lies in the directories that are read before one.
    fn remove_before(&self, position: usize) -> io::Result<()> {
        for directory in self.directories.iter().take(position) {
            match fs::remove_file(directory.join(self.file)) {
                Err(error) if !is_none(&error) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Forgets it: it was executed, or never will be.
    pub fn clear(&self) {
        for directory in &self.directories {
            let path = directory.join(self.file);
            match fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if is_none(&error) => {}
                Err(error) => {
                    warn!(path = %path.display(), %error, "the transaction can't be removed");
                }
            }
        }
    }
}

/// Whether there is no such file.
fn is_none(error: &io::Error) -> bool {
    let kind = error.kind();
    kind == io::ErrorKind::NotFound || kind == io::ErrorKind::NotADirectory
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// The file's bytes; `None` where it is too long to be one of ours.
fn read_bounded(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(LONGEST + 1)
        .read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= LONGEST).then_some(bytes))
}

fn write_whole(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = directory.join(format!("{name}.new"));
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, directory.join(name))?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn purpose(amount: u64) -> Purpose {
        Purpose {
            chain_id: "chain".to_owned(),
            package: "0x1".to_owned(),
            pool: "0x2".to_owned(),
            node_id: "edge-0001".parse().unwrap(),
            node_key: vec![0; 33],
            amount,
        }
    }

    #[test]
    fn kept_found_and_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::new(vec![directory.path().into()], purpose(1));
        assert_eq!(journal.pending().unwrap(), None);
        journal.keep(b"one").unwrap();
        journal.keep(b"two").unwrap();
        assert_eq!(journal.pending().unwrap().unwrap(), b"two");
        journal.clear();
        assert_eq!(journal.pending().unwrap(), None);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_payout_is_kept_beside_a_stake() {
        let directory = tempfile::tempdir().unwrap();
        let stake = Journal::new(vec![directory.path().into()], purpose(1));
        let payout = stake.of_payout();
        payout.keep(b"coins").unwrap();
        assert_eq!(stake.pending().unwrap(), None);
        stake.clear();
        assert_eq!(payout.pending().unwrap().unwrap(), b"coins");
    }

    #[test]
    fn the_second_directory_serves_where_the_first_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing");
        let journal = Journal::new(vec![missing.clone(), directory.path().into()], purpose(1));
        journal.keep(b"one").unwrap();
        assert_eq!(journal.pending().unwrap().unwrap(), b"one");
        assert!(
            Journal::new(vec![missing], purpose(1))
                .keep(b"one")
                .is_err()
        );
    }

    #[test]
    fn another_purpose_or_a_damaged_file_is_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let directories = vec![directory.path().to_path_buf()];
        let journal = Journal::new(directories.clone(), purpose(1));
        journal.keep(b"one").unwrap();
        // another amount is the same stake; another pool is not
        let other_amount = Journal::new(directories.clone(), purpose(2));
        assert_eq!(other_amount.pending().unwrap().unwrap(), b"one");
        let other_pool = Purpose {
            pool: "0x3".to_owned(),
            ..purpose(1)
        };
        assert_eq!(
            Journal::new(directories, other_pool).pending().unwrap(),
            None
        );
        fs::write(directory.path().join(STAKE), [0xff; 64]).unwrap();
        assert_eq!(journal.pending().unwrap(), None);
        let huge = vec![0; usize::try_from(LONGEST).unwrap() + 1];
        fs::write(directory.path().join(STAKE), huge).unwrap();
        assert_eq!(journal.pending().unwrap(), None);
    }

    #[test]
    fn pending_unreadable_file_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::new(vec![directory.path().into()], purpose(1));
        // a directory in the file's place: open succeeds, read fails
        fs::create_dir(directory.path().join(STAKE)).unwrap();
        assert!(matches!(journal.pending(), Err(JournalError::Read(_))));
    }

    #[test]
    fn keep_in_second_directory_outdates_the_first() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let directories = vec![first.path().into(), second.path().into()];
        let journal = Journal::new(directories, purpose(1));
        journal.keep(b"old").unwrap();
        // the first takes no new file, but still shows the old one
        fs::create_dir(first.path().join(format!("{STAKE}.new"))).unwrap();
        journal.keep(b"new").unwrap();
        assert_eq!(journal.pending().unwrap().unwrap(), b"new");
    }

    #[test]
    fn keep_beside_an_old_one_that_stays_is_an_error() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let directories = vec![first.path().into(), second.path().into()];
        let journal = Journal::new(directories, purpose(1));
        // neither replaced nor removed
        fs::create_dir_all(first.path().join(STAKE).join("full")).unwrap();
        assert!(matches!(journal.keep(b"new"), Err(JournalError::Write(_))));
    }
}
