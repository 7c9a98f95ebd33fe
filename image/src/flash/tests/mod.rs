//! Flashing onto files, memory and loop devices.

mod cuts;
mod loop_devices;
mod refused;

use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;

use fatfs::{FileSystem, FormatVolumeOptions, FsOptions, format_volume};
use fixtures::documents::{KEY, SEALED, document};
use gpt::Table;
use gptman::{GPT, GPTPartitionEntry};

use super::refusals::Target;
use super::write::{Cause, Failure, Observer, Step};
use super::*;

const MIB: u64 = 1 << 20;

/// Partitions of the sample: label, and length in MiB.
const PARTITIONS: [(&str, u64); 4] = [("esp", 6), ("root-a", 5), ("root-b", 5), ("state", 2)];
/// Length of the sample in bytes.
const SAMPLE: u64 = 20 * MIB;

/// An image with the partitions of a real one, smaller. Each byte of its root is `fill`.
fn sample(path: &Path, fill: u8) -> File {
    let mut disk = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .unwrap();
    disk.set_len(SAMPLE).unwrap();
    let mut table = GPT::new_from(&mut disk, SECTOR.into(), [fill; 16]).unwrap();
    let mut start = MIB;
    for (number, (label, length)) in (1..).zip(PARTITIONS) {
        table[number] = GPTPartitionEntry {
            partition_type_guid: [number as u8; 16],
            unique_partition_guid: [number as u8 ^ fill; 16],
            starting_lba: start / u64::from(SECTOR),
            ending_lba: (start + length * MIB) / u64::from(SECTOR) - 1,
            attribute_bits: 0,
            partition_name: label.into(),
        };
        start += length * MIB;
    }
    GPT::write_protective_mbr_into(&mut disk, SECTOR.into()).unwrap();
    table.write_into(&mut disk).unwrap();
    disk.write_all_at(&vec![fill; 3 * MIB as usize], 7 * MIB)
        .unwrap();
    let mut esp = std::io::Cursor::new(vec![0; 6 * MIB as usize]);
    format_volume(&mut esp, FormatVolumeOptions::new()).unwrap();
    let file_system = FileSystem::new(&mut esp, FsOptions::new()).unwrap();
    file_system.root_dir().create_dir("daas").unwrap();
    file_system.unmount().unwrap();
    disk.seek(SeekFrom::Start(MIB)).unwrap();
    // sparse, as a real one is
    for chunk in esp.into_inner().chunks(4096) {
        match chunk.iter().all(|byte| *byte == 0) {
            true => drop(disk.seek(SeekFrom::Current(4096)).unwrap()),
            false => disk.write_all(chunk).unwrap(),
        }
    }
    disk
}

/// Looks on, and ends the work after so many calls of `is_interrupted`.
#[derive(Debug, Default)]
struct Calls {
    seen: Vec<Step>,
    interrupt_after: Option<usize>,
}

impl Observer for Calls {
    fn advance(&mut self, step: Step, done: u64, total: u64) {
        assert!(0 < done && done <= total);
        self.seen.push(step);
    }

    fn is_interrupted(&mut self) -> bool {
        match &mut self.interrupt_after {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }
}

/// A file of `size` bytes, each of them `0xff`.
fn stale(path: &Path, size: u64) -> Target {
    fs::write(path, vec![0xff; size as usize]).unwrap();
    Target::File {
        path: path.to_owned(),
        size,
    }
}

fn flash_to(target: &Target, plan: &Plan) -> Result<(), Failure> {
    let mut device = Device::open(target).unwrap();
    write::write(plan, &mut device, &mut Calls::default())
}

#[test]
fn flash_over_stale_data_gives_the_image_byte_for_byte() {
    let directory = tempfile::tempdir().unwrap();
    let image = sample(&directory.path().join("image"), 7);
    let target = stale(&directory.path().join("target"), SAMPLE);
    flash_to(&target, &Plan::new(image, SAMPLE).unwrap()).unwrap();
    let [image, target] =
        ["image", "target"].map(|name| fs::read(directory.path().join(name)).unwrap());
    assert!(image == target);
}

#[test]
fn flash_to_a_larger_target_moves_the_backup_table() {
    let directory = tempfile::tempdir().unwrap();
    // also where the new backup copy overlaps the old one's place
    for more in [512, 8 * 512, MIB / 2, 30 * MIB + 512] {
        let size = SAMPLE + more;
        let path = directory.path().join(format!("image-{more}"));
        let plan = Plan::new(sample(&path, 7), size).unwrap();
        let target = stale(&directory.path().join(format!("target-{more}")), size);
        flash_to(&target, &plan).unwrap();

        let file = File::open(target.path()).unwrap();
        let table = Table::read_from(&file, SECTOR, size).unwrap();
        assert!(table.is_settled(), "{more}");
        let image = Table::read_from(&File::open(&path).unwrap(), SECTOR, SAMPLE).unwrap();
        assert!(table.partitions().eq(image.partitions()), "{more}");
        // the backup copy alone is the same table
        let (first, last) = (fs::read(&path).unwrap(), fs::read(target.path()).unwrap());
        let damaged = tempfile::tempfile().unwrap();
        damaged.write_all_at(&last, 0).unwrap();
        damaged.write_all_at(&[0; 512], 512).unwrap();
        let backup = Table::read_from(&damaged, SECTOR, size).unwrap();
        assert!(backup.partitions().eq(image.partitions()), "{more}");
        // every partition is the image's; nothing of the old table nor of what was there shows near it
        let (start, end) = (MIB as usize, (SAMPLE - MIB) as usize);
        assert!(first[start..end] == last[start..end], "{more}");
        let behind = &last[end..(SAMPLE as usize).min(last.len() - 33 * 512)];
        assert!(behind.iter().all(|byte| *byte == 0), "{more}");
    }
}

#[test]
fn configuration_is_written_and_nothing_else_differs() {
    let directory = tempfile::tempdir().unwrap();
    let text = document(KEY);
    let plain = directory.path().join("node.toml");
    fs::write(&plain, &text).unwrap();
    let sealed = directory.path().join("node.sealed");
    fs::write(&sealed, SEALED).unwrap();
    for (number, (source, name, content)) in [
        (Source::Plain(plain), "daas/node.toml", text.as_bytes()),
        (Source::Sealed(sealed), "daas/node.sealed", SEALED),
    ]
    .into_iter()
    .enumerate()
    {
        let path = directory.path().join(format!("image-{number}"));
        let plan = Plan::new(sample(&path, 7), SAMPLE).unwrap();
        let configuration = Configuration::read(&source).unwrap();
        configuration.put(&plan).unwrap();
        let target = stale(&directory.path().join(format!("target-{number}")), SAMPLE);
        flash_to(&target, &plan).unwrap();

        let (image, written) = (fs::read(&path).unwrap(), fs::read(target.path()).unwrap());
        let (start, end) = (MIB as usize, 7 * MIB as usize);
        assert!(image[..start] == written[..start] && image[end..] == written[end..]);
        let esp = std::io::Cursor::new(written[start..end].to_vec());
        let file_system = FileSystem::new(esp, FsOptions::new()).unwrap();
        let mut read = Vec::new();
        let root = file_system.root_dir();
        std::io::Read::read_to_end(&mut root.open_file(name).unwrap(), &mut read).unwrap();
        assert!(read == content, "{name}");
    }
}

#[test]
fn configuration_that_is_wrong_is_refused_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.toml");
    fs::write(&path, document(KEY).replace("edge-0001", "Edge 1")).unwrap();
    let error = Configuration::read(&Source::Plain(path.clone()))
        .unwrap_err()
        .to_string();
    let start = format!("{}:3: node.id: \"Edge 1\"; expected ", path.display());
    assert!(error.starts_with(&start), "{error}");

