use super::*;

const SIZE: u64 = 64 << 20;

fn device() -> &'static Path {
    Path::new("/dev/vda6")
}

fn whole() -> Found {
    Found::Whole {
        header: Header {
            generation: 1,
            envelope: b"sealed".to_vec(),
        },
        slot: Slot::First,
        other: None,
    }
}

fn foreign() -> Content {
    Content::Foreign {
        description: "an XFS file system".to_owned(),
    }
}

const ABILITIES: [Result<(), Unable>; 3] = [Ok(()), Err(Unable::NoTpm), Err(Unable::NotMeasured)];

#[test]
fn only_an_empty_partition_gets_a_new_state() {
    for ability in ABILITIES {
        let action = plan(Content::Empty, ability, device()).unwrap();
        assert_eq!(action, Action::Create);
        for content in [
            foreign(),
            Content::Ours { size: SIZE },
            Content::Sealed(whole()),
            Content::Sealed(Found::Damaged),
            Content::Sealed(Found::Newer(2)),
            Content::Sealed(Found::Nothing),
        ] {
            let planned = plan(content, ability, device());
            assert!(!matches!(planned, Ok(Action::Create)), "{planned:?}");
        }
    }
}

#[test]
fn what_can_be_sealed_is_never_taken_in_the_open() {
    let status = |content, ability| plan(content, ability, device()).unwrap_err().status();
    let ours = || Content::Ours { size: SIZE };
    assert_eq!(status(ours(), Ok(())), 18);
    let plain = plan(ours(), Err(Unable::NoTpm), device()).unwrap();
    assert_eq!(plain, Action::OpenPlain { size: SIZE });
    assert_eq!(status(Content::Sealed(whole()), Err(Unable::NoTpm)), 16);
    let not_measured = Err(Unable::NotMeasured);
    assert_eq!(status(Content::Sealed(whole()), not_measured), 17);
}

#[test]
fn what_is_damaged_newer_or_foreign_is_told_as_such_everywhere() {
    for ability in ABILITIES {
        let status = |content| plan(content, ability, device()).unwrap_err().status();
        assert_eq!(status(foreign()), 12);
        assert_eq!(status(Content::Sealed(Found::Damaged)), 15);
        assert_eq!(status(Content::Sealed(Found::Newer(2))), 13);
    }
}

#[test]
fn a_header_on_a_partition_leads_to_its_volume() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(SIZE).unwrap();
    content::clear(&file, SIZE).unwrap();
    for (slot, generation) in [(Slot::First, 1), (Slot::Second, 2)] {
        let envelope = b"sealed".to_vec();
        let header = Header {
            generation,
            envelope,
        };
        header::write(&file, slot, &header).unwrap();
    }
    let content = content::inspect(&file, SIZE).unwrap();
    let Ok(Action::OpenSealed(sealed)) = plan(content, Ok(()), device()) else {
        panic!("a header leads to its volume");
    };
    assert_eq!((sealed.header.generation, sealed.other), (2, None));
    assert_eq!(sealed.slot, Slot::Second);
}

#[test]
fn mount_of_a_run_that_was_cut_off_is_not_taken_for_the_state() {
    let directory = tempfile::tempdir().unwrap();
    let note = directory.path().join("state-device");
    assert!(!is_noted(&note, "253:1"));
    fs::write(&note, "253:1").unwrap();
    assert!(is_noted(&note, "253:1"));
    // another disk, or another mapping of it
    assert!(!is_noted(&note, "253:2") && !is_noted(&note, "8:5"));
}

/// A file system of our own on a loop device, which goes with the value. None where this host has no loop devices.
struct Disk(String, tempfile::NamedTempFile);

impl Disk {
    fn new() -> Option<Self> {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(16 << 20).unwrap();
        let made = std::process::Command::new("mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-L", content::LABEL])
            .arg(file.path())
            .status();
        assert!(made.unwrap().success());
        let loops = std::process::Command::new("losetup")
            .args(["--find", "--show"])
            .arg(file.path())
            .output();
        let output = loops.ok().filter(|output| output.status.success())?;
        let device = String::from_utf8(output.stdout).unwrap();
        Some(Self(device.trim().to_owned(), file))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let mut detach = std::process::Command::new("losetup");
        _ = detach.args(["-d", &self.0]).status();
    }
}

/// A run that is killed while it looks leaves nothing behind, and what it opens is on no path.
#[test]
#[ignore = "mounts a file system: run as root"]
fn look_mounts_on_no_path_as_root() {
    use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

    let Some(disk) = Disk::new() else {
        eprintln!("skipped: this host has no loop devices");
        return;
    };
    let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap();
    let device = Path::new(&disk.0);
    let place = tempfile::tempdir().unwrap();
    // a state, as an earlier boot left it
    mount(device, place.path(), "ext4", MountFlags::empty(), None).unwrap();
    fs::create_dir_all(place.path().join("lib/daas")).unwrap();
    fs::write(place.path().join("lib/daas/state-version"), "1\n").unwrap();
    unmount(place.path(), UnmountFlags::empty()).unwrap();

    let before = mounts();
    let root = file_system::look(device).unwrap();
    let version = directories::version_below(&root).unwrap();
    assert_eq!(version.as_deref(), Some(directories::VERSION));
    assert_eq!(mounts(), before);
    drop(root);
    // nothing holds it read-only
    mount(device, place.path(), "ext4", MountFlags::empty(), None).unwrap();
    fs::write(place.path().join("written"), "").unwrap();
    unmount(place.path(), UnmountFlags::empty()).unwrap();
    assert!(
        file_system::look(disk.1.path()).is_err(),
        "a file is no device"
    );
}
