//! The unified kernel image: the systemd stub with kernel, initramfs, command line and os-release as
//! sections of one UEFI program (UAPI specification "Unified Kernel Image").

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::tools::Tools;

/// Sections of a PE program begin at multiples of its alignment, 4096 in systemd's stub.
const ALIGNMENT: u64 = 4096;

/// What goes into the image.
#[derive(Debug)]
pub struct Parts<'a> {
    /// systemd's UEFI stub.
    pub stub: &'a Path,
    /// The kernel.
    pub kernel: &'a Path,
    /// Its release, as `uname -r` says it.
    pub release: &'a str,
    /// The initramfs.
    pub initramfs: &'a Path,
    /// The kernel's command line.
    pub command_line: &'a str,
    /// Content of os-release.
    pub os_release: &'a str,
}

/// Builds the image at `path`.
///
/// # Errors
/// When the stub is no PE program or objcopy fails.
pub fn build(parts: &Parts<'_>, tools: &Tools, path: &Path) -> Result<()> {
    let work = tempfile::tempdir().context("can't create a temporary directory")?;
    let text = |name: &str, content: &str| -> Result<std::path::PathBuf> {
        let path = work.path().join(name);
        fs::write(&path, content).with_context(|| format!("can't write {}", path.display()))?;
        Ok(path)
    };
    let sections = [
        (".osrel", text("osrel", parts.os_release)?),
        (".cmdline", text("cmdline", parts.command_line)?),
        (".uname", text("uname", parts.release)?),
        (".initrd", parts.initramfs.to_owned()),
        (".linux", parts.kernel.to_owned()),
    ];
    let stub = fs::read(parts.stub).with_context(|| format!("can't read {}", parts.stub.display()))?;
    let mut address = end_of_image(&stub).with_context(|| format!("{} is no PE program", parts.stub.display()))?;
    // objcopy reads its output's name as its input's when there is one: two names, no time stamps
    let mut run = tools.run("usr/bin/x86_64-linux-gnu-objcopy")?.arg("--enable-deterministic-archives");
    for (name, content) in &sections {
        run = run
            .arg(format!("--add-section={name}={}", content.display()))
            .arg(format!("--set-section-flags={name}=alloc,readonly,data,contents"))
            .arg(format!("--change-section-vma={name}={address:#x}"));
        address += fs::metadata(content)?.len().next_multiple_of(ALIGNMENT);
    }
    run.arg(parts.stub).arg(path).output()?;
    check(&fs::read(path)?, &sections.map(|(name, _)| name)).context("objcopy built an unusable image")
}

/// The header of a PE program (PE Format, "COFF File Header" and "Optional Header").
struct Header {
    sections: Vec<Section>,
    image_base: u64,
    image_size: u64,
}

struct Section {
    name: String,
    address: u64,
    size: u64,
}

fn parse(program: &[u8]) -> Option<Header> {
    let number = |at: usize, length: usize| -> Option<u64> {
        let bytes = program.get(at..at.checked_add(length)?)?;
        Some(bytes.iter().rev().fold(0, |value, byte| (value << 8) | u64::from(*byte)))
    };
    let coff = usize::try_from(number(0x3c, 4)?).ok()?;
    if program.get(..2)? != b"MZ" || program.get(coff..coff + 4)? != b"PE\0\0" {
        return None;
    }
    let count = usize::try_from(number(coff + 6, 2)?).ok()?;
    let optional = coff + 24;
    let optional_size = usize::try_from(number(coff + 20, 2)?).ok()?;
    // 0x20b: PE32+, the only kind that 64-bit firmware starts
    if number(optional, 2)? != 0x20b {
        return None;
    }
    let mut sections = Vec::new();
    for index in 0..count {
        let entry = optional + optional_size + index * 40;
        let name = program.get(entry..entry + 8)?;
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        sections.push(Section {
            name: String::from_utf8_lossy(name).into_owned(),
            size: number(entry + 8, 4)?,
            address: number(entry + 12, 4)?,
        });
    }
    Some(Header { sections, image_base: number(optional + 24, 8)?, image_size: number(optional + 56, 4)? })
}

/// The first free address behind a program's last section, absolute.
fn end_of_image(program: &[u8]) -> Result<u64> {
    let header = parse(program).context("its header is malformed")?;
    let end = header.sections.iter().map(|section| section.address + section.size).max().context("it has no sections")?;
    Ok(header.image_base + end.next_multiple_of(ALIGNMENT))
}

/// Checks that the sections are there, do not overlap and lie inside the image, since firmware loads
/// nothing beyond.
fn check(program: &[u8], names: &[&str]) -> Result<()> {
    let header = parse(program).context("its header is malformed")?;
    for name in names {
        if !header.sections.iter().any(|section| section.name == *name && section.size > 0) {
            bail!("it lacks the section {name}");
        }
    }
    let mut end = 0;
    let mut sections: Vec<&Section> = header.sections.iter().filter(|section| section.size > 0).collect();
    sections.sort_by_key(|section| section.address);
    for section in sections {
        if section.address < end {
            bail!("its section {} begins inside the one before", section.name);
        }
        end = section.address + section.size;
    }
    if end > header.image_size {
        bail!("its sections end at {end:#x}, behind its size of {:#x}", header.image_size);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(sections: &[(&str, u32, u32)], size: u32) -> Vec<u8> {
        let mut bytes = vec![0; 0x200 + sections.len() * 40];
        bytes[..2].copy_from_slice(b"MZ");
        bytes[0x3c] = 0x80;
        bytes[0x80..0x84].copy_from_slice(b"PE\0\0");
        bytes[0x86] = u8::try_from(sections.len()).unwrap();
        bytes[0x94] = 0xf0;
        bytes[0x98..0x9a].copy_from_slice(&0x20b_u16.to_le_bytes());
        bytes[0x98 + 24..0x98 + 32].copy_from_slice(&0x1_4000_0000_u64.to_le_bytes());
        bytes[0x98 + 56..0x98 + 60].copy_from_slice(&size.to_le_bytes());
        for (index, (name, address, length)) in sections.iter().enumerate() {
            let at = 0x98 + 0xf0 + index * 40;
            bytes[at..at + name.len()].copy_from_slice(name.as_bytes());
            bytes[at + 8..at + 12].copy_from_slice(&length.to_le_bytes());
            bytes[at + 12..at + 16].copy_from_slice(&address.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn the_end_is_behind_the_last_section_and_above_the_base() {
        let stub = program(&[(".text", 0x1000, 0x10), (".sdmagic", 0x5000, 0x1001)], 0x7000);
        assert_eq!(end_of_image(&stub).unwrap(), 0x1_4000_7000);
        assert!(end_of_image(b"MZ").is_err());
        assert!(end_of_image(&stub[..0x90]).is_err());
    }

    #[test]
    fn unusable_images_are_refused() {
        check(&program(&[(".linux", 0x1000, 0x1000)], 0x2000), &[".linux"]).unwrap();
        let error = |sections: &[_], size| check(&program(sections, size), &[".linux"]).unwrap_err().to_string();
        assert!(error(&[(".text", 0x1000, 1)], 0x2000).contains("lacks"));
        assert!(error(&[(".linux", 0x1000, 0x1001), (".text", 0x2000, 1)], 0x9000).contains("inside"));
        assert!(error(&[(".linux", 0x1000, 0x1001)], 0x2000).contains("behind its size"));
    }
}
