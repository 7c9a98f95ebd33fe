//! The program `seal` as a person runs it. A pseudo-terminal stands for the TPM's device node: what is
//! written to it goes to swtpm, as the kernel's driver would carry it.

use std::{
    fs,
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
};

use fixtures::software_tpm::{Publisher, STUB, Swtpm, enter, workshop};
use p256::pkcs8::{EncodePrivateKey, EncodePublicKey, LineEnding};
use rustix::{
    fs::{Mode, OFlags},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{OptionalActions, tcgetattr, tcsetattr},
};
use seal::{
    envelope::{Envelope, RecoveryKey, Sealing},
    node::{Content, LABEL},
    release::{Phase, ReleasePolicies},
    tpm::pcr,
};
use zeroize::Zeroizing;

const CONFIGURATION: &str = include_str!("node.toml");

/// A device node in front of a swtpm. It goes when this does.
struct DeviceNode {
    path: PathBuf,
    _held: OwnedFd,
}

impl DeviceNode {
    fn new(swtpm: &Swtpm) -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&controller).expect("granted");
        unlockpt(&controller).expect("unlocked");
        let path = ptsname(&controller, Vec::new()).expect("a name");
        let path = PathBuf::from(path.to_str().expect("UTF-8"));
        let held =
            rustix::fs::open(&path, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("opened");
        let mut attributes = tcgetattr(&held).expect("attributes");
        attributes.make_raw();
        tcsetattr(&held, OptionalActions::Now, &attributes).expect("set");
        let mut channel = swtpm.channel();
        let mut controller = File::from(controller);
        // ends by the error that reading gives once nobody holds the other side
        thread::spawn(move || {
            loop {
                let mut command = vec![0; 10];
                if controller.read_exact(&mut command).is_err() {
                    return;
                }
                let size = u32::from_be_bytes(command[2..6].try_into().expect("four"));
                command.resize(usize::try_from(size).expect("a size"), 0);
                controller
                    .read_exact(&mut command[10..])
                    .expect("the command");
                let reply = channel.transact(&command).expect("a reply");
                controller.write_all(&reply).expect("written");
            }
        });
        Self { path, _held: held }
    }
}

fn program(at: &Path, arguments: &str, input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_seal"))
        .args(arguments.split_whitespace())
        .current_dir(at)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(input.as_bytes())
        .expect("written");
    child.wait_with_output().expect("its output")
}