    let error = Configuration::read(&Source::Sealed(path))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("is no sealed configuration; expected what"),
        "{error}"
    );
    let missing = directory.path().join("missing");
    let error = Configuration::read(&Source::Plain(missing))
        .unwrap_err()
        .to_string();
    assert!(error.contains("missing can't be read"), "{error}");
}

#[test]
fn configuration_without_its_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let image = sample(&directory.path().join("image"), 7);
    let mut esp = std::io::Cursor::new(vec![0; 6 * MIB as usize]);
    format_volume(&mut esp, FormatVolumeOptions::new()).unwrap();
    image.write_all_at(&esp.into_inner(), MIB).unwrap();
    let sealed = directory.path().join("node.sealed");
    fs::write(&sealed, SEALED).unwrap();
    let configuration = Configuration::read(&Source::Sealed(sealed)).unwrap();
    let error = configuration
        .put(&Plan::new(image, SAMPLE).unwrap())
        .unwrap_err()
        .to_string();
    assert!(error.contains("can't create daas/node.sealed"), "{error}");
}

#[test]
fn plan_of_something_else_is_refused() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(SAMPLE).unwrap();
    assert!(Plan::new(file, SAMPLE).is_err(), "no table");
    let directory = tempfile::tempdir().unwrap();
    let cut = sample(&directory.path().join("image"), 7);
    cut.set_len(SAMPLE - 4 * MIB).unwrap();
    assert!(Plan::new(cut, SAMPLE).is_err(), "cut short");
}

#[test]
fn contents_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let disk = sample(&directory.path().join("image"), 7);
    assert_eq!(Contents::of(&disk, SAMPLE), Contents::Node { state: false });
    // the header of an encrypted state, as provision writes it first
    disk.write_all_at(b"DAASDISK", 17 * MIB + 64 * 1024)
        .unwrap();
    assert_eq!(Contents::of(&disk, SAMPLE), Contents::Node { state: true });
    assert!(Contents::of(&disk, SAMPLE).holds_state());

    let other = tempfile::tempfile().unwrap();
    other.set_len(SAMPLE).unwrap();
    assert_eq!(Contents::of(&other, SAMPLE), Contents::Empty);
    other.write_all_at(b"\x55\xaa", 510).unwrap();
    other.write_all_at(b"\x0c", 446 + 4).unwrap();
    assert_eq!(Contents::of(&other, SAMPLE), Contents::Mbr(1));
    other.write_all_at(b"\x53\xef", 1024 + 0x38).unwrap();
    let ext = Contents::Format("an ext2, ext3 or ext4 file system");
    assert_eq!(Contents::of(&other, SAMPLE), ext);
    other.write_all_at(&[0xff; 8192], 0).unwrap();
    assert_eq!(Contents::of(&other, SAMPLE), Contents::Unknown);
    // a disk that says that it is larger than it is
    let counterfeit = Contents::of(&other, 2 * SAMPLE);
    assert!(matches!(counterfeit, Contents::Unreadable(_)));

    // labels of another system, with what a terminal would obey
    let mut foreign = sample(&directory.path().join("foreign"), 7);
    let mut table = GPT::find_from(&mut foreign).unwrap();
    table[1].partition_name = "EFI\u{1b}[2J".into();
    table.write_into(&mut foreign).unwrap();
    let shown = Contents::of(&foreign, SAMPLE).to_string();
    assert_eq!(shown, "GPT: EFI?[2J, root-a, root-b, state");
}
