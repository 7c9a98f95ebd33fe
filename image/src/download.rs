//! Downloads over HTTP: bounded, resumed, checked, and kept by digest.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ureq::http::{Response, StatusCode, header};
use ureq::{Agent, Body};

use crate::digest;
use crate::progress::{human_size, step};

/// The slowest line that a download waits for, in bytes each second.
const SLOWEST: u64 = 20_000;
/// How often an interrupted download is taken up again.
const ATTEMPTS: u32 = 4;

/// A pinned file that no mirror has any more. The program's exit code for it is 3.
#[derive(Debug, thiserror::Error)]
#[error(
    "{name} is no longer on the mirror ({url} answers 404), as happens when Debian publishes a newer version; \
     run `./build.sh lock` and build again"
)]
pub struct Vanished {
    /// The file, as its lock entry names it.
    pub name: String,
    /// Where it was looked for last.
    pub url: String,
}

/// An HTTP client.
#[derive(Debug, Clone)]
pub struct Downloader {
    agent: Agent,
}

/// A file to fetch.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// What it is, for messages.
    pub name: &'a str,
    /// Where it may be had, best first.
    pub urls: Vec<String>,
    /// Its length where that is known, otherwise the longest that is taken, in bytes.
    pub size: Size,
    /// Its SHA-256, hexadecimal.
    pub sha256: &'a str,
}

/// How long a file is.
#[derive(Debug, Clone, Copy)]
pub enum Size {
    /// Exactly this many bytes.
    Exactly(u64),
    /// At most this many bytes.
    AtMost(u64),
}

impl Size {
    fn bound(self) -> u64 {
        match self {
            Self::Exactly(bytes) | Self::AtMost(bytes) => bytes,
        }
    }
}

impl Default for Downloader {
    fn default() -> Self {
        Self::new()
    }
}

impl Downloader {
    /// A client with its time-outs; proxies come from the environment's usual variables.
    #[must_use]
    pub fn new() -> Self {
        Self::with(false)
    }

    /// The same client, which speaks HTTPS alone, also where a server redirects it: for what nothing but the
    /// connection vouches for.
    #[must_use]
    pub fn https_alone() -> Self {
        Self::with(true)
    }

