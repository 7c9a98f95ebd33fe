//! VMDK, stream-optimized, of VMware and of OVA files ("Virtual Disk Format 5.0", "Stream-Optimized Compressed Sparse
//! Extents"): grains of 64 KiB, each deflated, then the tables that say where they are, then a footer.

use std::io::Write;

use anyhow::{Result, ensure};
use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::source::{CLUSTER, Source};

const SECTOR: u64 = 512;
/// Sectors of a grain.
const GRAIN: u64 = CLUSTER / SECTOR;
/// Grains of a table.
const TABLE: usize = 512;
/// Sectors from the start of the file to the first grain: header and descriptor.
const OVERHEAD: u64 = GRAIN;
/// Where the descriptor is, and how long, in sectors.
const DESCRIPTOR: (u64, u64) = (1, 20);
/// The end of lines is tested, grains are deflated, markers stand before what is no grain.
const FLAGS: u32 = 1 | 1 << 16 | 1 << 17;
/// The directory of grain tables is at the end: the footer says where.
const AT_END: u64 = u64::MAX;
/// Types of markers.
const END_OF_STREAM: u32 = 0;
const GRAIN_TABLE: u32 = 1;
const GRAIN_DIRECTORY: u32 = 2;
const FOOTER: u32 = 3;

/// Counts what is written.
struct Out<'a, W> {
    to: &'a mut W,
    sectors: u64,
}

impl<W: Write> Out<'_, W> {
    /// Writes bytes, with zeros to the end of the sector.
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        let padding = bytes.len().next_multiple_of(SECTOR as usize) - bytes.len();
        self.to.write_all(bytes)?;
        self.to.write_all(&vec![0; padding])?;
        self.sectors += (bytes.len() + padding) as u64 / SECTOR;
        Ok(())
    }

    /// Writes a marker before something of so many sectors.
    fn marker(&mut self, kind: u32, sectors: u64) -> Result<()> {
        let mut marker = sectors.to_le_bytes().to_vec();
        marker.extend(0_u32.to_le_bytes());
        marker.extend(kind.to_le_bytes());
        self.put(&marker)
    }
}

/// Writes the image in this format. `name` is the file's, `identity` names the content.
///
/// # Errors
/// When a file fails, or the image is larger than the format can say.
pub(super) fn write(source: &Source, name: &str, identity: u32, to: &mut impl Write) -> Result<()> {
    let capacity = source.size / SECTOR;
    let mut out = Out { to, sectors: 0 };
    out.put(&header(capacity, AT_END))?;
    let mut descriptor = descriptor(capacity, name, identity).into_bytes();
    ensure!(
        descriptor.len() as u64 <= DESCRIPTOR.1 * SECTOR,
        "the name {name:?} is too long for the descriptor"
    );
    descriptor.resize(usize::try_from((OVERHEAD - 1) * SECTOR)?, 0);
    out.put(&descriptor)?;

    let tables = usize::try_from(capacity.div_ceil(GRAIN * TABLE as u64))?;
    let mut directory = vec![0_u32; tables];
    let runs = source
        .clusters
        .chunk_by(|left, right| left / TABLE as u64 == right / TABLE as u64);
    for run in runs {
        let mut table = vec![0_u32; TABLE];
        for cluster in run {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&source.read(*cluster)?)?;
            let deflated = encoder.finish()?;
            table[usize::try_from(cluster % TABLE as u64)?] = u32::try_from(out.sectors)?;
            let mut grain = (cluster * GRAIN).to_le_bytes().to_vec();
            grain.extend(u32::try_from(deflated.len())?.to_le_bytes());
            grain.extend(deflated);
            out.put(&grain)?;
        }
        out.marker(GRAIN_TABLE, (TABLE * 4) as u64 / SECTOR)?;
        if let Some(first) = run.first() {
            directory[usize::try_from(first / TABLE as u64)?] = u32::try_from(out.sectors)?;
        }
        out.put(&bytes(&table))?;
    }
    let length = ((tables * 4) as u64).div_ceil(SECTOR);
    out.marker(GRAIN_DIRECTORY, length)?;
    let at = out.sectors;
    out.put(&bytes(&directory))?;
    out.marker(FOOTER, 1)?;
    out.put(&header(capacity, at))?;
    out.marker(END_OF_STREAM, 0)
}

fn bytes(entries: &[u32]) -> Vec<u8> {
    entries
        .iter()
        .flat_map(|entry| entry.to_le_bytes())
        .collect()
}

/// The header, which the footer repeats with the place of the directory.
fn header(capacity: u64, directory: u64) -> Vec<u8> {
    let mut header = b"KDMV".to_vec();
    header.extend(3_u32.to_le_bytes());
    header.extend(FLAGS.to_le_bytes());
    for value in [capacity, GRAIN, DESCRIPTOR.0, DESCRIPTOR.1] {
        header.extend(value.to_le_bytes());
    }
    header.extend(u32::try_from(TABLE).unwrap_or_default().to_le_bytes());
    for value in [0, directory, OVERHEAD] {
        header.extend(value.to_le_bytes());
    }
    header.push(0); // shut down cleanly
    header.extend(*b"\n \r\n");
    header.extend(1_u16.to_le_bytes()); // deflate
    header
}

/// The text that says what the file is of.
fn descriptor(capacity: u64, name: &str, identity: u32) -> String {
    // of 255 heads and 63 sectors, as of disks behind a SCSI controller
    let cylinders = capacity.div_ceil(255 * 63).min(65_535);
    format!(
        "# Disk DescriptorFile\nversion=1\nCID={identity:08x}\nparentCID=ffffffff\ncreateType=\"streamOptimized\"\n\n\
         # Extent description\nRW {capacity} SPARSE \"{name}\"\n\n# The Disk Data Base\n#DDB\n\n\
         ddb.virtualHWVersion = \"13\"\nddb.geometry.cylinders = \"{cylinders}\"\nddb.geometry.heads = \"255\"\n\
         ddb.geometry.sectors = \"63\"\nddb.adapterType = \"lsilogic\"\n"
    )
}
