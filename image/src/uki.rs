//! The unified kernel image: systemd's stub with kernel, initramfs, command line, os-release and signed
//! policies as sections of one UEFI program (UAPI specification "Unified Kernel Image").
//!
//! It has two profiles: the one that boots, and one that boots with [`RESET`] on its command line. The
//! sections before the first `.profile` belong to both.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use seal::tpm::crypto::Digest;

use crate::measure::{self, PROFILE};
use crate::pe::{self, Addition, Kind};
use crate::release::Release;

/// The word on the command line that has `init` wipe keys and state.
pub const RESET: &str = "daas.reset";
/// The profile that boots unless another is chosen: the first one.
pub const MAIN: usize = 0;
/// What the boot menu calls the profiles (UAPI specification "Unified Kernel Image", "Multi-Profile UKIs").
const MAIN_PROFILE: &str = "ID=main\n";
const RESET_PROFILE: &str = "ID=reset\nTITLE=Reset: wipe keys and state\n";

/// Names of the parts in an image's output directory, so that another kernel image can be linked from them.
const STUB: &str = "stub.efi";
const KERNEL: &str = "vmlinuz";
const KERNEL_RELEASE: &str = "uname";
const INITRAMFS: &str = "initramfs.img";
const MICROCODE: &str = "microcode.img";
const COMMAND_LINE: &str = "cmdline";
const OS_RELEASE: &str = "os-release";

/// What goes into the image.
#[derive(Clone, Debug)]
pub struct Parts {
    /// systemd's UEFI stub.
    pub stub: Vec<u8>,
    /// The kernel.
    pub kernel: Vec<u8>,
    /// Its release, as `uname -r` says it.
    pub kernel_release: String,
    /// The initramfs.
    pub initramfs: Vec<u8>,
    /// Updates for processors; empty where the target has none. The stub puts it before the initramfs.
    pub microcode: Vec<u8>,
    /// The kernel's command line.
    pub command_line: String,
    /// Content of os-release.
    pub os_release: String,
}

impl Parts {
    /// Reads the parts from an image's output directory.
    ///
    /// # Errors
    /// When one is missing.
    pub fn read(directory: &Path) -> Result<Self> {
        let bytes = |name| {
            let path = directory.join(name);
            fs::read(&path).with_context(|| format!("can't read {}", path.display()))
        };
        let text =
            |name| String::from_utf8(bytes(name)?).with_context(|| format!("{name} is not UTF-8"));
        Ok(Self {
            stub: bytes(STUB)?,
            kernel: bytes(KERNEL)?,
            kernel_release: text(KERNEL_RELEASE)?,
            initramfs: bytes(INITRAMFS)?,
            // of a target that has none there is no file
            microcode: match fs::read(directory.join(MICROCODE)) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
                read => read.with_context(|| format!("can't read {MICROCODE}"))?,
            },
            command_line: text(COMMAND_LINE)?,
            os_release: text(OS_RELEASE)?,
        })
    }

    /// Writes the parts into an image's output directory.
    ///
    /// # Errors
    /// When a file can't be written.
    pub fn write(&self, directory: &Path) -> Result<()> {
        let files: [(&str, &[u8]); 6] = [
            (STUB, &self.stub),
            (KERNEL, &self.kernel),
            (KERNEL_RELEASE, self.kernel_release.as_bytes()),
            (INITRAMFS, &self.initramfs),
            (COMMAND_LINE, self.command_line.as_bytes()),
            (OS_RELEASE, self.os_release.as_bytes()),
        ];
        let microcode =
            Some((MICROCODE, self.microcode.as_slice())).filter(|(_, content)| !content.is_empty());
        for (name, content) in files.into_iter().chain(microcode) {
            let path = directory.join(name);
            fs::write(&path, content).with_context(|| format!("can't write {}", path.display()))?;
        }
        Ok(())
    }
}

/// A finished image.
#[derive(Clone, Debug)]
pub struct Uki {
    /// The UEFI program.
    pub program: Vec<u8>,
    /// PCR 11 as the stub leaves it when the main profile boots.
    pub pcr11: Digest,
    /// The signed policies: JSON, its section `.pcrsig`.
    pub policies: String,
}

/// Links the image and signs its policies. The same parts and key give the same bytes.
///
/// # Errors
/// When the stub is no UEFI program with room for the sections, or the policies can't be signed.
pub fn build(parts: &Parts, release: &Release) -> Result<Uki> {
    let key = release.public_pem()?;
    // what is signed depends on all of the image but its signatures
    let pcr11 = measure::pcr11(&link(parts, &key, None)?, MAIN)?;
    let policies = release.policies(&pcr11)?;
    Ok(Uki {
        program: link(parts, &key, Some(&policies))?,
        pcr11,
        policies,
    })
}

