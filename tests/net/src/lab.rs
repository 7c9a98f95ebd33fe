//! Namespaces, links and processes of one test.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use node_settings::{NetdSettings, NetworkConfig};

use crate::server::{Scenario, Server};

/// The user that netd has on a node.
const USER: u32 = 900;
/// How often a state is looked at that is waited for.
const LOOK: Duration = Duration::from_millis(20);
/// How long anything may take. Only a test that fails waits so long.
pub const PATIENCE: Duration = Duration::from_secs(60);

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Runs a program to its end; what it printed.
fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("{program} can't be started"))?;
    ensure!(
        output.status.success(),
        "{program} {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A network: a namespace of its own with the other end of one of the node's links, `srv0`.
#[derive(Debug)]
pub struct Segment {
    namespace: String,
    children: Vec<Child>,
}

impl Segment {
    /// `ip` in this namespace.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        let mut all = vec!["-n", &self.namespace];
        all.extend(arguments.split_ascii_whitespace());
        run("ip", &all)
    }

    /// A server that says what a scenario says.
    ///
    /// # Errors
    /// Where it can't be started.
    pub fn serve(&self, scenario: Scenario) -> Result<Server> {
        self.ip(&format!("addr add {}/24 dev srv0", scenario.server))?;
        Server::start(&self.namespace, "srv0", scenario)
    }

    /// A program in this namespace, ended with the segment.
    ///
    /// # Errors
    /// Where it can't be started.
    pub fn start(&mut self, program: &str, arguments: &[&str]) -> Result<()> {
        let child = Command::new("ip")
            .args(["netns", "exec", &self.namespace, program])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("{program} can't be started"))?;
        self.children.push(child);
        Ok(())
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = run("ip", &["netns", "del", &self.namespace]);
    }
}

/// The node's namespace, and netd in it.
#[derive(Debug)]
pub struct Lab {
    namespace: String,
    folder: tempfile::TempDir,
    netd: Option<Child>,
    links: u32,
    program: PathBuf,
}

