//! Loading modules, and what they need, into the kernel.

use std::collections::{BTreeSet, HashSet};
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::index::{Index, normalize};
use crate::command_line::CommandLine;

/// Where Linux keeps modules, by release.
const DIRECTORY: &str = "/usr/lib/modules";
/// `MODULE_INIT_COMPRESSED_FILE`, include/uapi/linux/module.h: the kernel decompresses.
const COMPRESSED_FILE: i32 = 4;
/// How deep soft dependencies may lead from one module to the next.
const DEPTH_LIMIT: u32 = 16;
/// Sysfs is a tree of this depth at most by far (bridges of bridges).
const SYSFS_DEPTH_LIMIT: u32 = 32;
/// `MODALIAS` is bound by the uevent buffer of 2048 bytes.
const MODALIAS_LIMIT: usize = 4096;

/// Why a module is not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The index files can't be read.
    #[error("the index of modules in {} cannot be read", directory.display())]
    Index {
        /// `/usr/lib/modules/<release>`.
        directory: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No module of that name is there.
    #[error("there is no module {module}")]
    Unknown {
        /// The name as it was asked for.
        module: String,
    },
    /// The module's file can't be read, or the kernel refuses it.
    #[error("the module {module} cannot be loaded")]
    Refused {
        /// The module.
        module: String,
        /// What the system said. `ENODEV`: the driver found nothing that it is for; `EKEYREJECTED`
        /// or `EPERM`: its signature is not accepted.
        #[source]
        source: io::Error,
    },
    /// Soft dependencies lead in a circle.
    #[error("the soft dependencies of the module {module} lead too deep")]
    TooDeep {
        /// The module where it was given up.
        module: String,
    },
}

/// Loads modules, each once.
#[derive(Debug)]
pub struct Loader {
    directory: PathBuf,
    index: Index,
    parameters: CommandLine,
    /// Modules that need no further thought: loaded, built in, or refused by the kernel.
    settled: HashSet<String>,
    /// Aliases that were looked up already: many devices have the same.
    known_aliases: HashSet<String>,
    loaded: u32,
}

impl Loader {
    /// Reads the index of the running kernel's modules.
    ///
    /// # Errors
    /// [`LoadError::Index`].
    pub fn open() -> Result<Self, LoadError> {
        let release = rustix::system::uname();
        let directory = Path::new(DIRECTORY).join(release.release().to_string_lossy().as_ref());
        let failed = |source| LoadError::Index {
            directory: directory.clone(),
            source,
        };
        Ok(Self {
            index: Index::read(&directory).map_err(failed)?,
            parameters: CommandLine::read().map_err(failed)?,
            directory,
            settled: HashSet::new(),
            known_aliases: HashSet::new(),
            loaded: 0,
        })
    }

    /// How many modules were loaded so far.
    pub fn loaded(&self) -> u32 {
        self.loaded
    }

