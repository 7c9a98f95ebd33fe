//! systemd of the suite with equal units: networkd, udev, containerd, and a unit in the agent's place.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use image::filesystem::{self, Compression};
use image::tree::{Entry, Kind, Tree};

use super::initramfs::program;
use super::packages::Packages;

/// What the kernel's command line has the initramfs execute, and tells systemd: nothing on the console but
/// marks, no mounts by partition types.
pub const COMMAND_LINE: &str =
    "bench.init=/usr/lib/systemd/systemd systemd.show_status=no systemd.gpt_auto=no";
const ORIGIN: &str = "bench";
/// systemd, udev, and what they are linked with.
const PACKAGES: [&str; 22] = [
    "systemd",
    "udev",
    "libsystemd-shared",
    "libsystemd0",
    "libudev1",
    "libkmod2",
    "util-linux",
    "libacl1",
    "libapparmor1",
    "libaudit1",
    "libcap-ng0",
    "libcrypt1",
    "libpam0g",
    "liblz4-1",
    "libgcrypt20",
    "libgpg-error0",
    "libseccomp2",
    "libcap2",
    "libmount1",
    "libblkid1",
    "libuuid1",
    "libsmartcols1",
];
/// Programs of those packages that are linked with what the root does not have, and that nothing starts.
const LEFT_OUT: [&str; 4] = [
    "usr/bin/systemd-cryptenroll",
    "usr/lib/x86_64-linux-gnu/cryptsetup/",
    "usr/lib/x86_64-linux-gnu/security/",
    "usr/bin/lscpu",
];

/// Files of the root. Nothing is enabled but these.
const FILES: [(&str, &str); 7] = [
    (
        "etc/fstab",
        "/dev/vda6 /var ext4 nosuid,nodev,noatime 0 2\n",
    ),
    ("etc/machine-id", "6b3f2d1a9c8e4f50a7d6c5b4a3928170\n"),
    (
        "etc/systemd/network/10-wired.network",
        "[Match]\nType=ether\n\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n",
    ),
    ("etc/systemd/system/containerd.service", CONTAINERD),
    ("etc/systemd/system/k3s-agent.service", AGENT),
    ("etc/modules-load.d/containerd.conf", "overlay\n"),
    ("etc/hostname", "peer\n"),
];
const CONTAINERD: &str = "[Unit]\nDescription=containerd\nAfter=local-fs.target\nRequiresMountsFor=/var\n\n\
    [Service]\nType=notify\nExecStart=/usr/bin/containerd\nExecStartPost=/usr/bin/floor mark containerd\n\
    Delegate=yes\nKillMode=process\nLimitNOFILE=1048576\n";
const AGENT: &str = "[Unit]\nDescription=where the agent may start\nRequires=containerd.service\n\
    Wants=network-online.target\nAfter=containerd.service network-online.target\n\n\
    [Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/usr/bin/floor mark agent-may-start\n";

/// Links below `/etc/systemd/system`: what is enabled, what is not there, and what boots.
const LINKS: [(&str, &str); 11] = [
    (
        "default.target",
        "/usr/lib/systemd/system/multi-user.target",
    ),
    (
        "multi-user.target.wants/containerd.service",
        "/etc/systemd/system/containerd.service",
    ),
    (
        "multi-user.target.wants/k3s-agent.service",
        "/etc/systemd/system/k3s-agent.service",
    ),
    (
        "multi-user.target.wants/systemd-networkd.service",
        "/usr/lib/systemd/system/systemd-networkd.service",
    ),
    (
        "sockets.target.wants/systemd-networkd.socket",
        "/usr/lib/systemd/system/systemd-networkd.socket",
    ),
    (
        "network-online.target.wants/systemd-networkd-wait-online.service",
        "/usr/lib/systemd/system/systemd-networkd-wait-online.service",
    ),
    ("getty.target", "/dev/null"),
    ("systemd-firstboot.service", "/dev/null"),
    ("systemd-sysusers.service", "/dev/null"),
    ("systemd-hwdb-update.service", "/dev/null"),
    ("systemd-pcrlock-make-policy.service", "/dev/null"),
];
/// Users and groups of systemd's that nothing adds where `/etc` is read-only.
const USERS: &str = "systemd-network:x:998:998:systemd:/:/nonexistent\n";
const GROUPS: &str = "systemd-network:x:998:\nsystemd-journal:x:999:\nkmem:x:15:\ndialout:x:20:\n\
    cdrom:x:24:\nlp:x:7:\naudio:x:29:\nvideo:x:44:\nrender:x:992:\nkvm:x:993:\ninput:x:994:\nsgx:x:995:\n\
    tape:x:26:\nclock:x:996:\nadm:x:4:\nusers:x:100:\n";

