//! The initramfs: the program of the crate `initramfs` and the modules that find the root, as one compressed cpio archive.

use std::io::Write;

use anyhow::{Context, Result};

use crate::modules::Modules;
use crate::tree::{Kind, Tree};

/// zstd's level for the archive: most of it is compressed modules, on which more work is wasted.
const LEVEL: i32 = 9;

/// What the kernel unpacks first: that program as `/init`, the modules, `/dev/console` and empty mount points.
///
/// # Errors
/// When a module can't be read.
pub fn tree(program: &[u8], modules: &Modules, kernel_origin: &str) -> Result<Tree> {
    let mut tree = Tree::default();
    tree.bytes("init", 0o755, program, "crate initramfs")?;
    // the kernel opens it as init's standard streams before init mounts devtmpfs
    let console = crate::tree::Entry {
        kind: Kind::CharacterDevice(5, 1),
        mode: 0o600,
        origin: "builder".to_owned(),
    };
    tree.insert("dev/console", console)?;
    for directory in ["proc", "sys", "run", "sysroot"] {
        tree.directory(directory, 0o755, "builder")?;
    }
    tree.copy(&modules.directory, "", kernel_origin)?;
    Ok(tree)
}

/// Packs the tree as the kernel wants it.
///
/// # Errors
/// When a file can't be read.
pub fn pack(tree: &Tree, date: u64) -> Result<Vec<u8>> {
    let mut compressed = zstd::Encoder::new(Vec::new(), LEVEL).context("can't start zstd")?;
    write_cpio(tree, date, &mut compressed)?;
    compressed.finish().context("can't finish zstd")
}

/// Writes a cpio archive in the kernel's `newc` format
/// (Documentation/driver-api/early-userspace/buffer-format.rst).
///
/// # Errors
/// When a file can't be read or is longer than the format can say.
pub fn write_cpio(tree: &Tree, date: u64, out: &mut impl Write) -> Result<()> {
    let mut inode = 0;
    for (path, entry) in tree.iter() {
        inode += 1;
        let (format, content, device) = match &entry.kind {
            Kind::Directory => (0o040_000, Vec::new(), (0, 0)),
            Kind::File(content) => (0o100_000, content.read()?, (0, 0)),
            Kind::Symlink(target) => (0o120_000, target.clone().into_bytes(), (0, 0)),
            Kind::CharacterDevice(major, minor) => (0o020_000, Vec::new(), (*major, *minor)),
        };
        let links = if entry.kind == Kind::Directory { 2 } else { 1 };
        write_member(
            out,
            path,
            [inode, format | entry.mode, links],
            date,
            &content,
            device,
        )?;
    }
    write_member(out, "TRAILER!!!", [0, 0, 1], 0, &[], (0, 0))
}

fn write_member(
    out: &mut impl Write,
    path: &str,
    [inode, mode, links]: [u32; 3],
    date: u64,
    content: &[u8],
    device: (u32, u32),
) -> Result<()> {
    let length = u32::try_from(content.len())
        .with_context(|| format!("{path} is too long for an initramfs"))?;
    let name_length =
        u32::try_from(path.len() + 1).with_context(|| format!("{path} is too long a name"))?;
    let date = u32::try_from(date).context("the lock's date is beyond what cpio can hold")?;
    // magic, inode, mode, uid, gid, links, date, length, device of the file system, own device, name, checksum
    let fields = [
        inode,
        mode,
        0,
        0,
        links,
        date,
        length,
        0,
        0,
        device.0,
        device.1,
        name_length,
        0,
    ];
    let mut header = String::from("070701");
    for field in fields {
        header.push_str(&format!("{field:08X}"));
    }
    out.write_all(header.as_bytes())?;
    out.write_all(path.as_bytes())?;
    out.write_all(&[0])?;
    pad(out, header.len() + path.len() + 1)?;
    out.write_all(content)?;
    pad(out, content.len())
}

/// Header with name, and content, each end on a multiple of four.
fn pad(out: &mut impl Write, length: usize) -> Result<()> {
    out.write_all(&[0; 3][..length.next_multiple_of(4) - length])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn sample() -> Tree {
        let mut tree = Tree::default();
        tree.bytes("init", 0o755, "hello", "test").unwrap();
        tree.symlink("usr/lib/link", "../../init", "test").unwrap();
        tree
    }

    #[test]
    fn cpio_reads_what_we_write() {
        let mut archive = Vec::new();
        write_cpio(&sample(), 1_700_000_000, &mut archive).unwrap();
        assert_eq!(archive.len() % 4, 0);
        // GNU cpio is the judge where the host has it
        let Ok(mut child) = Command::new("cpio")
            .arg("-tv")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
        else {
            return;
        };
        child.stdin.take().unwrap().write_all(&archive).unwrap();
        let list = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        let init = list.lines().find(|line| line.ends_with(" init")).unwrap();
        assert!(
            init.starts_with("-rwxr-xr-x") && init.contains(" 5 "),
            "{init}"
        );
        assert!(list.contains("usr/lib/link -> ../../init"), "{list}");
    }

    #[test]
    fn the_same_tree_packs_to_the_same_bytes() {
        assert_eq!(pack(&sample(), 7).unwrap(), pack(&sample(), 7).unwrap());
        assert_ne!(pack(&sample(), 7).unwrap(), pack(&sample(), 8).unwrap());
    }
}
