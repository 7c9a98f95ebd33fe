//! Updates for processors: one uncompressed cpio archive with a file per vendor, which the kernel looks for before
//! it unpacks anything (Documentation/arch/x86/microcode.rst, "Early load microcode").

use anyhow::{Context, Result, bail};

use crate::initramfs;
use crate::modules;
use crate::store::Store;
use crate::target::{Microcode, Vendor};
use crate::tree::{Kind, Tree, host_files};

/// Packs a target's microcode.
///
/// # Errors
/// When a package is missing in the lock, a pattern matches none of its files, or a file can't be read.
pub fn pack(microcode: &Microcode, store: &Store, date: u64) -> Result<Vec<u8>> {
    let mut tree = Tree::default();
    for vendor in &microcode.vendor {
        let package = store.get(&vendor.package)?;
        let joined = join(vendor, &package.directory)
            .with_context(|| format!("the microcode of {}", package.origin))?;
        tree.bytes(&vendor.into, 0o644, joined, &package.origin)?;
    }
    let mut archive = Vec::new();
    initramfs::write_cpio(&tree, date, &mut archive)?;
    Ok(archive)
}

/// A vendor's files behind each other, in the order of their names: each has a header of its own.
fn join(vendor: &Vendor, directory: &std::path::Path) -> Result<Vec<u8>> {
    let globs = modules::globs(&vendor.files)?;
    let mut matched = vec![false; vendor.files.len()];
    let mut joined = Vec::new();
    for (path, kind, _) in host_files(directory)? {
        let matches = globs.matches(&path);
        if let Kind::File(content) = kind
            && !matches.is_empty()
        {
            joined.extend(content.read()?);
            for index in matches {
                matched[index] = true;
            }
        }
    }
    match matched.iter().position(|matched| !matched) {
        None => Ok(joined),
        Some(index) => bail!("{:?} matches no file", vendor.files[index]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_joined_in_order_of_their_names() {
        let directory = tempfile::tempdir().unwrap();
        let below = directory.path().join("usr/lib/firmware/intel-ucode");
        std::fs::create_dir_all(&below).unwrap();
        for name in ["06-b", "06-a", "README"] {
            std::fs::write(below.join(name), format!("{name};")).unwrap();
        }
        let vendor = |pattern: &str| Vendor {
            package: "intel-microcode".into(),
            files: vec![pattern.into()],
            into: "kernel/x86/microcode/GenuineIntel.bin".into(),
        };
        let joined = join(
            &vendor("usr/lib/firmware/intel-ucode/06-*"),
            directory.path(),
        );
        assert_eq!(joined.unwrap(), b"06-a;06-b;");
        let error = join(&vendor("usr/lib/firmware/amd-ucode/*"), directory.path());
        assert!(error.unwrap_err().to_string().contains("matches no file"));
    }
}
