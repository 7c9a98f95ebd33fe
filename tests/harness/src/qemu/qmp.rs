//! A small typed client of the QEMU Machine Protocol (QEMU: docs/interop/qmp-spec.rst).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};

/// QEMU answers a command within this.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// What QEMU says by itself (QEMU: qapi/run-state.json).
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Event {
    /// The machine shuts down and QEMU is about to end.
    Shutdown {
        /// The guest asked for it, and not this harness or a signal.
        guest: bool,
        /// A `ShutdownCause`, such as `guest-shutdown`, `guest-reset` or `guest-panic`.
        reason: String,
    },
    /// The machine was reset.
    Reset {
        /// The guest asked for it.
        guest: bool,
    },
    /// The power button was pressed.
    PowerDown,
    /// Any other event, by its name.
    Other(String),
}

#[derive(Deserialize)]
struct Message {
    event: Option<String>,
    #[serde(default)]
    data: Value,
    id: Option<u64>,
    #[serde(rename = "return")]
    answer: Option<Value>,
    error: Option<Failure>,
}

#[derive(Deserialize)]
struct Failure {
    class: String,
    desc: String,
}

#[derive(Default)]
struct State {
    events: Vec<Event>,
    ended: bool,
}

/// A connection to one QEMU.
pub(super) struct Qmp {
    writer: OwnedWriteHalf,
    answers: mpsc::Receiver<Message>,
    next_id: u64,
    events: Events,
}

/// The events of one QEMU so far; it outlives the connection.
#[derive(Clone)]
pub(super) struct Events {
    state: Arc<Mutex<State>>,
    changed: watch::Receiver<()>,
}

impl Events {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All events so far.
    pub(super) fn all(&self) -> Vec<Event> {
        self.state().events.clone()
    }

    /// Waits for an event that `wanted` accepts.
    ///
    /// # Errors
    /// When QEMU ends, or `timeout` passes, without it.
    pub(super) async fn wait(
        &self,
        wanted: impl Fn(&Event) -> bool,
        timeout: Duration,
    ) -> Result<Event> {
        let mut changed = self.changed.clone();
        let search = async {
            loop {
                changed.borrow_and_update();
                let (found, ended) = {
                    let state = self.state();
                    (
                        state.events.iter().find(|event| wanted(event)).cloned(),
                        state.ended,
                    )
                };
                if let Some(event) = found {
                    return Ok(event);
                }
                if ended || changed.changed().await.is_err() {
                    bail!(
                        "QEMU ended without the awaited event; it told {:?}",
                        self.all()
                    );
                }
            }
        };
        tokio::time::timeout(timeout, search).await.map_err(|_| {
            anyhow!(
                "no awaited event within {} s; QEMU told {:?}",
                timeout.as_secs(),
                self.all()
            )
        })?
    }
}

impl Qmp {
    /// Greets QEMU and leaves its capability negotiation.
    ///
    /// # Errors
    /// When the other end does not speak QMP.
    pub(super) async fn new(stream: UnixStream) -> Result<Self> {
        let (reader, writer) = stream.into_split();
        let mut reader = BufReader::new(reader);
        let mut greeting = String::new();
        tokio::time::timeout(ANSWER_TIMEOUT, reader.read_line(&mut greeting))
            .await
            .context("QEMU did not greet")?
            .context("cannot read QEMU's greeting")?;
        if !greeting.contains("\"QMP\"") {
            bail!("QEMU greeted with {greeting:?}");
        }
        let state = Arc::<Mutex<State>>::default();
        let (sender, changed) = watch::channel(());
        let (answer_sender, answers) = mpsc::channel(16);
        tokio::spawn(read(reader, Arc::clone(&state), sender, answer_sender));
        let events = Events { state, changed };
        let mut qmp = Self {
            writer,
            answers,
            next_id: 1,
            events,
        };
        qmp.execute("qmp_capabilities", json!({})).await?;
        Ok(qmp)
    }

    /// The events of this QEMU.
    pub(super) fn events(&self) -> Events {
        self.events.clone()
    }

    async fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let id = self.next_id;
        self.next_id += 1;
        let request = json!({"execute": command, "arguments": arguments, "id": id});
        let exchange = async {
            self.writer
                .write_all(format!("{request}\n").as_bytes())
                .await?;
            loop {
                let message = self.answers.recv().await.context("QEMU ended")?;
                if message.id != Some(id) {
                    continue;
                }
                if let Some(failure) = message.error {
                    bail!("{}: {}", failure.class, failure.desc);
                }
                return Ok(message.answer.unwrap_or_default());
            }
        };
        tokio::time::timeout(ANSWER_TIMEOUT, exchange)
            .await
            .context("no answer")
            .flatten()
            .with_context(|| format!("QEMU could not do {command}"))
    }

    /// Presses the power button (ACPI).
    ///
    /// # Errors
    /// When QEMU refuses or is gone.
    pub(super) async fn press_power_button(&mut self) -> Result<()> {
        self.execute("system_powerdown", json!({})).await.map(drop)
    }

    /// Plugs the network cable in or out.
    ///
    /// # Errors
    /// When QEMU refuses or is gone.
    pub(super) async fn set_link(&mut self, device: &str, up: bool) -> Result<()> {
        self.execute("set_link", json!({"name": device, "up": up}))
            .await
            .map(drop)
    }

    /// The host's port that user networking forwards to `guest_port`.
    ///
    /// # Errors
    /// When QEMU refuses, is gone, or forwards no such port.
    pub(super) async fn forwarded_port(&mut self, guest_port: u16) -> Result<u16> {
        // the only way to ask for a port that QEMU chose by itself is its human monitor
        let command = json!({"command-line": "info usernet"});
        let answer = self.execute("human-monitor-command", command).await?;
        let table = answer.as_str().unwrap_or_default();
        forwarded_port(table, guest_port)
            .with_context(|| format!("QEMU forwards no port to {guest_port}:\n{table}"))
    }

    /// Whether the machine runs (its state is `running`, QEMU: qapi/run-state.json).
    ///
    /// # Errors
    /// When QEMU refuses or is gone.
    pub(super) async fn is_running(&mut self) -> Result<bool> {
        let status = self.execute("query-status", json!({})).await?;
        Ok(status.get("status").and_then(Value::as_str) == Some("running"))
    }
}

