//! The agent's double: joins a server as `k3s agent` does, demands of the machine what k3s and the
//! kubelet demand, and runs one pod.

pub mod cgroups;
pub mod cni;
pub mod commands;
mod healthz;
pub mod host;
pub mod join;
pub mod kernel;
pub mod kubelet_args;
pub mod kubelet_config;
pub mod node;
pub mod pod;
pub mod token_file;
pub mod tunnel;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use thiserror::Error;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;
use zeroize::Zeroizing;

use self::cgroups::{CgroupError, Cgroups};
use self::commands::Commands;
use self::host::{Host, HostError};
use self::join::{Applicant, Membership, Server};
use self::kernel::KernelError;
use self::kubelet_args::{CgroupDriver, KubeletArgumentError, KubeletArguments};
use self::kubelet_config::{KubeletConfig, KubeletConfigError};
use self::node::{Api, HEARTBEAT, NodeFacts, Readiness};
use self::pod::files::FilesError;
use self::pod::runtime::{Runtime, RuntimeError};
use self::pod::specification::{self, Specification};
use self::pod::{Pod, PodError, Running};
use self::token_file::TokenFileError;
use crate::cli::AgentFlags;
use crate::cluster::Range;
use crate::files::{self, FileError};
use crate::logging;
use crate::tls::{self, TlsError};

/// How often k3s tries a server that does not answer or is not the one it expects.
const VALIDATE_PAUSE: Duration = Duration::from_secs(2);
/// How often it tries to join.
const JOIN_PAUSE: Duration = Duration::from_secs(5);
/// How often the kubelet looks at its pods.
const RELIST: Duration = Duration::from_secs(1);
/// How often the kubelet asks a runtime for its configuration, and the pause in between.
const CONFIGURATION_ATTEMPTS: (u32, Duration) = (3, Duration::from_secs(2));

