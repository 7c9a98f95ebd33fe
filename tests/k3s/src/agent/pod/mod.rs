//! The one pod of a node, kept running through containerd's CRI.
//!
//! A pod that runs is left alone, whoever started it: containerd and the agent may be killed
//! without it. What is dead is made anew. The rules are the kubelet's
//! (`pkg/kubelet/kuberuntime`, `computePodActions`).

pub mod cri;
pub mod files;
pub mod runtime;
pub mod specification;

use std::cmp::Reverse;
use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;

use self::cri::{Container, ContainerStatusResponse, PodSandbox};
use self::files::FilesError;
use self::runtime::{Runtime, RuntimeError};
use self::specification::{CONTAINER, IMAGE, NAMESPACE, Specification};
use crate::cluster::Range;
use crate::control::{ContainerState, PodState, SandboxState};

/// `PodSandboxState::SANDBOX_READY` of the CRI.
const READY: i32 = 0;
/// `ContainerState::CONTAINER_RUNNING` of the CRI.
const RUNNING: i32 = 1;
/// The kubelet's first pause before a container is started again for the second time.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// Its longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// A container that ran for so long starts with the first pause again.
const FORGIVEN: Duration = Duration::from_secs(600);

/// The pod does not run.
#[derive(Debug, Error)]
pub enum PodError {
    /// The runtime.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// Its files.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The image is not there, and nothing is pulled.
    #[error("Container image \"{IMAGE}\" is not present with pull policy of Never")]
    NoImage,
    /// It keeps dying.
    #[error("back-off {} s restarting failed container={CONTAINER}", .0.as_secs())]
    BackOff(Duration),
    /// It runs, but not as it should.
    #[error("the pod runs, but {0}")]
    Unsound(String),
}

/// A pod that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Its address.
    pub ip: String,
    /// Its sandbox.
    pub sandbox: String,
    /// Its container.
    pub container: String,
    /// How often the container was started again.
    pub restart_count: u32,
    /// Whether this look at it changed nothing.
    pub kept: bool,
}

/// The pod and the runtime that runs it.
pub struct Pod {
    runtime: Runtime,
    specification: Specification,
    restart: Option<Restart>,
    /// The dead sandbox that was last spoken of.
    removing: Option<String>,
}

/// When a container was last started again, and the pause before the next time.
struct Restart {
    at: Instant,
    pause: Duration,
}

impl Pod {
    /// A pod that nobody has looked at yet.
    pub fn new(runtime: Runtime, specification: Specification) -> Self {
        Self {
            runtime,
            specification,
            restart: None,
            removing: None,
        }
    }

    /// Looks at the pod, and makes anew what is dead.
    ///
    /// # Errors
    /// [`PodError`]; the next call tries again.
    pub async fn sync(&mut self) -> Result<Running, PodError> {
        let labels = self.specification.labels();
        let mut sandboxes = self.runtime.sandboxes(&labels).await?;
        sandboxes.sort_by_key(|sandbox| Reverse(sandbox.created_at));
        let mut containers = self.runtime.containers(&labels).await?;
        containers.sort_by_key(|container| Reverse(container.created_at));

        let (sandbox, ip, fresh) = match self.usable(&sandboxes).await? {
            Some((sandbox, ip)) => (sandbox, ip, false),
            None => {
                let (sandbox, ip) = self.renew_sandbox(&sandboxes).await?;
                (sandbox, ip, true)
            }
        };
        let newest = containers.first();
        if let Some(container) = newest
            && container.state == RUNNING
            && container.pod_sandbox_id == sandbox.id
        {
            return Ok(Running {
                ip,
                sandbox: sandbox.id,
                container: container.id.clone(),
                restart_count: attempt(container),
                kept: !fresh,
            });
        }
        let restart_count = newest.map_or(0, |container| attempt(container) + 1);
        // A container that went down with its sandbox did not fail on its own.
        if !fresh && newest.is_some() {
            self.pause()?;
        }
        let container = self.start_container(&sandbox, restart_count).await?;
        files::write_hosts(&self.specification, Some(&ip))?;
        // The last dead one stays for whoever asks why it died; the ones before it do not.
        for dead in containers
            .iter()
            .skip(1)
            .filter(|dead| dead.pod_sandbox_id == sandbox.id)
        {
            self.runtime.remove_container(&dead.id).await?;
        }
        Ok(Running {
            ip,
            sandbox: sandbox.id,
            container,
            restart_count,
            kept: false,
        })
    }

    /// The sandbox to go on with: the newest, when it alone is ready and has an address.
    async fn usable(
        &self,
        sandboxes: &[PodSandbox],
    ) -> Result<Option<(PodSandbox, String)>, RuntimeError> {
        let Some(newest) = sandboxes.first() else {
            return Ok(None);
        };
        let ready = sandboxes
            .iter()
            .filter(|sandbox| sandbox.state == READY)
            .count();
        if newest.state != READY || ready != 1 {
            return Ok(None);
        }
        let ip = self.address(&newest.id).await?;
        Ok((!ip.is_empty()).then(|| (newest.clone(), ip)))
    }

    async fn address(&self, sandbox: &str) -> Result<String, RuntimeError> {
        let status = self.runtime.sandbox_status(sandbox).await?;
        Ok(status.network.unwrap_or_default().ip)
    }

