//! `daas/node.sealed` on the boot disk's EFI system partition: the configuration as the node keeps it.

use std::io::{self, Read as _};

use seal::envelope::{self, Envelope, MAX_FILE};
use thiserror::Error;

use crate::system_partition::{self, DIRECTORY, SystemPartition, temporary_name};
use crate::tpm_address;
use kernel::block_devices::BlockDevice;

/// Below [`DIRECTORY`].
pub(crate) const FILE: &str = "node.sealed";
/// Those that opened no more when another configuration came, kept for whoever has their recovery keys.
pub(crate) const SET_ASIDE: [&str; 3] = ["node.sealed.old", "node.sealed.old2", "node.sealed.old3"];

/// The place of the sealed file can't be used.
#[derive(Debug, Error)]
pub(crate) enum PlaceError {
    #[error(
        "there is no EFI system partition on the disk that this system runs from, and so no place to \
         keep a sealed configuration"
    )]
    None,
    #[error("{partition} can't be {done}")]
    Partition {
        partition: String,
        done: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("{place}")]
    File {
        place: String,
        #[source]
        source: envelope::Error,
    },
}

/// Where the sealed file lies.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// On this partition.
    Partition(BlockDevice),
    /// In a folder, as a partition would give it.
    #[cfg(test)]
    Folder(std::path::PathBuf),
}

impl Place {
    /// Finds the place.
    ///
    /// # Errors
    /// [`PlaceError`].
    pub(super) fn find() -> Result<Self, PlaceError> {
        let own = system_partition::own().map_err(|source| PlaceError::Partition {
            partition: "the disk that this system runs from".to_owned(),
            done: "found",
            source,
        })?;
        let own = own.ok_or(PlaceError::None)?;
        system_partition::load_modules();
        Ok(Self::Partition(own))
    }

    fn holder(&self) -> String {
        match self {
            Self::Partition(partition) => partition.path().display().to_string(),
            #[cfg(test)]
            Self::Folder(folder) => folder.display().to_string(),
        }
    }

    fn open(&self) -> io::Result<SystemPartition> {
        match self {
            Self::Partition(partition) => SystemPartition::open(partition),
            #[cfg(test)]
            Self::Folder(folder) => Ok(SystemPartition::folder(folder)),
        }
    }

    fn open_for_writing(&self) -> io::Result<SystemPartition> {
        match self {
            Self::Partition(partition) => SystemPartition::open_for_writing(partition),
            #[cfg(test)]
            Self::Folder(_) => self.open(),
        }
    }

    /// What errors call the file.
    pub(super) fn name(&self) -> String {
        format!("{}:{DIRECTORY}/{FILE}", self.holder())
    }

    fn failed(&self, done: &'static str) -> impl Fn(io::Error) -> PlaceError {
        let partition = self.holder();
        move |source| PlaceError::Partition {
            partition: partition.clone(),
            done,
            source,
        }
    }

    /// Reads the sealed file; none: there is none.
    ///
    /// # Errors
    /// [`PlaceError`].
    pub(super) fn read(&self) -> Result<Option<Envelope>, PlaceError> {
        let mounted = self.open().map_err(self.failed("mounted"))?;
        let newest = |name: &str| -> io::Result<Option<Vec<u8>>> {
            let Some(file) = mounted.read(name)? else {
                return Ok(None);
            };
            let mut bytes = Vec::new();
            let limit = u64::try_from(MAX_FILE)
                .unwrap_or(u64::MAX)
                .saturating_add(1);
            file.take(limit).read_to_end(&mut bytes)?;
            Ok(Some(bytes))
        };
        let found = newest(FILE).map_err(self.failed("read"))?;
        let spare = newest(&temporary_name(FILE)).map_err(self.failed("read"))?;
        choose(found, spare).map_err(|source| PlaceError::File {
            place: self.name(),
            source,
        })
    }

    /// Puts a sealed file in the place of what is there, and reads it back.
    ///
    /// # Errors
    /// [`PlaceError`]; the former file is there then, or the new one, or both.
    pub(super) fn write(&self, sealed: &Envelope) -> Result<(), PlaceError> {
        let mounted = self.open_for_writing().map_err(self.failed("mounted"))?;
        mounted
            .replace(FILE, &sealed.to_bytes())
            .map_err(self.failed("written to"))?;
        drop(mounted);
        match self.read()? {
            Some(read) if read == *sealed => Ok(()),
            _ => Err(self.failed("trusted")(io::Error::other(
                "it gives back other bytes than were written",
            ))),
        }
    }

    /// Notes the address of the TPM's key, for a reset to name it, unless it is noted.
    ///
    /// # Errors
    /// [`PlaceError`].
    pub(super) fn note_address(&self, address: &str) -> Result<(), PlaceError> {
        self.leave(tpm_address::FILE, tpm_address::line(address).as_bytes())
    }

    /// Removes the address of a key that is not kept any more.
    ///
    /// # Errors
    /// [`PlaceError`].
    pub(super) fn forget_address(&self) -> Result<(), PlaceError> {
        self.open_for_writing()
            .and_then(|mounted| mounted.forget(tpm_address::FILE))
            .map(drop)
            .map_err(self.failed("written to"))
    }

    /// Keeps the sealed file under another name, which it tells.
    ///
    /// # Errors
    /// [`PlaceError`], also when there is no name left: nothing that was kept is written over.
    pub(super) fn set_aside(&self) -> Result<&'static str, PlaceError> {
        let mounted = self.open_for_writing().map_err(self.failed("mounted"))?;
        for name in SET_ASIDE {
            if mounted.read(name).map_err(self.failed("read"))?.is_none() {
                // after a power cut it can be there under the other name alone
                for from in [FILE, &temporary_name(FILE)] {
                    if mounted
                        .rename(from, name)
                        .map_err(self.failed("written to"))?
                    {
                        break;
                    }
                }
                return Ok(name);
            }
        }
        Err(self.failed("written to")(io::Error::other(format!(
            "{} sealed files are set aside there already: take them away",
            SET_ASIDE.len()
        ))))
    }

    /// Writes a file for people beside it, unless it is there as it is to be.
    ///
    /// # Errors
    /// [`PlaceError`].
    pub(super) fn leave(&self, name: &str, content: &[u8]) -> Result<(), PlaceError> {
        let mounted = self.open().map_err(self.failed("mounted"))?;
        if let Some(file) = mounted.read(name).map_err(self.failed("read"))? {
            let mut there = Vec::new();
            let limit = u64::try_from(content.len()).unwrap_or(u64::MAX);
            file.take(limit.saturating_add(1))
                .read_to_end(&mut there)
                .map_err(self.failed("read"))?;
            if there == content {
                return Ok(());
            }
        }
        drop(mounted);
        self.open_for_writing()
            .and_then(|mounted| mounted.replace(name, content))
            .map_err(self.failed("written to"))
    }
}

/// The file, or what a power cut left beside it where the file itself is gone or damaged.
fn choose(
    found: Option<Vec<u8>>,
    spare: Option<Vec<u8>>,
) -> Result<Option<Envelope>, envelope::Error> {
    let spare = spare.and_then(|bytes| Envelope::from_bytes(&bytes).ok());
    match (found.map(|bytes| Envelope::from_bytes(&bytes)), spare) {
        (Some(Ok(sealed)), _) => Ok(Some(sealed)),
        (_, Some(spare)) => Ok(Some(spare)),
        (Some(Err(error)), None) => Err(error),
        (None, None) => Ok(None),
    }
}
