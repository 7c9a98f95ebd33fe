//! What the agent asks of the runtime itself: its version, its status, its configuration.

/// `VersionRequest`
#[derive(Clone, PartialEq, prost::Message)]
pub struct VersionRequest {
    /// Version of the caller's API.
    #[prost(string, tag = "1")]
    pub version: String,
}

/// `VersionResponse`
#[derive(Clone, PartialEq, prost::Message)]
pub struct VersionResponse {
    /// Version of the API.
    #[prost(string, tag = "1")]
    pub version: String,
    /// Such as `containerd`.
    #[prost(string, tag = "2")]
    pub runtime_name: String,
    /// Such as `v2.3.7`.
    #[prost(string, tag = "3")]
    pub runtime_version: String,
    /// Such as `v1`.
    #[prost(string, tag = "4")]
    pub runtime_api_version: String,
}

/// `StatusRequest`
#[derive(Clone, PartialEq, prost::Message)]
pub struct StatusRequest {}

/// `StatusResponse`
#[derive(Clone, PartialEq, prost::Message)]
pub struct StatusResponse {
    /// The runtime's conditions.
    #[prost(message, optional, tag = "1")]
    pub status: Option<RuntimeStatus>,
}

/// `RuntimeStatus`
#[derive(Clone, PartialEq, prost::Message)]
pub struct RuntimeStatus {
    /// `RuntimeReady` and `NetworkReady`.
    #[prost(message, repeated, tag = "1")]
    pub conditions: Vec<RuntimeCondition>,
}

/// `RuntimeCondition`
#[derive(Clone, PartialEq, prost::Message)]
pub struct RuntimeCondition {
    /// Its name.
    #[prost(string, tag = "1")]
    pub r#type: String,
    /// Whether it holds.
    #[prost(bool, tag = "2")]
    pub status: bool,
    /// A word.
    #[prost(string, tag = "3")]
    pub reason: String,
    /// A sentence.
    #[prost(string, tag = "4")]
    pub message: String,
}

/// `RuntimeConfigRequest`
#[derive(Clone, PartialEq, prost::Message)]
pub struct RuntimeConfigRequest {}

/// `RuntimeConfigResponse`
#[derive(Clone, PartialEq, prost::Message)]
pub struct RuntimeConfigResponse {
    /// Linux's part.
    #[prost(message, optional, tag = "1")]
    pub linux: Option<LinuxRuntimeConfiguration>,
}

/// `LinuxRuntimeConfiguration`
#[derive(Clone, PartialEq, prost::Message)]
pub struct LinuxRuntimeConfiguration {
    /// 0 systemd, 1 cgroupfs.
    #[prost(int32, tag = "1")]
    pub cgroup_driver: i32,
}
