//! Lays the configuration out for its readers.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use config::NodeConfig;
use kernel::modules::Loader;
use node_settings::{NetworkConfig, to_json};
use seal::node::{Content, MAX_KEY, StoredKey};
use seal::tpm::crypto::sha256;
use wire::paths;
use wire::status::Protection;
use wire::users::STAKER;
use zeroize::Zeroizing;

use crate::sealing::hex_digits;

const ROOT: u32 = 0;

/// Writes the files into a folder, each whole or not at all; those with secrets first, so that whoever
/// sees the node's name finds them too.
pub(super) fn write(
    folder: &Path,
    config: &NodeConfig,
    content: &Content,
    seal: Protection,
) -> io::Result<()> {
    let place = |path| folder.join(paths::name(path));
    fs::create_dir_all(folder)?;
    match &content.sui_key {
        Some(key) => {
            let key = key.to_bytes().map_err(io::Error::other)?;
            write_secret(&place(paths::SUI_KEY), &key, STAKER)?;
        }
        None => forget(&place(paths::SUI_KEY))?,
    }
    let staker = to_json(&config.staker()).map_err(io::Error::other)?;
    write_secret(&place(paths::STAKER_SETTINGS), &staker, STAKER)?;
    // of use only where the TPM may not open it again in this boot
    match seal {
        Protection::Tpm => {
            write_secret(&place(paths::DOCUMENT), content.document.as_bytes(), ROOT)?;
        }
        Protection::None | Protection::Unknown => forget(&place(paths::DOCUMENT))?,
    }
    let public = |path, content: &[u8]| files::replace(place(path), content, 0o644);
    public(paths::SEAL, seal.name().as_bytes())?;
    load_link_modules(&config.public.network);
    let netd = to_json(&config.netd()).map_err(io::Error::other)?;
    public(paths::NETD_SETTINGS, &netd)?;
    let line = format!("{}\n", digest(config)?);
    public(paths::CONFIGURATION_DIGEST, line.as_bytes())?;
    let line = format!("{}\n", config.public.node_id);
    public(paths::NODE_NAME, line.as_bytes())
}

/// Loads what the links are made by that the configuration asks for: netd may not, and no device asks for it.
fn load_link_modules(network: &NetworkConfig) {
    let wanted = [
        ("8021q", !network.vlans.is_empty()),
        ("bonding", !network.bonds.is_empty()),
    ];
    for (module, _) in wanted.into_iter().filter(|(_, wanted)| *wanted) {
        if let Err(error) = Loader::open().and_then(|mut loader| loader.load(module)) {
            tracing::warn!(module, %error, "a kernel module is not loaded");
        }
    }
}

/// Tells configurations apart, without a word of their secrets.
fn digest(config: &NodeConfig) -> io::Result<String> {
    let public = to_json(&config.public).map_err(io::Error::other)?;
    Ok(hex_digits(&sha256(&[&public])))
}

/// A file that is not there is forgotten already.
fn forget(path: &Path) -> io::Result<()> {
    match files::forget(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
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
    files::replace_owned(path, content, 0o400, owner)
}

/// What an earlier run of this boot has laid out of a sealed configuration; none: nothing that can be
/// read.
pub(super) fn laid_out() -> Option<Content> {
    let document = read_secret(Path::new(paths::DOCUMENT), config::MAXIMUM_LENGTH)?;
    let text = std::str::from_utf8(&document).ok()?;
    Some(Content {
        document: Zeroizing::new(text.to_owned()),
        sui_key: tpm_key(),
    })
}

/// The TPM's key that an earlier run of this boot has laid out.
pub(crate) fn tpm_key() -> Option<StoredKey> {
    let bytes = read_secret(Path::new(paths::SUI_KEY), MAX_KEY)?;
    StoredKey::from_bytes(&bytes).ok()
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

    use node_settings::StakerSettings;

    use super::*;
    use fixtures::documents::{KEY, document, parse};

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

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn secret_is_for_its_owner_from_the_start() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let owner = rustix::process::geteuid().as_raw();
        for text in ["one", "two"] {
            write_secret(&path, text.as_bytes(), owner).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(mode(&path), 0o400);
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    /// Only root gives files away.
    #[test]
    #[ignore = "needs root"]
    fn secrets_are_the_staker_s_and_root_s_alone_as_root() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("config");
        let file = |path| place.join(paths::name(path));
        let text = document(KEY);
        let content = Content {
            document: Zeroizing::new(text.clone()),
            sui_key: None,
        };
        // twice: a second run replaces the first's files
        for _ in 0..2 {
            write(&place, &parse(&text), &content, Protection::Tpm).unwrap();
        }
        for (path, owner) in [(paths::STAKER_SETTINGS, STAKER), (paths::DOCUMENT, ROOT)] {
            let metadata = fs::metadata(file(path)).unwrap();
            assert_eq!((metadata.uid(), metadata.gid()), (owner, owner), "{path}");
            assert_eq!(mode(&file(path)), 0o400, "{path}");
        }
        for (path, line) in [(paths::SEAL, "tpm"), (paths::NODE_NAME, "edge-0001\n")] {
            assert_eq!(fs::read_to_string(file(path)).unwrap(), line);
            assert_eq!(mode(&file(path)), 0o644, "{path}");
        }
        for path in [paths::NETD_SETTINGS, paths::CONFIGURATION_DIGEST] {
            assert_eq!(mode(&file(path)), 0o644, "{path}");
            assert!(!fs::read_to_string(file(path)).unwrap().contains(KEY));
        }
        let staker: StakerSettings = node_settings::read(&file(paths::STAKER_SETTINGS)).unwrap();
        assert_eq!(staker.identity.sui_key.expose(), KEY);
        assert_eq!(fs::read_to_string(file(paths::DOCUMENT)).unwrap(), text);
        assert_eq!(fs::read_dir(&place).unwrap().count(), 6);
        // what is not sealed can be found again at its place
        write(&place, &parse(&text), &content, Protection::None).unwrap();
        assert!(!file(paths::DOCUMENT).exists());
    }

    #[test]
    fn digest_is_another_for_another_configuration_alone() {
        let digest = |text: &str| digest(&parse(text)).unwrap();
        let text = document(KEY);
        assert_eq!(digest(&text), digest(&format!("{text}# the same\n")));
        assert_ne!(
            digest(&text),
            digest(&text.replace("edge-0001", "edge-0002"))
        );
        assert_eq!(digest(&text).len(), 64);
    }
}
