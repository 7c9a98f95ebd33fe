//! Puts the root's files together: packages, certificates, modules, our programs, overlay, k3s.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::digest;
use crate::elf;
use crate::k3s::K3s;
use crate::manifest;
use crate::modules::{self, Modules};
use crate::oci;
use crate::programs::Programs;
use crate::runtime::Runtime;
use crate::sbom;
use crate::store::Store;
use crate::tree::{Entry, Kind, Tree};
use crate::wanted::Wanted;

/// Our programs on the root; each is a crate of that name.
pub const PROGRAMS: [&str; 8] = [
    "init",
    "provision",
    "tee-report",
    "tpm-broker",
    "probe",
    "netd",
    "metadata",
    "staker",
];
/// Directories that something is mounted on, and their modes.
const MOUNT_POINTS: [(&str, u32); 7] = [
    ("dev", 0o755),
    ("proc", 0o555),
    ("sys", 0o555),
    ("run", 0o755),
    ("tmp", 0o1777),
    ("var", 0o755),
    ("boot/efi", 0o755),
];

/// A root that is put together.
#[derive(Debug)]
pub struct Root {
    /// Its files.
    pub tree: Tree,
    /// The same for the manifest.
    pub files: Vec<manifest::File>,
    /// The content of its os-release.
    pub os_release: String,
}

/// What a root is made from.
#[derive(Debug)]
pub struct Ingredients<'a> {
    /// The wanted packages and files.
    pub wanted: &'a Wanted,
    /// The unpacked packages.
    pub store: &'a Store,
    /// The kernel's modules with their indexes.
    pub modules: &'a Modules,
    /// `package=version` of the kernel.
    pub kernel_origin: &'a str,
    /// The container runtime.
    pub runtime: &'a Runtime,
    /// k3s.
    pub k3s: &'a K3s,
    /// The software bill of materials.
    pub sbom: &'a str,
    /// Our own programs.
    pub programs: &'a Programs,
    /// Directories whose files are laid over the root, in their order.
    pub overlays: &'a [PathBuf],
    /// Name of the target.
    pub target: &'a str,
    /// Date of everything, Unix seconds.
    pub date: u64,
    /// Version of the image.
    pub version: &'a str,
}

/// Puts the tree together and checks it.
///
/// # Errors
/// When something is missing, collides, or must not be in an image.
pub fn assemble(ingredients: &Ingredients<'_>) -> Result<Root> {
    let mut tree = Tree::usr_merged()?;
    for (path, mode) in MOUNT_POINTS {
        tree.directory(path, mode, "builder")?;
    }
    packages(&mut tree, ingredients)?;
    certificates(&mut tree, ingredients)?;
    tree.copy(
        &ingredients.modules.directory,
        "",
        ingredients.kernel_origin,
    )?;
    for name in PROGRAMS {
        let path = ingredients.programs.find(name)?;
        tree.file(
            &format!("usr/bin/{name}"),
            0o755,
            &path,
            &format!("crate {name}"),
        )?;
    }
    let pause = ingredients.programs.read("pause")?;
    tree.bytes(
        oci::PATH,
        0o644,
        oci::pause_image(&pause, ingredients.date)?,
        "crate pause",
    )?;
    tree.bytes(
        "usr/share/k3s-daas/build-time",
        0o644,
        format!("{}\n", ingredients.date),
        "builder",
    )?;
    tree.bytes(sbom::PATH, 0o644, ingredients.sbom, "builder")?;
    ingredients.runtime.install(&mut tree)?;
    ingredients.k3s.install(&mut tree)?;
    for directory in ingredients.overlays {
        overlay(&mut tree, directory)?;
    }
    // hashed once: the build's name comes from the list, and the list goes into the manifest
    let mut files = manifest::files(&tree)?;
    let os_release = os_release(ingredients, &build_id(&files));
    tree.bytes(
        "usr/lib/os-release",
        0o644,
        os_release.as_bytes(),
        "builder",
    )?;
    check(&tree)?;
    files.push(manifest::file(
        "usr/lib/os-release",
        tree.get("usr/lib/os-release")
            .context("os-release vanished")?,
    )?);
    files.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(Root {
        tree,
        files,
        os_release,
    })
}

