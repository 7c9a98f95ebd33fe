//! `packages.toml`: the packages that every image is made of, and the files to take from each.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::target::Target;

/// The whole of `packages.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Debian suite, by its code name.
    pub suite: String,
    /// Debian architecture.
    pub architecture: String,
    /// Programs that run while the image is built.
    pub tools: Tools,
    /// The kernel and its modules.
    pub kernel: Kernel,
    /// What goes into the initramfs beside `init`.
    pub initramfs: Initramfs,
    /// The container runtime.
    pub runtime: Runtime,
    /// The k3s release.
    pub k3s: K3s,
    /// The UEFI stub.
    pub stub: FileOf,
    /// The boot loader.
    pub boot_loader: FileOf,
    /// The bundle of certificates.
    pub certificates: Certificates,
    /// Packages whose files make up the root.
    pub root: Vec<RootPackage>,
    /// What the bench compares a node with.
    pub bench: Bench,
}

/// Packages of the systems that the bench boots beside a node: none of them gets into an image, and a build
/// of one does not fetch them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bench {
    /// Package names, libraries included.
    pub packages: Vec<String>,
}

/// Packages of the tools tree; all of their files are used where they were unpacked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tools {
    /// Package names, libraries included.
    pub packages: Vec<String>,
}

/// The modules of every target's kernel.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// Modules that the root must have, by name, unless they are built in.
    pub required: Vec<String>,
    /// Patterns of modules to leave out, below `usr/lib/modules/<release>`.
    pub drop: Vec<String>,
}

/// Modules of the initramfs, by name; their dependencies come by themselves.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Initramfs {
    /// An error when the kernel has it neither as a module nor built in.
    pub required: Vec<String>,
    /// Taken where the kernel has it.
    pub optional: Vec<String>,
}

/// The container runtime, compiled from Go modules.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Runtime {
    /// Debian's package of libseccomp.
    pub library: String,
    /// Debian's package of its headers.
    pub headers: String,
    /// SPDX identifiers of the licences that a module may have.
    pub licences: Vec<String>,
    /// Go's toolchain; `file` is a path below a Go module proxy.
    pub go: Toolchain,
    /// The C compiler; `file` is a path below PyPI's server of files.
    pub zig: Toolchain,
    /// The modules.
    pub module: Vec<GoModule>,
}

/// A toolchain that is published as a ZIP archive.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Toolchain {
    /// Its version.
    pub version: String,
    /// Its path on the server.
    pub file: String,
    /// SHA-256 of the archive, hexadecimal.
    pub sha256: String,
}

/// A Go module of `image/runtime`, and what it requires.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GoModule {
    /// Its directory.
    pub directory: String,
    /// The upstream module, whose version the directory's go.mod pins.
    pub module: String,
    /// The variable that a program prints as its version.
    pub version_variable: String,
    /// The packages to compile.
    pub packages: Vec<String>,
    /// Build tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// It has C code, which uses libseccomp.
    #[serde(default)]
    pub c: bool,
    /// It holds code of our own, which has tests.
    #[serde(default)]
    pub tested: bool,
    /// Directory of the programs in the root.
    pub into: String,
}

impl Runtime {
    /// The Debian packages that the build needs.
    #[must_use]
    pub fn packages(&self) -> [&str; 2] {
        [&self.library, &self.headers]
    }
}

/// Which k3s release `--k3s pinned` takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct K3s {
    /// Release, such as `v1.34.1+k3s1`.
    pub version: String,
}

/// One file of a package.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileOf {
    /// The package that holds it.
    pub package: String,
    /// Its path in that package.
    pub file: String,
}

/// Certificates that are joined into one file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificates {
    /// The package that holds them.
    pub package: String,
    /// Patterns of certificate files in it.
    pub files: Vec<String>,
    /// The bundle's path in the image.
    pub into: String,
}

/// One package of the root.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootPackage {
    /// Its name.
    pub package: String,
    /// Patterns of the files to take; each must match.
    pub files: Vec<String>,
}

impl Wanted {
    /// Reads and parses the file.
    ///
    /// # Errors
    /// When it can't be read or is malformed; the message then has line and field.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("can't read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{} is malformed", path.display()))
    }

    /// Adds what a target has beside this: its kernel's modules and its firmware.
    #[must_use]
    pub fn with(mut self, target: &Target) -> Self {
        self.kernel.drop.extend(target.kernel.drop.iter().cloned());
        for modules in &target.modules {
            if modules.initramfs {
                let required = modules.required.iter().cloned();
                self.initramfs.required.extend(required);
                let optional = modules.optional.iter().cloned();
                self.initramfs.optional.extend(optional);
            } else {
                self.kernel
                    .required
                    .extend(modules.required.iter().cloned());
            }
        }
        self.root.extend(target.root());
        self
    }

    /// The names of all packages that the lock has, but for kernels and what targets add: those of an image and the
    /// bench's.
    #[must_use]
    pub fn locked_names(&self) -> BTreeSet<&str> {
        let bench = self.bench.packages.iter().map(String::as_str);
        self.names().into_iter().chain(bench).collect()
    }

    /// The names of an image's packages but for the kernel's, each once, in order.
    #[must_use]
    pub fn names(&self) -> BTreeSet<&str> {
        let root = self.root.iter().map(|entry| entry.package.as_str());
        let tools = self.tools.packages.iter().map(String::as_str);
        root.chain(tools)
            .chain(self.runtime.packages())
            .chain([
                self.stub.package.as_str(),
                self.boot_loader.package.as_str(),
                self.certificates.package.as_str(),
            ])
            .collect()
    }
}
