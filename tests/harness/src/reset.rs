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
/// Where a node notes the address of its TPM's key, and where a reset that is to destroy it names it
/// (`init/node/provision/src/tpm_address.rs`).
const KEY_ADDRESS: &str = "daas/sui-address";
const CONFIRMED: &str = "daas/reset-confirmed";
/// Digits of an address that a person types.
const TYPED: usize = 8;
/// What is asked of a running `run`.
const REQUEST: &str = "reset\n";
/// The last line of its answer, where all went well.
const DONE: &str = "done";

/// Chooses the reset on a disk that is in no running machine. Where a key in the machine's TPM dies by it, its
/// address is named and asked for, too: `yes` is no answer to that, but `forget_key` is.
///
/// # Errors
/// When it is no disk of a node's, can't be written, or nobody confirms.
pub fn disk(path: &Path, yes: bool, forget_key: Option<&str>) -> Result<()> {
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
    let key = key_address(&disk)?;
    if let Some(address) = &key {
        confirm_key(address, yes, forget_key)?;
        disk.write_to_esp(CONFIRMED, format!("{address}\n").as_bytes())?;
    } else {
        ensure!(
            forget_key.is_none(),
            "the node on {} has no key in a TPM",
            path.display()
        );
    }
    disk.choose_reset(true)?;
    println!(
        "==> chosen: start the machine from {}. It wipes keys and state, powers off, and starts as a new \
         node after that",
        path.display()
    );
    Ok(())
}

/// The address of the key in the machine's TPM, where its node has one.
fn key_address(disk: &Disk) -> Result<Option<String>> {
    if !disk
        .list_esp("daas")?
        .iter()
        .any(|name| KEY_ADDRESS.rsplit('/').next() == Some(name.as_str()))
    {
        return Ok(None);
    }
    let text = String::from_utf8(disk.read_from_esp(KEY_ADDRESS)?).unwrap_or_default();
    let address: chain::Address = text
        .trim()
        .parse()
        .with_context(|| format!("{KEY_ADDRESS} holds no address"))?;
    Ok(Some(address.to_string()))
}

fn confirm_key(address: &str, yes: bool, forget_key: Option<&str>) -> Result<()> {
    let what = format!(
        "The Sui key that this machine's TPM made dies, for good. Nobody has a copy: what is at its address, \
         coins and a stake, is out of reach then.\n    {address}"
    );
    if let Some(named) = forget_key {
        ensure!(
            named.eq_ignore_ascii_case(address),
            "{what}\n--forget-key names another key: nothing was changed"
        );
        return Ok(());
    }
    ensure!(
        !yes && std::io::stdin().is_terminal(),
        "{what}\nTo do this without a terminal, say --forget-key {address}"
    );
    let digits = address.trim_start_matches("0x");
    let digits = digits.get(..TYPED).unwrap_or(digits);
    println!("{what}");
    let question = format!("Type its first {TYPED} digits behind 0x to go on: ");
    let answer = read_answer(&question)?;
    ensure!(
        answer.trim_start_matches("0x").eq_ignore_ascii_case(digits),
        "nothing was changed"
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
    let answer = read_answer(&format!("{what}\nType {WORD} to go on: "))?;
    ensure!(answer == WORD, "nothing was changed");
    Ok(())
}

fn read_answer(question: &str) -> Result<String> {
    print!("{question}");
    std::io::stdout().flush().context("no terminal")?;
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .context("no terminal")?;
    Ok(answer.trim().to_owned())
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
