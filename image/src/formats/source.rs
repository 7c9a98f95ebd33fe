//! The raw disk image as the formats read it: in clusters, of which those that hold only zeros are left out.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::sparse;

/// Bytes in a cluster: QCOW2's usual size, and a grain of VMDK.
pub(super) const CLUSTER: u64 = 64 << 10;

/// A raw disk image.
#[derive(Debug)]
pub(super) struct Source {
    file: File,
    /// Its length in bytes, a multiple of [`CLUSTER`].
    pub(super) size: u64,
    /// The numbers of the clusters that hold something, in order. It follows from the content alone, and not from
    /// which parts of the file its file system keeps as holes.
    pub(super) clusters: Vec<u64>,
}

impl Source {
    /// Looks through an image.
    ///
    /// # Errors
    /// When it can't be read, or its length is no multiple of a cluster.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("can't open {}", path.display()))?;
        let size = file.metadata()?.len();
        ensure!(
            size > 0 && size.is_multiple_of(CLUSTER),
            "{} is {size} bytes long, which is no multiple of {CLUSTER}",
            path.display()
        );
        let mut clusters = Vec::new();
        let mut block = vec![0; usize::try_from(CLUSTER)?];
        for range in sparse::data_ranges(&file)? {
            let first = range.start / CLUSTER;
            let last = (range.end - 1) / CLUSTER;
            for cluster in first..=last {
                if clusters.last().is_some_and(|known| *known >= cluster) {
                    continue;
                }
                file.read_exact_at(&mut block, cluster * CLUSTER)?;
                if block.iter().any(|byte| *byte != 0) {
                    clusters.push(cluster);
                }
            }
        }
        Ok(Self {
            file,
            size,
            clusters,
        })
    }

    /// The content of a cluster.
    ///
    /// # Errors
    /// When it can't be read.
    pub(super) fn read(&self, cluster: u64) -> Result<Vec<u8>> {
        self.range(cluster * CLUSTER, CLUSTER)
    }

    /// The content of a range that is within the image.
    ///
    /// # Errors
    /// When it can't be read.
    pub(super) fn range(&self, offset: u64, length: u64) -> Result<Vec<u8>> {
        let mut block = vec![0; usize::try_from(length)?];
        self.file
            .read_exact_at(&mut block, offset)
            .context("can't read the disk image")?;
        Ok(block)
    }

    /// The image from its first byte to its last, with zeros up to a longer length.
    pub(super) fn stream(&self, length: u64) -> impl std::io::Read + '_ {
        Stream {
            source: self,
            next: 0,
            length,
            block: Vec::new(),
            taken: 0,
        }
    }
}

/// Reads an image cluster by cluster; one that is left out is not read.
struct Stream<'a> {
    source: &'a Source,
    /// The next cluster's number.
    next: u64,
    length: u64,
    block: Vec<u8>,
    taken: usize,
}

impl std::io::Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.taken == self.block.len() {
            let start = self.next * CLUSTER;
            let left = self.length.saturating_sub(start).min(CLUSTER);
            if left == 0 {
                return Ok(0);
            }
            self.block = if self.source.clusters.binary_search(&self.next).is_ok() {
                self.source.read(self.next).map_err(std::io::Error::other)?
            } else {
                vec![0; usize::try_from(CLUSTER).unwrap_or_default()]
            };
            self.block
                .truncate(usize::try_from(left).unwrap_or_default());
            self.taken = 0;
            self.next += 1;
        }
        let count = buffer.len().min(self.block.len() - self.taken);
        buffer[..count].copy_from_slice(&self.block[self.taken..self.taken + count]);
        self.taken += count;
        Ok(count)
    }
}
