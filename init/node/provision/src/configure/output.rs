//! Lays the configuration out for its readers.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write};
use std::os::unix::fs::{OpenOptionsExt, fchown};
use std::path::Path;

use seal::node::{Content, MAX_KEY, StoredKey};
use wire::paths::{SECRET_CONFIGURATION, SUI_KEY};
use wire::status::Protection;
use wire::users::STAKER;
use zeroize::Zeroizing;

/// Where everything goes.
pub(super) struct Files<'a> {
    pub(super) public: &'a Path,
    pub(super) secret: &'a Path,
    pub(super) key: &'a Path,
    pub(super) seal: &'a Path,
}

/// Writes the files, each whole or not at all; those with secrets first, so that whoever sees the
/// public one finds them too.
pub(super) fn write(
    files: &Files<'_>,
    public: &str,
    content: &Content,
    seal: Protection,
) -> io::Result<()> {
    if let Some(directory) = files.public.parent() {
        fs::create_dir_all(directory)?;
    }
    match &content.sui_key {
        Some(key) => write_secret(
            files.key,
            &key.to_bytes().map_err(io::Error::other)?,
            STAKER,
        )?,
        None => match files::forget(files.key) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        },
    }
    write_secret(files.secret, content.document.as_bytes(), STAKER)?;
    files::replace(files.seal, seal.name().as_bytes(), 0o644)?;
    files::replace(files.public, public.as_bytes(), 0o644)
}

/// Writes a line for everybody on the node, or removes the one that is there.
pub(super) fn note(path: &Path, line: Option<&str>) -> io::Result<()> {
    match line {
        Some(line) => files::replace(path, line.as_bytes(), 0o644),
        None => match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        },
    }
}

/// For its owner alone, from the first moment on: the mode comes with the file, the owner before
/// the content.
fn write_secret(path: &Path, content: &[u8], owner: u32) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let _ = fs::remove_file(&temporary);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o400)
        .open(&temporary)?;
    fchown(&file, Some(owner), Some(owner))?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

/// What an earlier run of this boot has laid out; none: nothing that can be read.
pub(crate) fn laid_out() -> Option<Content> {
    let document = read_secret(Path::new(SECRET_CONFIGURATION), config::MAXIMUM_LENGTH)?;
    let text = std::str::from_utf8(&document).ok()?;
    let key = read_secret(Path::new(SUI_KEY), MAX_KEY);
    Some(Content {
        document: Zeroizing::new(text.to_owned()),
        sui_key: key.and_then(|bytes| StoredKey::from_bytes(&bytes).ok()),
    })
}

fn read_secret(path: &Path, limit: usize) -> Option<Zeroizing<Vec<u8>>> {
    // room from the start: a buffer that grows leaves copies of secrets behind
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit.saturating_add(2)));
    let bound = u64::try_from(limit).ok()?.saturating_add(1);
    File::open(path)
        .and_then(|file| file.take(bound).read_to_end(&mut bytes))
        .ok()?;
    (bytes.len() <= limit).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_note_comes_and_goes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("note");
        note(&path, None).unwrap();
        note(&path, Some("one")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        note(&path, None).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn the_secrets_are_for_the_staker_alone() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("config");
        let (public, secret) = (place.join("public.toml"), place.join("staker.toml"));
        let (key, seal) = (place.join("sui-key"), place.join("seal"));
        let files = Files {
            public: &public,
            secret: &secret,
            key: &key,
            seal: &seal,
        };
        // twice: a second run replaces the first's files
        for text in ["one", "two"] {
            if !rustix::process::geteuid().is_root() {
                fs::create_dir_all(&place).unwrap();
                write_secret(
                    &secret,
                    text.as_bytes(),
                    rustix::process::geteuid().as_raw(),
                )
                .unwrap();
                files::replace(&seal, b"none", 0o644).unwrap();
                files::replace(&public, b"public", 0o644).unwrap();
                continue;
            }
            let content = Content {
                document: Zeroizing::new(text.to_owned()),
                sui_key: None,
            };
            write(&files, "public", &content, Protection::None).unwrap();
            assert_eq!(fs::metadata(&secret).unwrap().uid(), 901);
            assert_eq!(fs::metadata(&secret).unwrap().gid(), 901);
        }
        assert_eq!(fs::metadata(&secret).unwrap().mode() & 0o7777, 0o400);
        assert_eq!(fs::metadata(&public).unwrap().mode() & 0o7777, 0o644);
        assert_eq!(fs::read_to_string(&public).unwrap(), "public");
        assert_eq!(fs::read_to_string(&seal).unwrap(), "none");
        assert_eq!(fs::read_dir(&place).unwrap().count(), 3);
    }
}
