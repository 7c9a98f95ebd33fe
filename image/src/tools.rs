//! The tools tree: programs that are run straight from their unpacked packages, by their own dynamic
//! linker and with their own libraries, so that the host's versions never touch the result.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::store::Store;
use crate::wanted::Wanted;

/// Where Debian keeps the libraries of an amd64 package.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// The tools tree.
#[derive(Debug)]
pub struct Tools {
    linker: PathBuf,
    library_path: OsString,
    directories: Vec<PathBuf>,
    source_date_epoch: u64,
}

impl Tools {
    /// Finds linker and libraries in the unpacked packages.
    ///
    /// # Errors
    /// When the lock lacks a package of the tools tree.
    pub fn new(wanted: &Wanted, store: &Store, source_date_epoch: u64) -> Result<Self> {
        let mut directories = Vec::new();
        for name in &wanted.tools.packages {
            directories.push(store.get(name)?.directory.clone());
        }
        let linker = store
            .get("libc6")?
            .directory
            .join(LIBRARIES)
            .join("ld-linux-x86-64.so.2");
        let libraries = directories
            .iter()
            .map(|directory| directory.join(LIBRARIES))
            .filter(|path| path.exists());
        let library_path =
            std::env::join_paths(libraries).context("the cache's path must not hold a colon")?;
        Ok(Self {
            linker,
            library_path,
            directories,
            source_date_epoch,
        })
    }

    /// A run of the program at `path` in one of the packages.
    ///
    /// # Errors
    /// When no package has it.
    pub fn run(&self, path: &str) -> Result<Run<'_>> {
        let program = self
            .directories
            .iter()
            .map(|directory| directory.join(path))
            .find(|program| program.exists());
        let program =
            program.with_context(|| format!("no package of the tools tree has {path}"))?;
        let mut command = Command::new(&self.linker);
        let name = Path::new(path).file_name().unwrap_or_default();
        command
            .arg("--inhibit-cache")
            .arg("--library-path")
            .arg(&self.library_path)
            .arg("--argv0")
            .arg(name);
        command.arg(program);
        // nothing of the caller's settings may reach the result
        command
            .env_clear()
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .env("PATH", "/nonexistent");
        command.env("SOURCE_DATE_EPOCH", self.source_date_epoch.to_string());
        Ok(Run {
            command,
            name: name.to_owned(),
            tools: self,
        })
    }
}

/// A run that is being put together.
#[derive(Debug)]
pub struct Run<'a> {
    command: Command,
    name: OsString,
    tools: &'a Tools,
}

impl Run<'_> {
    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it to its end and returns what it wrote to standard output.
    ///
    /// # Errors
    /// When it can't be started or fails; the message then has what it wrote to standard error.
    pub fn output(mut self) -> Result<String> {
        let name = self.name.to_string_lossy().into_owned();
        let output = self.command.stdin(Stdio::null()).output();
        let output = output
            .with_context(|| format!("can't run {name} by {}", self.tools.linker.display()))?;
        let standard_output = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let reason = String::from_utf8_lossy(&output.stderr);
            bail!(
                "{name} failed ({}): {}{}",
                output.status,
                standard_output.trim_start(),
                reason.trim()
            );
        }
        Ok(standard_output)
    }
}
