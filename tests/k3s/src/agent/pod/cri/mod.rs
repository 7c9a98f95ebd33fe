//! The part of the Container Runtime Interface that the agent speaks: messages of package
//! `runtime.v1`, with the field numbers of kubernetes/cri-api, `pkg/apis/runtime/v1/api.proto`.
//! Fields that the agent neither sets nor reads are left out; protobuf skips them.

mod runtime;

use std::collections::HashMap;

pub use runtime::*;

/// `ImageSpec`
#[derive(Clone, PartialEq, prost::Message)]
pub struct ImageSpec {
    /// Name or id.
    #[prost(string, tag = "1")]
    pub image: String,
}

/// `ImageStatusRequest`
#[derive(Clone, PartialEq, prost::Message)]
pub struct ImageStatusRequest {
    /// Which image.
    #[prost(message, optional, tag = "1")]
    pub image: Option<ImageSpec>,
}

/// `ImageStatusResponse`
#[derive(Clone, PartialEq, prost::Message)]
pub struct ImageStatusResponse {
    /// Absent when the runtime does not have it.
    #[prost(message, optional, tag = "1")]
    pub image: Option<Image>,
}

/// `Image`
#[derive(Clone, PartialEq, prost::Message)]
pub struct Image {
    /// Its id.
    #[prost(string, tag = "1")]
    pub id: String,
}

/// `PodSandboxMetadata`
#[derive(Clone, PartialEq, prost::Message)]
pub struct PodSandboxMetadata {
    /// The pod's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The pod's uid.
    #[prost(string, tag = "2")]
    pub uid: String,
    /// The pod's namespace.
    #[prost(string, tag = "3")]
    pub namespace: String,
    /// How many sandboxes the pod had before.
    #[prost(uint32, tag = "4")]
    pub attempt: u32,
}

/// `PodSandboxConfig`
#[derive(Clone, PartialEq, prost::Message)]
pub struct PodSandboxConfig {
    /// Who it is.
    #[prost(message, optional, tag = "1")]
    pub metadata: Option<PodSandboxMetadata>,
    /// Its host name.
    #[prost(string, tag = "2")]
    pub hostname: String,
    /// Where containers log to.
    #[prost(string, tag = "3")]
    pub log_directory: String,
    /// Its resolv.conf.
    #[prost(message, optional, tag = "4")]
    pub dns_config: Option<DnsConfig>,
    /// By which it is found again.
    #[prost(map = "string, string", tag = "6")]
    pub labels: HashMap<String, String>,
    /// Linux's part.
    #[prost(message, optional, tag = "8")]
    pub linux: Option<LinuxPodSandboxConfig>,
}

/// `DNSConfig`
#[derive(Clone, PartialEq, prost::Message)]
pub struct DnsConfig {
    /// Name servers.
    #[prost(string, repeated, tag = "1")]
    pub servers: Vec<String>,
    /// Search domains.
    #[prost(string, repeated, tag = "2")]
    pub searches: Vec<String>,
    /// Options.
    #[prost(string, repeated, tag = "3")]
    pub options: Vec<String>,
}

/// `LinuxPodSandboxConfig`
#[derive(Clone, PartialEq, prost::Message)]
pub struct LinuxPodSandboxConfig {
    /// The pod's cgroup.
    #[prost(string, tag = "1")]
    pub cgroup_parent: String,
    /// Namespaces and seccomp.
    #[prost(message, optional, tag = "2")]
    pub security_context: Option<LinuxSandboxSecurityContext>,
}

/// `LinuxSandboxSecurityContext`
#[derive(Clone, PartialEq, prost::Message)]
pub struct LinuxSandboxSecurityContext {
    /// Namespaces.
    #[prost(message, optional, tag = "1")]
    pub namespace_options: Option<NamespaceOption>,
    /// Seccomp.
    #[prost(message, optional, tag = "9")]
    pub seccomp: Option<SecurityProfile>,
}

/// `NamespaceOption`; modes: 0 pod, 1 container, 2 node.
#[derive(Clone, PartialEq, prost::Message)]
pub struct NamespaceOption {
    /// Network.
    #[prost(int32, tag = "1")]
    pub network: i32,
    /// Processes.
    #[prost(int32, tag = "2")]
    pub pid: i32,
    /// System V IPC.
    #[prost(int32, tag = "3")]
    pub ipc: i32,
}

/// `SecurityProfile`; types: 0 the runtime's default, 1 none.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SecurityProfile {
    /// Its type.
    #[prost(int32, tag = "1")]
    pub profile_type: i32,
}

/// `RunPodSandboxRequest`
#[derive(Clone, PartialEq, prost::Message)]
pub struct RunPodSandboxRequest {
    /// What to run.
    #[prost(message, optional, tag = "1")]
    pub config: Option<PodSandboxConfig>,
}

