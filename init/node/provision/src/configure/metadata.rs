//! What the program `metadata` has left: the user data that the cloud's metadata service has for this
//! machine. It comes from outside, by a program that has spoken to the network: nothing about the file is
//! believed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use cloud::{Cloud, MAXIMUM_USER_DATA};
use rustix::fs::OFlags;
use wire::paths::USER_DATA;
use wire::users::METADATA;
use zeroize::Zeroizing;

/// What errors call it.
pub(super) fn name() -> String {
    match Cloud::of_this_machine() {
        Some(cloud) => format!("the metadata service of {cloud}"),
        None => "the cloud's metadata service".to_owned(),
    }
}

/// Reads it, of at most one byte more than [`MAXIMUM_USER_DATA`]; none: there is none.
pub(super) fn read() -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    read_from(Path::new(USER_DATA), METADATA)
}

/// Overwrites and removes it.
pub(super) fn forget() -> io::Result<()> {
    forget_at(Path::new(USER_DATA), METADATA)
}

fn read_from(path: &Path, owner: u32) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let Some(file) = open(path, owner, false)? else {
        return Ok(None);
    };
    // room from the start: a buffer that grows leaves copies of secrets behind
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAXIMUM_USER_DATA.saturating_add(2)));
    let bound = u64::try_from(MAXIMUM_USER_DATA).unwrap_or(u64::MAX);
    file.take(bound.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn forget_at(path: &Path, owner: u32) -> io::Result<()> {
    let Some(mut file) = open(path, owner, true)? else {
        return Ok(());
    };
    let length = file.metadata()?.len();
    file.rewind()?;
    io::copy(&mut io::repeat(0).take(length), &mut file)?;
    file.sync_data()?;
    fs::remove_file(path)
}

/// Opens the file, if it is that program's own and nobody else's: no link, no pipe, and no second name
/// for a file of somebody else's, which would be overwritten with it.
fn open(path: &Path, owner: u32, writing: bool) -> io::Result<Option<File>> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = OpenOptions::new()
        .read(true)
        .write(writing)
        .custom_flags(flags.bits().cast_signed())
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.uid() != owner || metadata.nlink() != 1 {
        return Err(io::Error::other(format!(
            "{} is not a file of the program metadata's own",
            path.display()
        )));
    }
    Ok(Some(file))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_of_the_program_s_own_is_read_and_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("user-data");
        let owner = rustix::process::geteuid().as_raw();
        assert_eq!(read_from(&path, owner).unwrap(), None);
        forget_at(&path, owner).unwrap();
        fs::write(&path, "version = 1").unwrap();
        let read = read_from(&path, owner).unwrap().unwrap();
        assert_eq!(read.as_slice(), b"version = 1");
        let open = File::open(&path).unwrap();
        forget_at(&path, owner).unwrap();
        assert!(!path.exists());
        assert_eq!(io::read_to_string(open).unwrap(), "\0".repeat(11));
    }

    #[test]
    fn what_is_too_long_is_cut_behind_the_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("user-data");
        let owner = rustix::process::geteuid().as_raw();
        fs::write(&path, vec![b'#'; MAXIMUM_USER_DATA * 2]).unwrap();
        let read = read_from(&path, owner).unwrap().unwrap();
        assert_eq!(read.len(), MAXIMUM_USER_DATA + 1);
    }

    #[test]
    fn nothing_of_somebody_else_s_is_read_or_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let owner = rustix::process::geteuid().as_raw();
        let secret = folder.path().join("secret");
        fs::write(&secret, "secret").unwrap();
        let path = folder.path().join("user-data");
        let refused = |owner| {
            assert!(read_from(&path, owner).is_err());
            assert!(forget_at(&path, owner).is_err());
            fs::remove_file(&path).unwrap();
        };
        symlink(&secret, &path).unwrap();
        refused(owner);
        fs::hard_link(&secret, &path).unwrap();
        refused(owner);
        fs::write(&path, "another's").unwrap();
        refused(owner + 1);
        fs::create_dir(&path).unwrap();
        assert!(read_from(&path, owner).is_err());
        assert_eq!(fs::read_to_string(&secret).unwrap(), "secret");
    }
}