    async fn renew_sandbox(
        &mut self,
        old: &[PodSandbox],
    ) -> Result<(PodSandbox, String), PodError> {
        for sandbox in old {
            // Once per sandbox: a runtime that cannot give its network back is asked every second.
            if self.removing.replace(sandbox.id.clone()).as_ref() != Some(&sandbox.id) {
                tracing::warn!(sandbox = sandbox.id, "removing a dead sandbox");
            }
            self.runtime.remove_sandbox(&sandbox.id).await?;
        }
        files::prepare(&self.specification)?;
        let attempt = old
            .first()
            .and_then(|sandbox| sandbox.metadata.as_ref())
            .map_or(0, |metadata| metadata.attempt + 1);
        let config = self.specification.sandbox(attempt);
        let id = self.runtime.run_sandbox(config.clone()).await?;
        let ip = self.address(&id).await?;
        tracing::info!(sandbox = id, ip, attempt, "sandbox runs");
        let sandbox = PodSandbox {
            id,
            metadata: config.metadata,
            state: READY,
            ..PodSandbox::default()
        };
        Ok((sandbox, ip))
    }

    async fn start_container(
        &self,
        sandbox: &PodSandbox,
        attempt: u32,
    ) -> Result<String, PodError> {
        let image = self.runtime.image(IMAGE).await?.ok_or(PodError::NoImage)?;
        files::prepare_container(&self.specification, attempt)?;
        let sandbox_attempt = sandbox
            .metadata
            .as_ref()
            .map_or(0, |metadata| metadata.attempt);
        let request = self.specification.container(
            attempt,
            &image,
            &sandbox.id,
            self.specification.sandbox(sandbox_attempt),
        );
        let id = self.runtime.create_container(request).await?;
        self.runtime.start_container(&id).await?;
        files::link_log(&self.specification, &id, attempt)?;
        tracing::info!(container = id, restart_count = attempt, "container runs");
        Ok(id)
    }

    /// Refuses a restart that comes too soon after the one before.
    fn pause(&mut self) -> Result<(), PodError> {
        let now = Instant::now();
        let pause = match &self.restart {
            Some(restart) if now < restart.at + restart.pause => {
                return Err(PodError::BackOff(restart.pause));
            }
            Some(restart) if now < restart.at + FORGIVEN.max(2 * restart.pause) => {
                (2 * restart.pause).min(LONGEST_PAUSE)
            }
            _ => FIRST_PAUSE,
        };
        self.restart = Some(Restart { at: now, pause });
        Ok(())
    }

    /// Its cgroup, below the root of the cgroup tree.
    pub fn cgroup(&self) -> &str {
        &self.specification.cgroup
    }

    /// The pod's state for people and tests; changes nothing.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn state(&self) -> Result<PodState, RuntimeError> {
        let labels = self.specification.labels();
        let newest = self
            .runtime
            .sandboxes(&labels)
            .await?
            .into_iter()
            .max_by_key(|s| s.created_at);
        let sandbox = match newest {
            Some(sandbox) => Some(SandboxState {
                ip: self.address(&sandbox.id).await?,
                id: sandbox.id,
                ready: sandbox.state == READY,
                attempt: sandbox.metadata.map_or(0, |metadata| metadata.attempt),
                created_at: sandbox.created_at,
            }),
            None => None,
        };
        let newest = self
            .runtime
            .containers(&labels)
            .await?
            .into_iter()
            .max_by_key(|c| c.created_at);
        let mut log_tail = String::new();
        let container = match newest {
            Some(container) => {
                let restart_count = attempt(&container);
                log_tail = files::log_tail(&self.specification.container_log(restart_count));
                let status = self.runtime.container_status(&container.id).await?;
                let pid = process(&status)
                    .filter(|_| container.state == RUNNING)
                    .unwrap_or(0);
                let status = status.status.unwrap_or_default();
                Some(ContainerState {
                    id: container.id,
                    state: match container.state {
                        0 => "created",
                        RUNNING => "running",
                        2 => "exited",
                        _ => "unknown",
                    }
                    .to_owned(),
                    pid,
                    restart_count,
                    cgroup: super::commands::cgroup_of(pid).unwrap_or_default(),
                    started_at: status.started_at,
                    exit_code: status.exit_code,
                })
            }
            None => None,
        };
        Ok(PodState {
            name: self.specification.name.clone(),
            namespace: NAMESPACE.to_owned(),
            uid: self.specification.uid.clone(),
            sandbox,
            container,
            log_tail,
        })
    }

    /// Whether a running pod is sound: an address of the node's range, and something in its log.
    ///
    /// # Errors
    /// [`PodError::Unsound`].
    pub fn check(&self, running: &Running, range: Range) -> Result<(), PodError> {
        let Running {
            ip, restart_count, ..
        } = running;
        if !ip.parse().is_ok_and(|address| range.contains(address)) {
            let reason = format!("its address {ip:?} is not in the node's range {range}");
            return Err(PodError::Unsound(reason));
        }
        let log = self.specification.container_log(*restart_count);
        if files::log_tail(&log).is_empty() {
            return Err(PodError::Unsound(format!(
                "its log {} is empty",
                log.display()
            )));
        }
        Ok(())
    }
}

fn attempt(container: &Container) -> u32 {
    container
        .metadata
        .as_ref()
        .map_or(0, |metadata| metadata.attempt)
}

/// The container's first process, out of containerd's JSON.
fn process(status: &ContainerStatusResponse) -> Option<i32> {
    let info: serde_json::Value = serde_json::from_str(status.info.get("info")?).ok()?;
    info.get("pid")?.as_i64()?.try_into().ok()
}
