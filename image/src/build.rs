//! `image build`: from lock, packages and programs to the finished files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::crates::{self, Crate};
use crate::digest;
use crate::disk;
use crate::filesystem::{self, Compression};
use crate::initramfs;
use crate::inputs::{self, Inputs, Record, State};
use crate::k3s::{self, K3s, Source};
use crate::lock::Lock;
use crate::manifest::{self, Manifest, Part};
use crate::microcode;
use crate::modules::{self, Modules};
use crate::programs::Programs;
use crate::progress::{human_size, step};
use crate::provenance;
use crate::release::{KeySource, Release};
use crate::root::{self, Ingredients};
use crate::runtime::{self, Runtime};
use crate::sbom;
use crate::secure_boot::SecureBoot;
use crate::staging::Staging;
use crate::store::Store;
use crate::target::Target;
use crate::tools::Tools;
use crate::tree::Tree;
use crate::uki::{self, Uki};
use crate::wanted::{FileOf, Wanted};

/// The kernel command line behind the root hash and the target's consoles. A panic reboots after ten seconds. Only the kernel's own signed modules load, and not even root
/// changes the running kernel (kernel_lockdown(7)); the rest makes its memory harder to predict
/// (Kernel Self Protection Project, "Recommended Settings"; docs/hardening.md has the list and the reasons).
const COMMAND_LINE: &str = "panic=10 printk.devkmsg=on loglevel=6 \
    module.sig_enforce=1 lockdown=integrity init_on_alloc=1 slab_nomerge page_alloc.shuffle=1 \
    randomize_kstack_offset=on vsyscall=none debugfs=off kfence.sample_interval=100";

/// Our programs that an image has elsewhere than in the root: in the initramfs, and in a pod's sandbox.
pub const OTHER_PROGRAMS: [&str; 2] = ["initramfs", "pause"];

/// What a build is made from and where it goes.
#[derive(Debug, Clone)]
pub struct Request {
    /// Which k3s.
    pub k3s: Source,
    /// Our programs.
    pub programs: Programs,
    /// Directory for the finished files.
    pub out: PathBuf,
    /// Directory for what is kept between builds.
    pub cache: PathBuf,
    /// Directory with packages.toml, packages.lock and the targets.
    pub definitions: PathBuf,
    /// Name of the target.
    pub target: String,
    /// Debian's name of the processor's architecture.
    pub architecture: String,
    /// The key that signs the image's policies.
    pub release_key: KeySource,
    /// The image's security version.
    pub security_version: u16,
    /// How long to compress.
    pub compression: Compression,
    /// Signs for Secure Boot, where wanted.
    pub secure_boot: Option<SecureBoot>,
}

impl Request {
    /// The source tree that the definitions are part of.
    #[must_use]
    pub fn workspace(&self) -> PathBuf {
        self.definitions
            .parent()
            .unwrap_or(Path::new(".."))
            .to_owned()
    }

    /// The directories whose files are laid over the root, in their order: what every image has, and what the target
    /// has beside that, where there is something.
    #[must_use]
    pub fn overlays(&self) -> Vec<PathBuf> {
        let overlays = self.workspace().join("overlays");
        let of_target = Some(overlays.join(&self.target)).filter(|directory| directory.is_dir());
        [overlays.join("base")]
            .into_iter()
            .chain(of_target)
            .collect()
    }
}

/// Builds an image where the output is not that already; always with `force`.
///
/// # Errors
/// As [`build`]; also when the record of the build can't be written.
pub fn build_where_stale(request: &Request, force: bool) -> Result<()> {
    // before the build: what changes while it runs is then built next time
    let inputs = Inputs::of(request)?;
    if let Some(inputs) = &inputs
        && !force
    {
        match Record::compare(inputs, &request.out) {
            State::UpToDate => {
                let disk = request.out.join("disk.raw");
                step(format!("up to date: {}", disk.display()));
                if request.k3s == Source::Double {
                    step("k3s: the DOUBLE of the tests; this image is for tests alone and says so");
                }
                return Ok(());
            }
            State::Stale(reason) => step(format!("building: {reason}")),
        }
    }
    build(request)?;
    inputs.map_or(Ok(()), |inputs| Record::write(inputs, &request.out))
}

/// What an image is built from, all of it at hand.
struct Materials {
    lock: Lock,
    target: Target,
    /// What every image has, with what the target adds.
    wanted: Wanted,
    /// The package that holds the kernel.
    kernel: String,
    /// The initramfs' program.
    first: Vec<u8>,
    k3s: K3s,
    release: Release,
    store: Store,
    tools: Tools,
    runtime: Runtime,
    crates: BTreeSet<Crate>,
}

