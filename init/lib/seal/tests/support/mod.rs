//! A real TPM 2.0 in software (swtpm), one for each test, and tpm2-tools against it.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test program is a crate, and uses its own part of this"
)]

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr as UnixAddress, UnixListener},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    thread,
    time::{Duration, Instant},
};

use p256::ecdsa::SigningKey;
use seal::{
    release::{Phase, ReleasePolicies},
    tpm::{
        Tpm,
        crypto::{Digest, Point, random_scalar},
        error::Error,
        nv::CounterLimit,
        pcr::{self, phase_digest},
        policy::Policy,
        transport::{MAX_MESSAGE, Transport},
    },
};
use tempfile::TempDir;
use zeroize::Zeroizing;

/// How long a program of the test may take before the test fails.
const BOUND: Duration = Duration::from_secs(120);

/// What the boot stub leaves in PCR 11: it extends the fresh register once in these tests.
pub const STUB: Digest = [0x5b; 32];

/// A TPM and the directory that it keeps its state in.
pub struct Swtpm {
    state: TempDir,
    process: Child,
    ports: Ports,
}

fn require(program: &str, package: &str) {
    let found = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    assert!(
        found.is_ok(),
        "this test needs {program}: install it by `apt-get install {package}`, or by ./build.sh test unit"
    );
}

/// The next port to try. Ports below the kernel's range for outgoing connections: in it, waiting for a
/// port to open can connect to itself.
static NEXT: AtomicU16 = AtomicU16::new(0);

/// Two neighbouring ports that nobody else uses.
struct Ports {
    data: u16,
    /// Where tpm2-tools look for it.
    control: u16,
    /// A name that only one process can have at a time: other tests on this machine leave the ports
    /// alone for as long as it is held.
    _reserved: UnixListener,
}

impl Ports {
    fn free() -> Self {
        let seed = u16::try_from(std::process::id() % 9000).expect("below 9000");
        for _ in 0..9000 {
            let data = 10_000 + (seed + NEXT.fetch_add(1, Ordering::Relaxed) % 9000) % 9000 * 2;
            let name = format!("k3s-daas-swtpm-{data}");
            let name = UnixAddress::from_abstract_name(name).expect("a short name");
            let Ok(reserved) = UnixListener::bind_addr(&name) else {
                continue;
            };
            let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
            if is_free(data) && is_free(data + 1) {
                return Self {
                    data,
                    control: data + 1,
                    _reserved: reserved,
                };
            }
        }
        panic!("no two neighbouring ports are free");
    }
}

/// Starts swtpm over a state directory.
fn start(state: &Path) -> (Child, Ports) {
    let mut last = String::new();
    for _ in 0..20 {
        let ports = Ports::free();
        let mut process = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .args(["--tpmstate", &format!("dir={}", state.display())])
            .args(["--server", &format!("type=tcp,port={}", ports.data)])
            .args(["--ctrl", &format!("type=tcp,port={}", ports.control)])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("swtpm starts");
        let deadline = Instant::now() + BOUND;
        while process.try_wait().expect("its state").is_none() {
            let opens = |port| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
            if opens(ports.control) && opens(ports.data) {
                return (process, ports);
            }
            assert!(Instant::now() < deadline, "swtpm opens no port");
            thread::sleep(Duration::from_millis(5));
        }
        // another process was faster to take a port, or it cannot work at all
        last.clear();
        if let Some(mut stderr) = process.stderr.take() {
            let _ = stderr.read_to_string(&mut last);
        }
    }
    panic!("swtpm does not start: {last}");
}

impl Swtpm {
    /// A new TPM, as from the factory.
    pub fn new() -> Self {
        require("swtpm", "swtpm");
        let state = TempDir::new().expect("a temporary directory");
        let (process, ports) = start(state.path());
        Self {
            state,
            process,
            ports,
        }
    }

    /// A new TPM whose machine has booted an image.
    pub fn booted() -> (Self, Tpm) {
        let swtpm = Self::new();
        let tpm = swtpm.boot(&STUB);
        (swtpm, tpm)
    }

    fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports.data).into()
    }

    /// A client.
    pub fn open(&self) -> Tpm {
        Tpm::new(self.channel())
    }

    /// The channel that [`Swtpm::open`] wraps.
    pub fn channel(&self) -> Box<dyn Transport> {
        Box::new(Connection {
            address: self.address(),
        })
    }

    /// Takes every session and transient object out of the TPM, as the kernel's resource manager does
    /// when its device is closed.
    pub fn flush_all(&self) {
        // TPM2_GetCapability of TPM_CAP_HANDLES, then TPM2_FlushContext of each (Part 3, 30.2, 28.4)
        for first in [0x8000_0000_u32, 0x0200_0000, 0x0300_0000] {
            let query = [
                &[0x80, 1, 0, 0, 0, 22, 0, 0, 1, 0x7a, 0, 0, 0, 1][..],
                &first.to_be_bytes(),
                &64_u32.to_be_bytes(),
            ]
            .concat();
            let reply = self.channel().transact(&query).expect("handles");
            for handle in reply.get(19..).expect("a list").chunks_exact(4) {
                let flush = [&[0x80, 1, 0, 0, 0, 14, 0, 0, 1, 0x65][..], handle].concat();
                self.channel().transact(&flush).expect("flushed");
            }
        }
    }

    /// Measures what boot stub and `init` measure, for an image of this hash.
    pub fn boot(&self, stub: &Digest) -> Tpm {
        let mut tpm = self.open();
        tpm.extend_pcr(pcr::SECURE_BOOT, &[7; 32])
            .expect("extended");
        tpm.extend_pcr(pcr::KERNEL, stub).expect("extended");
        enter(&mut tpm, Phase::Boot);
        tpm
    }

    /// Takes the machine's power and gives it back.
    pub fn power_cycle(&mut self) {
        self.process.kill().expect("killed");
        self.process.wait().expect("gone");
        (self.process, self.ports) = start(self.state.path());
    }

    /// Runs a program of tpm2-tools, in `directory`.
    pub fn try_tool(&self, directory: &Path, command: &str) -> Output {
        let mut words = command.split_whitespace();
        let program = words.next().expect("a program");
        require(program, "tpm2-tools");
        let mut child = Command::new(program)
            .args(words)
            .current_dir(directory)
            .env(
                "TPM2TOOLS_TCTI",
                format!("swtpm:host=127.0.0.1,port={}", self.ports.data),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let deadline = Instant::now() + BOUND;
        while child.try_wait().expect("its state").is_none() {
            assert!(Instant::now() < deadline, "{command}: takes too long");
            thread::sleep(Duration::from_millis(5));
        }
        child.wait_with_output().expect("its output")
    }

    /// Runs a program of tpm2-tools, which must succeed. Gives what it wrote.
    pub fn tool(&self, directory: &Path, command: &str) -> Vec<u8> {
        let output = self.try_tool(directory, command);
        assert!(
            output.status.success(),
            "{command}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `init` enters a phase.
pub fn enter(tpm: &mut Tpm, phase: Phase) {
    tpm.extend_pcr(pcr::KERNEL, &phase_digest(phase.name()))
        .expect("extended");
}

/// One connection for each command, so that tpm2-tools get their turn.
struct Connection {
    address: SocketAddr,
}

impl Transport for Connection {
    fn transact(&mut self, command: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        let exchange = || {
            let mut stream = TcpStream::connect_timeout(&self.address, BOUND)?;
            stream.set_read_timeout(Some(BOUND))?;
            stream.write_all(command)?;
            let mut reply = Zeroizing::new(vec![0; 10]);
            stream.read_exact(&mut reply)?;
            let size = reply
                .get(2..6)
                .and_then(|field| field.try_into().ok())
                .map(u32::from_be_bytes);
            let size = size
                .and_then(|size| usize::try_from(size).ok())
                .unwrap_or_default();
            assert!(
                (10..=MAX_MESSAGE).contains(&size),
                "a reply of {size} bytes"
            );
            reply.resize(size, 0);
            stream.read_exact(reply.get_mut(10..).unwrap_or_default())?;
            Ok(reply)
        };
        exchange().map_err(Error::Channel)
    }
}

/// A publisher.
pub struct Publisher {
    pub key: SigningKey,
}

impl Publisher {
    pub fn new() -> Self {
        Self {
            key: random_scalar().expect("a key").into(),
        }
    }

    pub fn point(&self) -> Point {
        Point::from_public_key(&self.key.verifying_key().into())
    }

    /// What goes with the image that the boot stub measures as `stub`: after one extension.
    pub fn release(&self, stub: &Digest, version: u32) -> ReleasePolicies {
        let measured = pcr::extended(&[0; 32], stub);
        ReleasePolicies::sign(&self.key, &measured, version).expect("signed")
    }

    pub fn policy(&self, floor: u32, secure_boot: Option<Digest>) -> Policy {
        Policy {
            release_key: self.point(),
            phase: Phase::Boot,
            floor,
            secure_boot,
            counter: None,
            auth_value: false,
        }
    }

    pub fn policy_with_counter(
        &self,
        floor: u32,
        secure_boot: Option<Digest>,
        counter: CounterLimit,
    ) -> Policy {
        Policy {
            counter: Some(counter),
            ..self.policy(floor, secure_boot)
        }
    }
}

/// A new directory for files that tpm2-tools read and write.
pub fn workshop() -> (TempDir, PathBuf) {
    let directory = TempDir::new().expect("a temporary directory");
    let path = directory.path().to_owned();
    (directory, path)
}
