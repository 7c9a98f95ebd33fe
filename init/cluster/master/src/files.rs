//! Files that the configuration names, read within bounds.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use zeroize::Zeroizing;

use crate::settings::error::MasterSettingsError;

/// The longest configuration, certificate, key or token file, in bytes.
const LONGEST_FILE: u64 = 64 * 1024;
/// What others than owner and group must not be able to do with a secret (inode(7)).
const OTHERS: u32 = 0o007;

/// Reads a small file.
pub(crate) fn read_bounded(path: &Path) -> Result<Zeroizing<Vec<u8>>, MasterSettingsError> {
    read_up_to(path, LONGEST_FILE)
}

/// Reads a file of at most so many bytes.
pub(crate) fn read_up_to(
    path: &Path,
    longest: u64,
) -> Result<Zeroizing<Vec<u8>>, MasterSettingsError> {
    let read = || {
        let mut bytes = Zeroizing::new(Vec::with_capacity(8 * 1024));
        File::open(path)?
            .take(longest + 1)
            .read_to_end(&mut bytes)?;
        if bytes.len() as u64 > longest {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes)
    };
    read().map_err(|source| MasterSettingsError::Read {
        path: path.to_owned(),
        source,
    })
}

/// Reads a small file that holds a secret; one that everybody can read is refused.
pub(crate) fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, MasterSettingsError> {
    let metadata = fs::metadata(path).map_err(|source| MasterSettingsError::Read {
        path: path.to_owned(),
        source,
    })?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & OTHERS != 0 {
        return Err(MasterSettingsError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    read_bounded(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_that_everybody_can_read_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "secret").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = read_secret(&path).unwrap_err();
        assert!(error.to_string().contains("mode 644"), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(read_secret(&path).unwrap().as_slice(), b"secret");
        fs::write(&path, vec![b'x'; 65 * 1024]).unwrap();
        assert!(read_secret(&path).is_err());
    }
}
