use super::*;
use crate::lock::Lock;
use crate::wanted::Wanted;

fn definitions() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A directory with one target.
fn with(text: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join(DIRECTORY)).unwrap();
    fs::write(directory.path().join(DIRECTORY).join("own.toml"), text).unwrap();
    directory
}

const OWN: &str = r#"
purpose = "Machines of our own"
console = "console=ttyS1"
kernel = { package = { amd64 = "linux-image-own" }, drop = ["kernel/sound/**"] }
modules = [
    { purpose = "disks", reason = "a", initramfs = true, required = ["ahci"], optional = ["nd_pmem"] },
    { purpose = "network", reason = "b", required = ["r8169"] },
]
firmware = [{ package = "firmware-own", drivers = ["r8169"], files = ["usr/lib/firmware/own/*"] }]
microcode = { vendor = [{ package = "microcode-own", files = ["*.bin"], into = "kernel/x86/microcode/Own.bin" }] }
"#;

#[test]
fn target_adds_to_what_every_image_has() {
    let directory = with(OWN);
    let target = Target::read(directory.path(), "own", "amd64").unwrap();
    assert_eq!(
        (target.name.as_str(), target.console.as_str()),
        ("own", "console=ttyS1")
    );
    let wanted = Wanted::read(&definitions().join("packages.toml"))
        .unwrap()
        .with(&target);
    let has = |list: &[String], name: &str| list.iter().any(|it| it == name);
    assert!(has(&wanted.initramfs.required, "ahci") && has(&wanted.initramfs.optional, "nd_pmem"));
    assert!(has(&wanted.kernel.required, "r8169") && !has(&wanted.kernel.required, "ahci"));
    assert!(has(&wanted.kernel.drop, "kernel/sound/**"));
    // firmware with its licence, and of microcode the licence alone: it is in the kernel image
    let files = |package: &str| {
        let found = wanted.root.iter().find(|it| it.package == package);
        found.unwrap().files.clone()
    };
    assert_eq!(
        files("firmware-own"),
        [
            "usr/lib/firmware/own/*",
            "usr/share/doc/firmware-own/copyright"
        ]
    );
    assert_eq!(
        files("microcode-own"),
        ["usr/share/doc/microcode-own/copyright"]
    );
    let names = wanted.names();
    assert!(names.contains("firmware-own") && names.contains("microcode-own"));
}

#[test]
fn target_that_is_none_is_refused_with_those_that_are() {
    let directory = with(OWN);
    let error = |name, architecture| {
        let error = Target::read(directory.path(), name, architecture).unwrap_err();
        format!("{error:#}")
    };
    assert_eq!(
        error("../own", "amd64"),
        "there is no target \"../own\"; image/targets has own"
    );
    assert_eq!(
        error("own", "riscv64"),
        "the target own is not built for \"riscv64\"; it is for amd64"
    );
}

#[test]
fn target_with_an_unknown_field_is_refused_with_its_line() {
    let directory = with(&format!("{OWN}\nformat = []\n"));
    let error = Target::read(directory.path(), "own", "amd64").unwrap_err();
    let error = format!("{error:#}");
    assert!(error.contains("own.toml is malformed"), "{error}");
    assert!(
        error.contains("line") && error.contains("format"),
        "{error}"
    );
}

/// A package that a target needs and nobody locked would show only when that target is built.
#[test]
fn lock_has_every_package_of_every_target() {
    let lock = Lock::read(&definitions().join("packages.lock")).unwrap();
    let targets = Target::all(definitions(), &lock.architecture).unwrap();
    assert!(targets.len() >= 2);
    for target in &targets {
        lock.package(lock.kernel_of(&target.name).unwrap()).unwrap();
        for name in target.packages() {
            lock.package(name).unwrap();
        }
        for group in &target.modules {
            assert!(!group.reason.is_empty() && !group.purpose.is_empty());
        }
    }
}
