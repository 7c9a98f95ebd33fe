//! Runs Go's toolchain: compiles the runtime's modules, and lists what is linked into a program.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::Module;
use super::licence;
use super::toolchain::proxy_list;
use crate::wanted::GoModule;

/// Directory of the downloaded Go modules, below the cache.
pub const GO_MODULES: &str = "go-modules";
/// Directory of Go's compiled packages, below the cache.
const GO_BUILD: &str = "go-build";
/// Where Debian keeps the libraries of an amd64 package.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
/// The oldest glibc that a program with C code runs on; the root's is newer.
const C_TARGET: &str = "x86_64-linux-gnu.2.36";
/// What the names of our own modules begin with.
const OURS: &str = "k3s-daas/";
/// What the toolchain may take from the caller's environment: how to reach a proxy.
const ENVIRONMENT: [&str; 8] = [
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "NO_PROXY",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// Go's toolchain with its caches.
#[derive(Debug)]
pub(super) struct Go {
    root: PathBuf,
    cache: PathBuf,
    c: Vec<(&'static str, OsString)>,
}

/// What compiles a program's C code.
#[derive(Debug)]
pub(super) struct C<'a> {
    /// The program `zig`.
    pub(super) compiler: &'a Path,
    /// The unpacked package of libseccomp's headers.
    pub(super) headers: &'a Path,
    /// The unpacked package of libseccomp.
    pub(super) library: &'a Path,
    /// A directory that lives as long as the build.
    pub(super) work: &'a Path,
    /// Directory for what is kept between builds.
    pub(super) cache: &'a Path,
}

impl Go {
    /// The toolchain in a directory.
    ///
    /// # Errors
    /// When the cache's path can't be made absolute.
    pub(super) fn new(root: PathBuf, cache: &Path) -> Result<Self> {
        let cache = std::path::absolute(cache).context("the cache has no absolute path")?;
        let root = std::path::absolute(root).context("the toolchain has no absolute path")?;
        Ok(Self {
            root,
            cache,
            c: Vec::new(),
        })
    }

    /// Prepares for modules with C code: a compiler, and an answer where Go asks pkg-config for libseccomp.
    ///
    /// # Errors
    /// When the scripts can't be written.
    pub(super) fn compile_c_with(&mut self, c: &C<'_>) -> Result<()> {
        let absolute =
            |path: &Path| std::path::absolute(path).context("a path can't be made absolute");
        let work = absolute(c.work)?;
        let libraries = work.join("lib");
        fs::create_dir(&libraries).context("can't create the directory of libraries")?;
        // the name that a linker looks for; its package has it beside a static library, which is not wanted
        let library = absolute(c.library)?.join(LIBRARIES).join("libseccomp.so.2");
        std::os::unix::fs::symlink(&library, libraries.join("libseccomp.so"))
            .context("can't link libseccomp")?;
        let compiler = script(
            &work.join("cc"),
            &format!(
                "exec {} cc -target {C_TARGET} \"$@\"",
                quoted(&absolute(c.compiler)?)?
            ),
        )?;
        let answers = script(
            &work.join("pkg-config"),
            &format!(
                "case \" $* \" in\n*' --cflags '*) printf '%s\\n' -I{} ;;\n*' --libs '*) printf '%s\\n' '-L{} -lseccomp' ;;\nesac",
                quoted(&absolute(c.headers)?.join("usr/include"))?,
                plain(&libraries)?,
            ),
        )?;
        let zig_cache = absolute(c.cache)?.join("zig").into_os_string();
        self.c = vec![
            ("CGO_ENABLED", "1".into()),
            ("CC", compiler.into_os_string()),
            ("PKG_CONFIG", answers.into_os_string()),
            ("ZIG_GLOBAL_CACHE_DIR", zig_cache.clone()),
            ("ZIG_LOCAL_CACHE_DIR", zig_cache),
        ];
        Ok(())
    }

    /// A run of the toolchain in a directory. Nothing of the caller's settings reaches the result.
    fn command(&self, directory: &Path) -> Command {
        let mut command = Command::new(self.root.join("bin/go"));
        command
            .current_dir(directory)
            .stdin(Stdio::null())
            .env_clear();
        for name in ENVIRONMENT {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            // cgo's scripts run with the host's shell
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", "C")
            .env("HOME", "/nonexistent")
            .env("GOROOT", &self.root)
            .env("GOPATH", self.cache.join("go"))
            .env("GOMODCACHE", self.cache.join(GO_MODULES))
            .env("GOCACHE", self.cache.join(GO_BUILD))
            .env("GOPROXY", proxy_list())
            // each module's go.sum holds the digests of all that it needs
            .env("GOSUMDB", "off")
            .env("GOENV", "off")
            .env("GOWORK", "off")
            .env("GOTELEMETRY", "off")
            .env("GOTOOLCHAIN", "local")
            .env(
                "GOFLAGS",
                "-mod=readonly -modcacherw -buildvcs=false -trimpath",
            )
            .env("GOOS", "linux")
            .env("GOARCH", "amd64")
            .env("GOAMD64", "v1")
            .env("CGO_ENABLED", "0");
        command
    }

    /// Compiles a module's packages into a directory and returns the names of the programs.
    ///
    /// # Errors
    /// When a dependency can't be had or something does not compile.
    pub(super) fn build(
        &self,
        module: &GoModule,
        source: &Path,
        version: &str,
        into: &Path,
    ) -> Result<Vec<String>> {
        let hint = "can't get the runtime's Go modules; another proxy can be named with GOPROXY";
        run(self.command(source).args(["mod", "download"])).context(hint)?;
        // a download is compared with go.sum, what was unpacked from it before is not
        let damaged = "remove the folder go-modules in the cache";
        run(self.command(source).args(["mod", "verify"])).context(damaged)?;
        fs::create_dir_all(into).with_context(|| format!("can't create {}", into.display()))?;
        let into = std::path::absolute(into)?;
        // what was there before belongs to another module
        let before = names(&into)?;
        let mut flags = format!("-s -w -buildid= -X {}={version}", module.version_variable);
        let mut command = self.command(source);
        if module.c {
            command.envs(self.c.iter().map(|(name, value)| (name, value)));
            flags.push_str(" -linkmode external -extldflags=-s");
        }
        command
            .arg("build")
            .arg(format!("-tags={}", module.tags.join(",")))
            .arg(format!("-ldflags={flags}"))
            .arg("-o")
            .arg(format!("{}/", into.display()))
            .args(&module.packages);
        run(&mut command).with_context(|| format!("can't compile {}", module.module))?;
        Ok(names(&into)?
            .into_iter()
            .filter(|name| !before.contains(name))
            .collect())
    }

    /// The modules that are linked into a program, without our own.
    ///
    /// # Errors
    /// When the program says nothing about them, or a licence is not allowed.
    pub(super) fn modules(&self, program: &Path, allowed: &[String]) -> Result<Vec<Module>> {
        let directory = program.parent().unwrap_or(Path::new("/"));
        let text = run(self
            .command(directory)
            .args(["version", "-m", "-json"])
            .arg(program))?;
        let information: BuildInformation = serde_json::from_str(&text)
            .context("`go version` prints something else than expected")?;
        let linked = information.deps.into_iter().chain(information.main);
        let published = linked.filter(|module| !module.path.starts_with(OURS));
        published
            .map(|module| {
                if module.sum.is_empty() {
                    bail!(
                        "{} {} is linked, and go.sum does not pin it",
                        module.path,
                        module.version
                    );
                }
                let place = self
                    .cache
                    .join(GO_MODULES)
                    .join(directory_of(&module.path, &module.version));
                Ok(Module {
                    licence: licence::of(&place, allowed)?,
                    path: module.path,
                    version: module.version,
                    sum: module.sum,
                })
            })
            .collect()
    }

    /// Checks format and code of a module of our own, and runs its tests.
    ///
    /// # Errors
    /// Says what failed.
    pub(super) fn check(&self, module: &GoModule, source: &Path) -> Result<()> {
        let mut format = Command::new(self.root.join("bin/gofmt"));
        let unformatted = run(format.current_dir(source).arg("-l").arg("."))?;
        if !unformatted.trim().is_empty() {
            bail!(
                "gofmt would change {} in {}",
                unformatted.trim().replace('\n', ", "),
                source.display()
            );
        }
        let tags = format!("-tags={}", module.tags.join(","));
        run(self.command(source).args(["vet", &tags, "./..."]))?;
        let tests = run(self
            .command(source)
            .args(["test", "-v", "-count=1", &tags, "./..."]))?;
        let passed = tests.matches("--- PASS: ").count();
        if passed == 0 {
            bail!("{} has no test that passed: {tests}", source.display());
        }
        println!(
            "test result: ok. {passed} passed; 0 failed; Go module {}",
            module.directory
        );
        Ok(())
    }
}

/// What a Go program says about itself (`runtime/debug.BuildInfo`).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BuildInformation {
    #[serde(default)]
    deps: Vec<LinkedModule>,
    main: Option<LinkedModule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct LinkedModule {
    path: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    sum: String,
}

/// Where the module cache keeps a module: capitals are written as `!` and the small letter
/// (<https://go.dev/ref/mod#module-cache>).
fn directory_of(path: &str, version: &str) -> String {
    let mut escaped = String::new();
    for letter in format!("{path}@{version}").chars() {
        if letter.is_ascii_uppercase() {
            escaped.push('!');
        }
        escaped.push(letter.to_ascii_lowercase());
    }
    escaped
}

/// The version of a module that a go.mod requires.
///
/// # Errors
/// When it can't be read or does not require that module.
pub(super) fn required_version(path: &Path, module: &str) -> Result<String> {
    let text =
        fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
    let required = text.lines().find_map(|line| {
        let mut words = line
            .trim()
            .trim_start_matches("require ")
            .split_whitespace();
        (words.next() == Some(module))
            .then(|| words.next().map(str::to_owned))
            .flatten()
    });
    required
        .filter(|version| version.starts_with('v'))
        .with_context(|| format!("{} does not require {module}", path.display()))
}

/// The names in a directory, in order.
fn names(directory: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Runs a command to its end and returns what it wrote to standard output.
fn run(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("can't run {name}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{name} failed ({}): {}{}",
            output.status,
            text.trim_start(),
            reason.trim()
        );
    }
    Ok(text)
}

/// Writes a script of the host's shell.
fn script(path: &Path, body: &str) -> Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let write = || {
        fs::write(path, format!("#!/bin/sh\n{body}\n"))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))
    };
    write().with_context(|| format!("can't write {}", path.display()))?;
    Ok(path.to_owned())
}

