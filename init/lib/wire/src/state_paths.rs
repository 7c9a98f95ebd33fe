//! The paths below `/var`, and those of `/etc` and `/opt` that lead there, that a program of the host
//! executes or reads: who reads them, and where they lie.
//!
//! What the state disk holds outlives a boot unmeasured. So no program of the host executes anything of it,
//! and what it takes orders from lies on the verified root, or is empty at every boot. `provision state`
//! does what this table says; docs/state-paths.md shows it, and a scenario traces a boot against it.

use std::path::Path;

/// Where a path lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    /// On the verified root.
    Root,
    /// On a tmpfs of its own, which is empty at every boot.
    Tmpfs,
    /// On `/run`, which is empty at every boot: the state has a link to this place.
    Run(&'static str),
    /// On the state. Whatever no other row keeps is removed at every boot before anything reads it.
    Emptied,
    /// On the state, over boots.
    Kept,
    /// On the state, over boots, with programs of containers: the one kind of place from which the kernel
    /// lets a program start.
    KeptWithPrograms,
}

impl Home {
    /// As the documentation says it.
    #[must_use]
    pub fn text(self) -> String {
        match self {
            Self::Root => "verified root".to_owned(),
            Self::Tmpfs => "tmpfs".to_owned(),
            Self::Run(target) => format!("tmpfs (`{target}`)"),
            Self::Emptied => "state, emptied at every boot".to_owned(),
            Self::Kept => "state, kept".to_owned(),
            Self::KeptWithPrograms => "state, kept, `exec`".to_owned(),
        }
    }

    /// Whether what lies there outlives a boot.
    #[must_use]
    pub const fn is_kept(self) -> bool {
        matches!(self, Self::Kept | Self::KeptWithPrograms)
    }
}

/// What a program of the host does with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It starts what is there.
    Executes,
    /// It does what is written there.
    Obeys,
    /// It stores data there, and reads them back.
    Stores,
}

impl Use {
    /// As the documentation says it.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Executes => "executes",
            Self::Obeys => "obeys",
            Self::Stores => "stores",
        }
    }
}

/// One row: a path, with all below it that has no row of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatePath {
    /// The path.
    pub path: &'static str,
    /// Which program of the host reads it.
    pub reader: &'static str,
    /// What for.
    pub usage: Use,
    /// Where it lies.
    pub home: Home,
    /// Why there.
    pub why: &'static str,
}

const fn row(
    path: &'static str,
    reader: &'static str,
    usage: Use,
    home: Home,
    why: &'static str,
) -> StatePath {
    StatePath {
        path,
        reader,
        usage,
        home,
        why,
    }
}

use Home::{Emptied, Kept, KeptWithPrograms, Root, Run, Tmpfs};
use Use::{Executes, Obeys, Stores};

/// Where `k3s agent` has everything but the node's password.
const AGENT: &str = "/var/lib/rancher/k3s/agent";

