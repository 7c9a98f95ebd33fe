use std::os::unix::fs::FileExt as _;
use std::process::Command;

use gptman::GPTPartitionEntry;

use super::*;

/// An image as the builder writes one: a partition with content, and an empty one.
struct Sample {
    directory: tempfile::TempDir,
    release: Release,
}

/// A length that Google's format has to fill up, with more clusters than one table of any format has entries.
const SIZE: u64 = 70 << 20;

impl Sample {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk.raw");
        let mut disk = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .unwrap();
        disk.set_len(SIZE).unwrap();
        let mut table = GPT::new_from(&mut disk, 512, [7; 16]).unwrap();
        for (number, start) in [(1, 2048), (2, 65_536)] {
            table[number] = GPTPartitionEntry {
                partition_type_guid: [1; 16],
                unique_partition_guid: [number as u8; 16],
                starting_lba: start,
                ending_lba: start + 40_959,
                attribute_bits: 0,
                partition_name: "part".into(),
            };
        }
        table.write_into(&mut disk).unwrap();
        // incompressible, not on a cluster's border, and a cluster of zeros that the file does not keep as a hole
        let noise: Vec<u8> = (0_u32..100_000)
            .map(|it| (it.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        disk.write_all_at(&noise, (1 << 20) + 12_345).unwrap();
        disk.write_all_at(&vec![0; 128 << 10], 8 << 20).unwrap();
        disk.write_all_at(b"far away", SIZE - (2 << 20)).unwrap();
        let manifest = serde_json::json!({
            "version": "1.2.3", "target": "cloud", "architecture": "amd64", "root_hash": "ab".repeat(32),
            "source_date_epoch": 1_795_727_016_u64,
        });
        let release = Release::generate(0).unwrap();
        for (name, content) in [
            ("manifest.json", manifest.to_string()),
            ("release.pem", release.public_pem().unwrap()),
            (sbom::NAME, "{}".to_owned()),
        ] {
            fs::write(directory.path().join(name), content).unwrap();
        }
        Self { directory, release }
    }

    fn write(&self, formats: &[Format]) {
        write(self.directory.path(), formats, &self.release).unwrap();
    }

    fn disk(&self) -> std::path::PathBuf {
        self.directory.path().join("disk.raw")
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(DIRECTORY).join(name)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory.path().join(DIRECTORY)).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort_unstable();
        names
    }
}

/// Runs a program that must succeed.
fn run(program: &str, arguments: &[&std::ffi::OsStr]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("can't run {program}: {error}"));
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{program}: {text}");
    text
}

/// QEMU reads the format, and finds the image in it.
fn compare(sample: &Sample, ending: &str, format: &str) {
    let file = sample.file(&format!("k3s-daas-1.2.3-cloud-amd64.{ending}"));
    let text = run(
        "qemu-img",
        &[
            "compare".as_ref(),
            "-f".as_ref(),
            "raw".as_ref(),
            "-F".as_ref(),
            format.as_ref(),
            sample.disk().as_os_str(),
            file.as_os_str(),
        ],
    );
    assert!(text.contains("Images are identical."), "{ending}: {text}");
}

#[test]
fn qemu_reads_each_format_as_the_same_image() {
    let sample = Sample::new();
    sample.write(&[Format::Qcow2, Format::Vmdk, Format::Vhd]);
    compare(&sample, "qcow2", "qcow2");
    compare(&sample, "vmdk", "vmdk");
    // fixed: what is before the footer is the image
    compare(&sample, "vhd", "vpc");
    let check = |ending: &str| {
        let file = sample.file(&format!("k3s-daas-1.2.3-cloud-amd64.{ending}"));
        run("qemu-img", &["check".as_ref(), file.as_os_str()])
    };
    assert!(check("qcow2").contains("No errors were found"));
    assert!(check("vmdk").contains("No errors were found"));
    // what the image leaves out, the files leave out
    let qcow2 = fs::metadata(sample.file("k3s-daas-1.2.3-cloud-amd64.qcow2")).unwrap();
    assert!(qcow2.len() < 2 << 20, "{} bytes", qcow2.len());
}

#[test]
fn formats_written_twice_are_the_same_bytes() {
    let sample = Sample::new();
    let all = <Format as clap::ValueEnum>::value_variants();
    sample.write(all);
    let names = sample.names();
    let first: Vec<String> = names
        .iter()
        .map(|name| digest::of_file(&sample.file(name)).unwrap())
        .collect();
    // with every byte kept by the file system, and none as a hole
    let whole = fs::read(sample.disk()).unwrap();
    fs::write(sample.disk(), whole).unwrap();
    sample.write(all);
    assert_eq!(sample.names(), names);
    for (name, digest) in names.iter().zip(first) {
        assert_eq!(
            digest::of_file(&sample.file(name)).unwrap(),
            digest,
            "{name}"
        );
    }
}

