//! `configfs-tsm`: the kernel's one interface to the reports of SEV-SNP and TDX.
//!
//! Documentation/ABI/testing/configfs-tsm (configfs-tsm-report since Linux 6.17).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;

use super::error::CollectError;
use super::report::{MAXIMUM_AUXILIARY, MAXIMUM_REPORT, REPORT_DATA, TeeKind, TeeReport};

/// The longest line in bytes of an attribute that holds text.
const MAXIMUM_LINE: usize = 64;

/// Report entries: a directory each, whose files are attributes.
pub trait Entries {
    /// Makes an entry. The kernel puts its attributes there.
    ///
    /// # Errors
    /// What mkdir(2) says.
    fn create(&self, entry: &str) -> io::Result<()>;
    /// Removes an entry.
    ///
    /// # Errors
    /// What rmdir(2) says.
    fn remove(&self, entry: &str) -> io::Result<()>;
    /// Reads an attribute of at most so many bytes.
    ///
    /// # Errors
    /// What the system says; `FileTooLarge` for a longer one.
    fn read(&self, entry: &str, attribute: &str, maximum: usize) -> io::Result<Vec<u8>>;
    /// Writes an attribute. The kernel takes it when the file is closed.
    ///
    /// # Errors
    /// What the system says before that.
    fn write(&self, entry: &str, attribute: &str, value: &[u8]) -> io::Result<()>;
}

/// The real entries, below `/sys/kernel/config/tsm/report`.
#[derive(Debug, Clone)]
pub struct Configfs(pub PathBuf);

impl Entries for Configfs {
    fn create(&self, entry: &str) -> io::Result<()> {
        fs::create_dir(self.0.join(entry))
    }

    fn remove(&self, entry: &str) -> io::Result<()> {
        fs::remove_dir(self.0.join(entry))
    }

    fn read(&self, entry: &str, attribute: &str, maximum: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(self.0.join(entry).join(attribute))?
            .take(maximum as u64 + 1)
            .read_to_end(&mut bytes)?;
        if bytes.len() > maximum {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        Ok(bytes)
    }

    fn write(&self, entry: &str, attribute: &str, value: &[u8]) -> io::Result<()> {
        OpenOptions::new()
            .write(true)
            .open(self.0.join(entry).join(attribute))?
            .write_all(value)
    }
}

/// Removes its entry when it goes.
struct Entry<'a, E: Entries> {
    entries: &'a E,
    name: &'a str,
}

impl<E: Entries> Drop for Entry<'_, E> {
    fn drop(&mut self) {
        // an entry that stays is a directory of the kernel's, and gone with the next boot
        let _ = self.entries.remove(self.name);
    }
}

impl<E: Entries> Entry<'_, E> {
    fn read(&self, attribute: &'static str, maximum: usize) -> Result<Vec<u8>, CollectError> {
        self.entries
            .read(self.name, attribute, maximum)
            .map_err(|source| CollectError::Attribute { attribute, source })
    }

    fn line(&self, attribute: &'static str) -> Result<String, CollectError> {
        let bytes = self.read(attribute, MAXIMUM_LINE)?;
        match String::from_utf8(bytes) {
            Ok(text) => Ok(text.trim_end().to_owned()),
            Err(_) => Err(CollectError::NotText { attribute }),
        }
    }

    /// The number of writes to this entry so far.
    fn generation(&self) -> Result<u64, CollectError> {
        let attribute = "generation";
        self.line(attribute)?
            .parse()
            .map_err(|_| CollectError::NotText { attribute })
    }
}

/// `ENXIO`, include/uapi/asm-generic/errno-base.h: what mkdir(2) says where the interface is there and
/// no machine behind it (`tsm_report_make_item`, drivers/virt/coco).
const NO_PROVIDER: i32 = 6;

/// Makes an entry, and reads whose reports it gives.
fn open<'a, E: Entries>(
    entries: &'a E,
    name: &'a str,
) -> Result<Option<(Entry<'a, E>, TeeKind)>, CollectError> {
    match entries.create(name) {
        Err(error) if error.raw_os_error() == Some(NO_PROVIDER) => return Ok(None),
        created => created.map_err(CollectError::Entry)?,
    }
    let entry = Entry { entries, name };
    let provider = entry.line("provider")?;
    match provider.as_str() {
        "sev_guest" => Ok(Some((entry, TeeKind::SevSnp))),
        "tdx_guest" => Ok(Some((entry, TeeKind::Tdx))),
        _ => Err(CollectError::Provider(provider)),
    }
}

/// Whose reports the kernel gives; nothing on a machine that is in no trusted execution environment.
/// `name` is that of an entry that is made for it, and gone afterwards.
///
/// # Errors
/// When the interface can't be used.
pub fn provider<E: Entries>(entries: &E, name: &str) -> Result<Option<TeeKind>, CollectError> {
    Ok(open(entries, name)?.map(|(_, kind)| kind))
}

/// Has the kernel make a report over `report_data`, in an entry of that name. Nothing on a machine
/// that is in no trusted execution environment.
///
/// Blocks for as long as the firmware or the host takes.
///
/// # Errors
/// When there is such a machine, and it gives no report.
pub fn collect<E: Entries>(
    entries: &E,
    name: &str,
    report_data: &[u8; REPORT_DATA],
) -> Result<Option<TeeReport>, CollectError> {
    let Some((entry, kind)) = open(entries, name)? else {
        return Ok(None);
    };

    // A write that the kernel refuses when the file is closed shows nowhere else than here, and so
    // does another program's write to the same entry.
    let before = entry.generation()?;
    let attribute = "inblob";
    entries
        .write(name, attribute, report_data)
        .map_err(|source| CollectError::Attribute { attribute, source })?;
    let expected = before.wrapping_add(1);
    let unchanged = |found: u64| match found == expected {
        true => Ok(()),
        false => Err(CollectError::Generation { expected, found }),
    };
    unchanged(entry.generation()?)?;

    let bytes = entry.read("outblob", MAXIMUM_REPORT)?;
    let auxiliary = match kind {
        // only SEV-SNP has it, and there the host may have given nothing
        TeeKind::SevSnp => match entries.read(name, "auxblob", MAXIMUM_AUXILIARY) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => {
                return Err(CollectError::Attribute {
                    attribute: "auxblob",
                    source,
                });
            }
        },
        TeeKind::Tdx | TeeKind::Nitro => Vec::new(),
    };
    unchanged(entry.generation()?)?;
    Ok(Some(TeeReport::new(kind, bytes, auxiliary)?))
}