/// A path as one word of a shell.
fn quoted(path: &Path) -> Result<String> {
    Ok(format!("'{}'", plain(path)?))
}

/// A path that needs no quoting where Go takes flags apart.
fn plain(path: &Path) -> Result<&str> {
    let text = path
        .to_str()
        .filter(|text| !text.contains(['\'', '"', ' ', '\n', '\\']));
    text.with_context(|| format!("{} must hold no blank, quote or backslash", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_of_escapes_capitals() {
        let place = directory_of("github.com/Microsoft/go-winio", "v0.6.3");
        assert_eq!(place, "github.com/!microsoft/go-winio@v0.6.3");
    }

    #[test]
    fn required_version_is_that_of_the_module() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "module x\n\nrequire (\n\texample.org/a/v2 v2.0.1 // indirect\n\texample.org/a v1.2.3\n)\n";
        fs::write(file.path(), text).unwrap();
        assert_eq!(
            required_version(file.path(), "example.org/a").unwrap(),
            "v1.2.3"
        );
        assert_eq!(
            required_version(file.path(), "example.org/a/v2").unwrap(),
            "v2.0.1"
        );
        let error = required_version(file.path(), "example.org/b")
            .unwrap_err()
            .to_string();
        assert!(error.contains("does not require example.org/b"), "{error}");
    }

    #[test]
    fn plain_path_with_a_blank_is_refused() {
        assert!(plain(Path::new("/a b")).is_err());
        assert!(quoted(Path::new("/a'b")).is_err());
        assert_eq!(quoted(Path::new("/a")).unwrap(), "'/a'");
    }
}
