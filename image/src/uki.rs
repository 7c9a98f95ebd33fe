//! The unified kernel image: systemd's stub with kernel, initramfs, command line and os-release as
//! sections of one UEFI program (UAPI specification "Unified Kernel Image").
//!
//! The sections are added here rather than by objcopy, which rounds their lengths up: the stub measures
//! a section's exact content into PCR 11, and whoever predicts that value hashes the files themselves.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Size of one entry of the section table.
const ENTRY: usize = 40;
/// Section flags (PE Format, "Section Flags"): initialised data, readable.
const DATA: u32 = 0x4000_0040;
/// Code, readable: how ukify marks the kernel.
const CODE: u32 = 0x4000_0020;

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
/// When the stub is no UEFI program with room for the sections, or a file can't be read or written.
pub fn build(parts: &Parts<'_>, path: &Path) -> Result<()> {
    let read =
        |path: &Path| fs::read(path).with_context(|| format!("can't read {}", path.display()));
    let stub = read(parts.stub)?;
    let sections = [
        (".osrel", parts.os_release.as_bytes(), DATA),
        (".cmdline", parts.command_line.as_bytes(), DATA),
        (".uname", parts.release.as_bytes(), DATA),
        (".initrd", &read(parts.initramfs)?, DATA),
        // last, as in ukify: nothing stands behind it that it could run over
        (".linux", &read(parts.kernel)?, CODE),
    ];
    let image = add_sections(stub, &sections)
        .with_context(|| format!("can't extend {}", parts.stub.display()))?;
    fs::write(path, image).with_context(|| format!("can't write {}", path.display()))
}

/// Where the fields of a program's header are (PE Format, "COFF File Header", "Optional Header").
struct Header {
    /// Offset of the number of sections.
    section_count: usize,
    /// Offset of the size of all initialised data.
    data_size: usize,
    /// Offset of the size of the loaded image.
    image_size: usize,
    /// Offset of the checksum.
    checksum: usize,
    /// Offset of the section table.
    table: usize,
    /// Where the first section's content may begin.
    headers_size: usize,
    section_alignment: usize,
    file_alignment: usize,
}

/// Reads a little-endian number of up to four bytes.
fn number(program: &[u8], at: usize, length: usize) -> Result<usize> {
    let bytes = at
        .checked_add(length)
        .and_then(|end| program.get(at..end))
        .context("its header is cut off")?;
    Ok(bytes
        .iter()
        .rev()
        .fold(0, |value, byte| (value << 8) | usize::from(*byte)))
}

/// Writes a little-endian number of four bytes.
fn set(program: &mut [u8], at: usize, value: usize) -> Result<()> {
    let value = u32::try_from(value).context("it would be longer than a UEFI program can be")?;
    program
        .get_mut(at..at + 4)
        .context("its header is cut off")?
        .copy_from_slice(&value.to_le_bytes());
    Ok(())
}

impl Header {
    fn parse(program: &[u8]) -> Result<Self> {
        let coff = number(program, 0x3c, 4)?;
        // 0x20b: PE32+, the only kind that 64-bit firmware starts
        if !program.starts_with(b"MZ")
            || number(program, coff, 4)? != 0x4550
            || number(program, coff + 24, 2)? != 0x20b
        {
            bail!("it is no 64-bit UEFI program");
        }
        let optional = coff + 24;
        let header = Self {
            section_count: coff + 6,
            data_size: optional + 8,
            image_size: optional + 56,
            checksum: optional + 64,
            table: optional + number(program, coff + 20, 2)?,
            headers_size: number(program, optional + 60, 4)?,
            section_alignment: number(program, optional + 32, 4)?,
            file_alignment: number(program, optional + 36, 4)?,
        };
        if !header.section_alignment.is_power_of_two() || !header.file_alignment.is_power_of_two() {
            bail!("its alignment is no power of two");
        }
        Ok(header)
    }

    /// The end of the last section in memory.
    fn end(&self, program: &[u8]) -> Result<usize> {
        let mut end = self.headers_size;
        for index in 0..number(program, self.section_count, 2)? {
            let entry = self.table + index * ENTRY;
            end = end.max(number(program, entry + 12, 4)? + number(program, entry + 8, 4)?);
        }
        Ok(end)
    }
}