/// `RunPodSandboxResponse`
#[derive(Clone, PartialEq, prost::Message)]
pub struct RunPodSandboxResponse {
    /// Its id.
    #[prost(string, tag = "1")]
    pub pod_sandbox_id: String,
}

/// `StopPodSandboxRequest`, `RemovePodSandboxRequest`, `PodSandboxStatusRequest`
#[derive(Clone, PartialEq, prost::Message)]
pub struct PodSandboxRequest {
    /// Which one.
    #[prost(string, tag = "1")]
    pub pod_sandbox_id: String,
}

/// Any response without fields that the agent reads.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Empty {}

/// `PodSandboxStatusResponse`
#[derive(Clone, PartialEq, prost::Message)]
pub struct PodSandboxStatusResponse {
    /// Its status.
    #[prost(message, optional, tag = "1")]
    pub status: Option<PodSandboxStatus>,
}

/// `PodSandboxStatus`
#[derive(Clone, PartialEq, prost::Message)]
pub struct PodSandboxStatus {
    /// Its id.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Its network.
    #[prost(message, optional, tag = "5")]
    pub network: Option<PodSandboxNetworkStatus>,
}

/// `PodSandboxNetworkStatus`
#[derive(Clone, PartialEq, prost::Message)]
pub struct PodSandboxNetworkStatus {
    /// Its address.
    #[prost(string, tag = "1")]
    pub ip: String,
}

/// `ListPodSandboxRequest`
#[derive(Clone, PartialEq, prost::Message)]
pub struct ListPodSandboxRequest {
    /// Which ones.
    #[prost(message, optional, tag = "1")]
    pub filter: Option<PodSandboxFilter>,
}

/// `PodSandboxFilter`
#[derive(Clone, PartialEq, prost::Message)]
pub struct PodSandboxFilter {
    /// Labels that must be equal.
    #[prost(map = "string, string", tag = "3")]
    pub label_selector: HashMap<String, String>,
}

/// `ListPodSandboxResponse`
#[derive(Clone, PartialEq, prost::Message)]
pub struct ListPodSandboxResponse {
    /// The sandboxes.
    #[prost(message, repeated, tag = "1")]
    pub items: Vec<PodSandbox>,
}

/// `PodSandbox`
#[derive(Clone, PartialEq, prost::Message)]
pub struct PodSandbox {
    /// Its id.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Who it is.
    #[prost(message, optional, tag = "2")]
    pub metadata: Option<PodSandboxMetadata>,
    /// 0 ready, 1 not ready.
    #[prost(int32, tag = "3")]
    pub state: i32,
    /// Nanoseconds of Unix time.
    #[prost(int64, tag = "4")]
    pub created_at: i64,
}

/// `ContainerMetadata`
#[derive(Clone, PartialEq, prost::Message)]
pub struct ContainerMetadata {
    /// Its name in the pod.
    #[prost(string, tag = "1")]
    pub name: String,
    /// How many of that name there were before.
    #[prost(uint32, tag = "2")]
    pub attempt: u32,
}

/// `ContainerConfig`
#[derive(Clone, PartialEq, prost::Message)]
pub struct ContainerConfig {
    /// Who it is.
    #[prost(message, optional, tag = "1")]
    pub metadata: Option<ContainerMetadata>,
    /// Its image.
    #[prost(message, optional, tag = "2")]
    pub image: Option<ImageSpec>,
    /// Its mounts.
    #[prost(message, repeated, tag = "7")]
    pub mounts: Vec<Mount>,
    /// By which it is found again.
    #[prost(map = "string, string", tag = "9")]
    pub labels: HashMap<String, String>,
    /// What the kubelet notes of it.
    #[prost(map = "string, string", tag = "10")]
    pub annotations: HashMap<String, String>,
    /// Its log, below the sandbox's log folder.
    #[prost(string, tag = "11")]
    pub log_path: String,
    /// Linux's part.
    #[prost(message, optional, tag = "15")]
    pub linux: Option<LinuxContainerConfig>,
}

/// `Mount`; propagation: 0 private, 1 host to container.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Mount {
    /// Where in the container.
    #[prost(string, tag = "1")]
    pub container_path: String,
    /// What of the host.
    #[prost(string, tag = "2")]
    pub host_path: String,
    /// Not to be written.
    #[prost(bool, tag = "3")]
    pub readonly: bool,
    /// Which later mounts are passed on.
    #[prost(int32, tag = "5")]
    pub propagation: i32,
}

