//! containerd's CRI over its unix socket.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::UnixStream;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic_prost::ProstCodec;

use super::cri::{
    Container, ContainerFilter, ContainerId, ContainerStatusRequest, ContainerStatusResponse,
    CreateContainerRequest, Empty, ImageSpec, ImageStatusRequest, ImageStatusResponse,
    ListContainersRequest, ListContainersResponse, ListPodSandboxRequest, ListPodSandboxResponse,
    PodSandbox, PodSandboxConfig, PodSandboxFilter, PodSandboxRequest, PodSandboxStatus,
    PodSandboxStatusResponse, RunPodSandboxRequest, RunPodSandboxResponse, RuntimeCondition,
    RuntimeConfigRequest, RuntimeConfigResponse, StatusRequest, StatusResponse, VersionRequest,
    VersionResponse,
};
use crate::agent::kubelet_args::CgroupDriver;
use crate::logging;

/// The kubelet's `--runtime-request-timeout`: 2 minutes.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Sandboxes may take twice as long, as in the kubelet.
const SANDBOX_TIMEOUT: Duration = Duration::from_secs(240);

/// The runtime does not answer, or refuses.
#[derive(Debug, Error)]
pub enum RuntimeError {
    /// No connection, or one that broke.
    #[error("container runtime is down: {socket} does not answer: {message}")]
    Down {
        /// The socket.
        socket: PathBuf,
        /// Why.
        message: String,
    },
    /// A refusal.
    #[error("{call}: {code:?}: {message}")]
    Call {
        /// The call.
        call: &'static str,
        /// gRPC's word.
        code: tonic::Code,
        /// The runtime's words.
        message: String,
    },
    /// It hung.
    #[error("{0} took too long")]
    Timeout(&'static str),
    /// An answer without what was asked for.
    #[error("{0} returned nothing")]
    Nothing(&'static str),
    /// A cgroup driver that the kubelet has no name for.
    #[error("runtime returned an unknown cgroup driver {0}")]
    CgroupDriver(i32),
}

/// A client that connects anew when the runtime was restarted.
#[derive(Debug, Clone)]
pub struct Runtime {
    channel: Channel,
    socket: PathBuf,
}

impl Runtime {
    /// Will connect to `socket` at the first call. Needs a tokio runtime.
    pub fn at(socket: &Path) -> Self {
        let path = socket.to_owned();
        // The URI is only a name: every connection goes to the socket.
        let channel =
            Endpoint::from_static("http://containerd").connect_with_connector_lazy(
                tower::service_fn(move |_: Uri| {
                    let path = path.clone();
                    async move {
                        Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(path).await?))
                    }
                }),
            );
        Self {
            channel,
            socket: socket.to_owned(),
        }
    }

    async fn call<Q, R>(
        &self,
        call: &'static str,
        request: Q,
        limit: Duration,
    ) -> Result<R, RuntimeError>
    where
        Q: prost::Message + 'static,
        R: prost::Message + Default + 'static,
    {
        let down = |message: String| RuntimeError::Down {
            socket: self.socket.clone(),
            message,
        };
        let exchange = async {
            let mut grpc = tonic::client::Grpc::new(self.channel.clone());
            grpc.ready()
                .await
                .map_err(|error| down(logging::chain(&error)))?;
            let path = PathAndQuery::from_static(call);
            let codec = ProstCodec::<Q, R>::default();
            let answer = grpc.unary(tonic::Request::new(request), path, codec).await;
            answer
                .map(tonic::Response::into_inner)
                .map_err(|status| match status.code() {
                    tonic::Code::Unavailable => down(status.message().to_owned()),
                    code => RuntimeError::Call {
                        call,
                        code,
                        message: status.message().to_owned(),
                    },
                })
        };
        tokio::time::timeout(limit, exchange)
            .await
            .map_err(|_| RuntimeError::Timeout(call))?
    }

    /// `containerd://<version>`.
    ///
    /// # Errors
    /// [`RuntimeError`]; the same for every call below.
    pub async fn version(&self) -> Result<String, RuntimeError> {
        let request = VersionRequest {
            version: "0.1.0".to_owned(),
        };
        let answer: VersionResponse = self
            .call("/runtime.v1.RuntimeService/Version", request, TIMEOUT)
            .await?;
        Ok(format!(
            "{}://{}",
            answer.runtime_name, answer.runtime_version
        ))
    }

    /// The cgroup driver that the runtime uses; `None` when it does not say, as containerd before
    /// 2.0.
    pub async fn cgroup_driver(&self) -> Result<Option<CgroupDriver>, RuntimeError> {
        let answer: Result<RuntimeConfigResponse, _> = self
            .call(
                "/runtime.v1.RuntimeService/RuntimeConfig",
                RuntimeConfigRequest {},
                TIMEOUT,
            )
            .await;
        let linux = match answer {
            Err(RuntimeError::Call {
                code: tonic::Code::Unimplemented,
                ..
            }) => return Ok(None),
            answer => answer?.linux,
        };
        match linux.map(|linux| linux.cgroup_driver) {
            None => Ok(None),
            Some(0) => Ok(Some(CgroupDriver::Systemd)),
            Some(1) => Ok(Some(CgroupDriver::Cgroupfs)),
            Some(other) => Err(RuntimeError::CgroupDriver(other)),
        }
    }

