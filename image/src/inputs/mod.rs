//! What a build's result depends on, so that an unchanged one is not built anew.
//!
//! [`Inputs`] lists every input, each by a digest; [`Record`] keeps the list in the output, with what the
//! outputs look like. Where both still agree, the output is what a build would make again.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::build::{OTHER_PROGRAMS, Request};
use crate::digest;
use crate::formats;
use crate::k3s::Source;
use crate::lock::Lock;
use crate::release::Release;
use crate::root;
use crate::target::DIRECTORY;
use crate::tree::{self, Kind};

/// The record's name in the output.
pub const RECORD: &str = "inputs.json";
/// The builder that runs, with all that is compiled into it: its steps, the command line, the version.
const BUILDER: &str = "/proc/self/exe";
/// Files of at most this length are compared by digest as well; a larger one by length and time.
const SMALL: u64 = 1 << 20;

/// The inputs of a build: the name of each, and a digest or the value itself. A new input of the builder is
/// one more [`Inputs::value`], [`Inputs::bytes`] or [`Inputs::file`] in [`Inputs::of`].
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Inputs(BTreeMap<String, String>);

impl Inputs {
    /// The inputs of a request. `None`: one of them is only known once it was fetched, so that nothing can be
    /// said without building.
    ///
    /// # Errors
    /// When an input is missing or can't be read.
    pub fn of(request: &Request) -> Result<Option<Self>> {
        let mut inputs = Self::default();
        inputs.file("builder", Path::new(BUILDER))?;
        for name in ["packages.toml", "packages.lock"] {
            inputs.file(name, &request.definitions.join(name))?;
        }
        // names, versions and digests of what the programs link
        inputs.file("Cargo.lock", &request.workspace().join("Cargo.lock"))?;
        for name in root::PROGRAMS.into_iter().chain(OTHER_PROGRAMS) {
            inputs.file(&format!("program {name}"), &request.programs.find(name)?)?;
        }
        if !inputs.k3s(request)? {
            return Ok(None);
        }
        inputs.value("architecture", &request.architecture);
        let target = format!("{DIRECTORY}/{}.toml", request.target);
        inputs.file(&target, &request.definitions.join(&target))?;
        for overlay in request.overlays() {
            let name = overlay.file_name().unwrap_or_default();
            inputs.folder(&format!("overlay {}", name.to_string_lossy()), &overlay)?;
        }
        inputs.folder("runtime", &request.definitions.join("runtime"))?;
        let release = Release::read(
            &request.release_key,
            request.security_version,
            &request.cache,
        )?;
        inputs.bytes("release key", release.public_pem()?.as_bytes());
        inputs.value("release key is development", release.is_development);
        inputs.value("security version", release.security_version);
        inputs.value("compression", format!("{:?}", request.compression));
        match &request.secure_boot {
            Some(secure_boot) => {
                inputs.file("secure boot key", &secure_boot.key)?;
                inputs.file("secure boot certificate", &secure_boot.certificate)?;
            }
            None => inputs.value("secure boot", "none"),
        }
        Ok(Some(inputs))
    }

    /// Adds a value that is no secret and short.
    pub fn value(&mut self, name: &str, value: impl std::fmt::Display) {
        self.0.insert(name.to_owned(), value.to_string());
    }

    /// Adds bytes, by digest.
    pub fn bytes(&mut self, name: &str, bytes: &[u8]) {
        self.value(name, digest::of_bytes(bytes));
    }

