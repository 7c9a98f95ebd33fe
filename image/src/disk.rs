//! The disk image: a sparse file with a GPT after the Discoverable Partitions Specification.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, bail};
use gptman::{GPT, GPTPartitionEntry};

use crate::digest;
use crate::progress::human_size;
use crate::sparse;
use crate::tools::Tools;

const MIB: u64 = 1 << 20;
/// Bytes in a sector of the image.
const SECTOR: u64 = 512;
/// The EFI system partition: room for several unified kernel images.
const ESP_SIZE: u64 = 512 * MIB;
/// One root slot. Its size can't change on machines in the field, so it is generous; the file is sparse.
const ROOT_SIZE: u64 = 1024 * MIB;
/// One slot's hash tree: dm-verity needs 1/127 of the root, and a superblock.
const VERITY_SIZE: u64 = 16 * MIB;
/// The state partition as it is shipped; `init` grows it to the end of the disk.
const STATE_SIZE: u64 = 64 * MIB;

/// Partition types, from the Discoverable Partitions Specification (x86-64 where it matters).
const ESP_TYPE: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
const ROOT_TYPE: &str = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709";
const VERITY_TYPE: &str = "2c7357ed-ebd2-46d9-aec1-23d437ec2bf5";
const VAR_TYPE: &str = "4d21b016-b534-45c2-a9fb-5c16e091fd2d";

/// What goes onto the disk.
#[derive(Debug)]
pub struct Parts<'a> {
    /// The root's file system.
    pub root: &'a Path,
    /// Its hash tree.
    pub verity: &'a Path,
    /// The root hash, 64 hexadecimal digits.
    pub root_hash: &'a str,
    /// The unified kernel image.
    pub uki: &'a Path,
    /// systemd-boot.
    pub boot_loader: &'a Path,
}

/// Where firmware looks by itself: the boot loader (UEFI Specification, 3.5.1.1).
pub const BOOT_LOADER_PATH: &str = "EFI/BOOT/BOOTX64.EFI";
/// The unified kernel image, where the boot loader looks (UAPI specification "Boot Loader Specification").
pub const UKI_PATH: &str = "EFI/Linux/k3s-daas.efi";
/// The boot loader's configuration.
pub const LOADER_CONFIGURATION_PATH: &str = "loader/loader.conf";

/// What the boot loader does (loader.conf(5)): the menu shows for a second, and any key stops it. What boots
/// by itself is an image as its name says, never its profile that resets, whose name has more behind it.
/// Nobody edits a command line, and no keys for Secure Boot are taken from the disk.
pub const LOADER_CONFIGURATION: &str = "timeout 1\ndefault k3s-daas*.efi\neditor no\nauto-entries no\n\
    secure-boot-enroll off\n";

/// One partition to be.
struct Partition<'a> {
    label: &'a str,
    kind: &'a str,
    uuid: [u8; 16],
    size: u64,
    content: Option<&'a Path>,
}

/// Writes the disk image to `path`.
///
/// # Errors
/// When a part does not fit or can't be written.
pub fn build(parts: &Parts<'_>, date: u64, tools: &Tools, path: &Path) -> Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let esp = tempfile::NamedTempFile::new_in(directory)
        .context("can't create the EFI system partition")?;
    esp_image(parts, date, tools, esp.path())?;
    // the specification: a root and its hash tree are found by the halves of the root hash
    let (root_uuid, verity_uuid) = digest::halves(parts.root_hash)?;
    let own = |label: &str| digest::uuid(label, parts.root_hash);
    let partition = |label, kind, uuid, size, content| Partition {
        label,
        kind,
        uuid,
        size,
        content,
    };
    let partitions = [
        partition("esp", ESP_TYPE, own("esp"), ESP_SIZE, Some(esp.path())),
        partition("root-a", ROOT_TYPE, root_uuid, ROOT_SIZE, Some(parts.root)),
        partition(
            "root-a-verity",
            VERITY_TYPE,
            verity_uuid,
            VERITY_SIZE,
            Some(parts.verity),
        ),
        partition("root-b", ROOT_TYPE, own("root-b"), ROOT_SIZE, None),
        partition(
            "root-b-verity",
            VERITY_TYPE,
            own("root-b-verity"),
            VERITY_SIZE,
            None,
        ),
        partition("state", VAR_TYPE, own("state"), STATE_SIZE, None),
    ];
    write_disk(&partitions, own("disk"), path)
}