/// Every such path. The row that holds for a path is the one with the longest prefix of it.
pub const STATE_PATHS: &[StatePath] = &[
    // --- k3s agent
    row(
        "/etc/rancher/k3s",
        "k3s agent",
        Obeys,
        Root,
        "`config.yaml`, `config.yaml.d`, `registries.yaml`: there are none, and nobody can make one",
    ),
    row(
        "/etc/rancher/node",
        "k3s agent",
        Stores,
        Root,
        "a link to `/var/lib/daas/rancher/node`",
    ),
    row(
        "/var/lib/daas/rancher/node/password",
        "k3s agent",
        Stores,
        Kept,
        "the k3s server takes the node's name from whoever knows it; no order",
    ),
    row(
        "/var/lib/daas/rancher",
        "nobody",
        Obeys,
        Emptied,
        "earlier images had `/etc/rancher` here",
    ),
    row(
        AGENT,
        "k3s agent, kubelet, containerd",
        Obeys,
        Tmpfs,
        "keys, certificates and kubeconfig files: asked for anew at every boot, with the join token of that boot",
    ),
    row(
        "/var/lib/rancher/k3s/agent/pod-manifests",
        "kubelet",
        Obeys,
        Tmpfs,
        "static pods: none",
    ),
    row(
        "/var/lib/rancher/k3s/agent/etc/kubelet.conf.d",
        "kubelet",
        Obeys,
        Tmpfs,
        "configuration drop-ins: k3s writes its own",
    ),
    row(
        "/var/lib/rancher/k3s/agent/etc/containerd",
        "containerd",
        Obeys,
        Tmpfs,
        "`certs.d`, registries and their mirrors",
    ),
    row(
        "/var/lib/rancher/k3s/agent/etc/cni/net.d",
        "containerd, CNI plugins",
        Obeys,
        Tmpfs,
        "k3s writes its own",
    ),
    row(
        "/var/lib/rancher/k3s/agent/etc/flannel",
        "k3s agent",
        Obeys,
        Tmpfs,
        "k3s writes its own",
    ),
    row(
        "/var/lib/rancher/k3s/agent/images",
        "k3s agent",
        Obeys,
        Tmpfs,
        "archives of images that k3s imports: none",
    ),
    row(
        "/var/lib/rancher/k3s/data",
        "k3s agent",
        Executes,
        Root,
        "k3s's own programs, unpacked when the image was built, bind-mounted",
    ),
    row(
        "/var/lib/rancher/k3s/storage",
        "containers",
        Stores,
        KeptWithPrograms,
        "volumes of k3s's local-path provisioner",
    ),
    row(
        "/var/lib/rancher",
        "kubelet, k3s agent",
        Executes,
        Emptied,
        "`credentialprovider`: programs that the kubelet starts; the rest of k3s's own directories",
    ),
    // --- kubelet
    row(
        "/var/lib/kubelet",
        "kubelet",
        Obeys,
        Emptied,
        "checkpoints, plugin sockets, `config.json`, seccomp profiles, `pki`; the file system stays the \
         state's, as the kubelet measures the node's storage here",
    ),
    row(
        "/var/lib/kubelet/volumeplugins",
        "kubelet",
        Executes,
        Emptied,
        "FlexVolume drivers: none, and none starts from here (`noexec`)",
    ),
    row(
        "/var/lib/kubelet/pods",
        "kubelet, containers",
        Stores,
        KeptWithPrograms,
        "volumes of pods: programs in an emptyDir are the containers' to start",
    ),
    row(
        "/var/lib/kubelet/image_manager",
        "kubelet",
        Stores,
        Kept,
        "whose credentials pulled which image: without it private images would be everybody's",
    ),
    // --- containerd and the network of pods
    row(
        "/etc/containerd",
        "containerd",
        Obeys,
        Root,
        "its configuration, which imports no other file",
    ),
    row(
        "/etc/cdi",
        "containerd",
        Obeys,
        Root,
        "device descriptions: none; no other directory counts",
    ),
    row("/etc/cni", "nobody", Obeys, Root, "does not exist"),
    row("/usr/lib/cni", "containerd", Executes, Root, "CNI plugins"),
    row(
        "/opt/cni",
        "nobody",
        Executes,
        Emptied,
        "leads to `/var/opt/cni`: what installs CNI plugins writes there, and nothing looks",
    ),
    row("/var/opt/cni", "nobody", Executes, Emptied, "as `/opt/cni`"),
    row(
        "/var/lib/cni",
        "CNI plugins",
        Stores,
        Run("/run/cni"),
        "addresses and saved configurations: no pod's network outlives a boot",
    ),
    row(
        "/var/lib/containerd",
        "containerd",
        Obeys,
        Emptied,
        "`opt` and whatever else no plugin of the image's containerd has",
    ),
    row(
        "/var/lib/containerd/io.containerd.content.v1.content",
        "containerd",
        Stores,
        Kept,
        "images, found by their digests",
    ),
    row(
        "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs",
        "containerd, containers",
        Stores,
        Kept,
        "unpacked images; overlay mounts have flags of their own, so that programs start in containers alone",
    ),
    row(
        "/var/lib/containerd/io.containerd.metadata.v1.bolt",
        "containerd",
        Stores,
        Kept,
        "records of images and containers; nothing in it starts by itself: no restart monitor",
    ),
    row(
        "/var/lib/containerd/io.containerd.grpc.v1.cri",
        "containerd",
        Stores,
        Kept,
        "states of sandboxes, which are over after a boot",
    ),
    row(
        "/var/lib/containerd/io.containerd.grpc.v1.cri/containers",
        "containerd, containers",
        Stores,
        KeptWithPrograms,
        "states of containers, and what their images declare as volumes, with the images' programs in them",
    ),
    // --- ours
    row(
        "/var/lib/daas/node.toml",
        "provision",
        Obeys,
        Kept,
        "a place where an owner puts a configuration; beside a sealed one, only one that names the same key counts",
    ),
    row(
        "/var/lib/daas/owner",
        "provision",
        Stores,
        Kept,
        "whose the state is, a hash",
    ),
    row(
        "/var/lib/daas/machine-id",
        "provision",
        Stores,
        Kept,
        "32 digits",
    ),
    row(
        "/var/lib/daas/state-version",
        "provision",
        Stores,
        Kept,
        "a number",
    ),
    row(
        "/var/lib/daas/last-end",
        "provision",
        Stores,
        Kept,
        "why the last boot ended, a word for the log",
    ),
    row(
        "/var/lib/daas/staker",
        "staker",
        Stores,
        Kept,
        "a transaction that is under way, and what was seen of the chain; parsed by a program without rights",
    ),
    row(
        "/var/lib/daas/netd",
        "netd",
        Stores,
        Kept,
        "the last time, addresses and network settings that were good; parsed by a program with four capabilities",
    ),
    row(
        "/var/log",
        "init, kubelet, containerd",
        Stores,
        Kept,
        "logs, written and never obeyed",
    ),
    row(
        "/var/run",
        "any",
        Stores,
        Run("/run"),
        "hostPath volumes use it",
    ),
    row(
        "/var/lock",
        "any",
        Stores,
        Run("/run/lock"),
        "hostPath volumes use it",
    ),
];

