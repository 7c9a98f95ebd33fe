//! Clients of every kind against the loop, with a TPM in software or one that is played.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use fixtures::software_tpm::Swtpm;
use rustix::net::{connect, socketpair};

use super::*;

/// Long enough for anything that goes well.
const PATIENCE: Duration = Duration::from_secs(60);
/// `TPM2_PCR_Read` of PCR 11 (Part 3, 22.4).
const READ: [u8; 20] = [
    0x80, 1, 0, 0, 0, 20, 0, 0, 1, 0x7e, 0, 0, 0, 1, 0, 0x0b, 3, 0, 8, 0,
];

/// A broker that runs for as long as the test does.
struct Scene {
    _directory: tempfile::TempDir,
    path: PathBuf,
    /// Commands that have reached the TPM.
    reached: Arc<AtomicUsize>,
    /// Connections that were ended, by either side.
    ended: Arc<AtomicUsize>,
}

fn me() -> u32 {
    rustix::process::getuid().as_raw()
}

fn pair() -> (OwnedFd, OwnedFd) {
    socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap()
}

/// What a TPM answers.
type Answer = Arc<dyn Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync>;

impl Scene {
    fn new(user: u32, limits: Limits, answer: Answer) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let (reached, ended) = (Arc::default(), Arc::default());
        let open = {
            let (reached, ended) = (Arc::clone(&reached), Arc::clone(&ended));
            move || Ok(device(&answer, &reached, &ended))
        };
        let mut broker = Broker::listen(&path, user, limits, open).unwrap();
        thread::spawn(move || {
            loop {
                broker.turn(None).unwrap();
            }
        });
        Self {
            _directory: directory,
            path,
            reached,
            ended,
        }
    }

    /// Before a TPM in software.
    fn with(swtpm: &Arc<Swtpm>) -> Self {
        // the test's own is the last one, and ends its process
        let swtpm = Arc::downgrade(swtpm);
        let answer: Answer = Arc::new(move |command| {
            let swtpm = swtpm.upgrade()?;
            Some(swtpm.channel().transact(command).unwrap().to_vec())
        });
        Self::new(me(), Limits::default(), answer)
    }

    /// Before a TPM that gives an empty success to whatever comes.
    fn played(limits: Limits) -> Self {
        let answer: Answer = Arc::new(|_| Some(vec![0x80, 1, 0, 0, 0, 10, 0, 0, 0, 0]));
        Self::new(me(), limits, answer)
    }

    fn client(&self) -> OwnedFd {
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        connect(&socket, &SocketAddrUnix::new(&self.path).unwrap()).unwrap();
        socket
    }

    fn reached(&self) -> usize {
        self.reached.load(Ordering::SeqCst)
    }
}

/// A device: its other end is served by a thread.
fn device(answer: &Answer, reached: &Arc<AtomicUsize>, ended: &Arc<AtomicUsize>) -> OwnedFd {
    let (ours, theirs) = pair();
    let (answer, reached, ended) = (Arc::clone(answer), Arc::clone(reached), Arc::clone(ended));
    thread::spawn(move || {
        let mut buffer = vec![0; MAX_MESSAGE];
        loop {
            let (_, length) = recv(&theirs, &mut *buffer, RecvFlags::empty()).unwrap();
            if length == 0 {
                ended.fetch_add(1, Ordering::SeqCst);
                return;
            }
            reached.fetch_add(1, Ordering::SeqCst);
            if let Some(reply) = answer(&buffer[..length]) {
                let _ = send(&theirs, &reply, SendFlags::NOSIGNAL);
            }
        }
    });
    ours
}

fn say_to(client: &OwnedFd, bytes: &[u8]) {
    send(client, bytes, SendFlags::NOSIGNAL).unwrap();
}

/// What comes; nothing: the other side has hung up.
fn hear(client: &OwnedFd) -> Vec<u8> {
    let mut poll_fd = [PollFd::new(client, PollFlags::IN)];
    let limit = Timespec {
        tv_sec: 60,
        tv_nsec: 0,
    };
    assert_ne!(poll(&mut poll_fd, Some(&limit)).unwrap(), 0, "no answer");
    let mut buffer = vec![0; MAX_MESSAGE];
    match recv(client, &mut *buffer, RecvFlags::empty()) {
        Ok((_, length)) => buffer[..length].to_vec(),
        // it hung up with our message unread
        Err(Errno::CONNRESET) => Vec::new(),
        Err(error) => panic!("{error}"),
    }
}

