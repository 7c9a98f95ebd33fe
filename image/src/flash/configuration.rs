//! The configuration that goes onto the EFI system partition: checked by the node's own parsers first.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use config::NodeConfig;
use fatfs::{FileSystem, FsOptions};
use seal::envelope::{Envelope, MAX_FILE};
use seal::node::DOCUMENT_LABEL;
use zeroize::Zeroizing;

use super::plan::Plan;

/// Where the node looks for a plaintext configuration (`init/node/provision/src/configure/document.rs`).
const PLAIN: &str = "daas/node.toml";
/// Where it looks for a sealed one (`init/node/provision/src/configure/sealed_file.rs`).
const SEALED: &str = "daas/node.sealed";

/// What a person names.
#[derive(Debug, Clone)]
pub enum Source {
    /// A `node.toml`.
    Plain(PathBuf),
    /// What `./build.sh seal` wrote.
    Sealed(PathBuf),
}

/// A configuration that passed its check.
#[derive(Debug)]
pub struct Configuration {
    path: &'static str,
    bytes: Zeroizing<Vec<u8>>,
    /// The node's name, where it can be read.
    node: Option<String>,
}

impl Configuration {
    /// Reads and checks one.
    ///
    /// # Errors
    /// With file, line and field, where it is not what the node takes.
    pub fn read(source: &Source) -> Result<Self> {
        match source {
            Source::Plain(path) => plain(path),
            Source::Sealed(path) => sealed(path),
        }
    }

    /// Puts it onto the plan's EFI system partition.
    ///
    /// # Errors
    /// When that has no FAT file system with the directory `daas`, or no room.
    pub fn put(&self, plan: &Plan) -> Result<()> {
        // the directory's entries are read again from a file system of their own: what is checked is what is on the disk
        self.write(plan)?;
        let read = read_file(plan, self.path)?;
        ensure!(
            read == self.bytes,
            "{} reads back as something else",
            self.path
        );
        Ok(())
    }

    fn write(&self, plan: &Plan) -> Result<()> {
        let file_system = file_system(plan)?;
        {
            let mut file = file_system
                .root_dir()
                .create_file(self.path)
                .with_context(|| {
                    format!(
                        "can't create {} on the image's EFI system partition",
                        self.path
                    )
                })?;
            file.write_all(&self.bytes)
                .and_then(|()| file.flush())
                .with_context(|| format!("can't write {}", self.path))?;
        }
        file_system
            .unmount()
            .context("can't write the EFI system partition")
    }

    /// What it is, for people.
    #[must_use]
    pub fn description(&self) -> String {
        match &self.node {
            Some(node) => format!("{} for the node {node:?}", self.path),
            None => format!("{}, which one machine alone opens", self.path),
        }
    }
}

fn file_system(plan: &Plan) -> Result<FileSystem<super::plan::Esp<'_>>> {
    let options = FsOptions::new().update_accessed_date(false);
    FileSystem::new(plan.esp(), options)
        .context("the image's EFI system partition has no FAT file system")
}

fn read_file(plan: &Plan, path: &str) -> Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE));
    let file_system = file_system(plan)?;
    let root = file_system.root_dir();
    let file = root
        .open_file(path)
        .with_context(|| format!("can't open {path}"))?;
    file.take(MAX_FILE as u64)
        .read_to_end(&mut bytes)
        .with_context(|| format!("can't read {path}"))?;
    drop(root);
    Ok(bytes)
}

fn plain(path: &Path) -> Result<Configuration> {
    let bytes = files::read_bounded(path, config::MAXIMUM_LENGTH).map(Zeroizing::new);
    let bytes = bytes.with_context(|| format!("{} can't be read", path.display()))?;
    let text = std::str::from_utf8(&bytes)
        .with_context(|| format!("{} is not UTF-8 text; expected a node.toml", path.display()))?;
    let checked = NodeConfig::parse(&path.display().to_string(), text)?;
    Ok(Configuration {
        path: PLAIN,
        node: Some(checked.public.node_id.to_string()),
        bytes,
    })
}

fn sealed(path: &Path) -> Result<Configuration> {
    let expected = "expected what ./build.sh seal wrote";
    let bytes = files::read_bounded(path, MAX_FILE).map(Zeroizing::new);
    let bytes = bytes.with_context(|| format!("{} can't be read", path.display()))?;
    let envelope = Envelope::from_bytes(&bytes)
        .with_context(|| format!("{} is no sealed configuration; {expected}", path.display()))?;
    ensure!(
        envelope.label() == DOCUMENT_LABEL && envelope.is_from_afar(),
        "{} was sealed by a machine for itself, and is bound to its state and counters; {expected}",
        path.display()
    );
    Ok(Configuration {
        path: SEALED,
        node: None,
        bytes,
    })
}
