//! Configuration drives, as clouds and hypervisors attach them.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use fatfs::{FileSystem, FormatVolumeOptions, FsOptions, format_volume};
use fscommon::BufStream;

/// Small, and more than the smallest that FAT16 takes.
const FAT_SIZE: u64 = 16 * 1024 * 1024;
/// Of an optical medium (ECMA-119, section 6.1.2).
const SECTOR: usize = 2048;
/// Where what lies: the descriptors, then what they tell of.
const PATH_TABLE: u32 = 18;
const ROOT: u32 = 20;
const FILE: u32 = 21;

/// A volume of FAT, without a partition table. `path` is a file on it and `label` its label.
///
/// # Errors
/// When it cannot be written.
pub fn fat(image: &Path, label: &str, path: &str, content: &[u8]) -> Result<PathBuf> {
    let mut name = [b' '; 11];
    name.get_mut(..label.len())
        .context("the label is too long")?
        .copy_from_slice(label.as_bytes());
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(image)
        .with_context(|| format!("cannot create {}", image.display()))?;
    file.set_len(FAT_SIZE).context("cannot size a drive")?;
    let mut stream = BufStream::new(file);
    format_volume(&mut stream, FormatVolumeOptions::new().volume_label(name))
        .context("cannot make a drive")?;
    let volume = FileSystem::new(stream, FsOptions::new()).context("cannot open a drive")?;
    {
        let mut folder = volume.root_dir();
        let mut parts: Vec<&str> = path.split('/').collect();
        let name = parts.pop().context("a file has no name")?;
        for part in parts {
            folder = folder.create_dir(part).context("no folder on a drive")?;
        }
        let mut file = folder.create_file(name).context("no file on a drive")?;
        file.write_all(content).context("cannot write a drive")?;
    }
    volume.unmount().context("cannot write a drive")?;
    Ok(image.to_owned())
}

/// What a file of [`fat`] holds; none: it is not there.
///
/// # Errors
/// When the drive cannot be read.
pub fn read_fat(image: &Path, path: &str) -> Result<Option<Vec<u8>>> {
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(image)
        .with_context(|| format!("cannot open {}", image.display()))?;
    let volume = FileSystem::new(BufStream::new(file), FsOptions::new()).context("no drive")?;
    let root = volume.root_dir();
    match root.open_file(path) {
        Ok(mut file) => {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut file, &mut bytes).context("cannot read a drive")?;
            Ok(Some(bytes))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context("cannot look into a drive"),
    }
}

/// A volume of ISO 9660 with one file in its root (ECMA-119, sections 8 and 9), with the names that the
/// tools of NoCloud write: in lower case, and without a version.
///
/// # Errors
/// When it cannot be written, or the file is longer than a sector.
pub fn iso9660(image: &Path, label: &str, name: &str, content: &[u8]) -> Result<PathBuf> {
    let sectors = content.len().div_ceil(SECTOR);
    let total = FILE + u32::try_from(sectors).context("too long")?;
    let mut bytes = vec![0_u8; total as usize * SECTOR];
    ensure!(label.len() <= 32 && name.len() <= 30, "a name is too long");

    let root = |name: &[u8]| record(name, ROOT, SECTOR as u32, true);
    let mut descriptor = vec![0_u8; SECTOR];
    put(&mut descriptor, 0, b"\x01CD001\x01")?;
    put(&mut descriptor, 8, &[b' '; 64])?;
    put(&mut descriptor, 40, label.as_bytes())?;
    put(&mut descriptor, 80, &both32(total))?;
    put(&mut descriptor, 120, &both16(1))?;
    put(&mut descriptor, 124, &both16(1))?;
    put(&mut descriptor, 128, &both16(SECTOR as u16))?;
    put(&mut descriptor, 132, &both32(10))?;
    put(&mut descriptor, 140, &PATH_TABLE.to_le_bytes())?;
    put(&mut descriptor, 148, &(PATH_TABLE + 1).to_be_bytes())?;
    put(&mut descriptor, 156, &root(&[0]))?;
    put(&mut descriptor, 881, &[1])?;
    put(&mut bytes, 16 * SECTOR, &descriptor)?;
    put(&mut bytes, 17 * SECTOR, b"\xffCD001\x01")?;

    // a path table with the root alone: length of its name, sector, parent, name
    let table = |sector: [u8; 4], parent: [u8; 2]| [&[1, 0][..], &sector, &parent, &[0]].concat();
    let little = table(ROOT.to_le_bytes(), 1_u16.to_le_bytes());
    let big = table(ROOT.to_be_bytes(), 1_u16.to_be_bytes());
    put(&mut bytes, PATH_TABLE as usize * SECTOR, &little)?;
    put(&mut bytes, (PATH_TABLE as usize + 1) * SECTOR, &big)?;

    let length = u32::try_from(content.len()).context("too long")?;
    let entries = [
        root(&[0]),
        root(&[1]),
        record(name.as_bytes(), FILE, length, false),
    ];
    put(&mut bytes, ROOT as usize * SECTOR, &entries.concat())?;
    put(&mut bytes, FILE as usize * SECTOR, content)?;
    std::fs::write(image, bytes).with_context(|| format!("cannot write {}", image.display()))?;
    Ok(image.to_owned())
}