fn code(reply: &[u8]) -> u32 {
    assert_eq!(reply[..6], [0x80, 1, 0, 0, 0, 10], "{reply:?}");
    u32::from_be_bytes(reply[6..].try_into().unwrap())
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn listed_command_reaches_the_tpm_and_its_reply_comes_back() {
    let swtpm = Arc::new(Swtpm::new());
    let scene = Scene::with(&swtpm);
    let client = scene.client();
    let direct = swtpm.channel().transact(&READ).unwrap();
    for count in 1..4 {
        say_to(&client, &READ);
        assert_eq!(hear(&client), *direct);
        assert_eq!(scene.reached(), count);
    }
}

#[test]
fn unlisted_command_is_answered_without_the_tpm() {
    let scene = Scene::played(Limits::default());
    let client = scene.client();
    let listed = [
        0x131, 0x147, 0x14e, 0x151, 0x157, 0x158, 0x15d, 0x165, 0x167, 0x169, 0x16a, 0x16b, 0x173,
        0x176, 0x177, 0x17e, 0x17f, 0x189,
    ];
    for command in 0x11f..=0x19f_u32 {
        if listed.contains(&command) {
            continue;
        }
        for tag in [1, 2] {
            let head = [0x80, tag, 0, 0, 0, 14];
            // the lockout's hierarchy, by which a TPM is cleared
            let bytes = [&head[..], &command.to_be_bytes(), &[0x40, 0, 0, 0x0a]].concat();
            say_to(&client, &bytes);
            assert_eq!(code(&hear(&client)), 0x143, "{command:#x}");
        }
    }
    assert_eq!(scene.reached(), 0);
    say_to(&client, &READ);
    assert_eq!(code(&hear(&client)), 0);
}

#[test]
fn bytes_that_are_no_command_are_answered_without_the_tpm() {
    let scene = Scene::played(Limits::default());
    let client = scene.client();
    let long = vec![0x80; MAX_MESSAGE + 1];
    let mut wrong_size = READ;
    wrong_size[5] += 1;
    for wrong in [&READ[..9], &READ[..1], &READ[..12], &wrong_size, &long] {
        say_to(&client, wrong);
        assert_eq!(code(&hear(&client)), 0x142);
    }
    let mut wrong_tag = READ;
    wrong_tag[1] = 7;
    say_to(&client, &wrong_tag);
    assert_eq!(code(&hear(&client)), 0x01e);
    assert_eq!(scene.reached(), 0);
}

#[test]
fn another_user_gets_no_answer() {
    let answer: Answer = Arc::new(|_| panic!("it has reached the TPM"));
    let scene = Scene::new(me() + 1, Limits::default(), answer);
    let client = scene.client();
    let _ = send(&client, &READ, SendFlags::NOSIGNAL);
    assert_eq!(hear(&client), Vec::<u8>::new());
    assert_eq!(scene.reached(), 0);
}

#[test]
fn two_clients_each_have_a_connection_of_the_tpm() {
    let scene = Scene::played(Limits::default());
    let (one, other) = (scene.client(), scene.client());
    for client in [&one, &other, &one] {
        say_to(client, &READ);
        assert_eq!(code(&hear(client)), 0);
    }
    drop(one);
    eventually("it is not closed", || {
        scene.ended.load(Ordering::SeqCst) == 1
    });
    say_to(&other, &READ);
    assert_eq!(code(&hear(&other)), 0);
}

#[test]
fn client_that_leaves_before_the_reply_keeps_nobody_waiting() {
    let scene = Scene::played(Limits::default());
    for _ in 0..20 {
        say_to(&scene.client(), &READ);
        drop(scene.client());
    }
    let client = scene.client();
    say_to(&client, &READ);
    assert_eq!(code(&hear(&client)), 0);
    eventually("connections are left", || {
        scene.ended.load(Ordering::SeqCst) == 40
    });
}

#[test]
fn connection_above_the_limit_waits_for_a_silent_one_to_end() {
    let scene = Scene::played(Limits {
        connections: 2,
        idle: Duration::from_millis(300),
        ..Limits::default()
    });
    let silent = [scene.client(), scene.client()];
    let client = scene.client();
    let began = Instant::now();
    say_to(&client, &READ);
    assert_eq!(code(&hear(&client)), 0);
    assert!(began.elapsed() >= Duration::from_millis(200));
    for client in &silent {
        assert_eq!(hear(client), Vec::<u8>::new());
    }
}

#[test]
fn tpm_that_does_not_answer_ends_the_connection_alone() {
    let answer: Answer =
        Arc::new(|command| (command == READ).then(|| vec![0x80, 1, 0, 0, 0, 10, 0, 0, 0, 0]));
    let limits = Limits {
        command: Duration::from_millis(50),
        ..Limits::default()
    };
    let scene = Scene::new(me(), limits, answer);
    let (hanging, other) = (scene.client(), scene.client());
    // TPM2_PCR_Read without parameters
    say_to(&hanging, &[0x80, 1, 0, 0, 0, 10, 0, 0, 1, 0x7e]);
    say_to(&other, &READ);
    assert_eq!(code(&hear(&other)), 0);
    assert_eq!(hear(&hanging), Vec::<u8>::new());
    say_to(&other, &READ);
    assert_eq!(code(&hear(&other)), 0);
}

#[test]
fn socket_of_an_earlier_run_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let open = || -> io::Result<OwnedFd> { Err(io::ErrorKind::NotFound.into()) };
    for _ in 0..2 {
        drop(Broker::listen(&path, me(), Limits::default(), open).unwrap());
        // cut off between bind and rename
        fs::write(path.with_extension("new"), b"").unwrap();
    }
    // a device that can't be opened ends the connection
    let mut broker = Broker::listen(&path, me(), Limits::default(), open).unwrap();
    let flags = SocketFlags::CLOEXEC;
    let client = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    connect(&client, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    broker.turn(None).unwrap();
    assert_eq!(hear(&client), Vec::<u8>::new());
}

#[test]
fn turn_without_a_client_ends_at_its_limit() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let open = || -> io::Result<OwnedFd> { Err(io::ErrorKind::NotFound.into()) };
    let mut broker = Broker::listen(&path, me(), Limits::default(), open).unwrap();
    // the keepalive is due, and there is nobody: without a limit this would not come back
    broker.turn(Some(Duration::from_millis(10))).unwrap();
}
