//! Network settings on trial: a change that loses the master is taken back.
//!
//! Settings by which the master was reached are kept on the state disk. Others have some time to reach it, too; then
//! those of before are used again. Where these don't reach it either, it is the master that is away, and both have
//! their turns until one does. Settings that failed while those of before reached the master are remembered, so that
//! the next boot does not begin with them.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use node_settings::NetworkConfig;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::warn;
use wire::ServerUrl;

/// How long settings have to reach the master.
pub(crate) const BOUND: Duration = Duration::from_secs(10 * 60);
/// How long one attempt to reach the master may take, and the wait before the next.
const ATTEMPT: Duration = Duration::from_secs(5);
const INTERVAL: Duration = Duration::from_secs(10);
/// HTTPS, where a URL names no port.
const HTTPS: u16 = 443;

/// Which settings are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Active {
    /// Those of the configuration.
    Wanted,
    /// Those by which the master was reached before.
    Former,
}

/// Settings that have to reach the master.
#[derive(Debug)]
pub(crate) struct Trial {
    wanted: NetworkConfig,
    former: Option<NetworkConfig>,
    active: Active,
    /// When those that are used began.
    since: Duration,
    bound: Duration,
    settled: bool,
}

/// What is to be done when the master was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reached {
    /// These settings are good: keep them.
    Keep(NetworkConfig),
    /// These are not: remember that.
    Refuse(NetworkConfig),
}

impl Trial {
    /// Settings of the configuration, those by which the master was reached before, and those that failed to.
    pub(crate) fn new(
        wanted: NetworkConfig,
        former: Option<NetworkConfig>,
        refused: Option<&NetworkConfig>,
        bound: Duration,
        now: Duration,
    ) -> Self {
        let former = former.filter(|former| *former != wanted);
        let active = if former.is_some() && refused == Some(&wanted) {
            Active::Former
        } else {
            Active::Wanted
        };
        Self {
            wanted,
            former,
            active,
            since: now,
            bound,
            settled: false,
        }
    }

    /// The settings to use now.
    pub(crate) fn config(&self) -> &NetworkConfig {
        match (self.active, &self.former) {
            (Active::Former, Some(former)) => former,
            _ => &self.wanted,
        }
    }

    /// Which they are.
    pub(crate) const fn active(&self) -> Active {
        self.active
    }

    /// Whether the master is still to be reached.
    pub(crate) const fn is_open(&self) -> bool {
        !self.settled
    }

    /// The wait between two attempts to reach the master: several within the bound.
    pub(crate) fn interval(&self) -> Duration {
        INTERVAL.min(self.bound / 12)
    }

    /// Takes in that there are settings of before after all: the state disk was opened later.
    pub(crate) fn remember(&mut self, former: NetworkConfig) {
        if self.former.is_none() && former != self.wanted {
            self.former = Some(former);
        }
    }

    /// The master was reached.
    pub(crate) fn reached(&mut self) -> Reached {
        self.settled = true;
        match self.active {
            Active::Wanted => Reached::Keep(self.wanted.clone()),
            Active::Former => Reached::Refuse(self.wanted.clone()),
        }
    }

    /// Changes to the other settings where these had their time. True when it did.
    pub(crate) fn turn(&mut self, now: Duration) -> bool {
        if self.settled || self.former.is_none() || now.saturating_sub(self.since) < self.bound {
            return false;
        }
        self.since = now;
        self.active = match self.active {
            Active::Wanted => Active::Former,
            Active::Former => Active::Wanted,
        };
        true
    }
}

/// The files of a trial.
#[derive(Debug, Clone)]
pub(crate) struct Records {
    directory: PathBuf,
}

impl Records {
    /// In this directory, which may come later.
    pub(crate) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    fn good(&self) -> PathBuf {
        self.directory.join("network.json")
    }

    fn bad(&self) -> PathBuf {
        self.directory.join("network-refused.json")
    }

    fn read(path: &Path) -> Option<NetworkConfig> {
        match node_settings::read(path) {
            Ok(config) => Some(config),
            Err(error) if error.is_not_found() => None,
            Err(error) => {
                // of another release, or damaged: the next that reach the master take its place
                warn!(%error, "network settings of before are not used");
                None
            }
        }
    }

    /// Settings by which the master was reached.
    pub(crate) fn former(&self) -> Option<NetworkConfig> {
        Self::read(&self.good())
    }

    /// Settings that failed to reach it.
    pub(crate) fn refused(&self) -> Option<NetworkConfig> {
        Self::read(&self.bad())
    }

    /// Whether there is a place for them.
    pub(crate) fn is_there(&self) -> bool {
        self.directory.is_dir()
    }

    /// Writes what the master's being reached means.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn write(&self, reached: &Reached) -> io::Result<()> {
        match reached {
            Reached::Keep(config) => {
                if self.bad().exists() {
                    fs::remove_file(self.bad())?;
                }
                write(&self.good(), config)
            }
            Reached::Refuse(config) => write(&self.bad(), config),
        }
    }
}

