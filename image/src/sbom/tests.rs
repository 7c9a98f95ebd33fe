use super::*;
use crate::lock::{Archive, LockedRelease};
use crate::runtime::{Module, Program};

/// The repository's own definitions, with a runtime and crates of our making.
struct Sample {
    wanted: Wanted,
    lock: Lock,
    runtime: Runtime,
    crates: BTreeSet<Crate>,
}

impl Sample {
    fn new() -> Self {
        let definitions = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut runtime = Runtime::default();
        runtime.go = "1.26.8".into();
        runtime.zig = "0.17.1".into();
        runtime.programs.push(Program {
            path: "usr/bin/runc".into(),
            module: "example.org/runc".into(),
            version: "v1.5.3".into(),
            sha256: "2".repeat(64),
        });
        runtime.modules.push(Module {
            path: "example.org/linked".into(),
            version: "v2.0.0+incompatible".into(),
            sum: "h1:x".into(),
            licence: "MIT".into(),
        });
        let of_crate = |name: &str, sha256: Option<String>| Crate {
            name: name.into(),
            version: "1.0.0".into(),
            licence: "MIT OR Apache-2.0".into(),
            sha256,
        };
        Self {
            wanted: Wanted::read(&definitions.join("packages.toml")).unwrap(),
            lock: Lock::read(&definitions.join("packages.lock")).unwrap(),
            runtime,
            crates: [
                of_crate("init", None),
                of_crate("serde", Some("3".repeat(64))),
            ]
            .into(),
        }
    }

    fn materials(&self) -> Materials<'_> {
        Materials {
            wanted: &self.wanted,
            lock: &self.lock,
            kernel: self.lock.kernel_of("cloud").unwrap(),
            runtime: &self.runtime,
            crates: &self.crates,
            k3s: "v1.36.4+k3s1",
            k3s_sha256: "44",
            version: "0.1.0",
        }
    }
}

fn find<'a>(document: &'a Value, name: &str) -> Option<&'a Value> {
    let packages = document["packages"].as_array().unwrap();
    packages.iter().find(|package| package["name"] == name)
}

#[test]
fn document_lists_packages_modules_crates_and_k3s() {
    let sample = Sample::new();
    let text = document(&sample.materials()).unwrap();
    assert_eq!(text, document(&sample.materials()).unwrap());
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["spdxVersion"], "SPDX-2.3");
    let libc = find(&document, "libc6").unwrap();
    let locked = sample.lock.package("libc6").unwrap();
    assert_eq!(libc["versionInfo"], locked.version);
    assert_eq!(libc["checksums"][0]["checksumValue"], locked.sha256);
    let purl = libc["externalRefs"][0]["referenceLocator"]
        .as_str()
        .unwrap();
    assert!(purl.starts_with("pkg:deb/debian/libc6@"), "{purl}");
    assert!(purl.ends_with("?arch=amd64&distro=trixie"), "{purl}");
    for name in [
        sample.lock.kernel_of("cloud").unwrap(),
        "systemd-boot-efi",
        "k3s",
        "example.org/runc",
        "example.org/linked",
        "stdlib",
        "zig",
        "init",
        "serde",
    ] {
        assert!(find(&document, name).is_some(), "{name}");
    }
    let linked = &find(&document, "example.org/linked").unwrap()["externalRefs"][0];
    assert_eq!(
        linked["referenceLocator"],
        "pkg:golang/example.org/linked@v2.0.0%2Bincompatible"
    );
    // tools of the build, and what the bench boots, are in no image
    for name in ["erofs-utils", "mtools", "systemd", "libseccomp-dev"] {
        assert!(find(&document, name).is_none(), "{name}");
    }
}

#[test]
fn document_is_consistent_spdx() {
    let text = document(&Sample::new().materials()).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let mut identifiers = BTreeSet::from(["SPDXRef-DOCUMENT"]);
    for package in document["packages"].as_array().unwrap() {
        assert!(identifiers.insert(package["SPDXID"].as_str().unwrap()));
        for field in [
            "name",
            "downloadLocation",
            "licenseDeclared",
            "copyrightText",
        ] {
            assert!(package[field].is_string(), "{field} of {package}");
        }
    }
    let relationships = document["relationships"].as_array().unwrap();
    let related: BTreeSet<&str> = relationships
        .iter()
        .flat_map(|it| [&it["spdxElementId"], &it["relatedSpdxElement"]])
        .map(|it| it.as_str().unwrap())
        .collect();
    assert_eq!(related, identifiers);
    assert_eq!(relationships.len(), identifiers.len() - 1);
}

#[test]
fn document_of_another_image_has_another_namespace() {
    let mut sample = Sample::new();
    let namespace = |sample: &Sample| {
        let text = document(&sample.materials()).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["documentNamespace"].clone()
    };
    let before = namespace(&sample);
    sample.crates.pop_last();
    assert_ne!(namespace(&sample), before);
}

#[test]
fn root_with_an_unlisted_origin_is_refused() {
    let mut sample = Sample::new();
    let with = |sample: &Sample, origin: &str| {
        let mut tree = Tree::default();
        tree.bytes("usr/bin/x", 0o755, "x", origin).unwrap();
        check(&sample.materials(), &tree)
    };
    for origin in [
        "builder",
        "overlay base",
        "crate init",
        "go example.org/runc@v1.5.3",
        "k3s v1.36.4+k3s1",
        "kmod=34",
    ] {
        with(&sample, origin).unwrap();
    }
    for origin in [
        "crate netd",
        "go example.org/runc@v1.5.4",
        "k3s v2",
        "erofs-utils=1",
        "elsewhere",
    ] {
        let error = with(&sample, origin).unwrap_err().to_string();
        assert!(error.contains("does not list"), "{error}");
    }
    sample.lock.package.clear();
    sample.lock.release = vec![LockedRelease {
        archive: Archive::Debian,
        date: 0,
        valid_until: None,
        sha256: String::new(),
        keys: Vec::new(),
    }];
    assert!(document(&sample.materials()).is_err());
}

#[test]
fn timestamps_are_dates_of_the_calendar() {
    assert_eq!(timestamp(0), "1970-01-01T00:00:00Z");
    assert_eq!(timestamp(1_709_251_199), "2024-02-29T23:59:59Z");
    assert_eq!(timestamp(1_789_199_741), "2026-09-12T07:55:41Z");
}
