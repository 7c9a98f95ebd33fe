//! Real block devices: loop devices, which the kernel makes of files.

use std::process::Command;

use super::super::refusals::{Refusal, check};
use super::*;

/// A loop device, for as long as this is there.
struct Loop(PathBuf);

impl Loop {
    fn of(file: &Path, options: &[&str]) -> Self {
        let output = Command::new("losetup")
            .args(["--find", "--show"])
            .args(options)
            .arg(file)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        Self(String::from_utf8(output.stdout).unwrap().trim().into())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup")
            .arg("--detach")
            .arg(&self.0)
            .status();
    }
}

/// Flashes without a question.
fn flash_now(device: &Path, image: &Path, configuration: Option<Source>) -> Result<()> {
    flash(&Request {
        device: device.to_owned(),
        image: image.to_owned(),
        configuration,
        answers: Answers {
            yes: true,
            wipe_state: false,
        },
    })
}

#[test]
#[ignore = "needs root: loop devices"]
fn flash_of_a_loop_device_reads_back_as_root() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let size = SAMPLE + 5 * MIB;
    sample(&at("image"), 7);
    stale(&at("disk"), size);
    fs::write(at("node.toml"), document(KEY)).unwrap();
    let device = Loop::of(&at("disk"), &[]);
    flash_now(
        &device.0,
        &at("image"),
        Some(Source::Plain(at("node.toml"))),
    )
    .unwrap();

    let file = File::open(&device.0).unwrap();
    assert!(Table::read(&file).unwrap().is_settled());
    assert_eq!(Contents::of(&file, size), Contents::Node { state: false });
    drop(file);
    let (image, disk) = (
        fs::read(at("image")).unwrap(),
        fs::read(at("disk")).unwrap(),
    );
    let (start, end) = (7 * MIB as usize, 19 * MIB as usize);
    assert!(image[start..end] == disk[start..end]);
    let esp = std::io::Cursor::new(disk[MIB as usize..start].to_vec());
    let file_system = FileSystem::new(esp, FsOptions::new()).unwrap();
    assert!(file_system.root_dir().open_file("daas/node.toml").is_ok());

    // a node has made its state there
    let file = File::options().write(true).open(&device.0).unwrap();
    file.write_all_at(b"DAASDISK", 17 * MIB + 64 * 1024)
        .unwrap();
    file.sync_all().unwrap();
    assert!(Contents::of(&File::open(&device.0).unwrap(), size).holds_state());
}

#[test]
#[ignore = "needs root: loop devices and a mount"]
fn flash_of_a_mounted_or_held_device_is_refused_as_root() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let image = sample(&at("image"), 7);
    stale(&at("disk"), SAMPLE);
    let device = Loop::of(&at("disk"), &[]);
    let system = System::of_this_machine();
    let target = check(&system, &device.0, &image, SAMPLE).unwrap();

    // another program holds it for itself, as a mount of another namespace does
    let held = Device::open(&target).unwrap();
    assert!(matches!(Device::open(&target), Err(Refusal::Busy { .. })));
    drop(held);

    let made = Command::new("mkfs.ext4")
        .arg("-q")
        .arg(&device.0)
        .status()
        .unwrap();
    assert!(made.success());
    let point = at("mounted");
    fs::create_dir(&point).unwrap();
    let mounted = Command::new("mount")
        .arg(&device.0)
        .arg(&point)
        .status()
        .unwrap();
    assert!(mounted.success());
    let error = flash_now(&device.0, &at("image"), None)
        .unwrap_err()
        .to_string();
    let unmounted = Command::new("umount").arg(&point).status().unwrap();
    assert!(unmounted.success());
    assert!(
        error.contains("is mounted at") && error.contains("umount"),
        "{error}"
    );
    let file_system = Contents::Format("an ext2, ext3 or ext4 file system");
    assert_eq!(
        Contents::of(&File::open(&device.0).unwrap(), SAMPLE),
        file_system
    );

    // the file behind it is in use, too
    let error = flash_now(&at("disk"), &at("image"), None)
        .unwrap_err()
        .to_string();
    assert!(error.contains("losetup --detach"), "{error}");
}

#[test]
#[ignore = "needs root: loop devices"]
fn flash_of_a_read_only_or_4kn_device_is_refused_as_root() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let image = sample(&at("image"), 7);
    stale(&at("disk"), SAMPLE);
    let system = System::of_this_machine();
    for (options, expected) in [
        (["--read-only"].as_slice(), "is read-only"),
        (&["--sector-size", "4096"], "sectors of 4096"),
    ] {
        let device = Loop::of(&at("disk"), options);
        let error = check(&system, &device.0, &image, SAMPLE)
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert!(
        fs::read(at("disk"))
            .unwrap()
            .iter()
            .all(|byte| *byte == 0xff)
    );
}
