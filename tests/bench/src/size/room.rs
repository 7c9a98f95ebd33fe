//! What each file takes in the compressed root, as erofs-utils' own `dump.erofs` says.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, anyhow, bail};
use image::lock::Lock;
use image::store::{self, Store};
use image::tools::Tools;
use image::wanted::Wanted;

use super::manifest::{File, Manifest};

/// Where packages.toml and packages.lock are.
const DEFINITIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../image");

/// A file in the root.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) path: String,
    /// In bytes.
    pub(super) size: u64,
    /// What its blocks take, in bytes.
    pub(super) compressed: u64,
}

/// The room in a root.
#[derive(Debug)]
pub(super) struct Room {
    /// The files, the largest first.
    pub(super) files: Vec<Place>,
    /// What the files of each origin take, in bytes.
    pub(super) origins: BTreeMap<String, u64>,
}

impl Room {
    /// Asks for every regular file of an image's root.
    pub(super) fn measure(manifest: &Manifest, image: &Path) -> Result<Self> {
        let definitions = Path::new(DEFINITIONS);
        let lock = Lock::read(&definitions.join("packages.lock"))?;
        let wanted = Wanted::read(&definitions.join("packages.toml"))?;
        let store = Store::fill(&lock.only(&wanted.names()), &store::default_cache()?)?;
        let tools = Tools::new(&wanted, &store, lock.source_date_epoch)?;
        let root = image.join("root.erofs");
        let files: Vec<(&File, u64)> = manifest
            .root
            .iter()
            .filter_map(|file| Some((file, file.size?)))
            .collect();
        let measured = Mutex::new(Vec::with_capacity(files.len()));
        let next = AtomicUsize::new(0);
        let work = || -> Result<()> {
            while let Some((file, size)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                let compressed = on_disk(&tools, &root, &file.path, *size)?;
                let mut measured = measured.lock().map_err(|_| anyhow!("a thread panicked"))?;
                measured.push((*file, *size, compressed));
            }
            Ok(())
        };
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        std::thread::scope(|scope| -> Result<()> {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            for thread in threads {
                thread.join().map_err(|_| anyhow!("a thread panicked"))??;
            }
            Ok(())
        })?;
        let measured = measured
            .into_inner()
            .map_err(|_| anyhow!("a thread panicked"))?;
        let mut origins = BTreeMap::new();
        for (file, _, compressed) in &measured {
            *origins.entry(file.origin()).or_default() += compressed;
        }
        let mut places: Vec<Place> = measured
            .into_iter()
            .map(|(file, size, compressed)| Place {
                path: file.path.clone(),
                size,
                compressed,
            })
            .collect();
        places.sort_by(|left, right| {
            (right.compressed, &left.path).cmp(&(left.compressed, &right.path))
        });
        Ok(Self {
            files: places,
            origins,
        })
    }
}

/// What one file takes.
fn on_disk(tools: &Tools, root: &Path, path: &str, size: u64) -> Result<u64> {
    let output = tools
        .run("usr/bin/dump.erofs")?
        .arg(format!("--path={path}"))
        .arg(root)
        .output()
        .with_context(|| format!("cannot look at {path}"))?;
    let (length, taken) = parse(&output).with_context(|| format!("dump.erofs says {output:?}"))?;
    if length != size {
        bail!("{path} has {length} bytes in the root, and {size} in the manifest");
    }
    Ok(taken)
}

/// `Size: 9305320  On-disk size: 4173824  regular file`.
fn parse(output: &str) -> Option<(u64, u64)> {
    let line = output.lines().find(|line| line.starts_with("Size: "))?;
    let (size, rest) = line.strip_prefix("Size: ")?.split_once("On-disk size: ")?;
    let taken = rest.split_whitespace().next()?;
    Some((size.trim().parse().ok()?, taken.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_of_the_tool_is_read() {
        let output =
            "Path : /usr/bin/k3s\nSize: 9305320  On-disk size: 4173824  regular file\nNID: 1\n";
        assert_eq!(parse(output), Some((9_305_320, 4_173_824)));
        assert_eq!(parse("Path : /x\n"), None);
    }
}
