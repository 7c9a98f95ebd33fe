//! The root as a file system: EROFS from the tree, and the dm-verity hash tree over it.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::digest;
use crate::tools::Tools;
use crate::tree::{Content, Entry, Kind, Tree};

/// How long the builder compresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Compression {
    /// Some seconds: for images that are tried.
    Fast,
    /// A minute or more: for images that are downloaded and flashed.
    Small,
}

impl Compression {
    /// mkfs.erofs' algorithms, by the numbers that [`HINTS`] name: LZ4 for what a boot waits for, as zstd took
    /// 0.6 s longer from PID 1 to the agent's start; zstd for the rest (docs/performance.md).
    const fn algorithms(self) -> &'static str {
        match self {
            Self::Fast => "lz4hc,level=9:zstd,level=1",
            Self::Small => "lz4hc,level=12:zstd,level=15",
        }
    }
}

/// Largest compressed cluster, in bytes: large ones compress better; smaller ones did not read faster.
const CLUSTER: &str = "65536";
/// mkfs.erofs' hints: the cluster's size, 0 for files that are compressed already; the algorithm's number; a
/// pattern of paths. Files that match none have the first algorithm.
const HINTS: &str = "0 \\.ko\\.xz$\n\
    65536 1 ^usr/bin/k3s$\n\
    65536 1 ^usr/share/k3s-daas/k3s-data/\n\
    65536 1 ^usr/lib/cni/\n";
/// Block size of the file system and of dm-verity on both sides, in bytes.
pub const BLOCK: u64 = 4096;

/// Writes the tree as an EROFS image. Everything is owned by root and has one date.
///
/// # Errors
/// When a file can't be read or mkfs.erofs fails.
pub fn erofs(
    tree: &Tree,
    date: u64,
    compression: Compression,
    tools: &Tools,
    image: &Path,
) -> Result<()> {
    let directory = image.parent().unwrap_or(Path::new("."));
    let archive =
        tempfile::NamedTempFile::new_in(directory).context("can't create the root's archive")?;
    let mut out = BufWriter::with_capacity(1 << 20, archive.as_file());
    let uuid = digest::uuid("erofs", &date.to_string());
    let hints =
        tempfile::NamedTempFile::new_in(directory).context("can't create the compression hints")?;
    std::fs::write(hints.path(), HINTS).context("can't write the compression hints")?;
    // the result does not depend on the number of workers
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    write_tar(tree, date, &mut out)?;
    out.flush().context("can't write the root's archive")?;
    drop(out);
    tools
        .run("usr/bin/mkfs.erofs")?
        .args(["--tar=f", "--all-root", "--quiet"])
        .arg(format!("-z{}", compression.algorithms()))
        .arg(format!("-C{CLUSTER}"))
        .arg(format!("-b{BLOCK}"))
        .arg(format!("-T{date}"))
        .arg(format!("-U{}", digest::uuid_text(uuid)))
        .arg(format!("--workers={workers}"))
        .arg(format!("--compress-hints={}", hints.path().display()))
        .arg("-x-1")
        .arg(image)
        .arg(archive.path())
        .output()?;
    pad_to_block(image)
}

/// Writes the dm-verity hash tree of an image and returns its root hash, 64 hexadecimal digits.
/// Superblock version 1, SHA-256, salt and UUID from the image's own digest.
///
/// # Errors
/// When veritysetup fails.
pub fn verity(image: &Path, tools: &Tools, hashes: &Path) -> Result<String> {
    let content = digest::of_file(image)?;
    let output = tools
        .run("usr/sbin/veritysetup")?
        .args(["format", "--format=1", "--hash=sha256"])
        .args([
            format!("--data-block-size={BLOCK}"),
            format!("--hash-block-size={BLOCK}"),
        ])
        .arg(format!("--salt={content}"))
        .arg(format!(
            "--uuid={}",
            digest::uuid_text(digest::uuid("verity", &content))
        ))
        .arg(image)
        .arg(hashes)
        .output()?;
    let hash = output
        .lines()
        .find_map(|line| line.strip_prefix("Root hash:"))
        .map(str::trim);
    let hash = hash.with_context(|| format!("veritysetup named no root hash: {output}"))?;
    digest::halves(hash)?;
    Ok(hash.to_owned())
}

/// dm-verity counts whole blocks.
fn pad_to_block(image: &Path) -> Result<()> {
    let file = File::options()
        .write(true)
        .open(image)
        .with_context(|| format!("can't open {}", image.display()))?;
    let length = file.metadata()?.len();
    file.set_len(length.next_multiple_of(BLOCK))
        .with_context(|| format!("can't pad {}", image.display()))
}

/// Writes the tree as a tar archive, which carries modes and owners past the host's file system, so that
/// no right of root's is needed.
fn write_tar(tree: &Tree, date: u64, out: impl Write) -> Result<()> {
    let mut archive = tar::Builder::new(out);
    append(
        &mut archive,
        "",
        &Entry {
            kind: Kind::Directory,
            mode: 0o755,
            origin: String::new(),
        },
        date,
    )?;
    for (path, entry) in tree.iter() {
        append(&mut archive, path, entry, date)
            .with_context(|| format!("can't pack {path} of {}", entry.origin))?;
    }
    archive.finish().context("can't finish the root's archive")
}

fn append(
    archive: &mut tar::Builder<impl Write>,
    path: &str,
    entry: &Entry,
    date: u64,
) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(entry.mode);
    header.set_mtime(date);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    match &entry.kind {
        Kind::Directory => {
            header.set_entry_type(tar::EntryType::Directory);
            archive.append_data(&mut header, format!("./{path}"), std::io::empty())?;
        }
        Kind::File(content) => {
            header.set_entry_type(tar::EntryType::Regular);
            match content {
                Content::Bytes(bytes) => {
                    header.set_size(bytes.len() as u64);
                    archive.append_data(&mut header, path, bytes.as_slice())?;
                }
                Content::Path(from) => {
                    let file = File::open(from)
                        .with_context(|| format!("can't open {}", from.display()))?;
                    header.set_size(file.metadata()?.len());
                    archive.append_data(&mut header, path, file)?;
                }
            }
        }
        Kind::Symlink(target) => {
            header.set_entry_type(tar::EntryType::Symlink);
            archive.append_link(&mut header, path, target)?;
        }
        Kind::CharacterDevice(..) => bail!("a root holds no device files"),
    }
    Ok(())
}
