//! The reset on purpose, from outside the machine: it chooses the entry of the boot menu that wipes keys
//! and state. The machine itself does the rest at its next start.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixListener;
use tokio::net::UnixStream;

use crate::devnet::Description;
use crate::disk::Disk;

/// What a person types to go on.
const WORD: &str = "reset";
/// What is asked of a running `run`.
const REQUEST: &str = "reset\n";
/// The last line of its answer, where all went well.
const DONE: &str = "done";

/// Chooses the reset on a disk that is in no running machine.
///
/// # Errors
/// When it is no disk of a node's, can't be written, or nobody confirms.
pub fn disk(path: &Path, yes: bool) -> Result<()> {
    let disk = Disk::existing(path)?;
    if disk.resets()? {
        println!(
            "==> the next start from {} resets already: nothing to do",
            path.display()
        );
        return Ok(());
    }
    let what = format!(
        "The next start from {} wipes the node's keys and its state, for good.",
        path.display()
    );
    confirm(&what, yes)?;
    disk.choose_reset(true)?;
    println!(
        "==> chosen: start the machine from {}. It wipes keys and state, powers off, and starts as a new \
         node after that",
        path.display()
    );
    Ok(())
}

/// Has the node of a running `run` reset itself.
///
/// # Errors
/// When none runs, it does not reset, or nobody confirms.
pub async fn running(devnet: &Path, yes: bool) -> Result<()> {
    let description = Description::read(devnet)?;
    let socket = description
        .control
        .context("the devnet has no machine yet: try again once its console shows")?;
    let what = format!(
        "The node {} is switched off, and its keys and its state are wiped, for good.",
        description.node_id
    );
    confirm(&what, yes)?;
    let mut stream = UnixStream::connect(&socket)
        .await
        .with_context(|| format!("no ./build.sh run answers at {}", socket.display()))?;
    stream
        .write_all(REQUEST.as_bytes())
        .await
        .context("cannot ask for the reset")?;
    let mut lines = BufReader::new(stream).lines();
    while let Some(line) = lines.next_line().await.context("no answer")? {
        if line == DONE {
            return Ok(());
        }
        println!("==> {line}");
    }
    bail!("the node was not reset: see the terminal that it runs in")
}

fn confirm(what: &str, yes: bool) -> Result<()> {
    if yes {
        return Ok(());
    }
    ensure!(
        std::io::stdin().is_terminal(),
        "{what} To do this without a terminal, say --yes"
    );
    print!("{what}\nType {WORD} to go on: ");
    std::io::stdout().flush().context("no terminal")?;
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .context("no terminal")?;
    ensure!(answer.trim() == WORD, "nothing was changed");
    Ok(())
}

/// Where a running `run` takes requests.
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
}

/// Somebody who asked for a reset, and is told what becomes of it.
pub struct Asker(UnixStream);

impl Control {
    /// Listens at `path`.
    ///
    /// # Errors
    /// When it cannot.
    pub fn listen(path: PathBuf) -> Result<Self> {
        let listener = UnixListener::bind(&path)
            .with_context(|| format!("cannot listen at {}", path.display()))?;
        Ok(Self { listener, path })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for the next request.
    pub async fn next(&self) -> Asker {
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                continue;
            };
            let mut reader = BufReader::new(stream);
            let mut request = String::new();
            if reader.read_line(&mut request).await.is_ok() && request == REQUEST {
                return Asker(reader.into_inner());
            }
        }
    }
}

impl Asker {
    /// Tells it something. One that has gone away misses it.
    pub async fn tell(&mut self, line: &str) {
        let _ = self.0.write_all(format!("{line}\n").as_bytes()).await;
    }

    /// Tells it that all went well.
    pub async fn done(mut self) {
        self.tell(DONE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_request_is_one_and_its_end_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let control = Control::listen(directory.path().join("control")).unwrap();
        let path = control.path().to_owned();
        let client = tokio::spawn(async move {
            let mut other = UnixStream::connect(&path).await.unwrap();
            other.write_all(b"something else\n").await.unwrap();
            let mut stream = UnixStream::connect(&path).await.unwrap();
            stream.write_all(REQUEST.as_bytes()).await.unwrap();
            let mut lines = BufReader::new(stream).lines();
            let mut told = Vec::new();
            while let Some(line) = lines.next_line().await.unwrap() {
                told.push(line);
            }
            told
        });
        let mut asker = control.next().await;
        asker.tell("it is on its way").await;
        asker.done().await;
        assert_eq!(client.await.unwrap(), ["it is on its way", DONE]);
    }
}