/// Appends sections: name, content and flags of each.
fn add_sections(mut program: Vec<u8>, sections: &[(&str, &[u8], u32)]) -> Result<Vec<u8>> {
    let header = Header::parse(&program)?;
    let mut count = number(&program, header.section_count, 2)?;
    if header.table + (count + sections.len()) * ENTRY > header.headers_size {
        bail!(
            "its header has no room for {} more sections",
            sections.len()
        );
    }
    for (name, content, flags) in sections {
        let entry = header.table + count * ENTRY;
        let address = header
            .end(&program)?
            .next_multiple_of(header.section_alignment);
        let offset = program.len().next_multiple_of(header.file_alignment);
        let length = content.len().next_multiple_of(header.file_alignment);
        program.resize(offset, 0);
        program.extend_from_slice(content);
        program.resize(offset + length, 0);
        program[entry..entry + ENTRY].fill(0);
        program[entry..entry + name.len()].copy_from_slice(name.as_bytes());
        set(&mut program, entry + 8, content.len())?;
        set(&mut program, entry + 12, address)?;
        set(&mut program, entry + 16, length)?;
        set(&mut program, entry + 20, offset)?;
        program[entry + 36..entry + 40].copy_from_slice(&flags.to_le_bytes());
        count += 1;
        let low_bytes = u16::try_from(count)
            .context("it has too many sections")?
            .to_le_bytes();
        program[header.section_count..header.section_count + 2].copy_from_slice(&low_bytes);
        let data = number(&program, header.data_size, 4)? + length;
        set(&mut program, header.data_size, data)?;
    }
    let end = header
        .end(&program)?
        .next_multiple_of(header.section_alignment);
    set(&mut program, header.image_size, end)?;
    // firmware does not look at it for applications; an old value would be wrong
    set(&mut program, header.checksum, 0)?;
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program with a header of 0x400 bytes and one section at 0x1000.
    fn stub() -> Vec<u8> {
        let mut bytes = vec![0; 0x600];
        bytes[..2].copy_from_slice(b"MZ");
        bytes[0x3c] = 0x80;
        bytes[0x80..0x84].copy_from_slice(b"PE\0\0");
        bytes[0x86] = 1;
        bytes[0x94] = 0xf0;
        let optional = 0x98;
        bytes[optional..optional + 2].copy_from_slice(&0x20b_u16.to_le_bytes());
        for (at, value) in [
            (32, 0x1000),
            (36, 0x200),
            (56, 0x2000),
            (60, 0x400),
            (64, 7),
        ] {
            set(&mut bytes, optional + at, value).unwrap();
        }
        let entry = optional + 0xf0;
        bytes[entry..entry + 5].copy_from_slice(b".text");
        for (at, value) in [(8, 0x1001), (12, 0x1000), (16, 0x200), (20, 0x400)] {
            set(&mut bytes, entry + at, value).unwrap();
        }
        bytes
    }

    #[test]
    fn sections_keep_their_exact_length_and_do_not_overlap() {
        let content = vec![7; 0x201];
        let image = add_sections(
            stub(),
            &[(".cmdline", b"quiet", DATA), (".linux", &content, CODE)],
        )
        .unwrap();
        let header = Header::parse(&image).unwrap();
        assert_eq!(number(&image, header.section_count, 2).unwrap(), 3);
        let field =
            |index: usize, at: usize| number(&image, header.table + index * ENTRY + at, 4).unwrap();
        assert_eq!(
            (field(1, 8), field(1, 12), field(1, 16), field(1, 20)),
            (5, 0x3000, 0x200, 0x600)
        );
        assert_eq!(
            (field(2, 8), field(2, 12), field(2, 16), field(2, 20)),
            (0x201, 0x4000, 0x400, 0x800)
        );
        assert_eq!(&image[0x600..0x605], b"quiet");
        assert_eq!(&image[0x800..0xa01], content.as_slice());
        assert_eq!(number(&image, header.image_size, 4).unwrap(), 0x5000);
        assert_eq!(number(&image, header.checksum, 4).unwrap(), 0);
    }

    #[test]
    fn what_is_no_stub_is_refused() {
        let refused =
            |program: &[u8]| add_sections(program.to_vec(), &[(".x", b"", DATA)]).is_err();
        assert!(refused(b"MZ") && refused(b"") && refused(&stub()[..0x90]));
        let mut other = stub();
        other[0x98] = 0x0b;
        other[0x99] = 1;
        assert!(refused(&other), "a 32-bit program");
        let many = vec![(".x", &b""[..], DATA); 20];
        assert!(
            add_sections(stub(), &many)
                .unwrap_err()
                .to_string()
                .contains("no room")
        );
    }
}