    /// Loads a module by name, and before it what it needs. One that is loaded or built in is
    /// fine.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(&mut self, module: &str) -> Result<(), LoadError> {
        self.load_at_depth(&normalize(module), 0)
    }

    /// Loads whatever says it is for this alias. What fails is logged: a driver that finds its
    /// device lacking is nothing unusual.
    pub fn load_for(&mut self, alias: &str) {
        if alias.is_empty() || !self.known_aliases.insert(alias.to_owned()) {
            return;
        }
        let modules: Vec<String> = self.index.modules_for(alias).map(str::to_owned).collect();
        for module in modules {
            if let Err(error) = self.load(&module) {
                let source = std::error::Error::source(&error).map(ToString::to_string);
                let reason = source.unwrap_or_default();
                tracing::debug!(alias, reason, "{error}");
            }
        }
    }

    /// Loads those of these modules, by the names that the kernel gives them, that a device or the
    /// processor asks for, and gives their names. What can't be loaded is logged.
    pub fn load_asked_for(&mut self, wanted: &[&'static str]) -> Vec<&'static str> {
        let aliases = device_aliases();
        let is_asked_for = |module: &str| {
            let mut aliases = aliases.iter();
            aliases.any(|alias| self.index.modules_for(alias).any(|found| found == module))
        };
        let asked_for: Vec<_> = wanted
            .iter()
            .copied()
            .filter(|module| is_asked_for(module))
            .collect();
        for module in &asked_for {
            if let Err(error) = self.load(module) {
                tracing::warn!("{}", log::chain(&error));
            }
        }
        asked_for
    }

    /// Loads the modules for every device that the kernel knows now. The processor's come last:
    /// nobody waits for faster ciphers, but the network is waited for.
    pub fn coldplug(&mut self) {
        let (processor, devices): (Vec<String>, Vec<String>) = device_aliases()
            .into_iter()
            .partition(|alias| alias.starts_with("cpu:"));
        // Backwards, virtio and pci come before acpi and dmi.
        for alias in devices.iter().rev().chain(&processor) {
            self.load_for(alias);
        }
    }

    fn load_at_depth(&mut self, module: &str, depth: u32) -> Result<(), LoadError> {
        if depth > DEPTH_LIMIT {
            return Err(LoadError::TooDeep {
                module: module.to_owned(),
            });
        }
        if self.settled.contains(module) {
            return Ok(());
        }
        if self.index.is_built_in(module) || is_live(module) {
            self.settled.insert(module.to_owned());
            return Ok(());
        }
        let Some((path, needs)) = self.index.module(module) else {
            return self.load_by_alias(module, depth);
        };
        let path = self.directory.join(path);
        let needs = needs.to_vec();
        let (before, after) = self.index.soft_dependencies(module);
        let (before, after) = (before.to_vec(), after.to_vec());

        // Not to come here again from a module that softly depends on this one.
        self.settled.insert(module.to_owned());
        self.load_wished(&before, depth);
        let loaded = needs
            .iter()
            .try_for_each(|needed| self.load_at_depth(needed, depth + 1))
            .and_then(|()| self.insert(module, &path));
        if let Err(error) = loaded {
            // Whoever asks again gets the same answer, not a success.
            self.settled.remove(module);
            return Err(error);
        }
        self.load_wished(&after, depth);
        Ok(())
    }

    /// A name that is no module's file can be an alias, as in `fs-vfat` or `crypto-crc32c`.
    fn load_by_alias(&mut self, name: &str, depth: u32) -> Result<(), LoadError> {
        let modules: Vec<String> = self
            .index
            .modules_for(name)
            .chain(self.index.modules_for(&name.replace('_', "-")))
            .map(str::to_owned)
            .collect();
        if modules.is_empty() {
            return Err(LoadError::Unknown {
                module: name.to_owned(),
            });
        }
        modules
            .iter()
            .try_for_each(|module| self.load_at_depth(module, depth + 1))
    }

    fn load_wished(&mut self, modules: &[String], depth: u32) {
        for module in modules {
            if let Err(error) = self.load_at_depth(module, depth + 1) {
                tracing::debug!("a soft dependency is left out: {error}");
            }
        }
    }

    fn insert(&mut self, module: &str, path: &Path) -> Result<(), LoadError> {
        let refused = |source| LoadError::Refused {
            module: module.to_owned(),
            source,
        };
        let file = File::open(path).map_err(refused)?;
        let parameters = CString::new(self.parameters.module_parameters(module))
            .map_err(|error| refused(error.into()))?;
        let plain = path.extension().is_some_and(|extension| extension == "ko");
        let flags = if plain { 0 } else { COMPRESSED_FILE };
        match rustix::system::finit_module(&file, &parameters, flags) {
            Ok(()) => {
                self.loaded = self.loaded.saturating_add(1);
                Ok(())
            }
            // Loaded by somebody else at the same time.
            Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(refused(error.into())),
        }
    }
}

/// What every device that the kernel knows now asks for, each once.
pub fn device_aliases() -> BTreeSet<String> {
    let mut aliases = BTreeSet::new();
    walk(Path::new("/sys/devices"), 0, &mut aliases);
    aliases
}

fn walk(directory: &Path, depth: u32, aliases: &mut BTreeSet<String>) {
    if depth > SYSFS_DEPTH_LIMIT {
        return;
    }
    // A device can go while its directory is read; then there is nothing to load for it.
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        // Not following links: /sys/devices holds every device once.
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(&entry.path(), depth + 1, aliases),
            Ok(kind) if kind.is_file() && entry.file_name() == "modalias" => {
                aliases.extend(files::read_text(entry.path(), MODALIAS_LIMIT));
            }
            _ => {}
        }
    }
}

/// Whether the kernel has a module of this name, ready (Documentation/ABI/testing/sysfs-module).
fn is_live(module: &str) -> bool {
    files::read_text(format!("/sys/module/{module}/initstate"), 32)
        .is_ok_and(|state| state == "live")
}