/// Links the image with policies that were signed for another, as whoever changes a part of an image
/// without the publisher's key can.
///
/// # Errors
/// When the stub is no UEFI program with room for the sections.
pub fn with_policies_of(parts: &Parts, release: &Release, signed: &Uki) -> Result<Vec<u8>> {
    link(parts, &release.public_pem()?, Some(&signed.policies))
}

fn link(parts: &Parts, key: &str, policies: Option<&str>) -> Result<Vec<u8>> {
    let data = |name, content| Addition {
        name,
        content,
        kind: Kind::Data,
    };
    let reset = format!("{} {RESET}", parts.command_line);
    let mut sections = vec![
        data(".osrel", parts.os_release.as_bytes()),
        data(".cmdline", parts.command_line.as_bytes()),
        data(".uname", parts.kernel_release.as_bytes()),
        data(".pcrpkey", key.as_bytes()),
    ];
    sections.extend(policies.map(|policies| data(".pcrsig", policies.as_bytes())));
    if !parts.microcode.is_empty() {
        sections.push(data(".ucode", &parts.microcode));
    }
    sections.extend([
        data(".initrd", &parts.initramfs),
        Addition {
            kind: Kind::Code,
            ..data(".linux", &parts.kernel)
        },
        // the first profile is the main one, and has nothing of its own
        data(PROFILE, MAIN_PROFILE.as_bytes()),
        data(PROFILE, RESET_PROFILE.as_bytes()),
        data(".cmdline", reset.as_bytes()),
    ]);
    pe::add_sections(parts.stub.clone(), &sections).context("can't extend the UEFI stub")
}

#[cfg(test)]
mod tests {
    use seal::release::{Phase, ReleasePolicies};

    use super::*;

    fn parts() -> Parts {
        Parts {
            stub: pe::tests::stub(),
            kernel: b"kernel".to_vec(),
            kernel_release: "6.12".to_owned(),
            initramfs: b"initramfs".to_vec(),
            microcode: Vec::new(),
            command_line: "quiet".to_owned(),
            os_release: "ID=k3s-daas\n".to_owned(),
        }
    }

    #[test]
    fn the_policies_are_of_the_finished_image() {
        let uki = build(&parts(), &Release::generate(1).unwrap()).unwrap();
        assert_eq!(measure::pcr11(&uki.program, MAIN).unwrap(), uki.pcr11);
        let policies = ReleasePolicies::from_json(uki.policies.as_bytes()).unwrap();
        let boot = Phase::Boot.predict(&uki.pcr11);
        assert!(policies.find(Phase::Boot, 1, &boot).is_some());
    }

    #[test]
    fn the_profile_that_resets_measures_otherwise() {
        let uki = build(&parts(), &Release::generate(1).unwrap()).unwrap();
        assert_ne!(measure::pcr11(&uki.program, 1).unwrap(), uki.pcr11);
        assert!(measure::pcr11(&uki.program, 2).is_err());
    }

    #[test]
    fn every_part_is_measured() {
        let release = Release::generate(1).unwrap();
        let pcr11 = |change: fn(&mut Parts)| {
            let mut parts = parts();
            change(&mut parts);
            build(&parts, &release).unwrap().pcr11
        };
        let unchanged = pcr11(|_| ());
        let changes: [fn(&mut Parts); 6] = [
            |parts| parts.kernel.push(0),
            |parts| parts.initramfs.push(0),
            |parts| parts.microcode.push(0),
            |parts| parts.command_line.push(' '),
            |parts| parts.os_release.push('\n'),
            |parts| parts.kernel_release.push('1'),
        ];
        for change in changes {
            assert_ne!(pcr11(change), unchanged);
        }
        let other_key = Release::generate(1).unwrap();
        assert_ne!(build(&parts(), &other_key).unwrap().pcr11, unchanged);
        // the version is in what is signed, not in what is measured
        let mut newer = release;
        newer.security_version = 2;
        assert_eq!(build(&parts(), &newer).unwrap().pcr11, unchanged);
    }

    #[test]
    fn parts_come_back_from_an_output_directory() {
        let release = Release::generate(0).unwrap();
        for microcode in [Vec::new(), b"microcode".to_vec()] {
            let parts = Parts {
                microcode,
                ..parts()
            };
            let directory = tempfile::tempdir().unwrap();
            parts.write(directory.path()).unwrap();
            let read = Parts::read(directory.path()).unwrap();
            assert_eq!(
                build(&read, &release).unwrap().program,
                build(&parts, &release).unwrap().program
            );
        }
    }
}