/// Names a build by all that is in its root: path, kind, mode and content of everything.
fn build_id(files: &[manifest::File]) -> String {
    let mut text = String::new();
    for file in files {
        text.push_str(&format!(
            "{} {} {} {:?} {:?}\n",
            file.path, file.kind, file.mode, file.sha256, file.target
        ));
    }
    digest::of_bytes(text.as_bytes())[..16].to_owned()
}

/// What `/etc/os-release` says, and the UKI's `.osrel` section (os-release(5)).
fn os_release(ingredients: &Ingredients<'_>, build_id: &str) -> String {
    let (version, k3s) = (ingredients.version, &ingredients.k3s.version);
    let target = ingredients.target;
    let note = if k3s == "double" {
        " (test image: k3s double)"
    } else {
        ""
    };
    format!(
        "ID=k3s-daas\nNAME=\"K3s-DaaS\"\nPRETTY_NAME=\"K3s-DaaS {version}{note}\"\nVERSION_ID={version}\n\
         VARIANT_ID={target}\nIMAGE_ID=k3s-daas\nIMAGE_VERSION={version}\nBUILD_ID={build_id}\nK3S_DAAS_K3S=\"{k3s}\"\n"
    )
}

fn packages(tree: &mut Tree, ingredients: &Ingredients<'_>) -> Result<()> {
    for wanted in &ingredients.wanted.root {
        let package = ingredients.store.get(&wanted.package)?;
        let globs = modules::globs(&wanted.files)
            .with_context(|| format!("the files of {}", wanted.package))?;
        let mut matched = vec![false; wanted.files.len()];
        for (path, kind, mode) in crate::tree::host_files(&package.directory)? {
            let matches = globs.matches(&path);
            if matches.is_empty() || kind == Kind::Directory {
                continue;
            }
            for index in matches {
                matched[index] = true;
            }
            tree.insert(
                &path,
                Entry {
                    kind,
                    mode,
                    origin: package.origin.clone(),
                },
            )?;
        }
        if let Some(index) = matched.iter().position(|matched| !matched) {
            bail!(
                "packages.toml takes {:?} from {}, which has no such file",
                wanted.files[index],
                package.origin
            );
        }
    }
    Ok(())
}

/// Joins the certificates into one file, in the order of their names.
fn certificates(tree: &mut Tree, ingredients: &Ingredients<'_>) -> Result<()> {
    let wanted = &ingredients.wanted.certificates;
    let package = ingredients.store.get(&wanted.package)?;
    let globs = modules::globs(&wanted.files)?;
    let mut bundle = Vec::new();
    for (path, kind, _) in crate::tree::host_files(&package.directory)? {
        if let Kind::File(content) = kind
            && globs.is_match(&path)
        {
            bundle.extend(content.read()?);
            if bundle.last() != Some(&b'\n') {
                bundle.push(b'\n');
            }
        }
    }
    if bundle.is_empty() {
        bail!(
            "packages.toml takes {:?} from {}, which has no such file",
            wanted.files,
            package.origin
        );
    }
    tree.bytes(&wanted.into, 0o644, bundle, &package.origin)
}

/// Lays the overlay's files over the tree. Their modes depend on the executable bit alone, since a
/// checkout's other bits follow the user's umask.
fn overlay(tree: &mut Tree, directory: &Path) -> Result<()> {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let origin = format!("overlay {name}");
    for (path, kind, mode) in crate::tree::host_files(directory)? {
        if kind == Kind::Directory && tree.get(&path).is_some() {
            continue;
        }
        let mode = crate::tree::plain_mode(&kind, mode);
        tree.replace(
            &path,
            Entry {
                kind,
                mode,
                origin: origin.clone(),
            },
        )?;
    }
    Ok(())
}

