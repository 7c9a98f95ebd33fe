//! Refusals and candidates, by made-up trees of sysfs and procfs.

use std::os::unix::fs::symlink;

use super::super::refusals::{Refusal, check, disk};
use super::*;

/// A machine: an NVMe disk with the system on LUKS, a SATA disk, a USB stick, an SD card, a virtio disk.
struct Machine {
    root: tempfile::TempDir,
    system: System,
}

const GIB: u64 = 1 << 30;

impl Machine {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let system = System::below(root.path());
        let machine = Self { root, system };
        machine.write("proc/self/mountinfo", "");
        machine.write("proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n");
        let pci = "pci0000:00/0000:00";
        machine.disk(
            &format!("{pci}:1d.0/nvme/nvme0/nvme0n1"),
            "259:0",
            256 * GIB,
        );
        machine.partition("nvme0n1", 1, "259:1");
        machine.partition("nvme0n1", 2, "259:2");
        machine.disk(
            &format!("{pci}:17.0/ata1/host0/target0:0:0/0:0:0:0/block/sda"),
            "8:0",
            64 * GIB,
        );
        machine.partition("sda", 1, "8:1");
        machine.attribute("sda", "device/vendor", "ATA     ");
        machine.attribute("sda", "device/model", "KINGSTON SA400S3");
        machine.attribute("sda", "device/vpd_pg80", "\0\u{1}\0\u{8}  50026B7");
        let usb = format!("{pci}:14.0/usb1/1-1");
        machine.disk(
            &format!("{usb}/1-1:1.0/host6/target6:0:0/6:0:0:0/block/sdb"),
            "8:16",
            16 * GIB,
        );
        machine.write(&format!("sys/devices/{usb}/idVendor"), "0781\n");
        machine.write(&format!("sys/devices/{usb}/serial"), "4C530001\n");
        machine.attribute("sdb", "device/vendor", "SanDisk\n");
        machine.attribute("sdb", "device/model", "Ultra Fit\u{1b}[2J\n");
        machine.disk(
            "platform/fe2b.mmc/mmc_host/mmc0/mmc0:0001/block/mmcblk0",
            "179:0",
            8 * GIB,
        );
        machine.attribute("mmcblk0", "device/name", "SC32G");
        machine.attribute("mmcblk0", "device/serial", "0x12345678");
        machine.disk(
            "platform/fe2b.mmc/mmc_host/mmc0/mmc0:0001/block/mmcblk0boot0",
            "179:8",
            4 * MIB,
        );
        machine.disk(&format!("{pci}:03.0/virtio1/block/vda"), "254:0", 10 * GIB);
        machine.disk("virtual/block/dm-0", "253:0", 200 * GIB);
        machine.disk("virtual/block/loop0", "7:0", SAMPLE);
        machine.disk(
            &format!("{pci}:1f.0/ata2/host1/target1:0:0/1:0:0:0/block/sr0"),
            "11:0",
            GIB,
        );
        machine
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn attribute(&self, name: &str, attribute: &str, content: &str) {
        let directory = self.system.path(name);
        let below = directory
            .strip_prefix(self.root.path().canonicalize().unwrap())
            .unwrap()
            .to_owned();
        self.write(below.join(attribute).to_str().unwrap(), content);
    }

    fn device(&self, path: &str, number: &str, size: u64) {
        let name = path.rsplit('/').next().unwrap();
        let root = self.root.path();
        self.write(&format!("sys/devices/{path}/dev"), &format!("{number}\n"));
        self.write(
            &format!("sys/devices/{path}/size"),
            &format!("{}\n", size / 512),
        );
        self.write(&format!("sys/devices/{path}/ro"), "0\n");
        for link in [
            format!("sys/class/block/{name}"),
            format!("sys/dev/block/{number}"),
        ] {
            let link = root.join(link);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink(root.join("sys/devices").join(path), link).unwrap();
        }
        self.write(&format!("dev/{name}"), "");
    }

