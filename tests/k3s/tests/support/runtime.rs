//! A container runtime on a unix socket that runs nothing, but keeps containerd's books.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use k3s_double::agent::pod::cri::{
    Container, ContainerId, ContainerStatus, ContainerStatusRequest, ContainerStatusResponse,
    CreateContainerRequest, Empty, Image, ImageStatusRequest, ImageStatusResponse,
    LinuxRuntimeConfiguration, ListContainersRequest, ListContainersResponse,
    ListPodSandboxRequest, ListPodSandboxResponse, PodSandbox, PodSandboxConfig,
    PodSandboxNetworkStatus, PodSandboxRequest, PodSandboxStatus, PodSandboxStatusResponse,
    RunPodSandboxRequest, RunPodSandboxResponse, RuntimeCondition, RuntimeConfigRequest,
    RuntimeConfigResponse, RuntimeStatus, StatusRequest, StatusResponse, VersionRequest,
    VersionResponse,
};
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http;
use tonic_prost::ProstCodec;

/// The books.
#[derive(Default)]
pub(crate) struct Books {
    pub(crate) sandboxes: Vec<(PodSandbox, PodSandboxConfig)>,
    pub(crate) containers: Vec<(Container, CreateContainerRequest)>,
    /// Without it nothing can be created.
    pub(crate) has_image: bool,
    /// The number of the cgroup driver that it reports; without one it does not know the call.
    pub(crate) cgroup_driver: Option<i32>,
    /// Calls that were made, by their last name.
    pub(crate) calls: Vec<String>,
    clock: i64,
}

/// A running runtime; it goes down when dropped, and its socket stays behind as containerd's does.
pub(crate) struct FakeRuntime {
    pub(crate) books: Arc<Mutex<Books>>,
    pub(crate) socket: PathBuf,
    /// Ends the runtime and its connections when dropped.
    _alive: oneshot::Sender<()>,
}

impl FakeRuntime {
    /// Listens below `folder`, with books of its own or those of a runtime that went down.
    pub(crate) fn start(folder: &Path, books: Arc<Mutex<Books>>) -> Self {
        let socket = folder.join("containerd.sock");
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let service = Service {
            books: Arc::clone(&books),
        };
        let incoming = futures::stream::unfold(listener, |listener| async {
            let accepted = listener.accept().await.map(|(stream, _)| stream);
            Some((accepted, listener))
        });
        let (alive, gone) = oneshot::channel::<()>();
        tokio::spawn(async move {
            tonic::transport::Server::builder()
                .add_service(Images(service.clone()))
                .add_service(service)
                .serve_with_incoming_shutdown(incoming, async {
                    let _ = gone.await;
                })
                .await
                .unwrap();
        });
        Self {
            books,
            socket,
            _alive: alive,
        }
    }

    /// The books, to look at and to change behind the agent's back.
    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }
}

/// New books with the pod's image in them.
pub(crate) fn books() -> Arc<Mutex<Books>> {
    Arc::new(Mutex::new(Books {
        has_image: true,
        cgroup_driver: Some(1),
        ..Books::default()
    }))
}

#[derive(Clone)]
struct Service {
    books: Arc<Mutex<Books>>,
}

impl tonic::server::NamedService for Service {
    const NAME: &'static str = "runtime.v1.RuntimeService";
}

impl tower::Service<http::Request<Body>> for Service {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let books = Arc::clone(&self.books);
        Box::pin(async move { Ok(answer(books, request).await) })
    }
}

/// The same, under the name of the CRI's other service.
#[derive(Clone)]
struct Images(Service);

impl tonic::server::NamedService for Images {
    const NAME: &'static str = "runtime.v1.ImageService";
}

impl tower::Service<http::Request<Body>> for Images {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        self.0.call(request)
    }
}

