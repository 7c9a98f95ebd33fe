//! The server's double: the calls by which agents join, their tunnels, and the control port.

mod access;
mod admission;
mod api;
mod auth;
mod authority;
mod control;
mod faults;
mod nodes;
mod objects;
mod secrets;
mod supervisor;
mod tunnels;

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rcgen::KeyPair;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ServerConfig};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

use crate::cluster::Settings;
use crate::files::{self, FileError};
use crate::join_token::{self, BundleError, Credentials, JoinToken, TokenError};
use crate::logging;
use crate::tls::{self, ClientAuthority, Identity, TlsError};

pub use access::AccessError;
pub use admission::AdmissionError;
pub use auth::User;
pub use authority::{Authority, AuthorityError, Leaf, Usage};
pub use control::COMMAND_PATH;
pub use faults::Fault;
pub use nodes::NodesError;
pub use objects::ObjectError;
pub use secrets::{EVER_MADE, SecretsError};
pub use tunnels::KubeletError;

/// How long a client may take for the TLS handshake and for a request's headers.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How a server is set up.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Where it keeps its state.
    pub data_folder: PathBuf,
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The address that agents are told; the one it listens on by default.
    pub advertise: Option<IpAddr>,
    /// Further names and addresses for its certificate.
    pub names: Vec<String>,
    /// The cluster's shared secret, bare or as `K10…::user:password`; made at the first start
    /// when absent.
    pub token: Option<Zeroizing<String>>,
    /// The control port; a loopback address.
    pub control: Option<SocketAddr>,
}

