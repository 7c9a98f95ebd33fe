//! The container runtime: containerd, its shim, runc and CNI plugins, compiled from pinned Go modules
//! (`image/runtime`) by pinned toolchains, so that the host's versions never touch the result.

mod go;
mod licence;
mod toolchain;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::cache;
use crate::digest;
use crate::lock::Lock;
use crate::progress::{human_size, step};
use crate::store::Store;
use crate::tree::Tree;
use crate::wanted;

pub use go::GO_MODULES;
pub use toolchain::TOOLCHAINS;

/// Changes when this code compiles the same sources to something else.
const RECIPE: &str = "2";
/// The list of what was built, beside the programs.
const LIST: &str = "runtime.json";

/// The programs of the runtime, and what they are made of.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runtime {
    /// Version of the Go toolchain that compiled them.
    pub go: String,
    /// Version of the C toolchain that compiled their C code.
    pub zig: String,
    /// The programs, by path.
    pub programs: Vec<Program>,
    /// The Go modules that are linked into any of them, by path.
    pub modules: Vec<Module>,
    /// Where the programs are.
    #[serde(skip)]
    directory: PathBuf,
}

/// One program of the runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Its path in the root, without a leading slash.
    pub path: String,
    /// The Go module that it belongs to.
    pub module: String,
    /// That module's version.
    pub version: String,
    /// The program's SHA-256, hexadecimal.
    pub sha256: String,
}

/// One Go module.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Module {
    /// Its path.
    pub path: String,
    /// Its version.
    pub version: String,
    /// Its checksum as `go.sum` has it.
    pub sum: String,
    /// Its licence, an SPDX expression.
    pub licence: String,
}

/// What a runtime is built from.
#[derive(Debug)]
pub struct Request<'a> {
    /// Which modules, packages and toolchains.
    pub wanted: &'a wanted::Runtime,
    /// Directory of the Go modules' definitions.
    pub sources: &'a Path,
    /// The lock that pins the libraries.
    pub lock: &'a Lock,
    /// The unpacked packages.
    pub store: &'a Store,
    /// Directory for what is kept between builds.
    pub cache: &'a Path,
}

/// Takes the runtime out of the cache, or compiles it.
///
/// # Errors
/// When a toolchain or a module can't be had, does not compile, or has a licence that is not allowed.
pub fn obtain(request: &Request<'_>) -> Result<Runtime> {
    let key = key(request)?;
    let finished = request.cache.join("runtime").join(&key);
    if let Some(runtime) = read(&finished)? {
        step("runtime: in the cache");
        return Ok(runtime);
    }
    cache::directory(&finished, |staging| {
        let runtime = compile(request, staging)?;
        let list =
            serde_json::to_vec_pretty(&runtime).context("can't encode the runtime's list")?;
        fs::write(staging.join(LIST), list).context("can't write the runtime's list")
    })?;
    read(&finished)?.with_context(|| format!("{} vanished", finished.display()))
}

/// Checks format, code and tests of the Go modules that are our own.
///
/// # Errors
/// Says what failed.
pub fn check(wanted: &wanted::Runtime, sources: &Path, cache: &Path) -> Result<()> {
    let go = go::Go::new(toolchain::go(&wanted.go, cache)?, cache)?;
    for module in wanted.module.iter().filter(|module| module.tested) {
        go.check(module, &sources.join(&module.directory))?;
    }
    Ok(())
}

/// Names a runtime by all that it is made from.
fn key(request: &Request<'_>) -> Result<String> {
    let wanted = toml::to_string(request.wanted).context("can't encode what is wanted")?;
    let mut text = format!("{RECIPE}\n{wanted}");
    for name in request.wanted.packages() {
        let package = request
            .lock
            .package
            .iter()
            .find(|package| package.name == name);
        let package = package
            .with_context(|| format!("packages.lock has no {name}; run `./build.sh lock`"))?;
        text.push_str(&format!("{name} {}\n", package.sha256));
    }
    for (path, kind, _) in crate::tree::host_files(request.sources)? {
        if let crate::tree::Kind::File(content) = kind {
            text.push_str(&format!("{path} {}\n", content.sha256()?));
        }
    }
    Ok(digest::of_bytes(text.as_bytes()))
}

