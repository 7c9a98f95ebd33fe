//! Initramfses of peers: the node's own, with an archive behind it that has another first program. The
//! kernel's command line names it (`rdinit=`).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use image::initramfs::pack;
use image::tree::Tree;
use image::{measure, uki};

/// The floor's program in its initramfs.
pub const FLOOR: &str = "bench/floor";
/// What runs before a node's own first program, `/init`, where there is a TPM.
pub const NODE_WITH_TPM: &str = "bench/boot-stub";
/// Where systemd's stub leaves its sections (systemd-stub(7)), and the image builder's files of these.
const FROM_STUB: [(&str, &str); 2] = [
    (".extra/tpm2-pcr-signature.json", "policies.json"),
    (".extra/tpm2-pcr-public-key.pem", "release.pem"),
];
const ORIGIN: &str = "bench";

/// Writes the node's initramfs with these files over it: the kernel unpacks archives one after the other
/// (Documentation/driver-api/early-userspace/buffer-format.rst).
///
/// # Errors
/// When a file cannot be read or written.
pub fn with(image: &Path, files: &Tree, to: &Path) -> Result<PathBuf> {
    let node = image.join("initramfs.img");
    let mut archives =
        fs::read(&node).with_context(|| format!("cannot read {}", node.display()))?;
    archives.resize(archives.len().next_multiple_of(4), 0);
    archives.extend(pack(files, 0)?);
    fs::write(to, archives).with_context(|| format!("cannot write {}", to.display()))?;
    Ok(to.to_owned())
}

/// The floor's.
///
/// # Errors
/// When the program was not built.
pub fn floor(programs: &Path) -> Result<Tree> {
    let mut tree = Tree::default();
    tree.file(FLOOR, 0o755, &program(programs, "floor")?, ORIGIN)?;
    Ok(tree)
}

/// A node's, where the kernel is started without the boot stub and there is a TPM: a program that measures
/// what the stub would have measured, and what the stub leaves in an initramfs.
///
/// # Errors
/// When a file of the image is missing.
pub fn node_with_tpm(image: &Path, programs: &Path) -> Result<Tree> {
    let mut tree = Tree::default();
    let stub = program(programs, "boot-stub")?;
    tree.file(NODE_WITH_TPM, 0o755, &stub, ORIGIN)?;
    let uki = image.join("uki.efi");
    let uki = fs::read(&uki).with_context(|| format!("cannot read {}", uki.display()))?;
    let digests: String = measure::digests(&uki, uki::MAIN)?
        .iter()
        .map(|digest| format!("{}\n", hex::encode(digest)))
        .collect();
    tree.bytes("bench/pcr11", 0o644, digests, ORIGIN)?;
    for (path, name) in FROM_STUB {
        tree.file(path, 0o644, &image.join(name), ORIGIN)?;
    }
    Ok(tree)
}

/// A program that was built.
///
/// # Errors
/// When it was not.
pub fn program(programs: &Path, name: &str) -> Result<PathBuf> {
    let path = programs.join(name);
    anyhow::ensure!(path.is_file(), "{} was not built", path.display());
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_appends_an_archive_at_a_multiple_of_four() {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path();
        fs::write(image.join("initramfs.img"), b"12345").unwrap();
        fs::write(image.join("floor"), b"program").unwrap();
        let tree = floor(image).unwrap();
        let path = with(image, &tree, &image.join("out")).unwrap();
        let bytes = fs::read(path).unwrap();
        assert_eq!(&bytes[..8], b"12345\0\0\0");
        assert_eq!(bytes[8..], pack(&tree, 0).unwrap());
    }

    #[test]
    fn floor_without_its_program_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let error = floor(directory.path()).unwrap_err().to_string();
        assert!(error.contains("was not built"), "{error}");
    }
}