/// The row that holds for a path: the longest that it lies at or below.
#[must_use]
pub fn of(path: &Path) -> Option<&'static StatePath> {
    STATE_PATHS
        .iter()
        .filter(|row| path.starts_with(row.path))
        .max_by_key(|row| row.path.len())
}

/// Whether some row that lies below a path, or at it, is kept over boots.
#[must_use]
pub fn holds_kept(path: &Path) -> bool {
    STATE_PATHS
        .iter()
        .any(|row| row.home.is_kept() && Path::new(row.path).starts_with(path))
}

/// The table as the documentation has it, in Markdown.
#[must_use]
pub fn table() -> String {
    let mut text =
        "| Path | Reader | Use | Where it lies | Why |\n| --- | --- | --- | --- | --- |\n"
            .to_owned();
    for row in STATE_PATHS {
        text.push_str(&format!(
            "| `{}` | {} | {} | {} | {} |\n",
            row.path,
            row.reader,
            row.usage.text(),
            row.home.text(),
            row.why
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_kept_is_executed_by_the_host() {
        for row in STATE_PATHS.iter().filter(|row| row.home.is_kept()) {
            assert_ne!(row.usage, Executes, "{}", row.path);
        }
    }

    /// A configuration that an owner puts there is the one order that outlives a boot.
    #[test]
    fn one_kept_path_is_obeyed() {
        let kept: Vec<&str> = STATE_PATHS
            .iter()
            .filter(|row| row.home.is_kept() && row.usage == Obeys)
            .map(|row| row.path)
            .collect();
        assert_eq!(kept, ["/var/lib/daas/node.toml"]);
    }

    #[test]
    fn rows_are_unique_and_absolute() {
        for (index, row) in STATE_PATHS.iter().enumerate() {
            assert!(row.path.starts_with('/') && !row.path.ends_with('/'));
            assert!(
                !STATE_PATHS[..index]
                    .iter()
                    .any(|other| other.path == row.path)
            );
            assert!(!row.why.is_empty() && !row.why.contains('|'));
        }
    }

    #[test]
    fn row_of_a_path_is_the_longest() {
        let home = |path: &str| of(Path::new(path)).map(|row| row.home);
        assert_eq!(home("/var/lib/kubelet/pods/1/x"), Some(KeptWithPrograms));
        assert_eq!(home("/var/lib/kubelet/podsx"), Some(Emptied));
        assert_eq!(
            home("/var/lib/rancher/credentialprovider/bin/x"),
            Some(Emptied)
        );
        assert_eq!(home("/var/lib/other"), None);
        assert!(holds_kept(Path::new("/var/lib/rancher/k3s")));
        assert!(!holds_kept(Path::new("/var/lib/rancher/k3s/agent")));
    }

    #[test]
    fn documentation_shows_the_table() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/state-paths.md");
        let text = std::fs::read_to_string(path).expect("docs/state-paths.md");
        assert!(
            text.contains(&table()),
            "docs/state-paths.md should hold:\n{}",
            table()
        );
    }

    #[test]
    fn agent_s_directory_is_that_of_its_arguments() {
        assert_eq!(AGENT, format!("{}/agent", crate::paths::K3S_DATA));
    }
}