fn write(path: &Path, config: &NetworkConfig) -> io::Result<()> {
    let json = node_settings::to_json(config).map_err(io::Error::other)?;
    if fs::read(path).is_ok_and(|found| found == *json) {
        return Ok(());
    }
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    file.write_all(&json)?;
    file.sync_all()?;
    fs::rename(&fresh, path)
}

/// Host and port of a server.
fn endpoint(url: &ServerUrl) -> (String, u16) {
    let rest = url
        .as_str()
        .strip_prefix("https://")
        .unwrap_or(url.as_str());
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let behind_brackets = authority.rfind(']').map_or(0, |at| at + 1);
    let port = authority.get(behind_brackets..).and_then(|rest| {
        let (_, port) = rest.rsplit_once(':')?;
        port.parse().ok().map(|number| (number, port.len() + 1))
    });
    let (port, length) = port.unwrap_or((HTTPS, 0));
    let host = authority
        .get(..authority.len() - length)
        .unwrap_or(authority);
    (host.trim_matches(['[', ']']).to_owned(), port)
}

/// Whether the master takes a connection: no more is asked of the network. Who it is, the staker finds out.
pub(crate) async fn reaches(master: &ServerUrl) -> bool {
    let (host, port) = endpoint(master);
    let connected = timeout(ATTEMPT, TcpStream::connect((host.as_str(), port))).await;
    matches!(connected, Ok(Ok(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn config(name: &str) -> NetworkConfig {
        let mut config = NetworkConfig::automatic();
        config.search.push(name.to_owned());
        config
    }

    /// A trial of these settings after the ones named "old".
    fn changed(wanted: &str, refused: Option<&NetworkConfig>) -> Trial {
        Trial::new(
            config(wanted),
            Some(config("old")),
            refused,
            BOUND,
            Duration::ZERO,
        )
    }

    #[test]
    fn change_that_loses_the_master_is_taken_back() {
        let mut trial = changed("new", None);
        assert_eq!(trial.config(), &config("new"));
        assert!(!trial.turn(MINUTE * 9));
        assert!(trial.turn(MINUTE * 10));
        assert_eq!(
            (trial.active(), trial.config()),
            (Active::Former, &config("old"))
        );
        assert_eq!(trial.reached(), Reached::Refuse(config("new")));
        assert!(!trial.is_open() && !trial.turn(MINUTE * 100));
        // the next boot begins with what works, and a further change is tried
        let trial = changed("new", Some(&config("new")));
        assert_eq!(trial.active(), Active::Former);
        let trial = changed("newer", Some(&config("new")));
        assert_eq!(trial.active(), Active::Wanted);
    }

    #[test]
    fn both_have_their_turns_while_the_master_is_away() {
        let mut trial = changed("new", None);
        assert!(trial.turn(MINUTE * 10) && trial.turn(MINUTE * 20));
        assert_eq!(trial.config(), &config("new"));
        assert_eq!(trial.reached(), Reached::Keep(config("new")));
    }

    #[test]
    fn without_settings_of_before_nothing_is_taken_back() {
        let mut trial = Trial::new(config("new"), None, None, BOUND, Duration::ZERO);
        assert!(!trial.turn(MINUTE * 100));
        let mut same = Trial::new(
            config("new"),
            Some(config("new")),
            None,
            BOUND,
            Duration::ZERO,
        );
        assert!(same.former.is_none() && !same.turn(MINUTE * 100));
        // the state disk came later
        trial.remember(config("old"));
        assert!(trial.turn(MINUTE * 101));
    }

    #[test]
    fn records_read_back_and_damage_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let records = Records::new(folder.path());
        assert_eq!(records.former(), None);
        records
            .write(&Reached::Refuse(config("new")))
            .expect("written");
        assert_eq!(records.refused(), Some(config("new")));
        records
            .write(&Reached::Keep(config("old")))
            .expect("written");
        assert_eq!(
            (records.former(), records.refused()),
            (Some(config("old")), None)
        );
        fs::write(records.good(), "{").expect("written");
        assert_eq!(records.former(), None);
        assert!(!Records::new(&folder.path().join("later")).is_there());
    }

    #[test]
    fn endpoint_is_host_and_port_of_a_url() {
        for (url, host, port) in [
            ("https://10.0.2.2:8443", "10.0.2.2", 8443),
            ("https://master.example.org", "master.example.org", 443),
            ("https://[2001:db8::1]:8443", "2001:db8::1", 8443),
            ("https://[2001:db8::1]", "2001:db8::1", 443),
        ] {
            let url: ServerUrl = url.parse().expect("a URL");
            assert_eq!(endpoint(&url), (host.to_owned(), port));
        }
    }
}