async fn read(
    mut reader: BufReader<OwnedReadHalf>,
    state: Arc<Mutex<State>>,
    changed: watch::Sender<()>,
    answers: mpsc::Sender<Message>,
) {
    let mut line = String::new();
    loop {
        line.clear();
        match reader.read_line(&mut line).await {
            Ok(count) if count > 0 => {}
            _ => break,
        }
        let Ok(message) = serde_json::from_str::<Message>(&line) else {
            continue;
        };
        if let Some(name) = &message.event {
            let event = event(name, &message.data);
            state
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .events
                .push(event);
            let _ = changed.send(());
        } else {
            // an answer that nobody awaits any more is dropped, for events must go on
            let _ = answers.try_send(message);
        }
    }
    state.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
    let _ = changed.send(());
}

/// Rows look like `TCP[HOST_FORWARD]  13  127.0.0.1 42111  10.0.2.15  8090  0  0`.
fn forwarded_port(table: &str, guest_port: u16) -> Option<u16> {
    table
        .lines()
        .map(|row| row.split_whitespace().collect::<Vec<_>>())
        .find_map(|columns| match columns.as_slice() {
            ["TCP[HOST_FORWARD]", _, _, host, _, guest, ..] if guest.parse() == Ok(guest_port) => {
                host.parse().ok()
            }
            _ => None,
        })
}

fn event(name: &str, data: &Value) -> Event {
    let guest = data
        .get("guest")
        .and_then(Value::as_bool)
        .unwrap_or_default();
    match name {
        "SHUTDOWN" => Event::Shutdown {
            guest,
            reason: data
                .get("reason")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
        },
        "RESET" => Event::Reset { guest },
        "POWERDOWN" => Event::PowerDown,
        other => Event::Other(other.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// The other end, with what it is to send, and which lines it got.
    async fn played(
        script: &'static [&'static str],
    ) -> (Qmp, tokio::task::JoinHandle<Vec<String>>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let server = tokio::spawn(async move {
            let (reader, mut writer) = theirs.into_split();
            let mut lines = BufReader::new(reader).lines();
            let mut got = Vec::new();
            writer
                .write_all(b"{\"QMP\": {\"version\": {}, \"capabilities\": []}}\n")
                .await
                .unwrap();
            for answer in script {
                got.push(lines.next_line().await.unwrap().unwrap());
                writer
                    .write_all(format!("{answer}\n").as_bytes())
                    .await
                    .unwrap();
            }
            got
        });
        (Qmp::new(ours).await.unwrap(), server)
    }

    #[tokio::test]
    async fn an_event_between_command_and_answer_is_kept() {
        let (mut qmp, server) = played(&[
            r#"{"return": {}, "id": 1}"#,
            "{\"event\": \"POWERDOWN\", \"timestamp\": {}}\n{\"return\": {}, \"id\": 2}\n{\"event\": \
             \"SHUTDOWN\", \"data\": {\"guest\": true, \"reason\": \"guest-shutdown\"}}",
        ])
        .await;
        qmp.press_power_button().await.unwrap();
        let got = server.await.unwrap();
        assert!(got[1].contains("system_powerdown"), "{got:?}");
        let events = qmp.events();
        let last = events
            .wait(|event| matches!(event, Event::Shutdown { .. }), LONG)
            .await
            .unwrap();
        assert_eq!(
            last,
            Event::Shutdown {
                guest: true,
                reason: "guest-shutdown".to_owned()
            }
        );
        assert_eq!(events.all()[0], Event::PowerDown);
    }

    #[tokio::test]
    async fn a_refusal_is_an_error_and_an_end_ends_a_wait() {
        let (mut qmp, server) = played(&[
            r#"{"return": {}, "id": 1}"#,
            r#"{"error": {"class": "DeviceNotFound", "desc": "Device 'x' not found"}, "id": 2}"#,
        ])
        .await;
        let error = format!("{:#}", qmp.set_link("x", false).await.unwrap_err());
        assert!(
            error.contains("set_link") && error.contains("'x' not found"),
            "{error}"
        );
        server.await.unwrap();
        assert!(qmp.events().wait(|_| true, LONG).await.is_err());
    }
}
