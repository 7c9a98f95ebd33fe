//! QCOW2, of QEMU, libvirt, Proxmox and OpenStack: version 3, without compression (QEMU's docs/interop/qcow2.rst).
//! The image's content is compressed already; what a file of this format saves is the zeros.

use std::io::Write;

use anyhow::Result;

use super::source::{CLUSTER, Source};

/// "QFI" and 0xfb.
const MAGIC: u32 = 0x5146_49fb;
const CLUSTER_BITS: u32 = 16;
/// Bytes of the header in version 3 without the compression type.
const HEADER_LENGTH: u32 = 104;
/// References are counted in 2^4 bits.
const REFCOUNT_ORDER: u32 = 4;
/// Entries of a table of eight bytes each that fills a cluster.
const ENTRIES: u64 = CLUSTER / 8;
/// Counts of references in a cluster.
const COUNTS: u64 = CLUSTER / 2;
/// The cluster is used exactly once.
const COPIED: u64 = 1 << 63;

/// Where the parts of the file lie, in clusters: the header is cluster 0.
struct Layout {
    refcount_table: u64,
    refcount_table_length: u64,
    refcount_blocks: u64,
    refcount_blocks_length: u64,
    l1: u64,
    l1_length: u64,
    l2: u64,
    l2_length: u64,
    data: u64,
    end: u64,
}

impl Layout {
    fn of(source: &Source) -> Self {
        let l1_entries = source.size.div_ceil(CLUSTER).div_ceil(ENTRIES);
        let l1_length = l1_entries.div_ceil(ENTRIES);
        let mut l2: Vec<u64> = source.clusters.iter().map(|it| it / ENTRIES).collect();
        l2.dedup();
        let fixed = 1 + l1_length + l2.len() as u64 + source.clusters.len() as u64;
        // the counts count themselves
        let (mut blocks, mut table) = (1, 1);
        loop {
            let all = fixed + blocks + table;
            let (more, larger) = (all.div_ceil(COUNTS), all.div_ceil(COUNTS).div_ceil(ENTRIES));
            if (more, larger) == (blocks, table) {
                break;
            }
            (blocks, table) = (more, larger);
        }
        let refcount_blocks = 1 + table;
        let l1 = refcount_blocks + blocks;
        let data = l1 + l1_length + l2.len() as u64;
        Self {
            refcount_table: 1,
            refcount_table_length: table,
            refcount_blocks,
            refcount_blocks_length: blocks,
            l1,
            l1_length,
            l2: l1 + l1_length,
            l2_length: l2.len() as u64,
            data,
            end: data + source.clusters.len() as u64,
        }
    }
}

/// Writes the image in this format.
///
/// # Errors
/// When a file fails.
pub(super) fn write(source: &Source, out: &mut impl Write) -> Result<()> {
    let layout = Layout::of(source);
    header(source, &layout, out)?;

    let blocks = layout.refcount_blocks..layout.refcount_blocks + layout.refcount_blocks_length;
    let entries: Vec<u64> = blocks.map(|block| block * CLUSTER).collect();
    table(&entries, layout.refcount_table_length, out)?;
    let counts = layout.refcount_blocks_length * COUNTS;
    for cluster in 0..counts {
        out.write_all(&u16::from(cluster < layout.end).to_be_bytes())?;
    }

    // one table of the second level for each run of clusters of which one is there
    let runs: Vec<&[u64]> = source
        .clusters
        .chunk_by(|left, right| left / ENTRIES == right / ENTRIES)
        .collect();
    let mut l1 = vec![0; usize::try_from(layout.l1_length * ENTRIES)?];
    for (number, run) in (layout.l2..).zip(&runs) {
        if let Some(first) = run.first() {
            l1[usize::try_from(first / ENTRIES)?] = (number * CLUSTER) | COPIED;
        }
    }
    table(&l1, layout.l1_length, out)?;
    let mut next = layout.data;
    for run in runs {
        let mut l2 = vec![0; usize::try_from(ENTRIES)?];
        for cluster in run {
            l2[usize::try_from(cluster % ENTRIES)?] = (next * CLUSTER) | COPIED;
            next += 1;
        }
        table(&l2, 1, out)?;
    }
    for cluster in &source.clusters {
        out.write_all(&source.read(*cluster)?)?;
    }
    debug_assert_eq!(layout.l2 + layout.l2_length, layout.data);
    Ok(())
}

fn header(source: &Source, layout: &Layout, out: &mut impl Write) -> Result<()> {
    let mut header = Vec::new();
    let short = |header: &mut Vec<u8>, value: u32| header.extend(value.to_be_bytes());
    let long = |header: &mut Vec<u8>, value: u64| header.extend(value.to_be_bytes());
    short(&mut header, MAGIC);
    short(&mut header, 3);
    long(&mut header, 0); // no backing file
    short(&mut header, 0);
    short(&mut header, CLUSTER_BITS);
    long(&mut header, source.size);
    short(&mut header, 0); // no encryption
    let l1_entries = source.size.div_ceil(CLUSTER).div_ceil(ENTRIES);
    short(&mut header, u32::try_from(l1_entries)?);
    long(&mut header, layout.l1 * CLUSTER);
    long(&mut header, layout.refcount_table * CLUSTER);
    short(&mut header, u32::try_from(layout.refcount_table_length)?);
    short(&mut header, 0); // no snapshots
    long(&mut header, 0);
    for _ in 0..3 {
        long(&mut header, 0); // incompatible, compatible and automatic features
    }
    short(&mut header, REFCOUNT_ORDER);
    short(&mut header, HEADER_LENGTH);
    // the end of the header's extensions
    header.resize(usize::try_from(CLUSTER)?, 0);
    out.write_all(&header)?;
    Ok(())
}

/// Writes entries of eight bytes, with zeros to the end of these clusters.
fn table(entries: &[u64], clusters: u64, out: &mut impl Write) -> Result<()> {
    let mut bytes: Vec<u8> = entries
        .iter()
        .flat_map(|entry| entry.to_be_bytes())
        .collect();
    bytes.resize(usize::try_from(clusters * CLUSTER)?, 0);
    out.write_all(&bytes)?;
    Ok(())
}
