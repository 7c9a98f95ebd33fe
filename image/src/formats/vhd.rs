//! VHD of fixed size, of Azure and Hyper-V: the raw image and a footer ("Virtual Hard Disk Image Format Specification",
//! 1.0, "Hard Disk Footer Format"). Azure wants a whole number of MiB, which an image has.

use anyhow::{Result, ensure};

use super::source::Source;

/// Bytes of the footer.
const FOOTER: usize = 512;
/// Seconds between 1970 and 2000, from which the format counts.
const EPOCH: u64 = 946_684_800;

/// The footer of an image of this size. `identity` names the disk.
///
/// # Errors
/// When the size is no whole number of MiB.
pub(super) fn footer(source: &Source, date: u64, identity: [u8; 16]) -> Result<[u8; FOOTER]> {
    let size = source.size;
    ensure!(
        size.is_multiple_of(1 << 20),
        "the image is {size} bytes long, which is no whole number of MiB"
    );
    let mut footer = [0; FOOTER];
    let mut put = |offset: usize, bytes: &[u8]| {
        footer[offset..offset + bytes.len()].copy_from_slice(bytes);
    };
    put(0, b"conectix");
    put(8, &2_u32.to_be_bytes()); // the reserved bit of the features, always 1
    put(12, &0x0001_0000_u32.to_be_bytes());
    put(16, &u64::MAX.to_be_bytes()); // no dynamic header
    put(
        24,
        &u32::try_from(date.saturating_sub(EPOCH))?.to_be_bytes(),
    );
    // the creator, and its version: QEMU believes the geometry, which is less exact, where it does not know the creator
    put(28, b"win ");
    put(32, &0x0001_0000_u32.to_be_bytes());
    put(36, b"Wi2k"); // Azure knows Windows and Macintosh alone
    put(40, &size.to_be_bytes());
    put(48, &size.to_be_bytes());
    put(56, &geometry(size / 512));
    put(60, &2_u32.to_be_bytes()); // fixed
    put(68, &identity);
    let sum: u32 = footer.iter().map(|byte| u32::from(*byte)).sum();
    footer[64..68].copy_from_slice(&(!sum).to_be_bytes());
    Ok(footer)
}

/// Cylinders, heads and sectors of a track, as the specification's appendix "CHS Calculation" has them.
fn geometry(sectors: u64) -> [u8; 4] {
    let sectors = sectors.min(65_535 * 16 * 255);
    let (heads, per_track, cylinder_times_heads) = if sectors >= 65_535 * 16 * 63 {
        (16, 255, sectors / 255)
    } else {
        let mut per_track = 17;
        let mut tracks = sectors / per_track;
        let mut heads = tracks.div_ceil(1024).max(4);
        if tracks >= heads * 1024 || heads > 16 {
            (per_track, heads) = (31, 16);
            tracks = sectors / per_track;
        }
        if tracks >= heads * 1024 {
            (per_track, heads) = (63, 16);
            tracks = sectors / per_track;
        }
        (heads, per_track, tracks)
    };
    let cylinders = u16::try_from(cylinder_times_heads / heads).unwrap_or(u16::MAX);
    let [high, low] = cylinders.to_be_bytes();
    let byte = |value: u64| u8::try_from(value).unwrap_or(u8::MAX);
    [high, low, byte(heads), byte(per_track)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn geometry_follows_the_specification() {
        assert_eq!(geometry(2048), [0, 30, 4, 17]);
        assert_eq!(geometry(2658 * 2048), [0x15, 0x18, 16, 63]);
        // beyond what the fields can say
        assert_eq!(geometry(u64::MAX), [0xff, 0xff, 16, 255]);
    }
}