impl Materials {
    /// What the software bill of materials is written from.
    fn listed(&self) -> sbom::Materials<'_> {
        sbom::Materials {
            wanted: &self.wanted,
            lock: &self.lock,
            kernel: &self.kernel,
            runtime: &self.runtime,
            crates: &self.crates,
            k3s: &self.k3s.version,
            k3s_sha256: &self.k3s.sha256,
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

impl Materials {
    /// The modules of the root and of the initramfs; says what each group of the target's takes.
    fn modules(&self, cache: &Path) -> Result<(Modules, Modules)> {
        step("modules: indexing");
        let kernel = self.store.get(&self.kernel)?;
        let root = modules::of_root(&self.wanted, kernel, &self.tools, cache)?;
        let early = modules::of_initramfs(&self.wanted, &root, &self.tools, cache)?;
        for group in &self.target.modules {
            let size = human_size(root.size_of(&group.required, &group.optional)?);
            step(format!("modules: {size} for {}", group.purpose));
        }
        Ok((root, early))
    }

    /// The content of one file of a package.
    fn file(&self, file: &FileOf) -> Result<Vec<u8>> {
        read(&self.store.get(&file.package)?.directory.join(&file.file))
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("can't read {}", path.display()))
}

/// Fetches and compiles what the cache lacks.
fn materials(request: &Request) -> Result<Materials> {
    let lock = Lock::read(&request.definitions.join("packages.lock"))?;
    let wanted = Wanted::read(&request.definitions.join("packages.toml"))?;
    if (&lock.suite, &lock.architecture) != (&wanted.suite, &wanted.architecture) {
        bail!("packages.lock is of another suite than packages.toml; run `./build.sh lock`");
    }
    if request.architecture != wanted.architecture {
        bail!(
            "there are images for {}, and none for {:?} yet",
            wanted.architecture,
            request.architecture
        );
    }
    let target = Target::read(&request.definitions, &request.target, &request.architecture)?;
    let wanted = wanted.with(&target);
    let kernel = lock.kernel_of(&target.name)?.to_owned();
    let first = request.programs.read("initramfs")?;
    for name in root::PROGRAMS.into_iter().chain(OTHER_PROGRAMS) {
        request.programs.read(name)?;
    }
    let k3s = k3s::obtain(&request.k3s, &lock, &request.programs, &request.cache)?;
    if k3s.version == "double" {
        step("k3s: the DOUBLE of the tests; this image is for tests alone and says so");
    }
    let release = Release::open(
        &request.release_key,
        request.security_version,
        &request.cache,
    )?;
    let mut names = wanted.names();
    names.insert(&kernel);
    let store = Store::fill(&lock.only(&names), &request.cache)?;
    let tools = Tools::new(&wanted, &store, lock.source_date_epoch)?;
    let runtime = runtime::obtain(&runtime::Request {
        wanted: &wanted.runtime,
        sources: &request.definitions.join("runtime"),
        lock: &lock,
        store: &store,
        cache: &request.cache,
    })?;
    let programs: Vec<&str> = root::PROGRAMS.into_iter().chain(OTHER_PROGRAMS).collect();
    let crates = crates::linked(&request.workspace(), &programs)?;
    Ok(Materials {
        lock,
        target,
        wanted,
        kernel,
        first,
        k3s,
        release,
        store,
        tools,
        runtime,
        crates,
    })
}

/// Builds an image. The output directory gets its files only when all of them are finished.
///
/// # Errors
/// Says what is missing, malformed or out of reach; the output directory is then as it was.
pub fn build(request: &Request) -> Result<()> {
    let staging = Staging::start(&request.out, &["manifest.json", inputs::RECORD])?;
    let materials = materials(request)?;
    let Materials {
        lock,
        target,
        wanted,
        k3s,
        release,
        store,
        tools,
        runtime,
        ..
    } = &materials;
    let date = lock.source_date_epoch;
    let kernel = store.get(&materials.kernel)?;

    let (modules, early_modules) = materials.modules(&request.cache)?;
    let sbom = sbom::document(&materials.listed())?;
    step("root: putting it together");
    let ingredients = Ingredients {
        wanted,
        store,
        modules: &modules,
        kernel_origin: &kernel.origin,
        runtime,
        k3s,
        sbom: &sbom,
        programs: &request.programs,
        overlays: &request.overlays(),
        target: &target.name,
        date,
        version: env!("CARGO_PKG_VERSION"),
    };
    let root::Root {
        tree,
        mut files,
        os_release,
    } = root::assemble(&ingredients)?;
    sbom::check(&materials.listed(), &tree)?;
    provenance::mark(&mut files, lock, &request.k3s)?;

    let at = |name: &str| staging.path().join(name);

    let root_hash = write_root(&tree, date, request.compression, tools, staging.path())?;
    let command_line = format!("roothash={root_hash} {} {COMMAND_LINE}", target.console);

    step("initramfs: packing");
    let early = initramfs::tree(&materials.first, &early_modules, &kernel.origin)?;
    let vmlinuz = format!("boot/vmlinuz-{}", modules.release);
    let parts = uki::Parts {
        stub: materials.file(&wanted.stub)?,
        kernel: read(&kernel.directory.join(vmlinuz))?,
        kernel_release: modules.release.clone(),
        initramfs: initramfs::pack(&early, date)?,
        microcode: match &target.microcode {
            Some(microcode) => microcode::pack(microcode, store, date)?,
            None => Vec::new(),
        },
        command_line: command_line.clone(),
        os_release,
    };
    parts.write(staging.path())?;

    let uki = link(&parts, release, staging.path())?;
    drop(parts);
    let write = |name: &str, content: &[u8]| write_file(&at(name), content);
    write(sbom::NAME, sbom.as_bytes())?;
    write("systemd-boot.efi", &materials.file(&wanted.boot_loader)?)?;
    if let Some(secure_boot) = &request.secure_boot {
        step("secure boot: signing boot loader and kernel image");
        secure_boot.sign(&at("systemd-boot.efi"))?;
        secure_boot.sign(&at("uki.efi"))?;
    }

    step("disk: writing");
    let parts = disk::Parts {
        root: &at("root.erofs"),
        verity: &at("root.verity"),
        root_hash: &root_hash,
        uki: &at("uki.efi"),
        boot_loader: &at("systemd-boot.efi"),
    };
    disk::build(&parts, date, tools, &at("disk.raw"))?;

    step("manifest: writing");
    let mut early_files = manifest::files(&early)?;
    provenance::mark(&mut early_files, lock, &request.k3s)?;
    let manifest = Manifest {
        kernel: modules.release.clone(),
        root_hash,
        command_line,
        pcr11: hex::encode(uki.pcr11),
        secure_boot: request.secure_boot.is_some(),
        parts: parts_of(staging.path())?,
        root: files,
        initramfs: early_files,
        ..manifest_of(&materials)
    };
    fs::write(at("manifest.json"), manifest.to_json()?).context("can't write the manifest")?;

    open_to_all(staging.path())?;
    staging.finish(&request.out)?;
    announce(&manifest, &request.out);
    Ok(())
}

/// Writes the root's file system and its hash tree, and gives the root hash.
fn write_root(
    tree: &Tree,
    date: u64,
    compression: Compression,
    tools: &Tools,
    directory: &Path,
) -> Result<String> {
    step("root: writing EROFS");
    let (root, verity) = (directory.join("root.erofs"), directory.join("root.verity"));
    filesystem::erofs(tree, date, compression, tools, &root)?;
    step(format!(
        "root: {}, hashing it for dm-verity",
        human_size(fs::metadata(&root)?.len())
    ));
    filesystem::verity(&root, tools, &verity)
}

/// Links the kernel image, and writes it with its policies and the key that signed them.
fn link(parts: &uki::Parts, release: &Release, directory: &Path) -> Result<Uki> {
    step("uki: linking, measuring and signing its policies");
    let uki = uki::build(parts, release)?;
    let write = |name: &str, content: &[u8]| write_file(&directory.join(name), content);
    write("uki.efi", &uki.program)?;
    write("policies.json", uki.policies.as_bytes())?;
    write("release.pem", release.public_pem()?.as_bytes())?;
    Ok(uki)
}

fn write_file(path: &Path, content: &[u8]) -> Result<()> {
    fs::write(path, content).with_context(|| format!("can't write {}", path.display()))
}

/// Says what was built.
fn announce(manifest: &Manifest, out: &Path) {
    for part in &manifest.parts {
        step(format!("  {:<18}{}", part.name, human_size(part.size)));
    }
    step(format!(
        "done: {} (k3s: {})",
        out.join("disk.raw").display(),
        manifest.k3s
    ));
}

/// The manifest's part that the materials say.
fn manifest_of(materials: &Materials) -> Manifest {
    let (k3s, release) = (&materials.k3s, &materials.release);
    Manifest {
        format: 1,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        target: materials.target.name.clone(),
        architecture: materials.lock.architecture.clone(),
        source_date_epoch: materials.lock.source_date_epoch,
        k3s: k3s.version.clone(),
        k3s_sha256: k3s.sha256.clone(),
        runtime: materials.runtime.clone(),
        signatures: materials.lock.release.clone(),
        release_key: hex::encode(release.point().to_compressed()),
        release_key_is_development: release.is_development,
        security_version: release.security_version,
        ..Manifest::default()
    }
}

/// The files written so far, by name.
fn parts_of(directory: &Path) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let sha256 = if name == "disk.raw" {
            None
        } else {
            Some(digest::of_file(&entry.path())?)
        };
        parts.push(Part {
            size: entry.metadata()?.len(),
            sha256,
            name,
        });
    }
    parts.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(parts)
}

/// Lets everybody read the result, whatever the umask or the tool that wrote a file thought.
///
/// # Errors
/// When a mode can't be changed.
pub fn open_to_all(directory: &Path) -> Result<()> {
    let set = |path: &Path, mode| {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(path, permissions)
            .with_context(|| format!("can't change the mode of {}", path.display()))
    };
    for entry in fs::read_dir(directory)? {
        set(&entry?.path(), 0o644)?;
    }
    set(directory, 0o755)
}