impl Lab {
    /// A namespace without links; `program` is the netd to run.
    ///
    /// # Errors
    /// Without root, or `ip`.
    pub fn new(program: &Path) -> Result<Self> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("netd-{}-{number}", std::process::id());
        run("ip", &["netns", "add", &namespace])?;
        let folder = tempfile::tempdir()?;
        let lab = Self {
            namespace,
            folder,
            netd: None,
            links: 0,
            program: program.to_owned(),
        };
        for place in ["run", "state"] {
            fs::create_dir(lab.path(place))?;
            chown(lab.path(place), Some(USER), Some(USER))?;
        }
        run("chmod", &["0755", &lab.path("").to_string_lossy()])?;
        Ok(lab)
    }

    /// A file of netd's.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The next link, `eth0` and so on, with a network at its other end.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn link(&mut self) -> Result<Segment> {
        let number = self.links;
        self.links += 1;
        let namespace = format!("{}-{number}", self.namespace);
        run("ip", &["netns", "add", &namespace])?;
        let segment = Segment {
            namespace,
            children: Vec::new(),
        };
        // each name once on the machine: the pair is made in the machine's own namespace on old kernels
        let (own, other) = (format!("eth{number}"), "srv0");
        run(
            "ip",
            &[
                "link",
                "add",
                "name",
                &own,
                "netns",
                &self.namespace,
                "address",
                &format!("02:00:00:00:01:{number:02x}"),
                "type",
                "veth",
                "peer",
                "name",
                other,
                "netns",
                &segment.namespace,
            ],
        )?;
        segment.ip("link set srv0 up")?;
        Ok(segment)
    }

    /// Starts netd, as on a node: its user, and the rights that it has there but that of setting the clock, which is the
    /// machine's own here. Without a configuration it is started as before there is one.
    ///
    /// # Errors
    /// Where it can't be started.
    pub fn start(&mut self, config: Option<NetworkConfig>, master: &str) -> Result<()> {
        let settings = self.path("netd.json");
        let _ = fs::remove_file(&settings);
        if let Some(network) = config {
            let all = NetdSettings {
                node_name: "edge-0001".parse()?,
                network,
                time_servers: vec!["127.0.0.1:9".parse()?],
                master: master.parse()?,
            };
            fs::write(&settings, node_settings::to_json(&all)?.as_slice())?;
        }
        let rights = "+net_admin,+net_raw,+net_bind_service";
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path("log"))?;
        let child = Command::new("ip")
            .args([
                "netns",
                "exec",
                &self.namespace,
                "setpriv",
                "--reuid",
                &USER.to_string(),
            ])
            .args([
                "--regid",
                &USER.to_string(),
                "--clear-groups",
                "--inh-caps",
                rights,
            ])
            .args([
                "--ambient-caps",
                rights,
                "--bounding-set",
                "-all,+net_admin,+net_raw,+net_bind_service",
            ])
            .arg(&self.program)
            .arg(&settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        self.netd = Some(child);
        Ok(())
    }

    /// Ends netd as `init` does.
    ///
    /// # Errors
    /// Where it does not end with success.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut child) = self.netd.take() else {
            return Ok(());
        };
        run("kill", &[&child.id().to_string()])?;
        let status = child.wait()?;
        ensure!(status.success(), "netd ended with {status}: {}", self.log());
        Ok(())
    }

    /// What netd has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// `ip` in the node's namespace.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        let mut all = vec!["-n", &self.namespace];
        all.extend(arguments.split_ascii_whitespace());
        run("ip", &all)
    }

    /// Addresses and routes of a family (`4`, `6`), and the name servers' file.
    #[must_use]
    pub fn state(&self, family: &str) -> String {
        let all = [
            self.ip(&format!("-{family} -brief address")),
            self.ip(&format!("-{family} route")),
        ];
        let shown: Vec<String> = all.into_iter().map(Result::unwrap_or_default).collect();
        let names = fs::read_to_string(self.path("run/resolv.conf")).unwrap_or_default();
        format!("{}{names}", shown.join(""))
    }

    /// Waits until something holds; how long that took.
    ///
    /// # Errors
    /// With log and state, where it does not come to hold.
    pub fn wait(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) -> Result<Duration> {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            if holds(self) {
                return Ok(started.elapsed());
            }
            if let Some(child) = &mut self.netd
                && let Some(status) = child.try_wait()?
            {
                bail!("netd ended with {status}: {}", self.log());
            }
            sleep(LOOK);
        }
        bail!(
            "{what}: not so\n{}{}{}",
            self.log(),
            self.state("4"),
            self.state("6")
        )
    }

    /// Waits until the state of IPv4 has all of these texts and none of those.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn wait_for(&mut self, all: &[&str], none: &[&str]) -> Result<Duration> {
        self.wait(&all.join(", "), |lab| {
            let state = lab.state("4");
            all.iter().all(|text| state.contains(text))
                && !none.iter().any(|text| state.contains(text))
        })
    }

    /// The processor time that netd has used, in hundredths of a second.
    ///
    /// # Errors
    /// Where it does not run.
    pub fn processor_time(&self) -> Result<u64> {
        let child = self.netd.as_ref().context("netd does not run")?;
        let text = fs::read_to_string(format!("/proc/{}/stat", child.id()))?;
        let behind_name = text.rsplit_once(')').context("no process's line")?.1;
        let fields: Vec<&str> = behind_name.split_ascii_whitespace().collect();
        let field = |index: usize| {
            fields
                .get(index)
                .and_then(|text| text.parse::<u64>().ok())
                .unwrap_or(0)
        };
        Ok(field(11) + field(12))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(child) = &mut self.netd {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = run("ip", &["netns", "del", &self.namespace]);
    }
}
