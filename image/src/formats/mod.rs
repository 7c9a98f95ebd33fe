//! The formats in which clouds, hypervisors and flashing tools take the disk image, each the same byte for byte for
//! the same image. They are written here and not by qemu-img, because that puts the time and random numbers into some.

mod bmap;
mod ova;
mod qcow2;
mod source;
mod vhd;
mod vmdk;

use std::fs::{self, File};
use std::io::{BufWriter, Read as _, Write as _};
use std::ops::RangeInclusive;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use gptman::GPT;
use serde::Deserialize;

use crate::digest;
use crate::progress::{human_size, step};
use crate::release::Release;
use crate::sbom;
use crate::sparse;
use source::Source;

/// Directory of the formats in an image's output.
pub const DIRECTORY: &str = "formats";
/// The list of digests, and its signature by the release key.
const SUMS: &str = "SHA256SUMS";
const SIGNATURE: &str = "SHA256SUMS.sig";
/// What lies beside the formats, so that the directory can be published as it is.
const BESIDE: [&str; 3] = ["manifest.json", "release.pem", sbom::NAME];
/// zstd's level for the raw image: what it holds is compressed already, but for zeros.
const LEVEL: i32 = 3;
const GIB: u64 = 1 << 30;
/// What is written of a partition that the image leaves empty, so that no tool keeps what a disk held there before: the
/// node takes a state partition for a new one whose first 16 MiB are zeros.
const EMPTY: u64 = 16 << 20;

/// One format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Format {
    /// The raw image, compressed with zstd, and its block map: for bmaptool, dd, and flashing tools
    Raw,
    /// For QEMU, libvirt, Proxmox, OpenStack
    Qcow2,
    /// For VMware, and for the import of EC2
    Vmdk,
    /// Of fixed size: for Azure and Hyper-V
    Vhd,
    /// disk.raw of whole GiB in a tar archive, compressed with gzip: for Google Cloud
    Gce,
    /// A machine with its disk: for VMware and VirtualBox
    Ova,
}

/// The facts of an image that names and identities come from.
#[derive(Debug, Deserialize)]
struct Facts {
    version: String,
    target: String,
    architecture: String,
    root_hash: String,
    source_date_epoch: u64,
}

/// Writes an image in these formats into [`DIRECTORY`] of its output, with what is published beside them, the list of
/// digests, and its signature. What was there before goes.
///
/// # Errors
/// When the image is not complete or of another release key, or a file can't be written; the directory is then as it
/// was.
pub fn write(image: &Path, formats: &[Format], release: &Release) -> Result<()> {
    let text = fs::read(image.join("manifest.json")).context("can't read the image's manifest")?;
    let facts: Facts =
        serde_json::from_slice(&text).context("the image's manifest is malformed")?;
    let key = fs::read_to_string(image.join("release.pem"));
    ensure!(
        key.context("can't read the image's release.pem")? == release.public_pem()?,
        "the image's policies are signed by another release key than the one that would sign its digests; name the \
         image's own with --release-key"
    );
    let source = Source::open(&image.join("disk.raw"))?;
    let staging = tempfile::Builder::new()
        .prefix(".formats.")
        .tempdir_in(image)
        .with_context(|| format!("can't write in {}", image.display()))?;
    let writer = Writer {
        disk: image.join("disk.raw"),
        stem: format!(
            "k3s-daas-{}-{}-{}",
            facts.version, facts.target, facts.architecture
        ),
        facts,
        source,
        directory: staging.path().to_owned(),
    };
    let mut formats = formats.to_vec();
    formats.sort_unstable();
    formats.dedup();
    for format in formats {
        writer.write(format)?;
    }
    for name in BESIDE {
        fs::copy(image.join(name), staging.path().join(name))
            .with_context(|| format!("can't copy {name}"))?;
    }
    let sums = sums(staging.path())?;
    fs::write(staging.path().join(SUMS), &sums).context("can't write the list of digests")?;
    fs::write(
        staging.path().join(SIGNATURE),
        release.sign(sums.as_bytes()),
    )
    .context("can't write the signature")?;
    crate::build::open_to_all(staging.path())?;

    let directory = image.join(DIRECTORY);
    match fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("can't remove {}", directory.display()));
        }
        _ => {}
    }
    fs::rename(staging.keep(), &directory)
        .with_context(|| format!("can't write {}", directory.display()))?;
    step(format!("formats: in {}", directory.display()));
    Ok(())
}

/// Writes one image.
struct Writer {
    disk: std::path::PathBuf,
    facts: Facts,
    /// How the files' names begin.
    stem: String,
    source: Source,
    directory: std::path::PathBuf,
}

impl Writer {
    fn write(&self, format: Format) -> Result<()> {
        match format {
            Format::Raw => self.raw(),
            Format::Qcow2 => {
                self.file("qcow2", |out| qcow2::write(&self.source, out))?;
                Ok(())
            }
            Format::Vmdk => {
                self.vmdk()?;
                Ok(())
            }
            Format::Vhd => self.vhd(),
            Format::Gce => self.gce(),
            Format::Ova => self.ova(),
        }
    }

    /// Writes a file with this ending, and says how long it is.
    fn file(
        &self,
        ending: &str,
        content: impl FnOnce(&mut BufWriter<File>) -> Result<()>,
    ) -> Result<String> {
        let name = format!("{}.{ending}", self.stem);
        let path = self.directory.join(&name);
        let write = || -> Result<u64> {
            let mut out = BufWriter::with_capacity(1 << 20, File::create_new(&path)?);
            content(&mut out)?;
            out.flush()?;
            Ok(fs::metadata(&path)?.len())
        };
        let size = write().with_context(|| format!("can't write {}", path.display()))?;
        step(format!("formats: {name} {}", human_size(size)));
        Ok(name)
    }

