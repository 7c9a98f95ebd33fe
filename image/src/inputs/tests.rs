use std::fs::{File, Permissions};

use super::*;
use crate::filesystem::Compression;
use crate::programs::Programs;
use crate::release::KeySource;
use crate::secure_boot::SecureBoot;

/// A request whose inputs all lie in a directory of the test's own.
struct Place {
    directory: tempfile::TempDir,
    request: Request,
}

const LOCK: &str = include_str!("../../packages.lock");

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for name in [
            "programs",
            "definitions/runtime",
            "definitions/targets",
            "overlays/base/etc",
            "out",
        ] {
            fs::create_dir_all(at(name)).unwrap();
        }
        for name in root::PROGRAMS
            .iter()
            .chain(&["initramfs", "pause", "k3s-double"])
        {
            fs::write(at("programs").join(name), name).unwrap();
        }
        fs::write(at("definitions/packages.toml"), "wanted").unwrap();
        fs::write(at("definitions/packages.lock"), LOCK).unwrap();
        fs::write(at("definitions/targets/cloud.toml"), "machines").unwrap();
        fs::write(at("definitions/runtime/go.sum"), "digests").unwrap();
        fs::write(at("overlays/base/etc/passwd"), "root").unwrap();
        std::os::unix::fs::symlink("passwd", at("overlays/base/etc/link")).unwrap();
        fs::write(at("Cargo.lock"), "crates").unwrap();
        fs::write(at("out/manifest.json"), "{}").unwrap();
        fs::write(at("out/disk.raw"), vec![1; 2 << 20]).unwrap();
        let request = Request {
            k3s: Source::Double,
            programs: Programs::new(vec![at("programs")]),
            out: at("out"),
            cache: at("cache"),
            definitions: at("definitions"),
            target: "cloud".into(),
            architecture: "amd64".into(),
            release_key: KeySource::Development,
            security_version: 0,
            compression: Compression::Fast,
            secure_boot: None,
        };
        Self { directory, request }
    }

    fn inputs(&self) -> Inputs {
        Inputs::of(&self.request).unwrap().unwrap()
    }

    fn write(&self, name: &str, content: &str) -> std::path::PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// That `change` changes these inputs and no others.
    fn changes(&mut self, change: impl FnOnce(&mut Self), names: &[&str]) {
        let before = self.inputs();
        change(self);
        assert_eq!(self.inputs().changes(&before), names);
    }
}

#[test]
fn inputs_unchanged_are_equal() {
    let place = Place::new();
    let first = place.inputs();
    assert_eq!(place.inputs(), first);
    assert!(first.changes(&first).is_empty());
    // what a build reads, and nothing that differs between two checkouts of the same tree
    assert!(!format!("{first:?}").contains(place.directory.path().to_str().unwrap()));
}

#[test]
fn inputs_name_each_file_that_changes() {
    let mut place = Place::new();
    for name in root::PROGRAMS.iter().chain(&["initramfs", "pause"]) {
        place.changes(
            |place| drop(place.write(&format!("programs/{name}"), "newer")),
            &[&format!("program {name}")],
        );
    }
    for (file, content, name) in [
        ("Cargo.lock", "newer", "Cargo.lock"),
        ("programs/k3s-double", "newer", "k3s double"),
        ("definitions/runtime/go.sum", "others", "runtime/go.sum"),
        ("definitions/packages.toml", "newer", "packages.toml"),
        (
            "definitions/targets/cloud.toml",
            "newer",
            "targets/cloud.toml",
        ),
        (
            "definitions/packages.lock",
            &format!("# newer\n{LOCK}"),
            "packages.lock",
        ),
        (
            "overlays/base/etc/passwd",
            "newer",
            "overlay base/etc/passwd",
        ),
        ("overlays/base/etc/new", "", "overlay base/etc/new"),
    ] {
        place.changes(|place| drop(place.write(file, content)), &[name]);
    }
}

#[test]
fn overlay_mode_link_or_removal_is_a_change() {
    let mut place = Place::new();
    let base = place.directory.path().join("overlays/base");
    let (passwd, link) = (base.join("etc/passwd"), base.join("etc/link"));
    let set = |mode| fs::set_permissions(&passwd, Permissions::from_mode(mode)).unwrap();
    // a umask makes no difference to the image, the executable bit does
    place.changes(|_| set(0o600), &[]);
    place.changes(|_| set(0o755), &["overlay base/etc/passwd"]);
    place.changes(
        |_| {
            fs::remove_file(&link).unwrap();
            std::os::unix::fs::symlink("group", &link).unwrap();
        },
        &["overlay base/etc/link"],
    );
    place.changes(
        |_| fs::remove_file(&passwd).unwrap(),
        &["overlay base/etc/passwd"],
    );
}