/// What ends an agent.
#[derive(Debug, Error)]
pub enum AgentError {
    /// The machine.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The kubelet's arguments.
    #[error(transparent)]
    KubeletArguments(#[from] KubeletArgumentError),
    /// The kubelet's configuration.
    #[error(transparent)]
    KubeletConfig(#[from] KubeletConfigError),
    /// The cgroup tree.
    #[error(transparent)]
    Cgroups(#[from] CgroupError),
    /// The token's file.
    #[error(transparent)]
    TokenFile(#[from] TokenFileError),
    /// A file or folder.
    #[error(transparent)]
    File(#[from] FileError),
    /// The kernel's settings.
    #[error("failed to start ContainerManager")]
    Kernel(#[from] KernelError),
    /// The kubelet's certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The pod's volume.
    #[error(transparent)]
    PodFiles(#[from] FilesError),
    /// The runtime does not say how it is configured.
    #[error("failed to run Kubelet")]
    Runtime(#[from] RuntimeError),
}

/// An agent's settings, checked as far as they can be without the server.
pub struct Agent {
    host: Host,
    flags: AgentFlags,
    token: Zeroizing<String>,
    arguments: KubeletArguments,
    config: KubeletConfig,
    cgroups: Cgroups,
    socket: PathBuf,
    applicant: Applicant,
    resolv_conf: PathBuf,
}

impl Agent {
    /// Checks the machine and the flags, and reads the token.
    ///
    /// # Errors
    /// [`AgentError`]: whatever k3s or its kubelet would end with.
    pub async fn prepare(host: Host, flags: AgentFlags) -> Result<Self, AgentError> {
        host.check_process()?;
        let socket = host::check_endpoint(&flags.container_runtime_endpoint)?.to_owned();
        let arguments = KubeletArguments::parse(&flags.kubelet_arg)?;
        let config = match &arguments.config {
            Some(path) => KubeletConfig::take(&host.path(path), &flags.data_dir)?,
            None => KubeletConfig::default(),
        };
        let token = match (&flags.token, &flags.token_file) {
            (Some(token), _) => Zeroizing::new(token.clone()),
            (None, Some(path)) => token_file::read(path).await?,
            (None, None) => Zeroizing::default(),
        };
        let cgroups = Cgroups::validate(&host.path("/sys/fs/cgroup"))?;
        if arguments.config.is_some() {
            cgroups.enforce(&config, host.memory(), host.processes())?;
        }
        arguments.check_swap(&host.read("/proc/swaps")?)?;
        let node_name = host.node_name(flags.node_name.as_deref())?;
        let node_address: IpAddr = host.node_address(flags.node_ip)?;
        let agent_folder = flags.data_dir.join("agent");
        files::make_folder(&agent_folder, 0o700)?;
        let resolv_conf = host.resolv_conf(flags.resolv_conf.as_deref(), &flags.data_dir)?;
        // The kubelet's watcher of the kernel's log for killed processes.
        let kmsg = host.path("/dev/kmsg");
        std::fs::File::open(&kmsg).map_err(|source| FileError::new("open", &kmsg, source))?;
        for folder in [&arguments.root_folder, &arguments.volume_plugin_folder] {
            files::make_folder(&host.path(folder), 0o750)?;
        }
        if host
            .read("/etc/machine-id")
            .map_or(true, |id| id.trim().is_empty())
        {
            tracing::warn!("no machine id in /etc/machine-id");
        }
        let missing = host.missing_tools();
        if !missing.is_empty() {
            tracing::warn!(tools = missing.join(","), "host tools are missing");
        }
        let applicant = Applicant {
            node_name,
            node_address,
            agent_folder,
            node_folder: host.path("/etc/rancher/node"),
        };
        Ok(Self {
            host,
            flags,
            token,
            arguments,
            config,
            cgroups,
            socket,
            applicant,
            resolv_conf,
        })
    }

    /// Joins and keeps the pod running; returns only with an error.
    ///
    /// # Errors
    /// [`AgentError`]. What time can heal is tried again for ever, as in k3s.
    pub async fn run(self) -> Result<std::convert::Infallible, AgentError> {
        let membership = self.join().await;
        kernel::set_up(&self.host, self.flags.protect_kernel_defaults).await?;
        let _healthz = tokio::spawn(healthz::serve());
        let runtime = Runtime::at(&self.socket);
        let specification = self.specification(&membership)?;
        pod::files::mount_volume(&specification).await?;
        let pod = Arc::new(Mutex::new(Pod::new(runtime.clone(), specification)));

        let kubelet = tls::demanding_server(&membership.serving, membership.client_ca.as_bytes())?;
        let commands = Commands::new(Arc::new(kubelet), Arc::clone(&pod));
        let (connected, mut connection) = watch::channel(false);
        let _tunnel = tunnel::keep(&membership, commands, connected);
        status("connecting the tunnel");
        // The agent blocks here, as k3s does; the sender lives as long as the tunnel's task.
        let _ = connection.wait_for(|connected| *connected).await;

        let api = Api::new(&membership);
        let runtime_version = retry("container runtime is not ready", RELIST, || {
            runtime.version()
        })
        .await;
        retry("waiting for the API server", RELIST, || api.readyz()).await;
        let driver = configured_driver(&runtime).await?;
        self.arguments.check_driver(driver)?;
        let facts = NodeFacts {
            name: self.applicant.node_name.clone(),
            address: self.applicant.node_address,
            labels: self.flags.node_label.clone(),
            runtime: runtime_version,
        };
        let range = self.register(&api, &facts).await;
        tracing::info!(node = facts.name, %range, "node registered");
        cni::configure(&self.flags.data_dir, range)?;
        self.watch(&api, &facts, &runtime, &pod, range).await
    }

    /// Finds the server and joins it, however long that takes.
    async fn join(&self) -> Membership {
        status("joining the server");
        let url = self.flags.server;
        let server = retry(
            "failed to validate connection to cluster",
            VALIDATE_PAUSE,
            || Server::validate(url, &self.token),
        )
        .await;
        let waiting = "waiting to retrieve agent configuration; server is not ready";
        let membership = retry(waiting, JOIN_PAUSE, || server.join(&self.applicant)).await;
        tracing::info!(server = %url, node = self.applicant.node_name, "joined");
        membership
    }

    async fn register(&self, api: &Api, facts: &NodeFacts) -> Range {
        status("registering the node");
        loop {
            match retry("unable to register node with API server", RELIST, || {
                api.register(&self.host, facts)
            })
            .await
            {
                Some(range) => return range,
                // A real cluster's controller manager gives it a moment later.
                None => tokio::time::sleep(RELIST).await,
            }
        }
    }

    fn specification(&self, membership: &Membership) -> Result<Specification, AgentError> {
        let uid = specification::uid(&self.applicant.node_name);
        let domain = &membership.settings.cluster_domain;
        let servers = match membership.settings.cluster_dns {
            Some(server) => vec![server.to_string()],
            None => name_servers(&self.resolv_conf),
        };
        Ok(Specification {
            name: format!("k3s-double-{}", self.applicant.node_name),
            cgroup: self.cgroups.make_pod(&uid, self.config.pod_pids)?,
            uid,
            dns: (servers, vec![format!("svc.{domain}"), domain.clone()]),
            kubelet_folder: self.arguments.root_folder.clone(),
            log_folder: PathBuf::from("/var/log"),
        })
    }

    /// Looks at the pod again and again, says how the node is, and says READY the first time that
    /// all is well.
    async fn watch(
        &self,
        api: &Api,
        facts: &NodeFacts,
        runtime: &Runtime,
        pod: &Mutex<Pod>,
        range: Range,
    ) -> Result<std::convert::Infallible, AgentError> {
        let mut announced: Option<Readiness> = None;
        let mut started = false;
        let mut next_report = Instant::now();
        loop {
            let readiness = match look(&self.host, runtime, &mut *pod.lock().await, range).await {
                Ok(running) => {
                    if !started {
                        let Running {
                            ip,
                            sandbox,
                            container,
                            restart_count,
                            kept,
                        } = &running;
                        tracing::info!(ip, sandbox, container, restart_count, kept, "pod runs");
                        tracing::info!("k3s agent is up and running");
                        started = true;
                        notify(&[NotifyState::Ready, NotifyState::Status("the pod runs")]);
                    }
                    Readiness {
                        ready: true,
                        message: "the pod runs".to_owned(),
                    }
                }
                Err(message) => Readiness {
                    ready: false,
                    message,
                },
            };
            let changed = announced.as_ref() != Some(&readiness);
            if changed {
                if readiness.ready {
                    tracing::info!("node is ready");
                } else {
                    tracing::warn!(reason = readiness.message, "node is not ready");
                }
                status(&readiness.message);
            }
            if changed || Instant::now() >= next_report {
                next_report = Instant::now() + self.config.status_report.unwrap_or(HEARTBEAT);
                if let Err(error) = api.report(&self.host, facts, &readiness).await {
                    tracing::warn!(error = logging::chain(&error), "error updating node status");
                }
                announced = Some(readiness);
            }
            tokio::time::sleep(RELIST).await;
        }
    }
}

/// One look at the runtime, the network and the pod.
async fn look(
    host: &Host,
    runtime: &Runtime,
    pod: &mut Pod,
    range: Range,
) -> Result<Running, String> {
    let conditions = runtime
        .conditions()
        .await
        .map_err(|error| logging::chain(&error))?;
    for condition in &conditions {
        if !condition.status {
            let cri::RuntimeCondition {
                r#type,
                reason,
                message,
                ..
            } = condition;
            return Err(format!(
                "container runtime: {}=false reason:{reason} message:{message}",
                r#type
            ));
        }
    }
    let result = match pod.sync().await {
        Ok(running) => pod.check(&running, range).map(|()| running),
        Err(error) => Err(error),
    };
    let running = result.map_err(|error| logging::chain(&error))?;
    let state = Path::new("/sys/class/net")
        .join(cni::BRIDGE)
        .join("operstate");
    match host.read(state) {
        Ok(state) if state.trim() == "up" => Ok(running),
        Ok(state) => Err(format!("the bridge {} is {}", cni::BRIDGE, state.trim())),
        Err(error) => Err(logging::chain(&PodError::Unsound(format!(
            "the bridge {} is missing: {error}",
            cni::BRIDGE
        )))),
    }
}

use self::pod::cri;

/// The cgroup driver of the runtime's configuration, which a kubelet asks for once.
///
/// # Errors
/// The last attempt's.
async fn configured_driver(runtime: &Runtime) -> Result<Option<CgroupDriver>, RuntimeError> {
    let (attempts, pause) = CONFIGURATION_ATTEMPTS;
    let mut attempt = 1;
    let driver = loop {
        match runtime.cgroup_driver().await {
            Ok(driver) => break driver,
            Err(error) if attempt == attempts => return Err(error),
            Err(_) => tokio::time::sleep(pause).await,
        }
        attempt += 1;
    };
    match driver {
        Some(driver) => {
            tracing::info!(
                ?driver,
                "using cgroup driver setting received from the CRI runtime"
            );
        }
        None => tracing::warn!(
            "CRI implementation should be updated to support RuntimeConfig; falling back to using \
             cgroupDriver from kubelet config"
        ),
    }
    Ok(driver)
}

/// Tries until it works; says why it does not, once per reason.
async fn retry<T, E, F>(what: &str, pause: Duration, mut attempt: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, E>>,
    E: std::error::Error,
{
    let mut said = String::new();
    loop {
        match attempt().await {
            Ok(result) => return result,
            Err(error) => {
                let reason = logging::chain(&error);
                if reason != said {
                    tracing::warn!(error = reason, "{what}");
                    status(&format!("{what}: {reason}"));
                    said = reason;
                }
                tokio::time::sleep(pause).await;
            }
        }
    }
}

/// Tells whoever supervises the agent what it is doing.
fn status(text: &str) {
    // One line of at most one datagram.
    let text: String = text
        .lines()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(512)
        .collect();
    notify(&[NotifyState::Status(&text)]);
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot notify the supervisor");
    }
}

fn name_servers(resolv_conf: &Path) -> Vec<String> {
    files::read(resolv_conf, 64 * 1024)
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.strip_prefix("nameserver")?.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}
