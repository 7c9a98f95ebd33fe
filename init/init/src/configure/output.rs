//! Lays the configuration out for its readers.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, fchown};
use std::path::Path;

use crate::files;
use crate::service::Name;

/// Writes both files, each whole or not at all; the one with the secrets first, so that whoever
/// sees the other finds it too.
pub(super) fn write(
    public_file: &Path,
    secret_file: &Path,
    public: &str,
    whole: &str,
) -> io::Result<()> {
    if let Some(directory) = public_file.parent() {
        fs::create_dir_all(directory)?;
    }
    let owner = Name::Staker.service().user.map(|user| user.id);
    write_secret(secret_file, whole, owner)?;
    files::replace(public_file, public.as_bytes(), 0o644)
}

/// For its owner alone, from the first moment on: the mode comes with the file, the owner before
/// the content.
fn write_secret(path: &Path, text: &str, owner: Option<u32>) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let _ = fs::remove_file(&temporary);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o400)
        .open(&temporary)?;
    fchown(&file, owner, owner)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn the_secrets_are_for_the_staker_alone() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("config");
        let (public, secret) = (place.join("public.toml"), place.join("staker.toml"));
        // twice: a second run replaces the first's files
        for text in ["one", "two"] {
            if !rustix::process::geteuid().is_root() {
                fs::create_dir_all(&place).unwrap();
                write_secret(&secret, text, None).unwrap();
                files::replace(&public, b"public", 0o644).unwrap();
                continue;
            }
            write(&public, &secret, "public", text).unwrap();
            assert_eq!(fs::metadata(&secret).unwrap().uid(), 901);
            assert_eq!(fs::metadata(&secret).unwrap().gid(), 901);
        }
        assert_eq!(fs::metadata(&secret).unwrap().mode() & 0o7777, 0o400);
        assert_eq!(fs::metadata(&public).unwrap().mode() & 0o7777, 0o644);
        assert_eq!(fs::read_to_string(&public).unwrap(), "public");
        assert_eq!(fs::read_dir(&place).unwrap().count(), 2);
    }
}