    /// Adds a file's content, by digest.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn file(&mut self, name: &str, path: &Path) -> Result<()> {
        self.value(name, digest::of_file(path)?);
        Ok(())
    }

    /// The names of what differs from `earlier`, in order.
    #[must_use]
    pub fn changes<'a>(&'a self, earlier: &'a Self) -> Vec<&'a str> {
        let names = self.0.keys().chain(earlier.0.keys());
        let mut changed: Vec<&str> = names
            .filter(|name| self.0.get(*name) != earlier.0.get(*name))
            .map(String::as_str)
            .collect();
        changed.sort_unstable();
        changed.dedup();
        changed
    }

    /// Adds k3s without fetching it. False: its digest is not known before.
    fn k3s(&mut self, request: &Request) -> Result<bool> {
        match &request.k3s {
            Source::Double => {
                self.file("k3s double", &request.programs.find("k3s-double")?)?;
            }
            Source::Path(path) => self.file("k3s", path)?,
            Source::Pinned => {
                let lock = Lock::read(&request.definitions.join("packages.lock"))?;
                match lock.k3s {
                    Some(pinned) => self.value("k3s", pinned.sha256),
                    None => return Ok(false),
                }
            }
            Source::Url(url) => match url.split_once("#sha256=") {
                Some((_, sha256)) => self.value("k3s", sha256),
                None => return Ok(false),
            },
        }
        Ok(true)
    }

    /// Adds each file of a directory with the mode that it gets in an image, and its target where it is a link.
    fn folder(&mut self, name: &str, directory: &Path) -> Result<()> {
        for (path, kind, mode) in tree::host_files(directory)? {
            let mode = tree::plain_mode(&kind, mode);
            let content = match kind {
                Kind::Directory => "directory".to_owned(),
                Kind::File(content) => content.sha256()?,
                Kind::Symlink(target) => format!("link to {target}"),
                Kind::CharacterDevice(major, minor) => format!("device {major}:{minor}"),
            };
            self.value(&format!("{name}/{path}"), format!("{mode:04o} {content}"));
        }
        Ok(())
    }
}

/// One file of the output as the build left it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Output {
    /// In bytes.
    size: u64,
    /// When it was written last, nanoseconds since 1970.
    modified: u64,
    /// Its SHA-256, where it is small.
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
}

/// What a build was made from and what it left, kept in the output.
#[derive(Debug, Serialize, Deserialize)]
pub struct Record {
    inputs: Inputs,
    outputs: BTreeMap<String, Output>,
}

/// What a record says about an output.
#[derive(Debug, PartialEq, Eq)]
pub enum State {
    /// It is what a build would make again.
    UpToDate,
    /// It is not, for this reason.
    Stale(String),
}

impl Record {
    /// Writes the record of a finished output.
    ///
    /// # Errors
    /// When the output can't be read, or the record not be written.
    pub fn write(inputs: Inputs, out: &Path) -> Result<()> {
        let record = Self {
            inputs,
            outputs: outputs(out)?,
        };
        let mut text = serde_json::to_string_pretty(&record).context("can't encode the record")?;
        text.push('\n');
        // one that is cut short is no JSON, so it counts as none
        let path = out.join(RECORD);
        fs::write(&path, text)
            .and_then(|()| fs::set_permissions(&path, PermissionsExt::from_mode(0o644)))
            .with_context(|| format!("can't write {}", path.display()))
    }

    /// Compares an output and its record with these inputs.
    #[must_use]
    pub fn compare(inputs: &Inputs, out: &Path) -> State {
        let Some(record) = fs::read(out.join(RECORD))
            .ok()
            .and_then(|text| serde_json::from_slice::<Self>(&text).ok())
        else {
            return State::Stale("there is no record of an earlier build".to_owned());
        };
        let changes = inputs.changes(&record.inputs);
        if !changes.is_empty() {
            return State::Stale(format!("changed: {}", changes.join(", ")));
        }
        match outputs(out) {
            Ok(now) if now == record.outputs => State::UpToDate,
            Ok(now) => {
                let names = record.outputs.keys().chain(now.keys());
                let changed = names
                    .filter(|name| now.get(*name) != record.outputs.get(*name))
                    .min();
                State::Stale(format!(
                    "{} is not as the last build left it",
                    changed.map_or("the output", String::as_str)
                ))
            }
            Err(error) => State::Stale(format!("{error:#}")),
        }
    }
}

/// The files in an output but for the record, and for what was converted from them.
fn outputs(out: &Path) -> Result<BTreeMap<String, Output>> {
    let mut outputs = BTreeMap::new();
    let unreadable = || format!("can't read {}", out.display());
    for entry in fs::read_dir(out).with_context(unreadable)? {
        let entry = entry.with_context(unreadable)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == RECORD || name == formats::DIRECTORY {
            continue;
        }
        let metadata = entry.metadata().with_context(unreadable)?;
        let modified = metadata.modified().with_context(unreadable)?;
        let sha256 = (metadata.is_file() && metadata.len() <= SMALL)
            .then(|| digest::of_file(&entry.path()))
            .transpose()?;
        outputs.insert(
            name,
            Output {
                size: metadata.len(),
                modified: nanoseconds(modified),
                sha256,
            },
        );
    }
    Ok(outputs)
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
