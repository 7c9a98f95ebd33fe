//! Kernel modules: the set of the root, the few of the initramfs, and the indexes that depmod makes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::cache;
use crate::digest;
use crate::store::Unpacked;
use crate::tools::Tools;
use crate::wanted::Wanted;

/// Below this a kernel package keeps its modules.
const MODULES: &str = "usr/lib/modules";
/// What depmod needs beside the modules themselves.
const SHIPPED: [&str; 3] = [
    "modules.order",
    "modules.builtin",
    "modules.builtin.modinfo",
];

/// The modules of one kernel, staged with their indexes.
#[derive(Debug)]
pub struct Modules {
    /// Kernel release, as `uname -r` says it.
    pub release: String,
    /// Directory that holds what belongs at `/`.
    pub directory: PathBuf,
}

/// Stages the modules of the root in the cache: all but the dropped ones.
///
/// # Errors
/// When the package holds no kernel or lacks a required module, a pattern matches nothing, or depmod fails.
pub fn of_root(wanted: &Wanted, kernel: &Unpacked, tools: &Tools, cache: &Path) -> Result<Modules> {
    let release = release(kernel)?;
    let source = kernel.directory.join(MODULES).join(&release);
    let key = digest::of_bytes(
        format!("{}\n{:?}", kernel.directory.display(), wanted.kernel.drop).as_bytes(),
    );
    let directory = cache.join("modules").join(key);
    if !directory.exists() {
        let drop = globs(&wanted.kernel.drop)?;
        let mut used = BTreeSet::new();
        let mut keep = Vec::new();
        for (path, kind, _) in crate::tree::host_files(&source)? {
            let matches = drop.matches(&path);
            if matches.is_empty() && matches!(kind, crate::tree::Kind::File(_)) {
                keep.push(path);
            }
            used.extend(matches);
        }
        if let Some(unused) = (0..wanted.kernel.drop.len()).find(|index| !used.contains(index)) {
            bail!(
                "packages.toml or the target drops {:?}, which matches no module of {}",
                wanted.kernel.drop[unused],
                kernel.origin
            );
        }
        stage(&source, &keep, &release, tools, &directory)?;
    }
    Catalogue::read(&directory.join(MODULES).join(&release))?
        .closure(&wanted.kernel.required, &[])
        .context("the root's modules")?;
    Ok(Modules { release, directory })
}

/// Stages the modules of the initramfs in the cache: the wanted ones and what they depend on.
///
/// # Errors
/// When a required module does not exist, or depmod fails.
pub fn of_initramfs(
    wanted: &Wanted,
    root: &Modules,
    tools: &Tools,
    cache: &Path,
) -> Result<Modules> {
    let source = root.directory.join(MODULES).join(&root.release);
    let names = &wanted.initramfs;
    let key = digest::of_bytes(format!("{}\n{names:?}", root.directory.display()).as_bytes());
    let directory = cache.join("initramfs-modules").join(key);
    if !directory.exists() {
        let catalogue = Catalogue::read(&source)?;
        let mut paths = catalogue.closure(&names.required, &names.optional)?;
        paths.extend(SHIPPED.map(str::to_owned));
        stage(
            &source,
            &paths.into_iter().collect::<Vec<_>>(),
            &root.release,
            tools,
            &directory,
        )?;
    }
    Ok(Modules {
        release: root.release.clone(),
        directory,
    })
}

impl Modules {
    /// The length in bytes of these modules and all that they depend on, as they are kept.
    ///
    /// # Errors
    /// When a required one does not exist, or a file can't be looked at.
    pub fn size_of(&self, required: &[String], optional: &[String]) -> Result<u64> {
        let directory = self.directory.join(MODULES).join(&self.release);
        let files = Catalogue::read(&directory)?.closure(required, optional)?;
        let size = |file: &String| {
            let path = directory.join(file);
            let metadata = fs::metadata(&path);
            Ok(metadata
                .with_context(|| format!("can't look at {}", path.display()))?
                .len())
        };
        files.iter().map(size).sum()
    }
}