    fn disk(&self, path: &str, number: &str, size: u64) {
        self.device(path, number, size);
        self.write(
            &format!("sys/devices/{path}/queue/logical_block_size"),
            "512\n",
        );
        let name = path.rsplit('/').next().unwrap();
        let link = self.root.path().join("sys/block").join(name);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(self.root.path().join("sys/devices").join(path), link).unwrap();
    }

    fn partition(&self, disk: &str, number: u32, device: &str) {
        let directory = self.system.path(disk);
        let devices = self.root.path().canonicalize().unwrap().join("sys/devices");
        let below = directory
            .strip_prefix(devices)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let name = match disk.ends_with(|last: char| last.is_ascii_digit()) {
            true => format!("{disk}p{number}"),
            false => format!("{disk}{number}"),
        };
        self.device(&format!("{below}/{name}"), device, GIB);
        self.attribute(&name, "partition", &number.to_string());
    }

    fn mounts(&self, lines: &[&str]) {
        self.write("proc/self/mountinfo", &(lines.join("\n") + "\n"));
    }

    /// The refusal's sentence.
    fn refusal(&self, name: &str) -> String {
        disk(&self.system, name, 2 * GIB).unwrap_err().to_string()
    }

    fn assert_refused(&self, name: &str, parts: &[&str]) {
        let refusal = self.refusal(name);
        for part in parts.iter().chain([&name, &"expected "]) {
            assert!(refusal.contains(part), "{part:?} is not in {refusal:?}");
        }
    }
}

#[test]
fn candidates_are_whole_disks_with_what_they_say_of_themselves() {
    let machine = Machine::new();
    let disks: Vec<_> = candidates::all(&machine.system)
        .into_iter()
        .map(|disk| (disk.name, disk.bus.to_string(), disk.model, disk.serial))
        .collect();
    let disk = |name: &str, bus: &str, model: Option<&str>, serial: Option<&str>| {
        let [model, serial] = [model, serial].map(|text| text.map(str::to_owned));
        (name.to_owned(), bus.to_owned(), model, serial)
    };
    let expected = [
        disk("mmcblk0", "mmc", Some("SC32G"), Some("0x12345678")),
        disk("nvme0n1", "nvme", None, None),
        disk("sda", "sata", Some("KINGSTON SA400S3"), Some("50026B7")),
        // without what a terminal would obey
        disk("sdb", "usb", Some("SanDisk Ultra Fit[2J"), Some("4C530001")),
        disk("vda", "virtio", None, None),
    ];
    assert_eq!(disks, expected);
}

#[test]
fn disk_that_nothing_uses_is_taken() {
    let machine = Machine::new();
    for name in ["sda", "sdb", "mmcblk0", "vda", "nvme0n1"] {
        let disk = disk(&machine.system, name, 2 * GIB).unwrap();
        assert!(disk.node.ends_with(format!("dev/{name}")), "{disk:?}");
    }
    // named, as tests do
    assert!(disk(&machine.system, "loop0", SAMPLE).is_ok());
}

#[test]
fn partition_and_device_of_others_are_refused() {
    let machine = Machine::new();
    machine.assert_refused(
        "sda1",
        &["is partition of /dev/sda", "name /dev/sda if all"],
    );
    machine.assert_refused("dm-0", &["is built of other devices"]);
}

#[test]
fn mounted_disk_is_refused_by_number_and_by_name() {
    let machine = Machine::new();
    machine.mounts(&["36 27 8:1 / /mnt/my\\040data rw - ext4 /dev/sda1 rw"]);
    machine.assert_refused(
        "sda",
        &["in use: sda1 is mounted at /mnt/my data", "umount"],
    );
    // btrfs has numbers of its own
    machine.mounts(&["36 27 0:55 / /mnt rw shared:1 - btrfs /dev/sdb rw"]);
    machine.assert_refused("sdb", &["in use: sdb is mounted at /mnt"]);
    assert!(disk(&machine.system, "sda", GIB).is_ok());
}