fn write_disk(partitions: &[Partition<'_>], disk_uuid: [u8; 16], path: &Path) -> Result<()> {
    // one MiB before the first partition and one behind the last hold the partition tables
    let size = 2 * MIB
        + partitions
            .iter()
            .map(|partition| partition.size)
            .sum::<u64>();
    let mut disk =
        File::create_new(path).with_context(|| format!("can't create {}", path.display()))?;
    disk.set_len(size).context("can't size the disk image")?;
    let mut table = GPT::new_from(&mut disk, SECTOR, mixed_endian(disk_uuid))
        .context("can't start the partition table")?;
    let mut start = MIB;
    for (number, partition) in (1..).zip(partitions) {
        table[number] = GPTPartitionEntry {
            partition_type_guid: type_guid(partition.kind)?,
            unique_partition_guid: mixed_endian(partition.uuid),
            starting_lba: start / SECTOR,
            ending_lba: (start + partition.size) / SECTOR - 1,
            attribute_bits: 0,
            partition_name: partition.label.into(),
        };
        if let Some(content) = partition.content {
            let length = fs::metadata(content)?.len();
            if length > partition.size {
                let (has, room) = (human_size(length), human_size(partition.size));
                bail!(
                    "{} takes {has}, but its partition has {room}; drop files in packages.toml",
                    partition.label
                );
            }
            sparse::copy(&File::open(content)?, &disk, start)
                .with_context(|| format!("can't fill {}", partition.label))?;
        }
        start += partition.size;
    }
    GPT::write_protective_mbr_into(&mut disk, SECTOR).context("can't write the protective MBR")?;
    table
        .write_into(&mut disk)
        .context("can't write the partition table")?;
    disk.sync_all().context("can't write the disk image")
}

/// The EFI system partition: boot loader, its configuration, the unified kernel image, and the directory
/// for the node's configuration.
fn esp_image(parts: &Parts<'_>, date: u64, tools: &Tools, image: &Path) -> Result<()> {
    File::create(image)?.set_len(ESP_SIZE)?;
    let volume = hex::encode(&digest::uuid("fat", parts.root_hash)[..4]);
    tools
        .run("usr/sbin/mkfs.fat")?
        .args(["--invariant", "-F", "32", "-n", "ESP", "-i", &volume])
        .arg(image)
        .output()
        .context("can't format the EFI system partition")?;
    // mtools takes the clock for directories from SOURCE_DATE_EPOCH
    tools
        .run("usr/bin/mmd")?
        .env("MTOOLS_SKIP_CHECK", "1")
        .arg("-i")
        .arg(image)
        .args([
            "::/EFI",
            "::/EFI/BOOT",
            "::/EFI/Linux",
            "::/loader",
            "::/daas",
        ])
        .output()?;
    let work = tempfile::tempdir().context("can't create a temporary directory")?;
    let configuration = work.path().join("loader.conf");
    fs::write(&configuration, LOADER_CONFIGURATION).context("can't write a temporary file")?;
    for (source, path) in [
        (parts.boot_loader, BOOT_LOADER_PATH),
        (parts.uki, UKI_PATH),
        (&configuration, LOADER_CONFIGURATION_PATH),
    ] {
        // mtools copies the date of its source with -m
        let dated = work.path().join("dated");
        fs::copy(source, &dated).with_context(|| format!("can't copy {}", source.display()))?;
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(date);
        File::options()
            .write(true)
            .open(&dated)?
            .set_modified(time)?;
        tools
            .run("usr/bin/mcopy")?
            .env("MTOOLS_SKIP_CHECK", "1")
            .arg("-m")
            .arg("-i")
            .arg(image)
            .arg(&dated)
            .arg(format!("::/{path}"))
            .output()
            .context("can't fill the EFI system partition")?;
        // the copy took its source's mode, which may forbid writing the next one over it
        fs::remove_file(&dated).context("can't remove a temporary file")?;
    }
    Ok(())
}

fn type_guid(text: &str) -> Result<[u8; 16]> {
    let mut uuid = [0; 16];
    hex::decode_to_slice(text.replace('-', ""), &mut uuid)
        .with_context(|| format!("{text:?} is no UUID"))?;
    Ok(mixed_endian(uuid))
}

/// A UUID as GPT stores it: its first three fields little-endian (UEFI Specification, appendix A).
fn mixed_endian(uuid: [u8; 16]) -> [u8; 16] {
    let mut guid = uuid;
    guid[..4].reverse();
    guid[4..6].reverse();
    guid[6..8].reverse();
    guid
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, SeekFrom};

    use super::*;

    #[test]
    fn a_disk_reads_back_as_it_was_planned() {
        let directory = tempfile::tempdir().unwrap();
        let content = directory.path().join("content");
        fs::write(&content, [vec![0; 1 << 20], vec![7; 1000]].concat()).unwrap();
        let root = digest::uuid("x", "y");
        let partitions = [
            Partition {
                label: "root-a",
                kind: ROOT_TYPE,
                uuid: root,
                size: 2 * MIB,
                content: Some(&content),
            },
            Partition {
                label: "state",
                kind: VAR_TYPE,
                uuid: [1; 16],
                size: MIB,
                content: None,
            },
        ];
        let path = directory.path().join("disk.raw");
        write_disk(&partitions, [9; 16], &path).unwrap();
        let mut disk = File::open(&path).unwrap();
        let table = GPT::find_from(&mut disk).unwrap();
        assert_eq!(table.sector_size, SECTOR);
        assert_eq!(table[1].partition_name.as_str(), "root-a");
        assert_eq!(table[1].unique_partition_guid, mixed_endian(root));
        assert_eq!(
            (table[1].starting_lba, table[1].ending_lba),
            (2048, 2048 + 4095)
        );
        assert_eq!(table[2].starting_lba, 2048 + 4096);
        let mut back = vec![0; (1 << 20) + 1000];
        disk.seek(SeekFrom::Start(MIB)).unwrap();
        disk.read_exact(&mut back).unwrap();
        assert_eq!(back, fs::read(&content).unwrap());
    }

    #[test]
    fn a_part_that_does_not_fit_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let content = directory.path().join("content");
        fs::write(&content, vec![1; 2 << 20]).unwrap();
        let partitions = [Partition {
            label: "root-a",
            kind: ROOT_TYPE,
            uuid: [1; 16],
            size: MIB,
            content: Some(&content),
        }];
        let error = write_disk(&partitions, [9; 16], &directory.path().join("disk.raw"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("root-a takes 2.0 MiB"), "{error}");
    }

    #[test]
    fn guids_are_stored_as_uefi_says() {
        let guid = type_guid(ESP_TYPE).unwrap();
        assert_eq!(hex::encode(guid), "28732ac11ff8d211ba4b00a0c93ec93b");
    }
}