/// The release of the one kernel in a package.
///
/// # Errors
/// When there is none.
pub fn release(kernel: &Unpacked) -> Result<String> {
    let directory = kernel.directory.join(MODULES);
    let mut names = Vec::new();
    for entry in fs::read_dir(&directory)
        .with_context(|| format!("{} holds no kernel modules", kernel.origin))?
    {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    match names.as_slice() {
        [release] => Ok(release.clone()),
        _ => bail!(
            "{} holds modules of {} kernels, one was expected",
            kernel.origin,
            names.len()
        ),
    }
}

/// Links the files into a new directory, lets depmod index them, and gives the directory its name.
fn stage(
    source: &Path,
    files: &[String],
    release: &str,
    tools: &Tools,
    directory: &Path,
) -> Result<()> {
    cache::directory(directory, |staging| {
        let root = staging.join(MODULES).join(release);
        for file in files {
            let to = root.join(file);
            fs::create_dir_all(to.parent().unwrap_or(&root))
                .with_context(|| format!("can't create {}", to.display()))?;
            let from = source.join(file);
            fs::hard_link(&from, &to)
                .or_else(|_| fs::copy(&from, &to).map(drop))
                .with_context(|| format!("can't copy {}", from.display()))?;
        }
        // depmod of any version looks in lib/modules or usr/lib/modules
        std::os::unix::fs::symlink("usr/lib", staging.join("lib"))?;
        // indexes of the source are not to be written through their links
        for entry in fs::read_dir(&root)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type()?.is_file() && !SHIPPED.contains(&name.as_str()) {
                fs::remove_file(entry.path())?;
            }
        }
        tools
            .run("usr/sbin/depmod")?
            .arg("-b")
            .arg(staging)
            .arg(release)
            .output()?;
        fs::remove_file(staging.join("lib"))?;
        Ok(())
    })
    .map(drop)
}

/// Compiles patterns in which `*` does not cross a slash.
///
/// # Errors
/// When one is malformed.
pub fn globs(patterns: &[String]) -> Result<GlobSet> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = GlobBuilder::new(pattern).literal_separator(true).build();
        set.add(glob.with_context(|| format!("the pattern {pattern:?} is malformed"))?);
    }
    set.build().context("the patterns can't be compiled")
}

/// depmod's indexes in a form that answers what a module depends on.
#[derive(Debug, Default)]
struct Catalogue {
    /// Module name to its file and those that it depends on (modules.dep).
    modules: BTreeMap<String, (String, Vec<String>)>,
    /// Module name to the names that it wants loaded, if they exist (modules.softdep).
    soft: BTreeMap<String, Vec<String>>,
    /// Alias without wildcards to module names (modules.alias).
    aliases: BTreeMap<String, Vec<String>>,
    /// Names of what is built in (modules.builtin).
    builtin: BTreeSet<String>,
}

