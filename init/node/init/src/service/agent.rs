//! What `k3s agent` is started with: the master's answer, kept where the agent alone reads it.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use wire::paths::{AGENT_TOKEN, CONTAINERD_SOCKET, K3S_DATA, KUBELET_CONFIGURATION, name};
use wire::status::AgentState;
use wire::{JoinToken, NodeName, ServerUrl};
use zeroize::Zeroizing;

use super::kubelet::{self, Size};

/// Where the agent joins, and under which name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Joins {
    server: ServerUrl,
    node: NodeName,
}

/// What the agent joins, once the staker has said so.
#[derive(Debug)]
pub(crate) struct Agent {
    directory: PathBuf,
    joins: Option<Joins>,
    run: u64,
    state: AgentState,
}

impl Agent {
    /// Nothing to join yet. The token will be kept in this directory.
    pub(crate) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            joins: None,
            run: 0,
            state: AgentState::Unasked,
        }
    }

    /// What became of the last thing that was desired.
    pub(crate) const fn state(&self) -> AgentState {
        self.state
    }

    /// The largest number of a run so far.
    pub(crate) const fn run(&self) -> u64 {
        self.run
    }

    /// Takes an answer over. `true` when it differs from the one that is kept, or is for a later run.
    ///
    /// # Errors
    /// What the system says where the token can't be written; what was kept before stays, and so does an
    /// agent that runs with it.
    pub(crate) fn accept(
        &mut self,
        node: &NodeName,
        server: &ServerUrl,
        token: &JoinToken,
        run: u64,
    ) -> io::Result<bool> {
        let joins = Joins {
            server: server.clone(),
            node: node.clone(),
        };
        let taken = self.take(joins, token);
        self.state = match taken {
            Ok(_) => AgentState::Wanted,
            Err(_) => AgentState::Refused,
        };
        let later = taken.is_ok() && run > self.run;
        if later {
            self.run = run;
        }
        taken.map(|news| news || later)
    }

    /// Forgets the answer: there is nothing to join until the next one.
    ///
    /// # Errors
    /// What the system says of the token's file. Its arguments are gone all the same.
    pub(crate) fn forget(&mut self) -> io::Result<()> {
        self.joins = None;
        self.state = AgentState::Stopped;
        match files::forget(self.token_file()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn take(&mut self, joins: Joins, token: &JoinToken) -> io::Result<bool> {
        let token = token.expose();
        let kept =
            files::read_bounded(self.token_file(), JoinToken::MAXIMUM_LENGTH).map(Zeroizing::new);
        let same = kept.is_ok_and(|kept| kept.as_slice() == token.as_bytes());
        if same && self.joins.as_ref() == Some(&joins) {
            return Ok(false);
        }
        self.write(token)?;
        self.joins = Some(joins);
        Ok(true)
    }

    fn write(&self, token: &str) -> io::Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.directory)?;
        let kubelet = kubelet::configuration(Size::of_this_machine());
        files::replace(self.kubelet_file(), &kubelet, 0o600)?;
        files::replace(self.token_file(), token.as_bytes(), 0o600)
    }

    /// The arguments of `k3s agent`; none as long as there is nothing to join.
    pub(crate) fn arguments(&self) -> Option<Vec<String>> {
        let Joins { server, node } = self.joins.as_ref()?;
        let token_file = self.token_file();
        let kubelet_file = format!("config={}", self.kubelet_file().to_str()?);
        let arguments = [
            "agent",
            "--server",
            server.as_str(),
            "--token-file",
            token_file.to_str()?,
            "--data-dir",
            K3S_DATA,
            "--node-name",
            node.as_str(),
            // a bare path: with a scheme in front, cadvisor's labels break
            "--container-runtime-endpoint",
            CONTAINERD_SOCKET,
            // no cgroup driver: the kubelet asks containerd, which has it in its configuration
            "--kubelet-arg",
            "fail-swap-on=false",
            "--kubelet-arg",
            "volume-plugin-dir=/var/lib/kubelet/volumeplugins",
            "--kubelet-arg",
            &kubelet_file,
        ];
        Some(arguments.map(str::to_owned).to_vec())
    }

    fn kubelet_file(&self) -> PathBuf {
        self.directory.join(name(KUBELET_CONFIGURATION))
    }

    fn token_file(&self) -> PathBuf {
        self.directory.join(name(AGENT_TOKEN))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use wire::Secret;

    use super::*;

    const SERVER: &str = "https://192.0.2.1:6443";

    fn server(text: &str) -> ServerUrl {
        text.parse().unwrap()
    }

    fn node() -> NodeName {
        "edge-0001-0123456789".parse().unwrap()
    }

    fn secret(credentials: &str) -> JoinToken {
        let text = format!("K10{}::{credentials}", "ca".repeat(32));
        JoinToken::new(Secret::new(text)).unwrap()
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn the_token_is_in_a_file_for_root_alone_and_not_in_the_arguments() {
        let directory = tempfile::tempdir().unwrap();
        let mut agent = Agent::new(&directory.path().join("agent"));
        assert_eq!(agent.arguments(), None);
        assert!(
            agent
                .accept(&node(), &server(SERVER), &secret("id.key"), 1)
                .unwrap()
        );
        let file = agent.token_file();
        assert_eq!(
            fs::read_to_string(&file).unwrap(),
            secret("id.key").expose()
        );
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
        let arguments = agent.arguments().unwrap();
        assert!(arguments.iter().all(|argument| !argument.contains("K10")));
        assert!(arguments.contains(&file.to_str().unwrap().to_owned()));
        assert!(!format!("{agent:?}").contains("K10"));
    }

    #[test]
    fn kubelet_gets_its_configuration_and_no_cgroup_driver() {
        let directory = tempfile::tempdir().unwrap();
        let mut agent = Agent::new(directory.path());
        agent
            .accept(&node(), &server(SERVER), &secret("one"), 1)
            .unwrap();
        let arguments = agent.arguments().unwrap();
        let after = |flag: &str| -> Vec<&str> {
            let pairs = arguments.windows(2).filter(|pair| pair[0] == flag);
            pairs.map(|pair| pair[1].as_str()).collect()
        };
        assert_eq!(
            after("--container-runtime-endpoint"),
            ["/run/containerd/containerd.sock"]
        );
        assert_eq!(
            after("--kubelet-arg"),
            [
                "fail-swap-on=false",
                "volume-plugin-dir=/var/lib/kubelet/volumeplugins",
                &format!("config={}", agent.kubelet_file().display()),
            ]
        );
        assert_eq!(
            fs::read(agent.kubelet_file()).unwrap(),
            kubelet::configuration(Size::of_this_machine())
        );
        assert_eq!(mode(&agent.kubelet_file()), 0o600);
    }

    #[test]
    fn the_same_answer_is_no_news_and_another_is() {
        let directory = tempfile::tempdir().unwrap();
        let mut agent = Agent::new(directory.path());
        assert!(
            agent
                .accept(&node(), &server(SERVER), &secret("one"), 1)
                .unwrap()
        );
        assert!(
            !agent
                .accept(&node(), &server(SERVER), &secret("one"), 1)
                .unwrap()
        );
        assert!(
            agent
                .accept(&node(), &server(SERVER), &secret("two"), 1)
                .unwrap()
        );
        assert!(
            agent
                .accept(&node(), &server("https://192.0.2.2"), &secret("two"), 1)
                .unwrap()
        );
        assert!(
            !agent
                .accept(&node(), &server("https://192.0.2.2"), &secret("two"), 1)
                .unwrap()
        );
    }

    #[test]
    fn a_later_run_is_news_and_an_earlier_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let mut agent = Agent::new(directory.path());
        for (run, news) in [(3, true), (3, false), (4, true), (0, false), (4, false)] {
            let taken = agent
                .accept(&node(), &server(SERVER), &secret("one"), run)
                .unwrap();
            assert_eq!(taken, news, "{run}");
        }
        assert_eq!(agent.run(), 4);
        agent.forget().unwrap();
        assert_eq!(agent.run(), 4);
    }

    #[test]
    fn an_answer_is_forgotten_and_the_same_one_is_news_again() {
        let directory = tempfile::tempdir().unwrap();
        let mut agent = Agent::new(directory.path());
        assert_eq!(agent.state(), AgentState::Unasked);
        agent.forget().unwrap();
        assert!(
            agent
                .accept(&node(), &server(SERVER), &secret("one"), 1)
                .unwrap()
        );
        assert_eq!(agent.state(), AgentState::Wanted);
        agent.forget().unwrap();
        assert_eq!(agent.state(), AgentState::Stopped);
        assert!(!agent.token_file().exists());
        assert_eq!(agent.arguments(), None);
        assert!(
            agent
                .accept(&node(), &server(SERVER), &secret("one"), 1)
                .unwrap()
        );
        assert!(agent.arguments().is_some());
    }

    #[test]
    fn an_answer_that_can_t_be_kept_is_refused_until_one_can() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("agent");
        fs::write(&place, b"in the way").unwrap();
        let mut agent = Agent::new(&place);
        let error = agent
            .accept(&node(), &server(SERVER), &secret("one"), 1)
            .unwrap_err();
        assert!(!error.to_string().contains("K10"), "{error}");
        assert_eq!(agent.state(), AgentState::Refused);
        assert_eq!(agent.arguments(), None);
        fs::remove_file(&place).unwrap();
        assert!(
            agent
                .accept(&node(), &server(SERVER), &secret("one"), 1)
                .unwrap()
        );
        assert_eq!(agent.state(), AgentState::Wanted);
    }
}