/// A runtime that was built. `None`: it was not.
fn read(directory: &Path) -> Result<Option<Runtime>> {
    let path = directory.join(LIST);
    let text = match fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        text => text.with_context(|| format!("can't read {}", path.display()))?,
    };
    let hint = || {
        format!(
            "{} is malformed; remove {}",
            path.display(),
            directory.display()
        )
    };
    let mut runtime: Runtime = serde_json::from_slice(&text).with_context(hint)?;
    directory.clone_into(&mut runtime.directory);
    for program in &runtime.programs {
        let path = directory.join(&program.path);
        // a power cut can have left less of it
        if digest::of_file(&path).ok().as_ref() != Some(&program.sha256) {
            bail!(
                "{} is not what was compiled; remove {}",
                path.display(),
                directory.display()
            );
        }
    }
    Ok(Some(runtime))
}

fn compile(request: &Request<'_>, into: &Path) -> Result<Runtime> {
    let wanted = request.wanted;
    let mut go = go::Go::new(toolchain::go(&wanted.go, request.cache)?, request.cache)?;
    let library = request.store.get(&wanted.library)?;
    let headers = request.store.get(&wanted.headers)?;
    let compiler = toolchain::zig(&wanted.zig, request.cache)?;
    let work = tempfile::tempdir().context("can't create a directory for the C compiler")?;
    go.compile_c_with(&go::C {
        compiler: &compiler,
        headers: &headers.directory,
        library: &library.directory,
        work: work.path(),
        cache: request.cache,
    })?;
    let mut runtime = Runtime {
        go: wanted.go.version.clone(),
        zig: wanted.zig.version.clone(),
        programs: Vec::new(),
        modules: Vec::new(),
        directory: PathBuf::new(),
    };
    for module in &wanted.module {
        let source = request.sources.join(&module.directory);
        let version = go::required_version(&source.join("go.mod"), &module.module)?;
        step(format!("runtime: compiling {} {version}", module.module));
        let output = into.join(&module.into);
        for name in go.build(module, &source, &version, &output)? {
            let program = output.join(&name);
            runtime
                .modules
                .extend(go.modules(&program, &wanted.licences)?);
            let path = format!("{}/{name}", module.into);
            step(format!(
                "  {path:<36}{}",
                human_size(fs::metadata(&program)?.len())
            ));
            runtime.programs.push(Program {
                path,
                module: module.module.clone(),
                version: version.clone(),
                sha256: digest::of_file(&program)?,
            });
        }
    }
    runtime
        .programs
        .sort_by(|left, right| left.path.cmp(&right.path));
    runtime.modules.sort();
    runtime.modules.dedup();
    if runtime.programs.is_empty() {
        bail!("packages.toml names no module of the runtime");
    }
    Ok(runtime)
}

impl Runtime {
    /// Adds the programs to the root.
    ///
    /// # Errors
    /// When one is missing or collides with another file.
    pub fn install(&self, tree: &mut Tree) -> Result<()> {
        for program in &self.programs {
            let origin = format!("go {}@{}", program.module, program.version);
            tree.file(
                &program.path,
                0o755,
                &self.directory.join(&program.path),
                &origin,
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtime_in_the_cache_is_installed() {
        let cache = tempfile::tempdir().unwrap();
        let directory = cache.path().join("key");
        assert_eq!(read(&directory).unwrap(), None);
        fs::create_dir_all(directory.join("usr/bin")).unwrap();
        fs::write(directory.join("usr/bin/runc"), "program").unwrap();
        let program = Program {
            path: "usr/bin/runc".to_owned(),
            module: "example.org/runc".to_owned(),
            version: "v1".to_owned(),
            sha256: digest::of_bytes(b"program"),
        };
        let runtime = Runtime {
            go: "1".to_owned(),
            zig: "1".to_owned(),
            programs: vec![program],
            modules: Vec::new(),
            directory: directory.clone(),
        };
        fs::write(directory.join(LIST), serde_json::to_vec(&runtime).unwrap()).unwrap();
        let read = read(&directory).unwrap().unwrap();
        assert_eq!(read, runtime);
        let mut tree = Tree::usr_merged().unwrap();
        read.install(&mut tree).unwrap();
        let entry = tree.get("usr/bin/runc").unwrap();
        assert_eq!(
            (entry.mode, entry.origin.as_str()),
            (0o755, "go example.org/runc@v1")
        );
        fs::write(directory.join("usr/bin/runc"), "prog").unwrap();
        let error = super::read(&directory).unwrap_err().to_string();
        assert!(
            error.contains("is not what was compiled; remove"),
            "{error}"
        );
    }

    #[test]
    fn damaged_list_names_what_to_remove() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(LIST), "{").unwrap();
        let error = format!("{:#}", read(directory.path()).unwrap_err());
        assert!(error.contains("malformed; remove"), "{error}");
    }
}