/// An entry of a folder (ECMA-119, section 9.1).
fn record(name: &[u8], sector: u32, length: u32, folder: bool) -> Vec<u8> {
    let mut record = vec![0_u8, 0];
    record.extend(both32(sector));
    record.extend(both32(length));
    // 2026-01-01, 00:00:00, Greenwich
    record.extend([126, 1, 1, 0, 0, 0, 0]);
    record.extend([if folder { 2 } else { 0 }, 0, 0]);
    record.extend(both16(1));
    record.push(name.len() as u8);
    record.extend(name);
    if record.len() % 2 == 1 {
        record.push(0);
    }
    record[0] = record.len() as u8;
    record
}

/// A number in both orders of bytes (ECMA-119, sections 7.2.3 and 7.3.3).
fn both16(number: u16) -> Vec<u8> {
    [number.to_le_bytes(), number.to_be_bytes()].concat()
}

fn both32(number: u32) -> Vec<u8> {
    [number.to_le_bytes(), number.to_be_bytes()].concat()
}

fn put(bytes: &mut [u8], at: usize, part: &[u8]) -> Result<()> {
    bytes
        .get_mut(at..at + part.len())
        .context("the drive is too small")?
        .copy_from_slice(part);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drive_of_fat_holds_its_file_below_folders() {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("drive");
        fat(&image, "config-2", "openstack/latest/user_data", b"text").unwrap();
        let path = "openstack/latest/user_data";
        assert_eq!(read_fat(&image, path).unwrap().unwrap(), b"text");
        assert_eq!(read_fat(&image, "user-data").unwrap(), None);
        let bytes = std::fs::read(&image).unwrap();
        assert_eq!(&bytes[43..54], b"config-2   ");
    }

    #[test]
    fn an_optical_drive_has_its_descriptors_where_they_belong() {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("drive");
        let content = [b'x'; SECTOR + 1];
        iso9660(&image, "cidata", "user-data", &content).unwrap();
        let bytes = std::fs::read(&image).unwrap();
        assert_eq!(bytes.len(), (FILE as usize + 2) * SECTOR);
        assert_eq!(&bytes[16 * SECTOR..16 * SECTOR + 6], b"\x01CD001");
        assert_eq!(&bytes[16 * SECTOR + 40..16 * SECTOR + 47], b"cidata ");
        let root = &bytes[ROOT as usize * SECTOR..];
        // two records of the folder itself, then the file's
        assert_eq!((root[0], root[34]), (34, 34));
        assert_eq!(&root[68 + 33..68 + 33 + 9], b"user-data");
    }
}
