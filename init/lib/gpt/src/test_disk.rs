//! A small disk image with a partition table, made by hand from the specification, so that the
//! reader is not tested against the writer.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::{crc32, types};

pub struct TestDisk {
    file: File,
    blocks: u64,
    block_size: u64,
    state_last_block: u64,
}

impl TestDisk {
    /// Partition 1 is a root from block 64 to 1023, partition 6 the state from 1024 to 2047.
    pub fn new(blocks: u64, block_size: u64) -> Self {
        let file = tempfile::tempfile().unwrap();
        file.set_len(blocks * block_size).unwrap();
        let disk = Self {
            file,
            blocks,
            block_size,
            state_last_block: 2047,
        };
        disk.write_tables();
        disk
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    pub fn size(&self) -> u64 {
        self.blocks * self.block_size
    }

    /// The disk grows, as a cloud's does; the tables stay as they are.
    pub fn grow(&mut self, blocks: u64) {
        self.blocks = blocks;
        self.file.set_len(self.size()).unwrap();
    }

    pub fn flip(&self, offset: u64) {
        let mut byte = [0];
        self.file.read_exact_at(&mut byte, offset).unwrap();
        self.file.write_all_at(&[byte[0] ^ 0x10], offset).unwrap();
    }

    pub fn set_last_block(&mut self, block: u64) {
        self.state_last_block = block;
        self.write_tables();
    }

    pub fn set_header_field(&self, block: u64, offset: usize, value: &[u8]) {
        let mut header = vec![0; self.block_size as usize];
        self.file
            .read_exact_at(&mut header, block * self.block_size)
            .unwrap();
        header[offset..offset + value.len()].copy_from_slice(value);
        header[16..20].fill(0);
        let size = u32::from_le_bytes(header[12..16].try_into().unwrap()) as usize;
        let checked = header[..size.min(header.len())].iter().copied();
        let checksum = crc32(checked);
        header[16..20].copy_from_slice(&checksum.to_le_bytes());
        self.file
            .write_all_at(&header, block * self.block_size)
            .unwrap();
    }

    fn write_tables(&self) {
        let mut entries = vec![0; 128 * 128];
        entries[..128].copy_from_slice(&entry(types::ROOT.0, 1, (64, 1023), "root-a"));
        let state = entry(types::VAR.0, 6, (1024, self.state_last_block), "state");
        entries[5 * 128..6 * 128].copy_from_slice(&state);
        let entry_blocks = entries.len() as u64 / self.block_size;
        let last = self.blocks - 1;

        let mut mbr = vec![0; self.block_size as usize];
        mbr[446 + 4] = 0xee;
        mbr[446 + 8..446 + 12].copy_from_slice(&1_u32.to_le_bytes());
        mbr[446 + 12..446 + 16].copy_from_slice(&(last as u32).to_le_bytes());
        mbr[510..512].copy_from_slice(&[0x55, 0xaa]);
        self.file.write_all_at(&mbr, 0).unwrap();

        for (place, alternate, entries_block) in [(1, last, 2), (last, 1, last - entry_blocks)] {
            let mut header = vec![0; 92];
            header[..8].copy_from_slice(b"EFI PART");
            header[8..12].copy_from_slice(&[0, 0, 1, 0]);
            header[12..16].copy_from_slice(&92_u32.to_le_bytes());
            header[24..32].copy_from_slice(&place.to_le_bytes());
            header[32..40].copy_from_slice(&alternate.to_le_bytes());
            header[40..48].copy_from_slice(&(2 + entry_blocks).to_le_bytes());
            header[48..56].copy_from_slice(&(last - entry_blocks - 1).to_le_bytes());
            header[56..72].fill(0xd1);
            header[72..80].copy_from_slice(&entries_block.to_le_bytes());
            header[80..84].copy_from_slice(&128_u32.to_le_bytes());
            header[84..88].copy_from_slice(&128_u32.to_le_bytes());
            header[88..92].copy_from_slice(&crc32(entries.iter().copied()).to_le_bytes());
            let checksum = crc32(header.iter().copied());
            header[16..20].copy_from_slice(&checksum.to_le_bytes());
            self.file
                .write_all_at(&entries, entries_block * self.block_size)
                .unwrap();
            self.file
                .write_all_at(&header, place * self.block_size)
                .unwrap();
        }
    }
}

fn entry(type_guid: [u8; 16], guid: u8, (first, last): (u64, u64), name: &str) -> [u8; 128] {
    let mut raw = [0; 128];
    raw[..16].copy_from_slice(&type_guid);
    raw[16..32].fill(guid);
    raw[32..40].copy_from_slice(&first.to_le_bytes());
    raw[40..48].copy_from_slice(&last.to_le_bytes());
    for (slot, unit) in raw[56..].chunks_exact_mut(2).zip(name.encode_utf16()) {
        slot.copy_from_slice(&unit.to_le_bytes());
    }
    raw
}
