//! GUIDs as partition tables hold them.

use std::fmt;

/// A GUID in the byte order of a partition table: the first three fields little-endian
/// (UEFI 2.10, appendix A).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Guid(pub [u8; 16]);

/// Where each byte of the textual order stands in a table. It is its own inverse.
const TEXT_ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];

impl Guid {
    /// From the fields as they are written: `aaaaaaaa-bbbb-cccc-` and the last two groups as one
    /// number of 16 digits.
    pub const fn from_fields(first: u32, second: u16, third: u16, rest: u64) -> Self {
        let [a0, a1, a2, a3] = first.to_le_bytes();
        let [b0, b1] = second.to_le_bytes();
        let [c0, c1] = third.to_le_bytes();
        let [d0, d1, d2, d3, d4, d5, d6, d7] = rest.to_be_bytes();
        Self([
            a0, a1, a2, a3, b0, b1, c0, c1, d0, d1, d2, d3, d4, d5, d6, d7,
        ])
    }

    /// From 16 bytes in the order of the text, as the Discoverable Partitions Specification reads
    /// one half of a root hash.
    pub fn from_text_order(bytes: [u8; 16]) -> Self {
        Self(reorder(bytes))
    }
}

fn reorder(bytes: [u8; 16]) -> [u8; 16] {
    TEXT_ORDER.map(|from| bytes.get(from).copied().unwrap_or_default())
}

impl fmt::Display for Guid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, byte) in reorder(self.0).into_iter().enumerate() {
            if matches!(position, 4 | 6 | 8 | 10) {
                formatter.write_str("-")?;
            }
            write!(formatter, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_table_order() {
        assert_eq!(
            super::super::types::ROOT.to_string(),
            "4f68bce3-e8cd-4db1-96e7-fbcaf984b709"
        );
        // The bytes that sgdisk writes for this type.
        assert_eq!(
            super::super::types::ROOT.0[..8],
            [0xe3, 0xbc, 0x68, 0x4f, 0xcd, 0xe8, 0xb1, 0x4d]
        );
        let half: [u8; 16] = std::array::from_fn(|index| index as u8);
        assert_eq!(
            Guid::from_text_order(half).to_string(),
            "00010203-0405-0607-0809-0a0b0c0d0e0f"
        );
    }
}