async fn answer(books: Arc<Mutex<Books>>, request: http::Request<Body>) -> http::Response<Body> {
    let call = request
        .uri()
        .path()
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .to_owned();
    books.lock().unwrap().calls.push(call.clone());
    let books = move || books.clone();
    match call.as_str() {
        "Version" => {
            unary(request, |_: VersionRequest| {
                Ok(VersionResponse {
                    version: "0.1.0".into(),
                    runtime_name: "fake".into(),
                    runtime_version: "1".into(),
                    runtime_api_version: "v1".into(),
                })
            })
            .await
        }
        "Status" => unary(request, |_: StatusRequest| Ok(ready())).await,
        "RuntimeConfig" => {
            let driver = books().lock().unwrap().cgroup_driver;
            unary(request, move |_: RuntimeConfigRequest| {
                let cgroup_driver = driver.ok_or_else(|| Status::unimplemented("RuntimeConfig"))?;
                Ok(RuntimeConfigResponse {
                    linux: Some(LinuxRuntimeConfiguration { cgroup_driver }),
                })
            })
            .await
        }
        "ListPodSandbox" => {
            unary(request, move |query: ListPodSandboxRequest| {
                let labels = query.filter.unwrap().label_selector;
                let books = books();
                let books = books.lock().unwrap();
                let found = books.sandboxes.iter().filter(|(_, config)| {
                    labels
                        .iter()
                        .all(|(key, value)| config.labels.get(key) == Some(value))
                });
                Ok(ListPodSandboxResponse {
                    items: found.map(|(sandbox, _)| sandbox.clone()).collect(),
                })
            })
            .await
        }
        "PodSandboxStatus" => {
            unary(request, move |query: PodSandboxRequest| {
                let known = books()
                    .lock()
                    .unwrap()
                    .sandboxes
                    .iter()
                    .any(|(sandbox, _)| sandbox.id == query.pod_sandbox_id);
                let status = PodSandboxStatus {
                    id: query.pod_sandbox_id,
                    network: Some(PodSandboxNetworkStatus {
                        ip: "10.42.0.2".into(),
                    }),
                };
                known
                    .then_some(PodSandboxStatusResponse {
                        status: Some(status),
                    })
                    .ok_or_else(|| Status::not_found("no such sandbox"))
            })
            .await
        }
        "RunPodSandbox" => {
            unary(request, move |run: RunPodSandboxRequest| {
                books().lock().unwrap().run(run)
            })
            .await
        }
        "StopPodSandbox" => unary(request, |_: PodSandboxRequest| Ok(Empty {})).await,
        "RemovePodSandbox" => {
            unary(request, move |query: PodSandboxRequest| {
                let books = books();
                let mut books = books.lock().unwrap();
                books
                    .sandboxes
                    .retain(|(sandbox, _)| sandbox.id != query.pod_sandbox_id);
                books
                    .containers
                    .retain(|(container, _)| container.pod_sandbox_id != query.pod_sandbox_id);
                Ok(Empty {})
            })
            .await
        }
        "ListContainers" => {
            unary(request, move |query: ListContainersRequest| {
                let labels = query.filter.unwrap().label_selector;
                let books = books();
                let books = books.lock().unwrap();
                let found = books.containers.iter().filter(|(_, create)| {
                    let config = create.config.as_ref().unwrap();
                    labels
                        .iter()
                        .all(|(key, value)| config.labels.get(key) == Some(value))
                });
                let containers = found.map(|(container, _)| container.clone()).collect();
                Ok(ListContainersResponse { containers })
            })
            .await
        }
        "CreateContainer" => {
            unary(request, move |create| {
                books().lock().unwrap().create(create)
            })
            .await
        }
        "StartContainer" => unary(request, move |id| books().lock().unwrap().start(&id)).await,
        "RemoveContainer" => {
            unary(request, move |id: ContainerId| {
                books()
                    .lock()
                    .unwrap()
                    .containers
                    .retain(|(container, _)| container.id != id.container_id);
                Ok(Empty {})
            })
            .await
        }
        "ContainerStatus" => {
            unary(request, move |query: ContainerStatusRequest| {
                Ok(ContainerStatusResponse {
                    status: Some(ContainerStatus {
                        id: query.container_id,
                        started_at: 1,
                        exit_code: 0,
                    }),
                    info: [("info".to_owned(), r#"{"pid": 4242}"#.to_owned())].into(),
                })
            })
            .await
        }
        "ImageStatus" => {
            unary(request, move |query: ImageStatusRequest| {
                let name = query.image.unwrap().image;
                let has = books().lock().unwrap().has_image && name == "k3s-daas.local/pause:1";
                Ok(ImageStatusResponse {
                    image: has.then(|| Image {
                        id: "sha256:pause".into(),
                    }),
                })
            })
            .await
        }
        other => Status::unimplemented(other.to_owned()).into_http(),
    }
}

fn ready() -> StatusResponse {
    let condition = |name: &str| RuntimeCondition {
        r#type: name.into(),
        status: true,
        ..RuntimeCondition::default()
    };
    let conditions = vec![condition("RuntimeReady"), condition("NetworkReady")];
    StatusResponse {
        status: Some(RuntimeStatus { conditions }),
    }
}

impl Books {
    fn tick(&mut self) -> i64 {
        self.clock += 1;
        self.clock
    }

    fn run(&mut self, request: RunPodSandboxRequest) -> Result<RunPodSandboxResponse, Status> {
        let config = request.config.unwrap();
        let taken = self
            .sandboxes
            .iter()
            .any(|(_, other)| other.metadata == config.metadata);
        if taken {
            return Err(Status::unknown("failed to reserve sandbox name"));
        }
        let created_at = self.tick();
        let id = format!("sandbox-{created_at}");
        let metadata = config.metadata.clone();
        self.sandboxes.push((
            PodSandbox {
                id: id.clone(),
                metadata,
                state: 0,
                created_at,
            },
            config,
        ));
        Ok(RunPodSandboxResponse { pod_sandbox_id: id })
    }

    fn create(&mut self, request: CreateContainerRequest) -> Result<ContainerId, Status> {
        let sandbox = self
            .sandboxes
            .iter()
            .find(|(sandbox, _)| sandbox.id == request.pod_sandbox_id);
        let Some((_, sandbox)) = sandbox else {
            return Err(Status::not_found("no such sandbox"));
        };
        assert_eq!(Some(sandbox), request.sandbox_config.as_ref());
        let config = request.config.clone().unwrap();
        for mount in &config.mounts {
            if !Path::new(&mount.host_path).exists() && mount.container_path != "/scratch" {
                return Err(Status::unknown(format!(
                    "failed to stat {}",
                    mount.host_path
                )));
            }
        }
        let created_at = self.tick();
        let id = format!("container-{created_at}");
        let container = Container {
            id: id.clone(),
            pod_sandbox_id: request.pod_sandbox_id.clone(),
            metadata: config.metadata,
            state: 0,
            created_at,
        };
        self.containers.push((container, request));
        Ok(ContainerId { container_id: id })
    }

    fn start(&mut self, id: &ContainerId) -> Result<Empty, Status> {
        let found = self
            .containers
            .iter_mut()
            .find(|(container, _)| container.id == id.container_id);
        let (container, request) = found.ok_or_else(|| Status::not_found("no such container"))?;
        container.state = 1;
        let folder = &request.sandbox_config.as_ref().unwrap().log_directory;
        let log = Path::new(folder).join(&request.config.as_ref().unwrap().log_path);
        std::fs::write(log, "2025-01-01T00:00:00Z stdout F pause\n").unwrap();
        Ok(Empty {})
    }
}

struct Handler<F, R>(F, PhantomData<R>);

impl<Q, R, F> tonic::server::UnaryService<Q> for Handler<F, R>
where
    F: FnMut(Q) -> Result<R, Status>,
{
    type Response = R;
    type Future = std::future::Ready<Result<tonic::Response<R>, Status>>;

    fn call(&mut self, request: tonic::Request<Q>) -> Self::Future {
        std::future::ready((self.0)(request.into_inner()).map(tonic::Response::new))
    }
}

async fn unary<Q, R>(
    request: http::Request<Body>,
    handler: impl FnMut(Q) -> Result<R, Status>,
) -> http::Response<Body>
where
    Q: prost::Message + Default + 'static,
    R: prost::Message + 'static,
{
    tonic::server::Grpc::new(ProstCodec::<R, Q>::default())
        .unary(Handler(handler, PhantomData), request)
        .await
}