/// The server cannot start.
#[derive(Debug, Error)]
pub enum ServerError {
    /// Its files.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its certificate authorities.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// Its own certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Its own CA.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Its memory of nodes.
    #[error(transparent)]
    Nodes(#[from] NodesError),
    /// Its memory of Secrets.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// Its memory of ConfigMaps.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    /// Its key.
    #[error("no key")]
    Key(#[from] rcgen::Error),
    /// The kernel gave no randomness.
    #[error("no random bytes")]
    Random(#[from] getrandom::Error),
    /// A token that servers don't take.
    #[error("--token must be a password or K10<CA hash>::<user>:<password>")]
    Token(#[from] TokenError),
    /// A bootstrap token as the cluster's secret.
    #[error(
        "--token is a bootstrap token; a server takes K10<CA hash>::<user>:<password> or a password"
    )]
    BootstrapToken,
    /// Another token than at the first start.
    #[error("--token differs from the token that this data folder was made with")]
    OtherToken,
    /// The control port would be open to others.
    #[error("--control must be a loopback address, not {0}")]
    Control(SocketAddr),
    /// A port is taken.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// A server's state.
pub struct Server {
    server_authority: Authority,
    client_authority: Authority,
    ca_hash: String,
    authenticator: auth::Authenticator,
    nodes: nodes::Nodes,
    secrets: Arc<secrets::Secrets>,
    access: Arc<access::Access>,
    admission: admission::Admission,
    tunnels: tunnels::Tunnels,
    faults: faults::Faults,
    settings: Settings,
    advertised: String,
    kubelet_client: Arc<ClientConfig>,
}

/// A server that runs until this is dropped.
pub struct RunningServer {
    /// Where agents reach it.
    pub address: SocketAddr,
    /// The control port.
    pub control: Option<SocketAddr>,
    /// The full token of agents: `K10…::server:…`.
    pub token: Zeroizing<String>,
    /// The file that holds it.
    pub token_file: PathBuf,
    server: Arc<Server>,
    tasks: JoinSet<()>,
}

impl RunningServer {
    /// Runs until the process ends.
    pub async fn run(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }

    /// Has the next call of a kind fail.
    pub fn fail_next(&self, fault: Fault) {
        self.server.faults.add(fault);
    }

    /// The server's state.
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }
}

/// Starts a server.
///
/// # Errors
/// [`ServerError`].
pub async fn start(settings: ServerSettings) -> Result<RunningServer, ServerError> {
    if let Some(control) = settings
        .control
        .filter(|control| !control.ip().is_loopback())
    {
        return Err(ServerError::Control(control));
    }
    let folder = settings.data_folder.join("server");
    for name in ["tls", "cred", "db", "manifests"] {
        files::make_folder(&folder.join(name), 0o700)?;
    }
    let tls_folder = folder.join("tls");
    let server_authority = Authority::load_or_create(&tls_folder, "server-ca", "k3s-server-ca")?;
    let client_authority = Authority::load_or_create(&tls_folder, "client-ca", "k3s-client-ca")?;
    let ca_hash = join_token::ca_hash(server_authority.certificate().as_bytes())?;
    let password = cluster_password(&folder, settings.token.as_ref())?;
    let token = join_token::format(&ca_hash, &format!("server:{}", password.as_str()));
    let token_file = write_token(&folder, &token)?;

    let listener = listen(settings.listen).await?;
    let address = listener
        .local_addr()
        .map_err(|source| ServerError::Listen {
            address: settings.listen,
            source,
        })?;
    let advertised = settings.advertise.unwrap_or_else(|| match address.ip() {
        address if address.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        address => address,
    });
    let serving = serving_identity(&server_authority, advertised, &settings.names)?;
    let cluster = Settings {
        https_port: address.port(),
        supervisor_port: address.port(),
        ..Settings::default()
    };
    let pods = cluster.cluster_ip_range.ok_or(NodesError::Full)?;
    let secrets = Arc::new(secrets::Secrets::load(&folder.join("db/secrets.json"))?);
    let access = Arc::new(access::Access::at(
        &folder.join("manifests"),
        &folder.join("db/service-account-tokens.json"),
    ));
    write_admin(&tls_folder, &client_authority)?;
    let authenticator = auth::Authenticator::new(
        &password,
        &password,
        ClientAuthority::new(client_authority.certificate().as_bytes())?,
        Arc::clone(&secrets),
        Arc::clone(&access),
    );
    let server = Arc::new(Server {
        kubelet_client: Arc::new(kubelet_client(&server_authority, &client_authority)?),
        server_authority,
        client_authority,
        ca_hash,
        authenticator,
        nodes: nodes::Nodes::load(&folder.join("db/nodes.json"), pods)?,
        secrets,
        admission: admission::Admission::load(
            Arc::clone(&access),
            &folder.join("db/configmaps.json"),
        )?,
        access,
        tunnels: tunnels::Tunnels::default(),
        faults: faults::Faults::default(),
        settings: cluster,
        advertised: SocketAddr::new(advertised, address.port()).to_string(),
    });

    let mut tasks = JoinSet::new();
    let mut control = None;
    if let Some(wanted) = settings.control {
        let listener = listen(wanted).await?;
        control = listener.local_addr().ok();
        tasks.spawn(control::serve(Arc::clone(&server), listener));
    }
    let tls = Arc::new(tls::requesting_server(&serving)?);
    tasks.spawn(serve(Arc::clone(&server), listener, tls));
    Ok(RunningServer {
        address,
        control,
        token,
        token_file,
        server,
        tasks,
    })
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ServerError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ServerError::Listen { address, source })
}

async fn serve(server: Arc<Server>, listener: TcpListener, tls: Arc<ServerConfig>) {
    // Owned here, so that dropping the server also ends its connections.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(Arc::clone(&server), stream, Arc::clone(&tls)));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection(server: Arc<Server>, stream: TcpStream, tls: Arc<ServerConfig>) {
    let handshake = TlsAcceptor::from(tls).accept(stream);
    let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            // Every join begins with one: the agent finds out that it does not know the CA yet.
            tracing::debug!(%error, "TLS handshake failed");
            return;
        }
        Err(_) => return,
    };
    let certificates: Arc<[CertificateDer<'static>]> = stream
        .get_ref()
        .1
        .peer_certificates()
        .unwrap_or_default()
        .iter()
        .map(|certificate| certificate.clone().into_owned())
        .collect();
    let service = service_fn(move |request| {
        let server = Arc::clone(&server);
        let certificates = Arc::clone(&certificates);
        async move { Ok::<_, Infallible>(supervisor::handle(server, certificates, request).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HANDSHAKE_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(error = logging::chain(&error), "connection failed");
    }
}

/// The shared secret of the cluster: given, or remembered from the first start, or made.
fn cluster_password(
    folder: &Path,
    given: Option<&Zeroizing<String>>,
) -> Result<Zeroizing<String>, ServerError> {
    let path = folder.join("cred/passwd");
    let remembered =
        files::read_if_present(&path, 4096)?.map(|text| Zeroizing::new(text.trim().to_owned()));
    let given = match given {
        None => None,
        Some(text) => match JoinToken::parse(text)?.credentials {
            Credentials::Password { password, .. } => Some(password),
            Credentials::Bootstrap(_) => return Err(ServerError::BootstrapToken),
        },
    };
    match (given, remembered) {
        (Some(given), Some(remembered)) if given != remembered => Err(ServerError::OtherToken),
        (_, Some(remembered)) => Ok(remembered),
        (Some(given), None) => {
            files::write(&path, given.as_bytes(), 0o600)?;
            Ok(given)
        }
        (None, None) => {
            let mut random = Zeroizing::new([0u8; 16]);
            getrandom::fill(random.as_mut_slice())?;
            let made = Zeroizing::new(hex::encode(random.as_slice()));
            files::write(&path, made.as_bytes(), 0o600)?;
            Ok(made)
        }
    }
}

/// `server/token`, and `server/node-token` as a link to it.
fn write_token(folder: &Path, token: &str) -> Result<PathBuf, ServerError> {
    let path = folder.join("token");
    files::write(&path, format!("{token}\n").as_bytes(), 0o600)?;
    let link = folder.join("node-token");
    let linked = match std::fs::remove_file(&link) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => std::os::unix::fs::symlink(&path, &link),
    };
    linked.map_err(|source| FileError::new("link", &link, source))?;
    Ok(path)
}

fn serving_identity(
    authority: &Authority,
    advertised: IpAddr,
    names: &[String],
) -> Result<Identity, ServerError> {
    let mut dns_names: Vec<String> = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
    ]
    .map(str::to_owned)
    .into();
    dns_names.push("kubernetes.default.svc.cluster.local".to_owned());
    let mut addresses = vec![
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        IpAddr::V4(Ipv4Addr::new(10, 43, 0, 1)),
        advertised,
    ];
    for name in names {
        match name.parse() {
            Ok(address) => addresses.push(address),
            Err(_) => dns_names.push(name.clone()),
        }
    }
    addresses.dedup();
    let key = KeyPair::generate()?;
    let leaf = Leaf {
        common_name: "k3s",
        organizations: &["k3s"],
        usage: Usage::Server,
        dns_names,
        addresses,
    };
    Ok(Identity::from_pem(
        &authority.sign(&leaf, &key)?,
        &key.serialize_pem(),
    )?)
}

/// The administrator's certificate and key, where k3s keeps them.
fn write_admin(folder: &Path, clients: &Authority) -> Result<(), ServerError> {
    let key = KeyPair::generate()?;
    let leaf = Leaf {
        common_name: "system:admin",
        organizations: &[access::MASTERS],
        usage: Usage::Client,
        dns_names: Vec::new(),
        addresses: Vec::new(),
    };
    let chain = clients.sign(&leaf, &key)?;
    files::write(&folder.join("client-admin.crt"), chain.as_bytes(), 0o600)?;
    let key = Zeroizing::new(key.serialize_pem());
    files::write(&folder.join("client-admin.key"), key.as_bytes(), 0o600)?;
    Ok(())
}

/// The API server's side of the way to kubelets.
fn kubelet_client(servers: &Authority, clients: &Authority) -> Result<ClientConfig, ServerError> {
    let key = KeyPair::generate()?;
    let leaf = Leaf {
        common_name: "system:apiserver",
        organizations: &["system:masters"],
        usage: Usage::Client,
        dns_names: Vec::new(),
        addresses: Vec::new(),
    };
    let identity = Identity::from_pem(&clients.sign(&leaf, &key)?, &key.serialize_pem())?;
    Ok(tls::pinned_client(
        servers.certificate().as_bytes(),
        Some(&identity),
    )?)
}