/// A root of its own, as files.
#[derive(Debug)]
pub struct Root {
    /// The file system.
    pub data: PathBuf,
    /// Its hash tree.
    pub hashes: PathBuf,
    /// The root hash, in hexadecimal.
    pub hash: String,
}

/// Builds the root from the node's: all that the node's has, and systemd.
///
/// # Errors
/// When a package cannot be had, or a tool fails.
pub fn build(packages: &Packages, image: &Path, programs: &Path, directory: &Path) -> Result<Root> {
    let unpacked = directory.join("root");
    packages
        .tools
        .run("usr/bin/fsck.erofs")?
        .arg(format!("--extract={}", unpacked.display()))
        .args(["--no-preserve", "--overwrite"])
        .arg(image.join("root.erofs"))
        .output()?;
    let mut tree = Tree::usr_merged()?;
    tree.copy(&unpacked, "", "the node's root")?;
    add_systemd(packages, programs, &mut tree)?;
    let root = Root {
        data: directory.join("systemd.erofs"),
        hashes: directory.join("systemd.verity"),
        hash: String::new(),
    };
    filesystem::erofs(
        &tree,
        packages.date,
        Compression::Fast,
        &packages.tools,
        &root.data,
    )?;
    let hash = filesystem::verity(&root.data, &packages.tools, &root.hashes)?;
    fs::remove_dir_all(&unpacked).context("cannot remove the unpacked root")?;
    Ok(Root { hash, ..root })
}

fn add_systemd(packages: &Packages, programs: &Path, tree: &mut Tree) -> Result<()> {
    for package in PACKAGES {
        packages.add(package, tree)?;
    }
    let mut kept = Tree::default();
    for (path, entry) in tree.iter() {
        if !LEFT_OUT.iter().any(|prefix| path.starts_with(prefix)) {
            kept.insert(path, entry.clone())?;
        }
    }
    *tree = kept;
    tree.file("usr/bin/floor", 0o755, &program(programs, "floor")?, ORIGIN)?;
    settings(tree)
}

/// Configuration, units, users.
fn settings(tree: &mut Tree) -> Result<()> {
    for (path, text) in FILES {
        let entry = Entry {
            kind: Kind::File(image::tree::Content::Bytes(text.into())),
            mode: 0o644,
            origin: ORIGIN.to_owned(),
        };
        tree.replace(path, entry)?;
    }
    for (name, target) in LINKS {
        let path = format!("etc/systemd/system/{name}");
        let entry = Entry {
            kind: Kind::Symlink(target.to_owned()),
            mode: 0o777,
            origin: ORIGIN.to_owned(),
        };
        tree.replace(&path, entry)?;
    }
    for (path, more) in [("etc/passwd", USERS), ("etc/group", GROUPS)] {
        let mut text = match tree.get(path).map(|entry| &entry.kind) {
            Some(Kind::File(content)) => content.read()?,
            _ => Vec::new(),
        };
        text.extend(more.as_bytes());
        let entry = Entry {
            kind: Kind::File(image::tree::Content::Bytes(text)),
            mode: 0o644,
            origin: ORIGIN.to_owned(),
        };
        tree.replace(path, entry)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_keep_the_nodes_users_and_enable_the_agent() {
        let mut tree = Tree::usr_merged().unwrap();
        tree.bytes("etc/passwd", 0o644, "root:x:0:0::/:\n", "test")
            .unwrap();
        settings(&mut tree).unwrap();
        let read = |path| match &tree.get(path).unwrap().kind {
            Kind::File(content) => String::from_utf8(content.read().unwrap()).unwrap(),
            other => panic!("{other:?}"),
        };
        assert!(read("etc/passwd").starts_with("root:") && read("etc/passwd").contains("998"));
        assert!(
            tree.resolve("etc/systemd/system/multi-user.target.wants/k3s-agent.service")
                .is_some()
        );
    }

    #[test]
    fn units_set_the_marks_in_order() {
        assert!(CONTAINERD.contains("floor mark containerd"));
        assert!(AGENT.contains("floor mark agent-may-start"));
        assert!(AGENT.contains("After=containerd.service"));
    }

    #[test]
    fn packages_are_those_of_the_lock() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../image/packages.toml");
        let wanted = image::wanted::Wanted::read(&path).unwrap();
        for package in PACKAGES {
            assert!(
                wanted.bench.packages.iter().any(|name| name == package),
                "{package}"
            );
        }
    }
}