impl Catalogue {
    fn read(directory: &Path) -> Result<Self> {
        let read = |name: &str| {
            let path = directory.join(name);
            fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))
        };
        Ok(Self::parse(
            &read("modules.dep")?,
            &read("modules.softdep")?,
            &read("modules.alias")?,
            &read("modules.builtin")?,
        ))
    }

    fn parse(dep: &str, softdep: &str, alias: &str, builtin: &str) -> Self {
        let mut catalogue = Self::default();
        for (path, needs) in dep.lines().filter_map(|line| line.split_once(':')) {
            let needs = needs.split_whitespace().map(str::to_owned).collect();
            catalogue
                .modules
                .insert(module_name(path), (path.to_owned(), needs));
        }
        for line in softdep.lines() {
            let mut words = line.split_whitespace();
            if words.next() == Some("softdep")
                && let Some(name) = words.next()
            {
                let wants = words.filter(|word| !word.ends_with(':')).map(str::to_owned);
                catalogue
                    .soft
                    .entry(module_name(name))
                    .or_default()
                    .extend(wants);
            }
        }
        for line in alias.lines() {
            if let Some(("alias", rest)) = line.split_once(' ')
                && let Some((alias, name)) = rest.rsplit_once(' ')
                && !alias.contains('*')
            {
                catalogue
                    .aliases
                    .entry(alias.replace('-', "_"))
                    .or_default()
                    .push(module_name(name));
            }
        }
        catalogue.builtin = builtin.lines().map(module_name).collect();
        catalogue
    }

    /// The files of the modules and of all that they depend on.
    fn closure(&self, required: &[String], optional: &[String]) -> Result<BTreeSet<String>> {
        let mut queue = VecDeque::new();
        let mut missing = Vec::new();
        for name in required {
            let name = module_name(name);
            if self.modules.contains_key(&name) {
                queue.push_back(name);
            } else if !self.builtin.contains(&name) {
                missing.push(name);
            }
        }
        if !missing.is_empty() {
            bail!(
                "the kernel has no module {}, which packages.toml or its target requires",
                missing.join(", ")
            );
        }
        queue.extend(
            optional
                .iter()
                .map(|name| module_name(name))
                .filter(|name| self.modules.contains_key(name)),
        );
        let mut seen = BTreeSet::new();
        let mut files = BTreeSet::new();
        while let Some(name) = queue.pop_front() {
            let Some((file, needs)) = self.modules.get(&name) else {
                continue;
            };
            if !seen.insert(name.clone()) {
                continue;
            }
            files.insert(file.clone());
            queue.extend(needs.iter().map(|path| module_name(path)));
            for soft in self.soft.get(&name).into_iter().flatten() {
                queue.push_back(module_name(soft));
                queue.extend(
                    self.aliases
                        .get(&soft.replace('-', "_"))
                        .into_iter()
                        .flatten()
                        .cloned(),
                );
            }
        }
        Ok(files)
    }
}

/// A module's name from its name or path: without directory and suffix, with underscores.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogue() -> Catalogue {
        Catalogue::parse(
            "kernel/a/dm-verity.ko.xz: kernel/a/dm-bufio.ko.xz kernel/a/dm-mod.ko.xz\nkernel/a/dm-bufio.ko.xz: \
             kernel/a/dm-mod.ko.xz\nkernel/a/dm-mod.ko.xz:\nkernel/a/erofs.ko.xz:\nkernel/a/crc.ko.xz:\nkernel/a/x.ko.xz:\n",
            "# comment\nsoftdep erofs pre: crypto-crc32c post: nothing\n",
            "alias pci:v00*d* x\nalias crypto-crc32c crc\n",
            "kernel/b/sha256-generic.ko\n",
        )
    }

    #[test]
    fn dependencies_come_along() {
        let files = catalogue()
            .closure(
                &["dm_verity".into(), "sha256_generic".into()],
                &["absent".into()],
            )
            .unwrap();
        let expected = [
            "kernel/a/dm-bufio.ko.xz",
            "kernel/a/dm-mod.ko.xz",
            "kernel/a/dm-verity.ko.xz",
        ];
        assert!(files.iter().eq(expected.iter()), "{files:?}");
        let files = catalogue().closure(&["erofs".into()], &[]).unwrap();
        assert!(
            files
                .iter()
                .eq(["kernel/a/crc.ko.xz", "kernel/a/erofs.ko.xz"].iter()),
            "{files:?}"
        );
    }

    #[test]
    fn a_required_module_must_exist() {
        let error = catalogue()
            .closure(&["nvme".into()], &[])
            .unwrap_err()
            .to_string();
        assert!(error.contains("no module nvme"), "{error}");
    }

    #[test]
    fn a_star_stays_in_its_directory() {
        let set = globs(&["usr/lib/*.so".into(), "a/**".into()]).unwrap();
        assert!(
            set.is_match("usr/lib/x.so")
                && !set.is_match("usr/lib/a/x.so")
                && set.is_match("a/b/c")
        );
    }
}