/// What must not be in an image, and what must.
fn check(tree: &Tree) -> Result<()> {
    /// A package manager, a login, a remote shell: none belongs on a node.
    const FORBIDDEN: [&str; 12] = [
        "dpkg", "apt", "apt-get", "sshd", "login", "agetty", "getty", "su", "sudo", "passwd",
        "bash", "perl",
    ];
    for (path, entry) in tree.iter() {
        if entry.mode & 0o6000 != 0 {
            bail!("{path} of {} would be set-uid or set-gid", entry.origin);
        }
        if let Some(name) = path.strip_prefix("usr/bin/")
            && FORBIDDEN.contains(&name)
        {
            bail!("{path} of {} must not be in an image", entry.origin);
        }
        if let Kind::Symlink(target) = &entry.kind
            && !leads_to_writable(target)
            && tree.resolve(path).is_none()
        {
            bail!(
                "{path} of {} is a link to {target}, which is not in the image",
                entry.origin
            );
        }
    }
    for path in [
        "etc/passwd",
        "etc/group",
        "usr/bin/sh",
        "usr/bin/mount",
        "usr/bin/iptables",
    ] {
        match tree.resolve(path) {
            Some((
                _,
                Entry {
                    kind: Kind::File(_),
                    ..
                },
            )) => (),
            _ => bail!("the image lacks /{path}"),
        }
    }
    no_login(tree)?;
    elf::check_closure(tree)
}

/// Links to what only a running node has.
fn leads_to_writable(target: &str) -> bool {
    ["/run/", "/var/", "/proc/", "../proc/", "../run/", "var/"]
        .iter()
        .any(|prefix| target.starts_with(prefix))
}

/// No account may have a password or a shell.
fn no_login(tree: &Tree) -> Result<()> {
    let Some((
        _,
        Entry {
            kind: Kind::File(content),
            ..
        },
    )) = tree.resolve("etc/passwd")
    else {
        return Ok(());
    };
    let passwd = String::from_utf8(content.read()?).context("/etc/passwd is not UTF-8")?;
    for line in passwd.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, password, _, _, _, _, shell] = fields[..] else {
            bail!("/etc/passwd has the malformed line {line:?}")
        };
        if !matches!(password, "x" | "*" | "!") || shell != "/nonexistent" {
            bail!(
                "the account {name} in /etc/passwd must have no password and the shell /nonexistent"
            );
        }
    }
    match tree.resolve("etc/shadow") {
        None => Ok(()),
        Some(_) => bail!("the image must not hold /etc/shadow: no account has a password"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_that_can_log_in_are_refused() {
        let with = |passwd: &str| {
            let mut tree = Tree::default();
            tree.bytes("etc/passwd", 0o644, passwd, "test").unwrap();
            no_login(&tree)
        };
        with("root:x:0:0:root:/:/nonexistent\n").unwrap();
        for bad in [
            "root::0:0:root:/:/nonexistent",
            "root:x:0:0:root:/:/bin/sh",
            "root:x:0",
            "root:$6$x:0:0::/:/nonexistent",
        ] {
            assert!(with(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn set_uid_files_and_dangling_links_are_refused() {
        let mut tree = Tree::usr_merged().unwrap();
        tree.bytes("usr/bin/mount", 0o4755, "", "test").unwrap();
        assert!(check(&tree).unwrap_err().to_string().contains("set-uid"));
        let mut tree = Tree::usr_merged().unwrap();
        tree.symlink("etc/a", "b", "test").unwrap();
        assert!(
            check(&tree)
                .unwrap_err()
                .to_string()
                .contains("not in the image")
        );
        let mut tree = Tree::usr_merged().unwrap();
        tree.bytes("sbin/sshd", 0o755, "", "test").unwrap();
        assert!(
            check(&tree)
                .unwrap_err()
                .to_string()
                .contains("must not be")
        );
    }
}
