//! The block map of a raw image, format 2.0 of bmap-tools: which blocks a tool has to write, with their checksums.

use std::fmt::Write as _;
use std::ops::RangeInclusive;

use anyhow::Result;

use super::source::{CLUSTER, Source};
use crate::digest;

/// Bytes in a block of the map.
const BLOCK: u64 = 4096;
/// Blocks of a cluster.
const OF_CLUSTER: u64 = CLUSTER / BLOCK;
/// Stands for the map's own checksum while it is computed.
const NO_CHECKSUM: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The map of an image. `zeros` are byte ranges that are written though they hold zeros, so that nothing that a disk
/// held there before is believed.
///
/// # Errors
/// When the image can't be read.
pub(super) fn map(source: &Source, zeros: &[RangeInclusive<u64>]) -> Result<String> {
    let mut clusters = source.clusters.clone();
    for range in zeros {
        clusters.extend(range.start() / CLUSTER..=range.end() / CLUSTER);
    }
    clusters.sort_unstable();
    clusters.dedup();
    let mut ranges = String::new();
    for run in clusters.chunk_by(|left, right| left + 1 == *right) {
        if let (Some(first), Some(last)) = (run.first(), run.last()) {
            let content = source.range(first * CLUSTER, (last + 1 - first) * CLUSTER)?;
            _ = writeln!(
                ranges,
                "        <Range chksum=\"{}\"> {}-{} </Range>",
                digest::of_bytes(&content),
                first * OF_CLUSTER,
                (last + 1) * OF_CLUSTER - 1
            );
        }
    }
    let map = format!(
        "<?xml version=\"1.0\" ?>\n<bmap version=\"2.0\">\n    <ImageSize> {} </ImageSize>\n    \
         <BlockSize> {BLOCK} </BlockSize>\n    <BlocksCount> {} </BlocksCount>\n    \
         <MappedBlocksCount> {} </MappedBlocksCount>\n    <ChecksumType> sha256 </ChecksumType>\n    \
         <BmapFileChecksum> {NO_CHECKSUM} </BmapFileChecksum>\n    <BlockMap>\n{ranges}    </BlockMap>\n</bmap>\n",
        source.size,
        source.size / BLOCK,
        clusters.len() as u64 * OF_CLUSTER,
    );
    // over the map with zeros in its own place
    let own = digest::of_bytes(map.as_bytes());
    Ok(map.replacen(
        &format!("<BmapFileChecksum> {NO_CHECKSUM}"),
        &format!("<BmapFileChecksum> {own}"),
        1,
    ))
}
