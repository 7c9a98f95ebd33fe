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

    /// The transaction that was kept, where there is one for the same purpose.
    #[must_use]
    pub fn pending(&self) -> Option<Vec<u8>> {
        self.directories.iter().find_map(|directory| {
            let path = directory.join(self.file);
            let bytes = match read_bounded(&path) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
                Err(error) => {
                    warn!(path = %path.display(), %error, "the kept transaction can't be read");
                    return None;
                }
            };
            match bcs::from_bytes::<Entry>(&bytes) {
                Ok(entry) if entry.purpose.stakes_like(&self.purpose) => Some(entry.transaction),
                Ok(_) => {
                    warn!(path = %path.display(), "the kept transaction is for another configuration");
                    None
                }
                Err(_) => {
                    warn!(path = %path.display(), "the kept transaction is damaged");
                    None
                }
            }
        })
    }

    /// Keeps a transaction: written beside, synced, renamed.
    ///
    /// # Errors
    /// The last directory's, when none takes it.
    pub fn keep(&self, transaction: &[u8]) -> io::Result<()> {
        let entry = Entry {
            purpose: self.purpose.clone(),
            transaction: transaction.to_vec(),
        };
        let bytes = bcs::to_bytes(&entry).map_err(io::Error::other)?;
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for directory in &self.directories {
            match write_whole(directory, self.file, &bytes) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    let text = format!("{}: {error}", directory.display());
                    last = io::Error::new(error.kind(), text);
                }
            }
        }
        Err(last)
    }

    /// Forgets it: it was executed, or never will be.
    pub fn clear(&self) {
        for directory in &self.directories {
            let path = directory.join(self.file);
            match fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    warn!(path = %path.display(), %error, "the transaction can't be removed");
                }
            }
        }
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(LONGEST + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
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
        assert_eq!(journal.pending(), None);
        journal.keep(b"one").unwrap();
        journal.keep(b"two").unwrap();
        assert_eq!(journal.pending().unwrap(), b"two");
        journal.clear();
        assert_eq!(journal.pending(), None);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_payout_is_kept_beside_a_stake() {
        let directory = tempfile::tempdir().unwrap();
        let stake = Journal::new(vec![directory.path().into()], purpose(1));
        let payout = stake.of_payout();
        payout.keep(b"coins").unwrap();
        assert_eq!(stake.pending(), None);
        stake.clear();
        assert_eq!(payout.pending().unwrap(), b"coins");
    }

    #[test]
    fn the_second_directory_serves_where_the_first_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing");
        let journal = Journal::new(vec![missing.clone(), directory.path().into()], purpose(1));
        journal.keep(b"one").unwrap();
        assert_eq!(journal.pending().unwrap(), b"one");
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
        assert_eq!(other_amount.pending().unwrap(), b"one");
        let other_pool = Purpose {
            pool: "0x3".to_owned(),
            ..purpose(1)
        };
        assert_eq!(Journal::new(directories, other_pool).pending(), None);
        fs::write(directory.path().join(STAKE), [0xff; 64]).unwrap();
        assert_eq!(journal.pending(), None);
        let huge = vec![0; usize::try_from(LONGEST).unwrap() + 1];
        fs::write(directory.path().join(STAKE), huge).unwrap();
        assert_eq!(journal.pending(), None);
    }
}
