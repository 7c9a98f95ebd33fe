//! The cgroup v2 tree of pods, checked and made as k3s and the kubelet do with the `cgroupfs`
//! driver. Sources: k3s, `pkg/cgroups`; Kubernetes, `pkg/kubelet/cm` (names, messages); the
//! kernel's Documentation/admin-guide/cgroup-v2.rst (files).

use std::path::{Path, PathBuf};

use thiserror::Error;

use super::kubelet_config::KubeletConfig;
use crate::files::{self, FileError};

/// A cgroup file is no longer than this.
const FILE_LIMIT: u64 = 4096;
/// What pods cannot do without.
const NEEDED: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];

/// The tree cannot hold pods.
#[derive(Debug, Error)]
pub enum CgroupError {
    /// A file of it.
    #[error(transparent)]
    File(#[from] FileError),
    /// cgroup v1, or nothing mounted.
    #[error("{0} is no cgroup v2 file system; the double knows no other")]
    NotUnified(PathBuf),
    /// The kernel does not have a controller.
    #[error("failed to find {0} cgroup (v2)")]
    NoController(&'static str),
    /// A controller is not delegated.
    #[error(
        "failed to initialize top level QOS containers: error validating root container \
         [kubepods] : cgroup [\"kubepods\"] has some missing controllers: {}", .0.join(", ")
    )]
    Missing(Vec<&'static str>),
}

/// The mounted tree.
#[derive(Debug, Clone)]
pub struct Cgroups {
    root: PathBuf,
}

impl Cgroups {
    /// Checks that the tree at `root`, usually `/sys/fs/cgroup`, can hold pods: every needed
    /// controller exists and the root delegates it.
    ///
    /// # Errors
    /// [`CgroupError`].
    pub fn validate(root: &Path) -> Result<Self, CgroupError> {
        let cgroups = Self {
            root: root.to_owned(),
        };
        let exist = match files::read(&root.join("cgroup.controllers"), FILE_LIMIT) {
            Err(error) if error.is_not_found() => {
                return Err(CgroupError::NotUnified(root.to_owned()));
            }
            result => result?,
        };
        for controller in NEEDED {
            if !lists(&exist, controller) {
                return Err(CgroupError::NoController(controller));
            }
        }
        require(&files::read(
            &root.join("cgroup.subtree_control"),
            FILE_LIMIT,
        )?)?;
        Ok(cgroups)
    }

    /// Bounds all pods together by what the configuration does not reserve of the machine's `memory`, in bytes, and of
    /// its `pids` (Kubernetes, `pkg/kubelet/cm/node_container_manager_linux.go`).
    ///
    /// # Errors
    /// [`CgroupError`].
    pub fn enforce(
        &self,
        config: &KubeletConfig,
        memory: u64,
        pids: u64,
    ) -> Result<(), CgroupError> {
        let pods = self.root.join("kubepods");
        files::make_folder(&pods, 0o755)?;
        let memory = memory.saturating_sub(config.reserved.memory);
        write(&pods.join("memory.max"), &memory.to_string())?;
        let pids = pids.saturating_sub(config.reserved.pids);
        write(&pods.join("pids.max"), &pids.to_string())
    }

    /// Makes `/kubepods`, its two classes and the cgroup of a pod, and returns the pod's path
    /// below the root, as the runtime wants it. `pids` bounds the pod's processes and threads.
    ///
    /// # Errors
    /// [`CgroupError`].
    pub fn make_pod(&self, uid: &str, pids: Option<u64>) -> Result<String, CgroupError> {
        let pods = self.root.join("kubepods");
        files::make_folder(&pods, 0o755)?;
        require(&files::read(&pods.join("cgroup.controllers"), FILE_LIMIT)?)?;
        self.delegate(&pods)?;
        for class in ["burstable", "besteffort"] {
            files::make_folder(&pods.join(class), 0o755)?;
        }
        let class = pods.join("besteffort");
        self.delegate(&class)?;
        // The least weight: two CPU shares of cgroup v1, as the kubelet gives this class.
        write(&class.join("cpu.weight"), "1")?;
        let pod = class.join(format!("pod{uid}"));
        files::make_folder(&pod, 0o755)?;
        if let Some(pids) = pids {
            write(&pod.join("pids.max"), &pids.to_string())?;
        }
        Ok(format!("/kubepods/besteffort/pod{uid}"))
    }

