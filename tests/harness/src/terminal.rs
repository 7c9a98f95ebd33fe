//! This terminal as the node's console.

use std::io::IsTerminal;

use rustix::termios::{OptionalActions, OutputModes, Termios, tcgetattr, tcsetattr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

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

impl Drop for RawMode {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Copies a console to standard output until it ends.
pub async fn show(mut bytes: mpsc::Receiver<Vec<u8>>) {
    let mut output = tokio::io::stdout();
    while let Some(chunk) = bytes.recv().await {
        if output.write_all(&chunk).await.is_err() || output.flush().await.is_err() {
            return;
        }
    }
}

/// Why there are no more keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ended {
    /// Ctrl-C.
    Interrupt,
    /// The terminal is gone.
    Input,
}

/// The next keys.
///
/// # Errors
/// [`Ended`], when these were the last, or Ctrl-C is among them.
pub async fn keys(input: &mut tokio::io::Stdin) -> Result<Vec<u8>, Ended> {
    let mut buffer = [0_u8; 256];
    let count = input.read(&mut buffer).await.map_err(|_| Ended::Input)?;
    let typed = buffer.get(..count).unwrap_or_default();
    if typed.is_empty() {
        return Err(Ended::Input);
    }
    if typed.contains(&INTERRUPT) {
        return Err(Ended::Interrupt);
    }
    Ok(typed.to_vec())
}
