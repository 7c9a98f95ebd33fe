//! This terminal as the node's console.

use std::io::{IsTerminal, Read};

use rustix::termios::{OptionalActions, OutputModes, Termios, tcgetattr, tcsetattr};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use crate::log::EscapeFilter;

/// Ctrl-C, as raw mode delivers it.
const INTERRUPT: u8 = 0x03;

/// Raw mode, for as long as this value lives.
pub struct RawMode {
    before: Termios,
}

impl RawMode {
    /// Switches the terminal to raw mode; none where standard input is not a terminal.
    pub fn enter() -> Option<Self> {
        if !std::io::stdin().is_terminal() {
            return None;
        }
        let before = tcgetattr(std::io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        // the harness's own lines still begin at the left
        raw.output_modes |= OutputModes::OPOST | OutputModes::ONLCR;
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Self { before })
    }
}

/// What a person typed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Key {
    /// Ctrl-C.
    Interrupt,
    /// Anything else.
    Text(Vec<u8>),
}

impl RawMode {
    /// What is typed from now on; it ends with the terminal.
    pub fn keys(&self) -> mpsc::Receiver<Key> {
        let (sender, keys) = mpsc::channel(64);
        // a thread of its own, which the end of the process does not wait for: nothing ends a read
        // of the terminal
        std::thread::spawn(move || {
            let mut buffer = [0_u8; 256];
            while let Ok(count) = std::io::stdin().lock().read(&mut buffer) {
                let typed = buffer.get(..count).unwrap_or_default();
                let key = match typed {
                    [] => return,
                    typed if typed.contains(&INTERRUPT) => Key::Interrupt,
                    typed => Key::Text(typed.to_vec()),
                };
                if sender.blocking_send(key).is_err() {
                    return;
                }
            }
        });
        keys
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Copies a console to standard output until it ends, without escape sequences: the firmware clears
/// the screen again and again, and with it what stood there before.
pub async fn show(mut bytes: mpsc::Receiver<Vec<u8>>) {
    let mut output = tokio::io::stdout();
    let mut escapes = EscapeFilter::default();
    while let Some(mut chunk) = bytes.recv().await {
        chunk.retain(|byte| escapes.keeps(*byte));
        if output.write_all(&chunk).await.is_err() || output.flush().await.is_err() {
            return;
        }
    }
}
