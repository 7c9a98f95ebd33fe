//! Block devices: sizes, telling the kernel that a partition has grown, and discarding.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use rustix::ioctl::{self, Getter, Setter, opcode};

/// `BLKGETSIZE64`, `_IOR(0x12, 114, size_t)`, include/uapi/linux/fs.h.
const BLKGETSIZE64: ioctl::Opcode = opcode::read::<usize>(0x12, 114);
/// `BLKPG`, `_IO(0x12, 105)`, include/uapi/linux/blkpg.h: takes a pointer all the same.
const BLKPG: ioctl::Opcode = opcode::none(0x12, 105);
/// `BLKDISCARD`, `_IO(0x12, 119)`, include/uapi/linux/fs.h: takes a pointer to two u64.
const BLKDISCARD: ioctl::Opcode = opcode::none(0x12, 119);
/// `BLKPG_ADD_PARTITION`, include/uapi/linux/blkpg.h.
const BLKPG_ADD_PARTITION: i32 = 1;
/// `BLKPG_RESIZE_PARTITION`, include/uapi/linux/blkpg.h.
const BLKPG_RESIZE_PARTITION: i32 = 3;

/// `struct blkpg_partition`, include/uapi/linux/blkpg.h. Start and length are in bytes.
#[repr(C)]
struct BlkpgPartition {
    start: i64,
    length: i64,
    partition_number: i32,
    device_name: [u8; 64],
    volume_name: [u8; 64],
}

/// `struct blkpg_ioctl_arg`, include/uapi/linux/blkpg.h.
#[repr(C)]
struct BlkpgArgument {
    operation: i32,
    flags: i32,
    data_length: i32,
    data: *mut BlkpgPartition,
}

/// The size of a block device in bytes.
///
/// # Errors
/// What `ioctl(2)` says: `ENOTTY` when the file is no block device.
pub fn size(device: &File) -> io::Result<u64> {
    // SAFETY: BLKGETSIZE64 stores one u64 at its argument; its opcode is encoded with `size_t`,
    // which has the same size on the 64-bit machines that we build for (checked below).
    let size = unsafe { ioctl::ioctl(device.as_fd(), Getter::<BLKGETSIZE64, u64>::new()) }?;
    Ok(size)
}

const _: () = assert!(size_of::<usize>() == size_of::<u64>());

/// The size in bytes of the smallest unit that the device can address (512 or 4096), which is
/// also the unit of its partition table.
///
/// # Errors
/// What `ioctl(2)` says.
pub fn logical_block_size(device: &File) -> io::Result<u32> {
    Ok(rustix::fs::ioctl_blksszget(device)?)
}

/// Makes the kernel know a partition that it has not found by itself (`BLKPG_ADD_PARTITION`).
/// Nothing on the disk changes. Start and length are in bytes.
///
/// # Errors
/// What `ioctl(2)` says: `EBUSY` when it overlaps another partition or the number is taken,
/// `EOVERFLOW` here for values past `i64`.
pub fn add_partition(
    disk: &File,
    partition_number: u32,
    start: u64,
    length: u64,
) -> io::Result<()> {
    change_partition(disk, BLKPG_ADD_PARTITION, partition_number, start, length)
}

/// Tells the kernel the new length of a partition that may be in use (`BLKPG_RESIZE_PARTITION`).
/// Nothing on the disk changes. `start` must be where the partition starts already; both are in
/// bytes.
///
/// # Errors
/// What `ioctl(2)` says: `EBUSY` when the new range overlaps another partition, `ENXIO` when there
/// is no such partition, `EOVERFLOW` here for values past `i64`.
pub fn resize_partition(
    disk: &File,
    partition_number: u32,
    start: u64,
    length: u64,
) -> io::Result<()> {
    change_partition(
        disk,
        BLKPG_RESIZE_PARTITION,
        partition_number,
        start,
        length,
    )
}

/// Tells the device that a range, in bytes, holds nothing any more (`BLKDISCARD`). Solid-state disks
/// then forget it at a time of their own; what a read gives until it is written again is undefined.
///
/// # Errors
/// What `ioctl(2)` says: `EOPNOTSUPP` for a device that takes no discards, `EINVAL` for a range that
/// is not whole blocks or not on the device, `EBADF` for a file that is not open for writing.
pub fn discard(device: &File, start: u64, length: u64) -> io::Result<()> {
    // SAFETY: BLKDISCARD reads two u64, start and length, and keeps no pointer.
    unsafe {
        ioctl::ioctl(
            device.as_fd(),
            Setter::<BLKDISCARD, _>::new([start, length]),
        )
    }?;
    Ok(())
}

fn change_partition(
    disk: &File,
    operation: i32,
    partition_number: u32,
    start: u64,
    length: u64,
) -> io::Result<()> {
    let too_large = |_| io::Error::from(rustix::io::Errno::OVERFLOW);
    let mut partition = BlkpgPartition {
        start: i64::try_from(start).map_err(too_large)?,
        length: i64::try_from(length).map_err(too_large)?,
        partition_number: i32::try_from(partition_number).map_err(too_large)?,
        device_name: [0; 64],
        volume_name: [0; 64],
    };
    let argument = BlkpgArgument {
        operation,
        flags: 0,
        data_length: size_of::<BlkpgPartition>() as i32,
        data: &raw mut partition,
    };
    // SAFETY: BLKPG reads a `struct blkpg_ioctl_arg` and through it a `struct blkpg_partition`;
    // both have the layout of the kernel's header and outlive the call, which keeps neither.
    unsafe { ioctl::ioctl(disk.as_fd(), Setter::<BLKPG, BlkpgArgument>::new(argument)) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_those_of_the_kernel_header() {
        assert_eq!(size_of::<BlkpgPartition>(), 152);
        assert_eq!(size_of::<BlkpgArgument>(), 24);
        assert_eq!(BLKGETSIZE64, 0x8008_1272);
        assert_eq!(BLKPG, 0x1269);
        assert_eq!(BLKDISCARD, 0x1277);
    }

    #[test]
    fn a_regular_file_has_no_device_size() {
        let file = File::open("/proc/self/exe").unwrap();
        assert_eq!(size(&file).unwrap_err().raw_os_error(), Some(25));
        assert!(discard(&file, 0, 512).is_err());
    }
}