    /// The runtime's conditions.
    pub async fn conditions(&self) -> Result<Vec<RuntimeCondition>, RuntimeError> {
        let answer: StatusResponse = self
            .call(
                "/runtime.v1.RuntimeService/Status",
                StatusRequest {},
                TIMEOUT,
            )
            .await?;
        Ok(answer.status.unwrap_or_default().conditions)
    }

    /// The id of an image, when the runtime has it.
    pub async fn image(&self, name: &str) -> Result<Option<String>, RuntimeError> {
        let request = ImageStatusRequest {
            image: Some(ImageSpec {
                image: name.to_owned(),
            }),
        };
        let answer: ImageStatusResponse = self
            .call("/runtime.v1.ImageService/ImageStatus", request, TIMEOUT)
            .await?;
        Ok(answer.image.map(|image| image.id))
    }

    /// The sandboxes with these labels.
    pub async fn sandboxes(
        &self,
        labels: &HashMap<String, String>,
    ) -> Result<Vec<PodSandbox>, RuntimeError> {
        let filter = Some(PodSandboxFilter {
            label_selector: labels.clone(),
        });
        let request = ListPodSandboxRequest { filter };
        let answer: ListPodSandboxResponse = self
            .call(
                "/runtime.v1.RuntimeService/ListPodSandbox",
                request,
                TIMEOUT,
            )
            .await?;
        Ok(answer.items)
    }

    /// The status of a sandbox.
    pub async fn sandbox_status(&self, id: &str) -> Result<PodSandboxStatus, RuntimeError> {
        const CALL: &str = "/runtime.v1.RuntimeService/PodSandboxStatus";
        let answer: PodSandboxStatusResponse = self.call(CALL, sandbox(id), TIMEOUT).await?;
        answer.status.ok_or(RuntimeError::Nothing(CALL))
    }

    /// Runs a sandbox and returns its id.
    pub async fn run_sandbox(&self, config: PodSandboxConfig) -> Result<String, RuntimeError> {
        let request = RunPodSandboxRequest {
            config: Some(config),
        };
        let answer: RunPodSandboxResponse = self
            .call(
                "/runtime.v1.RuntimeService/RunPodSandbox",
                request,
                SANDBOX_TIMEOUT,
            )
            .await?;
        Ok(answer.pod_sandbox_id)
    }

    /// Stops what is left of a sandbox, its network included, and forgets it.
    pub async fn remove_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        const STOP: &str = "/runtime.v1.RuntimeService/StopPodSandbox";
        const REMOVE: &str = "/runtime.v1.RuntimeService/RemovePodSandbox";
        self.call::<_, Empty>(STOP, sandbox(id), SANDBOX_TIMEOUT)
            .await?;
        self.call::<_, Empty>(REMOVE, sandbox(id), TIMEOUT).await?;
        Ok(())
    }

    /// The containers with these labels.
    pub async fn containers(
        &self,
        labels: &HashMap<String, String>,
    ) -> Result<Vec<Container>, RuntimeError> {
        let filter = Some(ContainerFilter {
            label_selector: labels.clone(),
        });
        let request = ListContainersRequest { filter };
        let answer: ListContainersResponse = self
            .call(
                "/runtime.v1.RuntimeService/ListContainers",
                request,
                TIMEOUT,
            )
            .await?;
        Ok(answer.containers)
    }

    /// The status of a container, with the runtime's own words.
    pub async fn container_status(
        &self,
        id: &str,
    ) -> Result<ContainerStatusResponse, RuntimeError> {
        let request = ContainerStatusRequest {
            container_id: id.to_owned(),
            verbose: true,
        };
        self.call(
            "/runtime.v1.RuntimeService/ContainerStatus",
            request,
            TIMEOUT,
        )
        .await
    }

    /// Creates a container and returns its id.
    pub async fn create_container(
        &self,
        request: CreateContainerRequest,
    ) -> Result<String, RuntimeError> {
        let answer: ContainerId = self
            .call(
                "/runtime.v1.RuntimeService/CreateContainer",
                request,
                TIMEOUT,
            )
            .await?;
        Ok(answer.container_id)
    }

    /// Starts a container.
    pub async fn start_container(&self, id: &str) -> Result<(), RuntimeError> {
        let request = ContainerId {
            container_id: id.to_owned(),
        };
        self.call::<_, Empty>(
            "/runtime.v1.RuntimeService/StartContainer",
            request,
            TIMEOUT,
        )
        .await?;
        Ok(())
    }

    /// Forgets a container, and kills it when it still runs.
    pub async fn remove_container(&self, id: &str) -> Result<(), RuntimeError> {
        let request = ContainerId {
            container_id: id.to_owned(),
        };
        self.call::<_, Empty>(
            "/runtime.v1.RuntimeService/RemoveContainer",
            request,
            TIMEOUT,
        )
        .await?;
        Ok(())
    }
}

fn sandbox(id: &str) -> PodSandboxRequest {
    PodSandboxRequest {
        pod_sandbox_id: id.to_owned(),
    }
}