/// `LinuxContainerConfig`
#[derive(Clone, PartialEq, prost::Message)]
pub struct LinuxContainerConfig {
    /// Its limits.
    #[prost(message, optional, tag = "1")]
    pub resources: Option<LinuxContainerResources>,
    /// Its confinement.
    #[prost(message, optional, tag = "2")]
    pub security_context: Option<LinuxContainerSecurityContext>,
}

/// `LinuxContainerResources`
#[derive(Clone, PartialEq, prost::Message)]
pub struct LinuxContainerResources {
    /// Weight, 2 at the least.
    #[prost(int64, tag = "3")]
    pub cpu_shares: i64,
    /// -1000 to 1000.
    #[prost(int64, tag = "5")]
    pub oom_score_adj: i64,
}

/// `LinuxContainerSecurityContext`
#[derive(Clone, PartialEq, prost::Message)]
pub struct LinuxContainerSecurityContext {
    /// Namespaces.
    #[prost(message, optional, tag = "3")]
    pub namespace_options: Option<NamespaceOption>,
    /// No way up.
    #[prost(bool, tag = "11")]
    pub no_new_privs: bool,
    /// Hidden paths.
    #[prost(string, repeated, tag = "13")]
    pub masked_paths: Vec<String>,
    /// Paths not to be written.
    #[prost(string, repeated, tag = "14")]
    pub readonly_paths: Vec<String>,
    /// Seccomp.
    #[prost(message, optional, tag = "15")]
    pub seccomp: Option<SecurityProfile>,
}

/// `CreateContainerRequest`
#[derive(Clone, PartialEq, prost::Message)]
pub struct CreateContainerRequest {
    /// In which sandbox.
    #[prost(string, tag = "1")]
    pub pod_sandbox_id: String,
    /// What.
    #[prost(message, optional, tag = "2")]
    pub config: Option<ContainerConfig>,
    /// The sandbox's own configuration.
    #[prost(message, optional, tag = "3")]
    pub sandbox_config: Option<PodSandboxConfig>,
}

/// `CreateContainerResponse`, `StartContainerRequest`, `RemoveContainerRequest`
#[derive(Clone, PartialEq, prost::Message)]
pub struct ContainerId {
    /// Which one.
    #[prost(string, tag = "1")]
    pub container_id: String,
}

/// `ListContainersRequest`
#[derive(Clone, PartialEq, prost::Message)]
pub struct ListContainersRequest {
    /// Which ones.
    #[prost(message, optional, tag = "1")]
    pub filter: Option<ContainerFilter>,
}

/// `ContainerFilter`
#[derive(Clone, PartialEq, prost::Message)]
pub struct ContainerFilter {
    /// Labels that must be equal.
    #[prost(map = "string, string", tag = "4")]
    pub label_selector: HashMap<String, String>,
}

/// `ListContainersResponse`
#[derive(Clone, PartialEq, prost::Message)]
pub struct ListContainersResponse {
    /// The containers.
    #[prost(message, repeated, tag = "1")]
    pub containers: Vec<Container>,
}

/// `Container`
#[derive(Clone, PartialEq, prost::Message)]
pub struct Container {
    /// Its id.
    #[prost(string, tag = "1")]
    pub id: String,
    /// In which sandbox.
    #[prost(string, tag = "2")]
    pub pod_sandbox_id: String,
    /// Who it is.
    #[prost(message, optional, tag = "3")]
    pub metadata: Option<ContainerMetadata>,
    /// 0 created, 1 running, 2 exited, 3 unknown.
    #[prost(int32, tag = "6")]
    pub state: i32,
    /// Nanoseconds of Unix time.
    #[prost(int64, tag = "7")]
    pub created_at: i64,
}

/// `ContainerStatusRequest`
#[derive(Clone, PartialEq, prost::Message)]
pub struct ContainerStatusRequest {
    /// Which one.
    #[prost(string, tag = "1")]
    pub container_id: String,
    /// With the runtime's own words.
    #[prost(bool, tag = "2")]
    pub verbose: bool,
}

/// `ContainerStatusResponse`
#[derive(Clone, PartialEq, prost::Message)]
pub struct ContainerStatusResponse {
    /// Its status.
    #[prost(message, optional, tag = "1")]
    pub status: Option<ContainerStatus>,
    /// The runtime's own words; containerd puts JSON with the process under `info`.
    #[prost(map = "string, string", tag = "2")]
    pub info: HashMap<String, String>,
}

/// `ContainerStatus`
#[derive(Clone, PartialEq, prost::Message)]
pub struct ContainerStatus {
    /// Its id.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Nanoseconds of Unix time.
    #[prost(int64, tag = "5")]
    pub started_at: i64,
    /// How it ended.
    #[prost(int32, tag = "7")]
    pub exit_code: i32,
}
