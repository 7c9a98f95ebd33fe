//! `targets/<name>.toml`: what an image has because of the machines that it is for.
//!
//! A target names its kernel, the modules that its machines need with the reason for each group, firmware, and the
//! console. A machine that needs another driver, or another kind of machine, is a change of these files alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::wanted::RootPackage;

/// Directory of the targets, beside packages.toml.
pub const DIRECTORY: &str = "targets";

/// One target.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Its name: the file's, without `.toml`.
    #[serde(skip)]
    pub name: String,
    /// The machines that it is for, in one sentence.
    pub purpose: String,
    /// The kernel command line's part about consoles; the last one is PID 1's standard output.
    pub console: String,
    /// The kernel.
    pub kernel: Kernel,
    /// Groups of modules.
    #[serde(default)]
    pub modules: Vec<Modules>,
    /// Files that drivers load into devices.
    #[serde(default)]
    pub firmware: Vec<Firmware>,
    /// Updates for processors, which the kernel applies before anything else.
    pub microcode: Option<Microcode>,
}

/// A target's kernel.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// Debian's metapackage, by architecture; its first dependency is the package that holds the kernel.
    pub package: BTreeMap<String, String>,
    /// Patterns of modules to leave out, below `usr/lib/modules/<release>`.
    #[serde(default)]
    pub drop: Vec<String>,
}

/// Modules for one purpose, by name; their dependencies come by themselves.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Modules {
    /// What they are for.
    pub purpose: String,
    /// Why the target's machines need them, and who asked where that is not plain.
    pub reason: String,
    /// They are in the initramfs too, because the root can be behind them.
    #[serde(default)]
    pub initramfs: bool,
    /// An error when the kernel has one neither as a module nor built in.
    #[serde(default)]
    pub required: Vec<String>,
    /// Taken where the kernel has it.
    #[serde(default)]
    pub optional: Vec<String>,
}

/// Firmware files of one package.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Firmware {
    /// The package, of Debian's component non-free-firmware.
    pub package: String,
    /// The drivers that load the files.
    pub drivers: Vec<String>,
    /// Patterns of the files; each must match.
    pub files: Vec<String>,
}

/// Microcode of one architecture's vendors, packed as the kernel reads it
/// (Documentation/arch/x86/microcode.rst, "Early load microcode").
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Microcode {
    /// The vendors.
    pub vendor: Vec<Vendor>,
}

/// One vendor's microcode.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vendor {
    /// The package, of Debian's component non-free-firmware.
    pub package: String,
    /// Patterns of the files, which are joined in the order of their names; each must match.
    pub files: Vec<String>,
    /// The joined file's path in the archive.
    pub into: String,
}

impl Target {
    /// Reads a target by its name.
    ///
    /// # Errors
    /// When there is none of that name, with the names that there are; when its file can't be read or is malformed,
    /// with line and field; when it has no kernel for the architecture.
    pub fn read(definitions: &Path, name: &str, architecture: &str) -> Result<Self> {
        let names = names(definitions)?;
        if !names.contains(name) {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            bail!(
                "there is no target {name:?}; image/{DIRECTORY} has {}",
                names.join(", ")
            );
        }
        let path = definitions.join(DIRECTORY).join(format!("{name}.toml"));
        let text =
            fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))?;
        let mut target: Self =
            toml::from_str(&text).with_context(|| format!("{} is malformed", path.display()))?;
        name.clone_into(&mut target.name);
        target.kernel_package(architecture)?;
        Ok(target)
    }

    /// Reads all targets that have a kernel for the architecture, in the order of their names.
    ///
    /// # Errors
    /// As [`Target::read`].
    pub fn all(definitions: &Path, architecture: &str) -> Result<Vec<Self>> {
        let names = names(definitions)?;
        names
            .iter()
            .map(|name| Self::read(definitions, name, architecture))
            .collect()
    }

    /// The kernel's metapackage.
    ///
    /// # Errors
    /// When the target has none for the architecture.
    pub fn kernel_package(&self, architecture: &str) -> Result<&str> {
        let packages = &self.kernel.package;
        let package = packages.get(architecture).with_context(|| {
            let known: Vec<&str> = packages.keys().map(String::as_str).collect();
            format!(
                "the target {} is not built for {architecture:?}; it is for {}",
                self.name,
                known.join(", ")
            )
        })?;
        Ok(package)
    }

    /// The names of the packages that the target adds, but for the kernel's.
    #[must_use]
    pub fn packages(&self) -> BTreeSet<&str> {
        let firmware = self.firmware.iter().map(|firmware| &firmware.package);
        let vendors = self.microcode.iter().flat_map(|it| &it.vendor);
        firmware
            .chain(vendors.map(|vendor| &vendor.package))
            .map(String::as_str)
            .collect()
    }

    /// The files that the target adds to the root: firmware, and its licences.
    #[must_use]
    pub fn root(&self) -> Vec<RootPackage> {
        let licence = |package: &str| format!("usr/share/doc/{package}/copyright");
        let mut root: Vec<RootPackage> = Vec::new();
        for firmware in &self.firmware {
            let mut files = firmware.files.clone();
            files.push(licence(&firmware.package));
            root.push(RootPackage {
                package: firmware.package.clone(),
                files,
            });
        }
        for vendor in self.microcode.iter().flat_map(|it| &it.vendor) {
            root.push(RootPackage {
                package: vendor.package.clone(),
                files: vec![licence(&vendor.package)],
            });
        }
        root
    }
}

/// The names of the targets, in order.
fn names(definitions: &Path) -> Result<BTreeSet<String>> {
    let directory = definitions.join(DIRECTORY);
    let unreadable = || format!("can't read {}", directory.display());
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(&directory).with_context(unreadable)? {
        let name = entry.with_context(unreadable)?.file_name();
        if let Some(name) = name.to_str().and_then(|name| name.strip_suffix(".toml")) {
            names.insert(name.to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
