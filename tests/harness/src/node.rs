//! A node seen from outside: by its status page, by the k3s server, and by the chain.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hyper::StatusCode;
use k3s_double::control::{Command, NodeSummary, PodState, Process, Processes};
use serde_json::Value;

use crate::devnet::Devnet;
use crate::http;
use crate::qemu::Machine;

/// How often something is asked that cannot tell by itself when it changes.
const POLL: Duration = Duration::from_millis(500);
/// A status page answers within this also on a busy emulated machine.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(30);

/// Asks until `probe` gives a value, or `patience` is over.
///
/// # Errors
/// When `patience` is over, with the last reason.
pub async fn eventually<T, P, F>(what: &str, patience: Duration, mut probe: P) -> Result<T>
where
    P: FnMut() -> F,
    F: Future<Output = Result<T>>,
{
    let started = Instant::now();
    loop {
        match probe().await {
            Ok(value) => return Ok(value),
            Err(error) if started.elapsed() > patience => {
                return Err(error)
                    .with_context(|| format!("{what}: not within {} s", patience.as_secs()));
            }
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

/// The node's status page.
///
/// # Errors
/// When it does not answer, or not with JSON.
pub async fn health(machine: &Machine) -> Result<Value> {
    let text = health_text(machine.health_port()).await?;
    serde_json::from_str(&text).with_context(|| format!("/health is not JSON: {text}"))
}

/// The body of the status page.
///
/// # Errors
/// When it does not answer.
pub async fn health_text(port: u16) -> Result<String> {
    let (status, body) = http::get(port, "/health", HEALTH_TIMEOUT).await?;
    let text = String::from_utf8(body).context("/health is not UTF-8")?;
    ensure!(
        matches!(status, StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE),
        "/health answered {status}: {text}"
    );
    Ok(text)
}

/// The text at a JSON pointer.
pub fn text_at<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The number at a JSON pointer.
pub fn number_at(value: &Value, pointer: &str) -> Option<u64> {
    value.pointer(pointer).and_then(Value::as_u64)
}

/// Waits until the node has joined: it says so itself, and the k3s server has a Node that is ready
/// and whose tunnel is open.
///
/// # Errors
/// When that does not come true in time.
pub async fn joined(machine: &Machine, devnet: &Devnet) -> Result<NodeSummary> {
    machine
        .expect(r"daas: init INFO timeline phase=joined seconds=\d")
        .await?;
    ready(machine, devnet).await
}

/// Waits until the k3s server has the Node, ready and with an open tunnel.
///
/// # Errors
/// When that does not come true in time.
pub async fn ready(machine: &Machine, devnet: &Devnet) -> Result<NodeSummary> {
    let name = &devnet.node_name()?;
    eventually(
        "the node is ready in the cluster",
        machine.patience(),
        || async {
            let node = devnet
                .cluster
                .node(name)
                .await?
                .context("the server has no such node")?;
            ensure!(
                node.registered && node.connected && node.ready == "True",
                "the server says {node:?}"
            );
            Ok(node)
        },
    )
    .await
}

/// Presses the power button and waits until the node has switched the machine off in order.
///
/// # Errors
/// When it does not, or for another reason.
pub async fn switch_off(machine: &mut Machine) -> Result<()> {
    // the drivers of all devices are there, the button's too
    machine
        .expect("daas: init INFO kernel modules loaded")
        .await?;
    machine
        .expect("daas: init INFO watching a power button")
        .await?;
    let mark = machine.console.position();
    machine.press_power_button().await?;
    machine
        .expect_after(mark, "power action=power-off reason=power-button")
        .await?;
    machine.wait_power_off().await
}

/// The node's pod, as containerd on the node says.
///
/// # Errors
/// When the node cannot be asked.
pub async fn pod(devnet: &Devnet) -> Result<PodState> {
    let control = devnet.cluster.control()?;
    control
        .command(&devnet.node_name()?, &Command::Pod)
        .await
        .context("cannot ask for the pod")
}

/// Waits until the node's pod runs.
///
/// # Errors
/// When it does not in time.
pub async fn running_pod(machine: &Machine, devnet: &Devnet) -> Result<PodState> {
    eventually("the pod runs", machine.patience(), || async {
        let pod = pod(devnet).await?;
        match (&pod.sandbox, &pod.container) {
            (Some(sandbox), Some(container))
                if sandbox.ready && container.state == "running" && !pod.log_tail.is_empty() =>
            {
                Ok(pod)
            }
            _ => bail!("containerd says {pod:?}"),
        }
    })
    .await
}

/// All processes of the node.
///
/// # Errors
/// When the node cannot be asked.
pub async fn processes(devnet: &Devnet) -> Result<Vec<Process>> {
    let control = devnet.cluster.control()?;
    let answer: Processes = control
        .command(&devnet.node_name()?, &Command::Processes)
        .await
        .context("cannot ask for the processes")?;
    Ok(answer.processes)
}

/// The one process of this name.
///
/// # Errors
/// When there is none, or more than one.
pub fn only<'a>(processes: &'a [Process], name: &str) -> Result<&'a Process> {
    let found: Vec<&Process> = processes
        .iter()
        .filter(|process| process.name == name && process.state != "Z")
        .collect();
    match found.as_slice() {
        [one] => Ok(one),
        _ => bail!("expected one process {name}, found {found:?}"),
    }
}