#[test]
fn swap_and_parts_of_other_devices_are_refused() {
    let machine = Machine::new();
    machine.write(
        "proc/swaps",
        "Filename Type Size Used Priority\n/dev/sda1 partition 1 0 -2\n",
    );
    machine.assert_refused("sda", &["in use: sda1 is swapped to", "swapoff /dev/sda1"]);
    machine.write("sys/class/block/nvme0n1p2/holders/dm-0", "");
    machine.assert_refused("nvme0n1", &["nvme0n1p2 is part of dm-0", "take dm-0 down"]);
    machine.write("sys/class/block/vda/holders/md127", "");
    machine.assert_refused("vda", &["vda is part of md127"]);
}

#[test]
fn disk_of_the_running_system_is_refused() {
    let machine = Machine::new();
    machine.mounts(&["27 1 259:2 / / rw - ext4 /dev/nvme0n1p2 rw"]);
    machine.assert_refused("nvme0n1", &["holds the system that runs here"]);
    // through LUKS, and where only /boot is on it
    machine.write("sys/class/block/dm-0/slaves/sda1", "");
    machine.mounts(&[
        "27 1 253:0 / / rw - ext4 /dev/mapper/root rw",
        "28 27 8:16 / /boot rw - ext4 /dev/sdb rw",
    ]);
    machine.assert_refused("sda", &["holds the system that runs here"]);
    machine.assert_refused("sdb", &["holds the system that runs here"]);
    assert!(disk(&machine.system, "vda", GIB).is_ok());
}

#[test]
fn read_only_empty_small_and_4kn_disks_are_refused() {
    let machine = Machine::new();
    machine.attribute("sdb", "ro", "1\n");
    machine.assert_refused("sdb", &["is read-only", "write-protect switch"]);
    machine.attribute("mmcblk0", "size", "0\n");
    machine.assert_refused("mmcblk0", &["has no medium"]);
    machine.attribute("sda", "queue/logical_block_size", "4096\n");
    machine.assert_refused("sda", &["logical sectors of 4096 bytes", "expected 512"]);
    machine.attribute("vda", "size", "2048\n");
    let refusal = machine.refusal("vda");
    let sizes =
        "has 1.0 MiB (1048576 bytes); the image needs 2.0 GiB (2147483648 bytes): take a larger";
    assert!(refusal.contains(sizes), "{refusal}");
}

#[test]
fn files_are_taken_and_what_is_neither_file_nor_disk_is_refused() {
    let machine = Machine::new();
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().canonicalize().unwrap().join(name);
    let image = sample(&at("image"), 7);
    let refused = |path: &Path| check(&machine.system, path, &image, SAMPLE).unwrap_err();
    stale(&at("target"), SAMPLE);
    assert!(check(&machine.system, &at("target"), &image, SAMPLE).is_ok());
    assert!(matches!(refused(&at("image")), Refusal::Image { .. }));
    assert!(matches!(refused(&at("missing")), Refusal::Missing { .. }));
    assert!(matches!(
        refused(&at("")),
        Refusal::NotADisk {
            what: "a directory",
            ..
        }
    ));
    let null = refused(Path::new("/dev/null"));
    assert!(matches!(
        null,
        Refusal::NotADisk {
            what: "a character device",
            ..
        }
    ));
    stale(&at("small"), SAMPLE - 512);
    assert!(matches!(refused(&at("small")), Refusal::TooSmall { .. }));
    stale(&at("odd"), SAMPLE + 1);
    assert!(matches!(refused(&at("odd")), Refusal::PartOfSector { .. }));
    machine.attribute("loop0", "loop/backing_file", at("target").to_str().unwrap());
    let behind = refused(&at("target"));
    assert!(
        matches!(&behind, Refusal::BehindLoop { device, .. } if device == "loop0"),
        "{behind}"
    );
}
