//! UEFI programs: the section table, read and extended (PE Format).

use anyhow::{Context, Result, bail};

/// Size of one entry of the section table.
const ENTRY: usize = 40;
/// The longest name that an entry of the table holds.
const NAME: usize = 8;

/// What a section holds: its flags (PE Format, "Section Flags").
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Initialised data, readable.
    Data,
    /// Code, readable: how ukify marks the kernel.
    Code,
}

impl Kind {
    fn flags(self) -> u32 {
        match self {
            Self::Data => 0x4000_0040,
            Self::Code => 0x4000_0020,
        }
    }
}

/// A section to be added.
#[derive(Clone, Copy, Debug)]
pub struct Addition<'a> {
    /// Its name, of at most eight bytes.
    pub name: &'a str,
    /// What is in it.
    pub content: &'a [u8],
    /// What it holds.
    pub kind: Kind,
}

/// A section of a program.
#[derive(Clone, Copy, Debug)]
pub struct Section<'a> {
    /// Its name.
    pub name: &'a str,
    /// What the file holds of it.
    content: &'a [u8],
    /// How many zeros stand behind that in memory.
    zeros: usize,
}

impl Section<'_> {
    /// The section as it lies in memory once the program is loaded: exactly as long as its table entry
    /// says, and zeros where the file holds less.
    #[must_use]
    pub fn in_memory(&self) -> Vec<u8> {
        let mut bytes = self.content.to_vec();
        bytes.resize(self.content.len() + self.zeros, 0);
        bytes
    }
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

/// The sections of a program, in the table's order.
///
/// # Errors
/// When it is no UEFI program, or a section lies outside of it.
pub fn sections(program: &[u8]) -> Result<Vec<Section<'_>>> {
    let header = Header::parse(program)?;
    let count = number(program, header.section_count, 2)?;
    (0..count)
        .map(|index| {
            let entry = header.table + index * ENTRY;
            let name = program
                .get(entry..entry + NAME)
                .context("its header is cut off")?;
            let end = name.iter().position(|byte| *byte == 0).unwrap_or(NAME);
            let name =
                std::str::from_utf8(&name[..end]).context("a section's name is not UTF-8")?;
            let length = number(program, entry + 8, 4)?;
            let in_file = number(program, entry + 16, 4)?.min(length);
            let offset = number(program, entry + 20, 4)?;
            let content = program
                .get(offset..offset + in_file)
                .with_context(|| format!("its section {name} is cut off"))?;
            Ok(Section {
                name,
                content,
                zeros: length - in_file,
            })
        })
        .collect()
}

/// Appends sections. They keep their exact lengths, which objcopy would round up: the stub measures them
/// so.
///
/// # Errors
/// When it is no UEFI program, or has no room for them.
pub fn add_sections(mut program: Vec<u8>, sections: &[Addition<'_>]) -> Result<Vec<u8>> {
    let header = Header::parse(&program)?;
    let mut count = number(&program, header.section_count, 2)?;
    if header.table + (count + sections.len()) * ENTRY > header.headers_size {
        bail!(
            "its header has no room for {} more sections",
            sections.len()
        );
    }
    for section in sections {
        let (name, content) = (section.name.as_bytes(), section.content);
        if name.len() > NAME {
            bail!("the section's name {} is too long", section.name);
        }
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
        program[entry..entry + name.len()].copy_from_slice(name);
        set(&mut program, entry + 8, content.len())?;
        set(&mut program, entry + 12, address)?;
        set(&mut program, entry + 16, length)?;
        set(&mut program, entry + 20, offset)?;
        program[entry + 36..entry + 40].copy_from_slice(&section.kind.flags().to_le_bytes());
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

/// Programs for the tests of this crate.
#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A program with a header of 0x600 bytes and one section `.sbat` at 0x1000, which has 3 bytes in the
    /// file and 5 in memory.
    pub(crate) fn stub() -> Vec<u8> {
        let mut bytes = vec![0; 0x800];
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
            (60, 0x600),
            (64, 7),
        ] {
            set(&mut bytes, optional + at, value).unwrap();
        }
        let entry = optional + 0xf0;
        bytes[entry..entry + 5].copy_from_slice(b".sbat");
        for (at, value) in [(8, 5), (12, 0x1000), (16, 3), (20, 0x600)] {
            set(&mut bytes, entry + at, value).unwrap();
        }
        bytes[0x600..0x604].copy_from_slice(b"sbat");
        bytes
    }

    fn data<'a>(name: &'a str, content: &'a [u8]) -> Addition<'a> {
        Addition {
            name,
            content,
            kind: Kind::Data,
        }
    }

    #[test]
    fn sections_keep_their_exact_length_and_do_not_overlap() {
        let content = vec![7; 0x201];
        let kernel = Addition {
            kind: Kind::Code,
            ..data(".linux", &content)
        };
        let image = add_sections(stub(), &[data(".cmdline", b"quiet"), kernel]).unwrap();
        let header = Header::parse(&image).unwrap();
        assert_eq!(number(&image, header.section_count, 2).unwrap(), 3);
        let field =
            |index: usize, at: usize| number(&image, header.table + index * ENTRY + at, 4).unwrap();
        assert_eq!(
            (field(1, 8), field(1, 12), field(1, 16), field(1, 20)),
            (5, 0x2000, 0x200, 0x800)
        );
        assert_eq!(
            (field(2, 8), field(2, 12), field(2, 16), field(2, 20)),
            (0x201, 0x3000, 0x400, 0xa00)
        );
        assert_eq!(field(2, 36), 0x4000_0020);
        assert_eq!(&image[0x800..0x805], b"quiet");
        assert_eq!(&image[0xa00..0xc01], content.as_slice());
        assert_eq!(number(&image, header.image_size, 4).unwrap(), 0x4000);
        assert_eq!(number(&image, header.checksum, 4).unwrap(), 0);
    }

    #[test]
    fn sections_are_read_as_they_lie_in_memory() {
        let image = add_sections(stub(), &[data(".cmdline", b"quiet")]).unwrap();
        let sections = sections(&image).unwrap();
        let [sbat, command_line] = sections.as_slice() else {
            panic!("{sections:?}")
        };
        assert_eq!(
            (sbat.name, sbat.in_memory().as_slice()),
            (".sbat", &b"sba\0\0"[..])
        );
        assert_eq!(
            (command_line.name, command_line.in_memory().as_slice()),
            (".cmdline", &b"quiet"[..])
        );
        assert!(super::sections(&image[..0x602]).is_err(), "cut off");
    }

    #[test]
    fn what_is_no_stub_is_refused() {
        let refused = |program: &[u8]| add_sections(program.to_vec(), &[data(".x", b"")]).is_err();
        assert!(refused(b"MZ") && refused(b"") && refused(&stub()[..0x90]));
        let mut other = stub();
        other[0x98] = 0x0b;
        other[0x99] = 1;
        assert!(refused(&other), "a 32-bit program");
        assert!(add_sections(stub(), &[data(".too-long", b"")]).is_err());
        let many = vec![data(".x", b""); 40];
        assert!(
            add_sections(stub(), &many)
                .unwrap_err()
                .to_string()
                .contains("no room")
        );
    }
}