    fn raw(&self) -> Result<()> {
        self.file("raw.zst", |out| {
            let mut encoder = zstd::Encoder::new(out, LEVEL)?;
            encoder.set_pledged_src_size(Some(self.source.size))?;
            encoder.include_contentsize(true)?;
            std::io::copy(&mut self.source.stream(self.source.size), &mut encoder)?;
            encoder.finish()?;
            Ok(())
        })?;
        let zeros = empty_partitions(&self.disk)?;
        self.file("raw.bmap", |out| {
            Ok(out.write_all(bmap::map(&self.source, &zeros)?.as_bytes())?)
        })?;
        Ok(())
    }

    fn vmdk(&self) -> Result<String> {
        let name = format!("{}.vmdk", self.stem);
        let identity = digest::uuid("vmdk", &self.facts.root_hash);
        let identity = u32::from_be_bytes([identity[0], identity[1], identity[2], identity[3]]);
        self.file("vmdk", |out| {
            vmdk::write(&self.source, &name, identity, out)
        })
    }

    fn vhd(&self) -> Result<()> {
        let identity = digest::uuid("vhd", &self.facts.root_hash);
        let footer = vhd::footer(&self.source, self.facts.source_date_epoch, identity)?;
        self.file("vhd", |out| {
            use std::os::unix::fs::FileExt as _;
            let out = out.get_ref();
            out.set_len(self.source.size)?;
            sparse::copy(&File::open(&self.disk)?, out, 0)?;
            Ok(out.write_all_at(&footer, self.source.size)?)
        })?;
        Ok(())
    }

    /// Google takes a disk of whole GiB, in the GNU format of tar ("Import a boot disk image manually").
    fn gce(&self) -> Result<()> {
        let size = self.source.size.next_multiple_of(GIB);
        self.file("tar.gz", |out| {
            let encoder = GzEncoder::new(out, Compression::fast());
            let mut archive = tar::Builder::new(encoder);
            let mut header = header(size, self.facts.source_date_epoch);
            archive.append_data(&mut header, "disk.raw", self.source.stream(size))?;
            archive.into_inner()?.finish()?;
            Ok(())
        })?;
        Ok(())
    }

    fn ova(&self) -> Result<()> {
        let existing = self.directory.join(format!("{}.vmdk", self.stem));
        let written_for_this = !existing.exists();
        let vmdk = if written_for_this {
            self.vmdk()?
        } else {
            format!("{}.vmdk", self.stem)
        };
        let path = self.directory.join(&vmdk);
        let size = fs::metadata(&path)?.len();
        let description = ova::description(&vmdk, self.source.size, size, &self.facts.version);
        let ovf = format!("{}.ovf", self.stem);
        let members = [
            (ovf.as_str(), digest::of_bytes(description.as_bytes())),
            (vmdk.as_str(), digest::of_file(&path)?),
        ];
        let manifest = ova::manifest(&members);
        self.file("ova", |out| {
            let mut archive = tar::Builder::new(out);
            let date = self.facts.source_date_epoch;
            let mut add = |name: &str, size: u64, content: &mut dyn std::io::Read| {
                archive.append_data(&mut header(size, date), name, content)
            };
            add(&ovf, description.len() as u64, &mut description.as_bytes())?;
            add(
                &format!("{}.mf", self.stem),
                manifest.len() as u64,
                &mut manifest.as_bytes(),
            )?;
            add(&vmdk, size, &mut File::open(&path)?.take(size))?;
            archive.finish()?;
            Ok(())
        })?;
        if written_for_this {
            fs::remove_file(&path).with_context(|| format!("can't remove {}", path.display()))?;
        }
        Ok(())
    }
}

/// A regular file's header in the GNU format.
fn header(size: u64, date: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(date);
    header.set_entry_type(tar::EntryType::Regular);
    header
}

/// The beginnings of the partitions that hold nothing but zeros, as byte ranges.
fn empty_partitions(disk: &Path) -> Result<Vec<RangeInclusive<u64>>> {
    use std::os::unix::fs::FileExt as _;
    let mut file = File::open(disk).with_context(|| format!("can't open {}", disk.display()))?;
    let table = GPT::find_from(&mut file).context("the disk image has no partition table")?;
    let mut ranges = Vec::new();
    for (_, partition) in table.iter().filter(|(_, partition)| partition.is_used()) {
        let start = partition.starting_lba * table.sector_size;
        let end = (partition.ending_lba + 1) * table.sector_size;
        let length = EMPTY.min(end - start);
        let mut beginning = vec![0; usize::try_from(length)?];
        file.read_exact_at(&mut beginning, start)
            .context("can't read the disk image")?;
        if beginning.iter().all(|byte| *byte == 0) {
            ranges.push(start..=start + length - 1);
        }
    }
    Ok(ranges)
}

/// The digests of all files of a directory, in the order of their names, as sha256sum(1) writes and checks them.
fn sums(directory: &Path) -> Result<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    let line = |name: &String| {
        Ok(format!(
            "{}  {name}\n",
            digest::of_file(&directory.join(name))?
        ))
    };
    names.iter().map(line).collect()
}

#[cfg(test)]
mod tests;