    /// Passes on every controller that `cgroup` has.
    fn delegate(&self, cgroup: &Path) -> Result<(), CgroupError> {
        let controllers = files::read(&cgroup.join("cgroup.controllers"), FILE_LIMIT)?;
        let wanted: Vec<String> = controllers
            .split_whitespace()
            .map(|controller| format!("+{controller}"))
            .collect();
        write(&cgroup.join("cgroup.subtree_control"), &wanted.join(" "))
    }
}

/// Cgroup files are written in place: they are the kernel's.
fn write(path: &Path, text: &str) -> Result<(), CgroupError> {
    std::fs::write(path, text).map_err(|source| FileError::new("write", path, source).into())
}

fn lists(controllers: &str, controller: &str) -> bool {
    controllers
        .split_whitespace()
        .any(|listed| listed == controller)
}

fn require(controllers: &str) -> Result<(), CgroupError> {
    let missing: Vec<_> = NEEDED
        .into_iter()
        .filter(|controller| !lists(controllers, controller))
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(CgroupError::Missing(missing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(controllers: &str, delegated: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("cgroup.controllers"), controllers).unwrap();
        std::fs::write(root.path().join("cgroup.subtree_control"), delegated).unwrap();
        root
    }

    #[test]
    fn a_tree_without_a_controller_or_its_delegation_is_refused() {
        let all = "cpuset cpu io memory hugetlb pids\n";
        let root = tree(all, "cpuset cpu io memory pids\n");
        Cgroups::validate(root.path()).unwrap();

        let root = tree("cpu io memory pids\n", "");
        let error = Cgroups::validate(root.path()).unwrap_err();
        assert_eq!(error.to_string(), "failed to find cpuset cgroup (v2)");

        let root = tree(all, "memory cpu\n");
        let error = Cgroups::validate(root.path()).unwrap_err().to_string();
        assert!(
            error.ends_with("has some missing controllers: cpuset, pids"),
            "{error}"
        );

        let empty = tempfile::tempdir().unwrap();
        assert!(matches!(
            Cgroups::validate(empty.path()),
            Err(CgroupError::NotUnified(_))
        ));
    }

    #[test]
    fn a_pod_gets_its_place_below_the_best_effort_class() {
        let all = "cpuset cpu io memory pids\n";
        let root = tree(all, all);
        // The kernel makes these files; here they stand ready.
        for name in ["kubepods", "kubepods/besteffort"] {
            std::fs::create_dir_all(root.path().join(name)).unwrap();
            std::fs::write(root.path().join(name).join("cgroup.controllers"), all).unwrap();
        }
        let cgroups = Cgroups::validate(root.path()).unwrap();
        assert_eq!(
            cgroups.make_pod("abc", Some(512)).unwrap(),
            "/kubepods/besteffort/podabc"
        );
        assert!(root.path().join("kubepods/burstable").is_dir());
        assert!(root.path().join("kubepods/besteffort/podabc").is_dir());
        let delegated =
            std::fs::read_to_string(root.path().join("kubepods/cgroup.subtree_control")).unwrap();
        assert_eq!(delegated, "+cpuset +cpu +io +memory +pids");
        let read = |name: &str| std::fs::read_to_string(root.path().join(name)).unwrap();
        assert_eq!(read("kubepods/besteffort/podabc/pids.max"), "512");
        let mut config = KubeletConfig::default();
        (config.reserved.memory, config.reserved.pids) = (100, 30);
        cgroups.enforce(&config, 1000, 230).unwrap();
        assert_eq!(read("kubepods/memory.max"), "900");
        assert_eq!(read("kubepods/pids.max"), "200");
    }
}
