//! Partition tables. Half of them get the checksums right, which no fuzzer would guess.
#![no_main]

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use libfuzzer_sys::fuzz_target;
use rustix::fs::{MemfdFlags, memfd_create};

const BLOCK: usize = 512;
const BLOCKS: usize = 128;

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

/// Puts the checksums of the header in the second block, and of its entries, where they belong.
fn settle(disk: &mut [u8]) {
    let number = |disk: &[u8], at: usize| u64::from_le_bytes(disk[at..at + 8].try_into().unwrap());
    let entries = usize::try_from(number(disk, BLOCK + 72)).unwrap_or(usize::MAX);
    let sizes = number(disk, BLOCK + 80);
    let length = (sizes & 0xffff) * ((sizes >> 32) & 0xffff);
    let start = entries.saturating_mul(BLOCK);
    let end = start.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
    if let Some(entries) = disk.get(start..end) {
        let crc = crc32(entries);
        disk[BLOCK + 88..BLOCK + 92].copy_from_slice(&crc.to_le_bytes());
    }
    disk[BLOCK + 16..BLOCK + 20].fill(0);
    let header = disk[BLOCK + 12] as usize;
    let crc = crc32(&disk[BLOCK..BLOCK + header]);
    disk[BLOCK + 16..BLOCK + 20].copy_from_slice(&crc.to_le_bytes());
}

fuzz_target!(|bytes: &[u8]| {
    let Some((settled, bytes)) = bytes.split_first() else {
        return;
    };
    let mut disk = vec![0; BLOCK * BLOCKS];
    let length = bytes.len().min(disk.len() - BLOCK);
    disk[BLOCK..BLOCK + length].copy_from_slice(&bytes[..length]);
    if settled & 1 == 1 {
        settle(&mut disk);
    }
    let file = File::from(memfd_create("disk", MemfdFlags::CLOEXEC).expect("memory"));
    file.write_all_at(&disk, 0).expect("memory");
    if let Ok(mut table) = gpt::Table::read_from(&file, BLOCK as u32, disk.len() as u64) {
        let partitions: Vec<_> = table.partitions().collect();
        for partition in &partitions {
            assert!(partition.blocks() <= BLOCKS as u64);
        }
        let _ = table.is_settled();
        if let (Some(last), Some(partition)) = (table.last_usable_block(1), partitions.first()) {
            table.set_last_block(partition.number, last);
        }
    }
});