#[test]
fn bmaptool_writes_what_the_map_names() {
    let sample = Sample::new();
    sample.write(&[Format::Raw]);
    // a disk with something everywhere, as one that was used before
    let target = sample.directory.path().join("target");
    fs::write(&target, vec![0xff; usize::try_from(SIZE).unwrap()]).unwrap();
    let file = |ending: &str| sample.file(&format!("k3s-daas-1.2.3-cloud-amd64.{ending}"));
    run(
        "bmaptool",
        &[
            "copy".as_ref(),
            "--bmap".as_ref(),
            file("raw.bmap").as_os_str(),
            file("raw.zst").as_os_str(),
            target.as_os_str(),
        ],
    );
    let (image, written) = (fs::read(sample.disk()).unwrap(), fs::read(&target).unwrap());
    let source = Source::open(&sample.disk()).unwrap();
    for cluster in &source.clusters {
        let start = usize::try_from(cluster * source::CLUSTER).unwrap();
        let end = start + usize::try_from(source::CLUSTER).unwrap();
        assert!(
            image[start..end] == written[start..end],
            "cluster {cluster}"
        );
    }
    // nothing that the disk held there before is taken for a node's state
    let state = 65_536 * 512;
    assert!(
        written[state..state + (16 << 20)]
            .iter()
            .all(|byte| *byte == 0)
    );
}

#[test]
fn archives_hold_what_their_readers_expect() {
    let sample = Sample::new();
    sample.write(&[Format::Gce, Format::Ova]);
    let list = |name: &str| run("tar", &["-tf".as_ref(), sample.file(name).as_os_str()]);
    assert_eq!(list("k3s-daas-1.2.3-cloud-amd64.tar.gz"), "disk.raw\n");
    let out = sample.directory.path().join("out");
    fs::create_dir(&out).unwrap();
    for name in [
        "k3s-daas-1.2.3-cloud-amd64.tar.gz",
        "k3s-daas-1.2.3-cloud-amd64.ova",
    ] {
        let file = sample.file(name);
        run(
            "tar",
            &[
                "-xf".as_ref(),
                file.as_os_str(),
                "-C".as_ref(),
                out.as_os_str(),
            ],
        );
    }
    // filled up to a whole GiB
    let disk = File::open(out.join("disk.raw")).unwrap();
    assert_eq!(disk.metadata().unwrap().len(), GIB);
    let longer = Source::open(&out.join("disk.raw")).unwrap();
    let image = Source::open(&sample.disk()).unwrap();
    assert_eq!(longer.clusters, image.clusters);
    // the description first, its digests next
    assert_eq!(
        list("k3s-daas-1.2.3-cloud-amd64.ova"),
        "k3s-daas-1.2.3-cloud-amd64.ovf\nk3s-daas-1.2.3-cloud-amd64.mf\nk3s-daas-1.2.3-cloud-amd64.vmdk\n"
    );
    let manifest = fs::read_to_string(out.join("k3s-daas-1.2.3-cloud-amd64.mf")).unwrap();
    for ending in ["ovf", "vmdk"] {
        let name = format!("k3s-daas-1.2.3-cloud-amd64.{ending}");
        let sha256 = digest::of_file(&out.join(&name)).unwrap();
        assert!(
            manifest.contains(&format!("SHA256({name})= {sha256}\n")),
            "{manifest}"
        );
    }
    // nobody asked for the disk alone
    assert!(
        !sample
            .names()
            .contains(&"k3s-daas-1.2.3-cloud-amd64.vmdk".to_owned())
    );
}

#[test]
fn key_that_is_not_the_image_s_signs_nothing() {
    let sample = Sample::new();
    let other = Release::generate(0).unwrap();
    let error = write(sample.directory.path(), &[Format::Raw], &other).unwrap_err();
    assert!(error.to_string().contains("--release-key"), "{error}");
    assert!(!sample.directory.path().join(DIRECTORY).exists());
}

#[test]
fn digests_are_signed_by_the_release_key() {
    let sample = Sample::new();
    sample.write(&[Format::Qcow2]);
    // what was asked for before is gone
    sample.write(&[Format::Raw]);
    // by the key that lies beside them
    let key = sample.file("release.pem");
    let verified = run(
        "openssl",
        &[
            "dgst".as_ref(),
            "-sha256".as_ref(),
            "-verify".as_ref(),
            key.as_os_str(),
            "-signature".as_ref(),
            sample.file(SIGNATURE).as_os_str(),
            sample.file(SUMS).as_os_str(),
        ],
    );
    assert_eq!(verified, "Verified OK\n");
    let sums = fs::read_to_string(sample.file(SUMS)).unwrap();
    let listed: Vec<&str> = sums
        .lines()
        .filter_map(|line| line.split_once("  ").map(|(_, name)| name))
        .collect();
    assert_eq!(
        listed,
        [
            "k3s-daas-1.2.3-cloud-amd64.raw.bmap",
            "k3s-daas-1.2.3-cloud-amd64.raw.zst",
            "manifest.json",
            "release.pem",
            "sbom.spdx.json",
        ]
    );
}
