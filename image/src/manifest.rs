//! `manifest.json`: what an image holds and where each file comes from.

use anyhow::{Context, Result};
use serde::Serialize;

use crate::lock::LockedRelease;
use crate::runtime::Runtime;
use crate::tree::{Content, Entry, Kind, Tree};

/// The whole manifest.
#[derive(Debug, Default, Serialize)]
pub struct Manifest {
    /// Format of this document.
    pub format: u32,
    /// Version of the image.
    pub version: String,
    /// The machines that it is for: a target's name.
    pub target: String,
    /// Debian's name of the processor's architecture.
    pub architecture: String,
    /// Date of everything, Unix seconds.
    pub source_date_epoch: u64,
    /// Kernel release.
    pub kernel: String,
    /// k3s: its version, or `double`.
    pub k3s: String,
    /// SHA-256 of the k3s program.
    pub k3s_sha256: String,
    /// The container runtime: toolchains, programs, linked modules with their licences.
    pub runtime: Runtime,
    /// dm-verity's root hash.
    pub root_hash: String,
    /// The kernel's command line.
    pub command_line: String,
    /// PCR 11 as the boot stub leaves it, in hexadecimal: what is registered on chain for the image.
    pub pcr11: String,
    /// The public part of the key that signed the image's policies: a compressed P-256 point, in
    /// hexadecimal.
    pub release_key: String,
    /// That key is not a publisher's: it was made on the machine that built the image.
    pub release_key_is_development: bool,
    /// The image opens what is sealed for this floor and those below.
    pub security_version: u16,
    /// Boot loader and kernel image are signed for Secure Boot.
    pub secure_boot: bool,
    /// Debian's signed release files: `checked_by` of a file names the archive.
    pub signatures: Vec<LockedRelease>,
    /// The files that the builder wrote.
    pub parts: Vec<Part>,
    /// The files of the root.
    pub root: Vec<File>,
    /// The files of the initramfs.
    pub initramfs: Vec<File>,
}

/// One file that the builder wrote.
#[derive(Debug, Serialize)]
pub struct Part {
    /// Its name in the output directory.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// Its SHA-256; absent for the disk image, which is made of the other parts and mostly holes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// One file of a tree.
#[derive(Debug, Serialize)]
pub struct File {
    /// Absolute path.
    pub path: String,
    /// `directory`, `file`, `symlink` or `device`.
    pub kind: &'static str,
    /// Permission bits, octal.
    pub mode: String,
    /// Where it comes from.
    pub origin: String,
    /// The signature or pin that checked it ([`crate::provenance::checked_by`]); empty until it is known.
    pub checked_by: String,
    /// A regular file's length in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// A regular file's SHA-256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// A symbolic link's target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// The manifest's list of a tree's files, in order.
///
/// # Errors
/// When a file can't be read.
pub fn files(tree: &Tree) -> Result<Vec<File>> {
    tree.iter().map(|(path, entry)| file(path, entry)).collect()
}

/// The manifest's line for one file.
///
/// # Errors
/// When the file can't be read.
pub fn file(path: &str, entry: &Entry) -> Result<File> {
    let (kind, content, target) = match &entry.kind {
        Kind::Directory => ("directory", None, None),
        Kind::File(content) => ("file", Some(content), None),
        Kind::Symlink(target) => ("symlink", None, Some(target.clone())),
        Kind::CharacterDevice(..) => ("device", None, None),
    };
    Ok(File {
        path: format!("/{path}"),
        kind,
        mode: format!("{:04o}", entry.mode),
        origin: entry.origin.clone(),
        checked_by: String::new(),
        size: content.map(Content::size).transpose()?,
        sha256: content.map(Content::sha256).transpose()?,
        target,
    })
}

impl Manifest {
    /// The document, with a line end.
    ///
    /// # Errors
    /// Never in practice.
    pub fn to_json(&self) -> Result<String> {
        let mut text = serde_json::to_string_pretty(self).context("can't encode the manifest")?;
        text.push('\n');
        Ok(text)
    }
}