    fn with(https_only: bool) -> Self {
        let config = Agent::config_builder()
            .https_only(https_only)
            .timeout_resolve(Some(Duration::from_secs(15)))
            .timeout_connect(Some(Duration::from_secs(15)))
            .timeout_send_request(Some(Duration::from_secs(15)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .http_status_as_error(false)
            .user_agent("k3s-daas-image")
            .build();
        Self {
            agent: config.new_agent(),
        }
    }

    /// Reads a small document whole, at most `bound` bytes of it. `None`: there is none (404).
    ///
    /// # Errors
    /// When it can't be had or is longer.
    pub fn small(&self, url: &str, bound: u64) -> Result<Option<Vec<u8>>> {
        let response = self
            .request(url, 0, bound)
            .map_err(|error| unreachable_server(url, &error))?;
        match response.status() {
            StatusCode::OK => (),
            StatusCode::NOT_FOUND => return Ok(None),
            status => bail!("{url} answers {status}"),
        }
        let mut content = Vec::new();
        let mut body = response.into_body().into_reader().take(bound + 1);
        body.read_to_end(&mut content)
            .with_context(|| format!("{url} broke off"))?;
        if content.len() as u64 > bound {
            bail!("{url} is longer than {}", human_size(bound));
        }
        Ok(Some(content))
    }

    /// Fetches a file into `directory`, named by its digest and `suffix`, and returns its path.
    /// A file that is there already is taken as it is: it was checked before it got its name.
    ///
    /// # Errors
    /// [`Vanished`] when every mirror answers 404; otherwise what went wrong with the last one.
    pub fn fetch(&self, wanted: &Wanted<'_>, directory: &Path, suffix: &str) -> Result<PathBuf> {
        let path = directory.join(format!("{}{suffix}", wanted.sha256));
        if path.exists() {
            return Ok(path);
        }
        fs::create_dir_all(directory)
            .with_context(|| format!("can't create {}", directory.display()))?;
        let partial = directory.join(format!("{}.part", wanted.sha256));
        // one builder at a time for one file; who waited finds it under its name
        let options = OpenOptions::new().create(true).append(true).open(&partial);
        let lock = options.with_context(|| format!("can't write {}", partial.display()))?;
        lock.lock().context("can't lock the cache")?;
        if path.exists() {
            _ = fs::remove_file(&partial);
            return Ok(path);
        }
        self.fetch_any(wanted, &partial, &path)?;
        Ok(path)
    }

    fn fetch_any(&self, wanted: &Wanted<'_>, partial: &Path, path: &Path) -> Result<()> {
        let mut last = None;
        for url in &wanted.urls {
            match self.fetch_one(wanted, url, partial) {
                Ok(()) => {
                    // its name vouches for its content, also after a power cut
                    let named = File::open(partial)
                        .and_then(|file| file.sync_all())
                        .and_then(|()| fs::rename(partial, path));
                    return named.with_context(|| format!("can't name {}", path.display()));
                }
                // a mirror that is out of reach says more than one that lags behind
                Err(error) if last.is_none() || !error.is::<Vanished>() => last = Some(error),
                Err(_) => (),
            }
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("there is no address for {}", wanted.name)))
    }

    fn fetch_one(&self, wanted: &Wanted<'_>, url: &str, partial: &Path) -> Result<()> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.transfer(wanted, url, partial) {
                Ok(()) => break,
                Err(error)
                    if attempt == ATTEMPTS || error.downcast_ref::<io::Error>().is_none() =>
                {
                    return Err(error);
                }
                Err(error) => {
                    step(format!("download {}: {error:#}; trying again", wanted.name));
                    std::thread::sleep(Duration::from_secs(1 << attempt));
                }
            }
        }
        let actual = digest::of_file(partial)?;
        if actual != wanted.sha256 {
            _ = fs::remove_file(partial);
            bail!(
                "{url} has the SHA-256 {actual}, but {} was expected; nothing of it was used",
                wanted.sha256
            );
        }
        Ok(())
    }

    /// Appends what is missing to the partial file. An interruption is an [`io::Error`].
    fn transfer(&self, wanted: &Wanted<'_>, url: &str, partial: &Path) -> Result<()> {
        let bound = wanted.size.bound();
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(partial)
            .with_context(|| format!("can't write {}", partial.display()))?;
        let mut have = file
            .metadata()
            .context("can't read the partial file's length")?
            .len();
        if have >= bound {
            file.set_len(0).context("can't empty the partial file")?;
            have = 0;
        }
        match wanted.size {
            Size::Exactly(_) => step(format!(
                "download {} {}",
                wanted.name,
                human_size(bound - have)
            )),
            Size::AtMost(_) => step(format!("download {}", wanted.name)),
        }
        let response = self
            .request(url, have, bound - have)
            .map_err(|error| unreachable_server(url, &error))?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT => (),
            StatusCode::OK => {
                file.set_len(0).context("can't empty the partial file")?;
                file.rewind().context("can't rewind the partial file")?;
                have = 0;
            }
            StatusCode::RANGE_NOT_SATISFIABLE => {
                file.set_len(0).context("can't empty the partial file")?;
                return Err(io::Error::other(format!("{url} has no more to resume")).into());
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                return Err(Vanished {
                    name: wanted.name.to_owned(),
                    url: url.to_owned(),
                }
                .into());
            }
            status => bail!("{url} answers {status}"),
        }
        let mut body = response.into_body().into_reader().take(bound - have + 1);
        let copied = io::copy(&mut body, &mut file)
            .map_err(|error| io::Error::other(format!("{url} broke off: {error}")))?;
        file.flush()?;
        let length = have + copied;
        match wanted.size {
            Size::Exactly(size) if length < size => {
                Err(io::Error::other(format!("{url} ended after {length} of {size} bytes")).into())
            }
            _ if length > bound => {
                _ = fs::remove_file(partial);
                bail!("{url} is longer than the {bound} bytes that were expected")
            }
            _ => Ok(()),
        }
    }

    fn request(&self, url: &str, offset: u64, length: u64) -> Result<Response<Body>, ureq::Error> {
        let patience = Duration::from_secs(60 + length / SLOWEST);
        let mut request = self.agent.get(url);
        if offset > 0 {
            request = request.header(header::RANGE, format!("bytes={offset}-"));
        }
        request
            .config()
            .timeout_recv_body(Some(patience))
            .build()
            .call()
    }
}

fn unreachable_server(url: &str, error: &ureq::Error) -> anyhow::Error {
    anyhow::anyhow!(
        "can't reach {url}: {error}; check the network (a proxy comes from http_proxy and https_proxy)"
    )
}