#[test]
fn target_s_own_overlay_is_an_input() {
    let mut place = Place::new();
    let overlays = place.directory.path().join("overlays");
    for name in ["cloud", "edge"] {
        fs::create_dir(overlays.join(name)).unwrap();
    }
    place.changes(
        |place| drop(place.write("overlays/cloud/motd", "")),
        &["overlay cloud/motd"],
    );
    place.changes(|place| drop(place.write("overlays/edge/motd", "")), &[]);
}

#[test]
fn k3s_of_another_digest_is_a_change() {
    let mut place = Place::new();
    place.changes(
        |place| place.request.k3s = Source::Pinned,
        &["k3s", "k3s double"],
    );
    let binary = place.write("k3s", "one");
    place.changes(|place| place.request.k3s = Source::Path(binary), &["k3s"]);
    place.changes(|place| drop(place.write("k3s", "two")), &["k3s"]);
    let url = |digest: &str| Source::Url(format!("https://example.org/k3s#sha256={digest}"));
    place.changes(|place| place.request.k3s = url("aa"), &["k3s"]);
    place.changes(|place| place.request.k3s = url("bb"), &["k3s"]);
    // what its address holds is only known once it was asked
    place.request.k3s = Source::Url("https://example.org/k3s".to_owned());
    assert_eq!(Inputs::of(&place.request).unwrap(), None);
}

#[test]
fn release_key_and_secure_boot_are_inputs() {
    let mut place = Place::new();
    place.changes(
        |place| place.request.security_version = 1,
        &["security version"],
    );
    let made = place.request.cache.join("keys/release-development.pem");
    place.changes(
        |place| place.request.release_key = KeySource::File(made),
        &["release key is development"],
    );
    place.changes(
        |place| {
            let other = tempfile::tempdir_in(place.directory.path()).unwrap().keep();
            Release::read(&KeySource::Development, 0, &other).unwrap();
            place.request.release_key = KeySource::File(other.join("keys/release-development.pem"));
        },
        &["release key"],
    );
    let names = ["secure boot", "secure boot certificate", "secure boot key"];
    let (key, certificate) = (place.write("key", "one"), place.write("crt", "one"));
    place.changes(
        |place| place.request.secure_boot = Some(SecureBoot { key, certificate }),
        &names,
    );
    place.changes(|place| drop(place.write("crt", "two")), &names[1..2]);
    place.changes(|place| drop(place.write("key", "two")), &names[2..]);
}

#[test]
fn builder_is_an_input_by_its_own_digest() {
    let own = digest::of_file(&std::env::current_exe().unwrap()).unwrap();
    assert_eq!(Place::new().inputs().0["builder"], own);
}

#[test]
fn record_of_a_build_is_up_to_date_until_an_input_changes() {
    let place = Place::new();
    let out = &place.request.out;
    let stale = |reason: &str| State::Stale(reason.to_owned());
    assert_eq!(
        Record::compare(&place.inputs(), out),
        stale("there is no record of an earlier build")
    );
    Record::write(place.inputs(), out).unwrap();
    assert_eq!(Record::compare(&place.inputs(), out), State::UpToDate);
    place.write("programs/init", "newer");
    place.write("programs/netd", "newer");
    assert_eq!(
        Record::compare(&place.inputs(), out),
        stale("changed: program init, program netd")
    );
}

#[test]
fn output_damaged_in_any_way_is_stale() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 8] = [
        ("disk.raw", |out| {
            fs::remove_file(out.join("disk.raw")).unwrap();
        }),
        ("disk.raw", |out| {
            File::options()
                .write(true)
                .open(out.join("disk.raw"))
                .unwrap()
                .set_len(1 << 20)
                .unwrap();
        }),
        // same length
        ("disk.raw", |out| {
            fs::write(out.join("disk.raw"), vec![2; 2 << 20]).unwrap();
        }),
        ("manifest.json", |out| {
            fs::remove_file(out.join("manifest.json")).unwrap();
        }),
        // same length, and the time put back
        ("manifest.json", |out| {
            let path = out.join("manifest.json");
            let time = fs::metadata(&path).unwrap().modified().unwrap();
            fs::write(&path, "[]").unwrap();
            let file = File::options().write(true).open(&path).unwrap();
            file.set_modified(time).unwrap();
        }),
        ("another", |out| fs::write(out.join("another"), "").unwrap()),
        ("record", |out| fs::remove_file(out.join(RECORD)).unwrap()),
        ("record", |out| {
            let text = fs::read(out.join(RECORD)).unwrap();
            fs::write(out.join(RECORD), &text[..text.len() / 2]).unwrap();
        }),
    ];
    for (name, damage) in damages {
        let place = Place::new();
        let out = &place.request.out;
        Record::write(place.inputs(), out).unwrap();
        damage(out);
        match Record::compare(&place.inputs(), out) {
            State::Stale(reason) => assert!(reason.contains(name), "{reason}"),
            State::UpToDate => panic!("damage to {name} was not seen"),
        }
    }
}
