//! What the pod is: names, labels, cgroup, confinement and mounts, as the kubelet would give them
//! to the runtime.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::cri::{
    ContainerConfig, ContainerMetadata, CreateContainerRequest, DnsConfig, ImageSpec,
    LinuxContainerConfig, LinuxContainerResources, LinuxContainerSecurityContext,
    LinuxPodSandboxConfig, LinuxSandboxSecurityContext, Mount, NamespaceOption, PodSandboxConfig,
    PodSandboxMetadata, SecurityProfile,
};

/// The image of both the sandbox and the container: baked into the node's image.
pub const IMAGE: &str = "k3s-daas.local/pause:1";
/// The pod's namespace.
pub const NAMESPACE: &str = "kube-system";
/// The container's name.
pub const CONTAINER: &str = "double";
/// The kubelet's note of how long the pod has to end, in seconds (pkg/kubelet/kuberuntime/labels.go).
const GRACE: (&str, &str) = ("io.kubernetes.pod.terminationGracePeriod", "6");

/// `NamespaceMode::CONTAINER` of the CRI.
const OF_THE_CONTAINER: i32 = 1;
/// `MountPropagation::PROPAGATION_HOST_TO_CONTAINER` of the CRI.
const HOST_TO_CONTAINER: i32 = 1;
/// What Docker and the kubelet hide from containers.
const MASKED: [&str; 11] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
/// What they make read-only.
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// The one pod of a node.
#[derive(Debug, Clone)]
pub struct Specification {
    /// The pod's name.
    pub name: String,
    /// Its uid, the same for every life of the node.
    pub uid: String,
    /// Its cgroup below the root.
    pub cgroup: String,
    /// Its name servers and search domains.
    pub dns: (Vec<String>, Vec<String>),
    /// The kubelet's folder.
    pub kubelet_folder: PathBuf,
    /// `/var/log`
    pub log_folder: PathBuf,
}

/// The pod's uid: of the node's name, so that a restarted node finds its pod again. The kubelet
/// makes the uids of static pods the same way.
pub fn uid(node: &str) -> String {
    let digest = hex::encode(Sha256::digest(format!("k3s-double pod of {node}")));
    let part = |from: usize, to: usize| digest.get(from..to).unwrap_or_default();
    format!(
        "{}-{}-{}-{}-{}",
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32)
    )
}

impl Specification {
    /// The labels of the pod's sandboxes, by which the kubelet finds them.
    pub fn labels(&self) -> HashMap<String, String> {
        HashMap::from([
            ("io.kubernetes.pod.name".to_owned(), self.name.clone()),
            (
                "io.kubernetes.pod.namespace".to_owned(),
                NAMESPACE.to_owned(),
            ),
            ("io.kubernetes.pod.uid".to_owned(), self.uid.clone()),
        ])
    }

    /// `/var/log/pods/<namespace>_<name>_<uid>`
    pub fn pod_log_folder(&self) -> PathBuf {
        self.log_folder
            .join("pods")
            .join(format!("{NAMESPACE}_{}_{}", self.name, self.uid))
    }

    /// The log of a container's life.
    pub fn container_log(&self, attempt: u32) -> PathBuf {
        self.pod_log_folder()
            .join(CONTAINER)
            .join(format!("{attempt}.log"))
    }

    /// The link to a container's log, which log collectors follow.
    pub fn container_log_link(&self, container: &str) -> PathBuf {
        let name = format!("{}_{NAMESPACE}_{CONTAINER}-{container}.log", self.name);
        self.log_folder.join("containers").join(name)
    }

    /// The pod's own folder.
    pub fn pod_folder(&self) -> PathBuf {
        self.kubelet_folder.join("pods").join(&self.uid)
    }

    /// Where the pod's tmpfs volume is mounted on the host.
    pub fn volume(&self) -> PathBuf {
        self.pod_folder()
            .join("volumes/kubernetes.io~empty-dir/scratch")
    }

    /// The pod's `/etc/hosts`.
    pub fn hosts_file(&self) -> PathBuf {
        self.pod_folder().join("etc-hosts")
    }

    /// What the container may leave behind as its last words.
    pub fn termination_log(&self, attempt: u32) -> PathBuf {
        self.pod_folder()
            .join("containers")
            .join(CONTAINER)
            .join(attempt.to_string())
    }

    /// The sandbox of the given attempt.
    pub fn sandbox(&self, attempt: u32) -> PodSandboxConfig {
        let (servers, searches) = self.dns.clone();
        PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: self.name.clone(),
                uid: self.uid.clone(),
                namespace: NAMESPACE.to_owned(),
                attempt,
            }),
            hostname: self.name.clone(),
            log_directory: text(&self.pod_log_folder()),
            dns_config: Some(DnsConfig {
                servers,
                searches,
                options: vec!["ndots:5".to_owned()],
            }),
            labels: self.labels(),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: self.cgroup.clone(),
                security_context: Some(LinuxSandboxSecurityContext {
                    namespace_options: Some(namespaces()),
                    seccomp: Some(SecurityProfile { profile_type: 0 }),
                }),
            }),
        }
    }

    /// The container of the given attempt, in a sandbox.
    pub fn container(
        &self,
        attempt: u32,
        image: &str,
        sandbox: &str,
        sandbox_config: PodSandboxConfig,
    ) -> CreateContainerRequest {
        let mount = |container_path: &str, host_path: PathBuf| Mount {
            container_path: container_path.to_owned(),
            host_path: text(&host_path),
            ..Mount::default()
        };
        let mut labels = self.labels();
        labels.insert(
            "io.kubernetes.container.name".to_owned(),
            CONTAINER.to_owned(),
        );
        let volume = Mount {
            // The runtime refuses this unless the host's mounts are shared, as a node's must be.
            propagation: HOST_TO_CONTAINER,
            ..mount("/scratch", self.volume())
        };
        let config = ContainerConfig {
            metadata: Some(ContainerMetadata {
                name: CONTAINER.to_owned(),
                attempt,
            }),
            image: Some(ImageSpec {
                image: image.to_owned(),
            }),
            mounts: vec![
                mount("/etc/hosts", self.hosts_file()),
                mount("/dev/termination-log", self.termination_log(attempt)),
                volume,
            ],
            labels,
            annotations: HashMap::from([(GRACE.0.to_owned(), GRACE.1.to_owned())]),
            log_path: format!("{CONTAINER}/{attempt}.log"),
            linux: Some(LinuxContainerConfig {
                // The kubelet's values for pods without requests.
                resources: Some(LinuxContainerResources {
                    cpu_shares: 2,
                    oom_score_adj: 1000,
                }),
                security_context: Some(LinuxContainerSecurityContext {
                    namespace_options: Some(namespaces()),
                    no_new_privs: true,
                    masked_paths: MASKED.map(str::to_owned).into(),
                    readonly_paths: READ_ONLY.map(str::to_owned).into(),
                    seccomp: Some(SecurityProfile { profile_type: 0 }),
                }),
            }),
        };
        CreateContainerRequest {
            pod_sandbox_id: sandbox.to_owned(),
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        }
    }
}

fn namespaces() -> NamespaceOption {
    NamespaceOption {
        network: 0,
        pid: OF_THE_CONTAINER,
        ipc: 0,
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nodes_pod_keeps_its_uid() {
        assert_eq!(uid("edge-0001"), uid("edge-0001"));
        assert_ne!(uid("edge-0001"), uid("edge-0002"));
        assert_eq!(uid("edge-0001").len(), 36);
    }
}
