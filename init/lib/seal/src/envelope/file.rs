//! Sealed files on disk.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::fs::OFlags;

use super::{Envelope, Error, MAX_FILE};

impl Envelope {
    /// Reads a file, of at most [`MAX_FILE`] bytes.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is no sealed file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::File {
            path: path.to_owned(),
            what: "read",
            source,
        };
        let mut bytes = Vec::new();
        let limit = u64::try_from(MAX_FILE + 1).unwrap_or(u64::MAX);
        File::open(path)
            .and_then(|file| file.take(limit).read_to_end(&mut bytes))
            .map_err(failed)?;
        Self::from_bytes(&bytes)
    }

    /// Writes the file in place of what is there, readable by its owner alone. After a power cut
    /// either the old or the new one is there, whole.
    ///
    /// # Errors
    ///
    /// When it cannot be written; what was there is unchanged then.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        replace(path, &self.to_bytes()).map_err(|source| Error::File {
            path: path.to_owned(),
            what: "written",
            source,
        })
    }
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // one fixed name, so that power cuts leave at most one of them behind
    let mut temporary = name.to_owned();
    temporary.push(".new");
    let temporary = directory.join(temporary);
    let written = write_through(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written?;
    // the rename is on the disk once its directory is: fsync(2)
    File::open(directory)?.sync_all()
}

fn write_through(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