fn succeeds(at: &Path, arguments: &str, input: &str) -> String {
    let output = program(at, arguments, input);
    assert!(
        output.status.success(),
        "{arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn fails(at: &Path, arguments: &str) -> String {
    let output = program(at, arguments, "");
    assert!(
        !output.status.success(),
        "{arguments}: {}",
        String::from_utf8_lossy(&output.stdout)
    );
    String::from_utf8(output.stderr).expect("UTF-8")
}

fn write_keys(at: &Path, publisher: &Publisher) {
    let secret = p256::SecretKey::from(publisher.key.clone());
    let private = secret.to_pkcs8_pem(LineEnding::LF).expect("PEM");
    let public = secret
        .public_key()
        .to_public_key_pem(LineEnding::LF)
        .expect("PEM");
    fs::write(at.join("release.pem"), private.as_bytes()).expect("written");
    fs::write(at.join("release.pub"), public).expect("written");
    fs::write(at.join("node.toml"), CONFIGURATION).expect("written");
}

#[test]
fn a_configuration_goes_from_a_desk_into_the_tpm() {
    let (swtpm, mut tpm) = Swtpm::booted();
    let (_kept, at) = workshop();
    let publisher = Publisher::new();
    write_keys(&at, &publisher);
    let node = DeviceNode::new(&swtpm);
    let device = node.path.display();

    let shown = succeeds(&at, &format!("show --tpm {device} --srk srk.pub"), "");
    let root = tpm.existing_storage_root_key().expect("show has made it");
    assert_eq!(
        fs::read(at.join("srk.pub")).expect("read"),
        root.public().to_bytes().expect("bytes")
    );
    let secure_boot = hex::encode(tpm.read_pcr(pcr::SECURE_BOOT).expect("PCR 7"));
    for part in [&root.name().to_string(), &secure_boot] {
        assert!(shown.contains(part.as_str()), "{shown}");
    }

    let measured = hex::encode(pcr::extended(&[0; 32], &STUB));
    succeeds(
        &at,
        &format!("sign --key release.pem --pcr11 {measured} --security-version 2 -o release.json"),
        "",
    );
    let json = fs::read(at.join("release.json")).expect("read");
    let releases = ReleasePolicies::from_json(&json).expect("policies");
    assert_eq!(releases.key, publisher.point());

    // on another machine, with public parts alone
    let sealed = succeeds(
        &at,
        &format!(
            "--for srk.pub --policy release.pub --pcr7 {secure_boot} --floor 2 --recovery node.toml -o node.sealed"
        ),
        "",
    );
    let envelope = Envelope::read(&at.join("node.sealed")).expect("read");
    assert!(envelope.is_from_afar());
    assert_eq!(
        *envelope
            .open(&mut tpm, "node.toml", &releases)
            .expect("opened"),
        CONFIGURATION.as_bytes()
    );

    succeeds(
        &at,
        &format!("import --tpm {device} --releases release.json node.sealed"),
        "",
    );
    let taken = Envelope::read(&at.join("node.sealed")).expect("read");
    assert!(!taken.is_from_afar());
    assert!(taken.policy().counter.is_some() && taken.policy().secure_boot.is_some());
    assert_eq!(taken.policy().floor, 2);
    assert_eq!(
        *taken
            .open(&mut tpm, "node.toml", &releases)
            .expect("opened"),
        CONFIGURATION.as_bytes()
    );

    // the recovery key opens what was sealed anew, too
    let key = sealed
        .lines()
        .find_map(|line| line.strip_prefix("recovery key, shown this once: "));
    succeeds(
        &at,
        "recover node.sealed -o recovered.toml",
        &format!("{}\n", key.expect("a key")),
    );
    assert_eq!(
        fs::read_to_string(at.join("recovered.toml")).expect("read"),
        CONFIGURATION
    );

    // and so does the key of what a node has sealed, which holds more than the document
    let key = RecoveryKey::generate().expect("a key");
    let content = Content {
        document: Zeroizing::new(CONFIGURATION.to_owned()),
        sui_key: None,
    };
    let sealing = Sealing {
        label: LABEL,
        policy: taken.policy().clone(),
        recovery: Some(key.public()),
    };
    let bytes = content.to_bytes().expect("bytes");
    let by_node = Envelope::seal(&mut tpm, &sealing, &bytes).expect("sealed");
    by_node.write(&at.join("by-node.sealed")).expect("written");
    succeeds(
        &at,
        "recover by-node.sealed -o of-node.toml",
        &format!("{}\n", *key.to_text()),
    );
    assert_eq!(
        fs::read_to_string(at.join("of-node.toml")).expect("read"),
        CONFIGURATION
    );

    enter(&mut tpm, Phase::Run);
    let error = fails(
        &at,
        &format!("import --tpm {device} --releases release.json node.sealed"),
    );
    assert!(error.contains("has signed no policy"), "{error}");
    assert_eq!(
        Envelope::read(&at.join("node.sealed")).expect("read"),
        taken,
        "it is unchanged"
    );
}

#[test]
fn wrong_input_is_told_and_nothing_is_written() {
    let (_swtpm, mut tpm) = Swtpm::booted();
    let (_kept, at) = workshop();
    write_keys(&at, &Publisher::new());
    let root = tpm
        .storage_root_key()
        .expect("a root key")
        .public()
        .to_bytes()
        .expect("bytes");
    fs::write(at.join("srk.hex"), format!("{}\n", hex::encode(root))).expect("written");
    fs::write(at.join("bad.toml"), "version = 1\nnonsense = true\n").expect("written");
    for (arguments, part) in [
        (
            "--for srk.hex --policy release.pub bad.toml -o out",
            "bad.toml",
        ),
        (
            "--for node.toml --policy release.pub node.toml -o out",
            "no public part of a TPM's key",
        ),
        (
            "--for srk.hex --policy node.toml node.toml -o out",
            "no P-256 public key",
        ),
        (
            "--for srk.hex --policy release.pem node.toml -o out",
            "no P-256 public key",
        ),
        (
            "--for srk.hex --policy release.pub --pcr7 12 node.toml -o out",
            "64 hexadecimal digits",
        ),
        (
            "--for srk.hex --policy release.pub none.toml -o out",
            "none.toml cannot be read",
        ),
        ("show --tpm none", "is there a TPM 2.0"),
        ("", "--for <srk.pub>"),
    ] {
        let error = fails(&at, arguments);
        assert!(error.contains(part), "{arguments}: {error}");
        assert!(!at.join("out").exists(), "{arguments}");
    }
    succeeds(
        &at,
        "--for srk.hex --policy release.pub node.toml -o out",
        "",
    );
}
