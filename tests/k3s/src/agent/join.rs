//! Joining: the calls of `k3s agent` in their order, with keys of the agent's own.
//!
//! Source: k3s, `pkg/agent/config/config.go` (order, files, the node password, the retry without
//! a certificate) and `pkg/clientaccess` (the CA hash). One difference, on purpose: no trust store
//! of the operating system is asked, so that the hash in the token is always checked.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, HOST, HeaderValue};
use hyper::{Method, Request, StatusCode};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::ClientConfig;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::cluster::{self, Settings};
use crate::files::{self, FileError};
use crate::http::{self, HttpError, ServerUrl};
use crate::join_token::{self, BundleError, Credentials, JoinToken, TokenError};
use crate::tls::{self, Identity, TlsError};

/// No certificate, key or password file is longer.
const FILE_LIMIT: u64 = 256 * 1024;

/// Joining failed; k3s tries again.
#[derive(Debug, Error)]
pub enum JoinError {
    /// The token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// No answer.
    #[error("cannot get {path} from {server}")]
    Http {
        /// What was asked for.
        path: String,
        /// Whom.
        server: ServerUrl,
        /// Why.
        source: HttpError,
    },
    /// A refusal.
    #[error("{server}{path}: {status}")]
    Status {
        /// What was asked for.
        path: String,
        /// Whom.
        server: ServerUrl,
        /// The answer.
        status: StatusCode,
    },
    /// The server's CA bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The server's CA is not the pinned one.
    #[error("token CA hash does not match the Cluster CA certificate hash: {expected} != {actual}")]
    CaHash {
        /// The token's.
        expected: String,
        /// The server's.
        actual: String,
    },
    /// The server's certificate was not issued by its CA.
    #[error("CA cert validation failed")]
    CaValidation(#[source] HttpError),
    /// Another node has this name.
    #[error(
        "Node password rejected, duplicate hostname or contents of '{0}' may not match server \
         node-passwd entry, try enabling a unique node name with the --with-node-id flag"
    )]
    NodePassword(PathBuf),
    /// A file of the agent.
    #[error(transparent)]
    File(#[from] FileError),
    /// The kernel gave no randomness.
    #[error("no random bytes")]
    Random(#[from] getrandom::Error),
    /// A certificate that does not fit.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A key or certificate request.
    #[error("cannot make a key or a certificate request")]
    Key(#[from] rcgen::Error),
    /// The server's settings.
    #[error("the server's configuration cannot be read")]
    Settings(#[from] serde_json::Error),
}

/// Who joins, and where it keeps what it gets.
#[derive(Debug, Clone)]
pub struct Applicant {
    /// The node's name.
    pub node_name: String,
    /// Its address.
    pub node_address: IpAddr,
    /// `<data-dir>/agent`.
    pub agent_folder: PathBuf,
    /// `/etc/rancher/node`, which must outlive the machine's restarts.
    pub node_folder: PathBuf,
}

/// A server whose CA is known to be the token's.
pub struct Server {
    url: ServerUrl,
    ca: Bytes,
    authorization: Zeroizing<String>,
}

/// What a node has once it has joined.
pub struct Membership {
    /// The cluster's settings.
    pub settings: Settings,
    /// Where the server is.
    pub server: ServerUrl,
    /// The kubelet's client: its certificate, the server's CA.
    pub kubelet_client: Arc<ClientConfig>,
    /// The kubelet's own certificate.
    pub serving: Identity,
    /// The CA of clients that the kubelet serves.
    pub client_ca: String,
}

impl Server {
    /// Fetches the server's CA bundle unverified, checks it against the token's hash, and the
    /// server against the bundle.
    ///
    /// # Errors
    /// [`JoinError`].
    pub async fn validate(url: ServerUrl, token: &str) -> Result<Self, JoinError> {
        let token = JoinToken::parse(token)?;
        let fail = |source| JoinError::Http {
            path: cluster::CA_CERTS.to_owned(),
            server: url,
            source,
        };
        let unverified = Arc::new(tls::unverified_client()?);
        let request = || build(url, Method::GET, cluster::CA_CERTS, Bytes::new()).map_err(fail);
        let response = http::request(url, unverified, request()?)
            .await
            .map_err(fail)?;
        let ca = ok(url, cluster::CA_CERTS, response)?;
        let actual = join_token::ca_hash(&ca)?;
        match token.ca_hash {
            Some(expected) if expected != actual => {
                return Err(JoinError::CaHash { expected, actual });
            }
            Some(_) => {}
            None => tracing::warn!(
                "the token does not include a CA hash: use the full token from the server's \
                 node-token file to enable Cluster CA validation"
            ),
        }
        let pinned = Arc::new(tls::pinned_client(&ca, None)?);
        http::request(url, pinned, request()?)
            .await
            .map_err(JoinError::CaValidation)?;
        let authorization = Zeroizing::new(match &token.credentials {
            Credentials::Bootstrap(token) => format!("Bearer {}", token.text().as_str()),
            // Whatever user the token names, agents are `node`.
            Credentials::Password { password, .. } => {
                let pair = Zeroizing::new(format!("node:{}", password.as_str()));
                format!("Basic {}", STANDARD.encode(pair.as_bytes()))
            }
        });
        Ok(Self {
            url,
            ca,
            authorization,
        })
    }

    /// Makes every call of a join and writes what comes back below the applicant's folder.
    ///
    /// # Errors
    /// [`JoinError`].
    pub async fn join(&self, applicant: &Applicant) -> Result<Membership, JoinError> {
        let folder = &applicant.agent_folder;
        files::make_folder(folder, 0o700)?;
        let certificate = folder.join("client-kubelet.crt");
        let key = folder.join("client-kubelet.key");
        let identity = present_identity(&certificate, &key)?;
        let config = self
            .get(&format!("{}config", cluster::PREFIX), identity.as_ref())
            .await?;
        let settings: Settings = serde_json::from_slice(&config)?;

        for name in ["client-ca.crt", "server-ca.crt"] {
            let bundle = self
                .get(&format!("{}{name}", cluster::PREFIX), identity.as_ref())
                .await?;
            files::write(&folder.join(name), &bundle, 0o600)?;
        }
        let password = node_password(&applicant.node_folder)?;
        let node = Some((applicant, password.as_str()));
        self.certify("serving-kubelet", node, identity.as_ref(), folder)
            .await?;
        self.certify("client-kubelet", node, identity.as_ref(), folder)
            .await?;
        self.kubeconfig("kubelet", "client-kubelet", folder)?;
        self.certify("client-kube-proxy", None, identity.as_ref(), folder)
            .await?;
        self.kubeconfig("kubeproxy", "client-kube-proxy", folder)?;
        self.certify("client-k3s-controller", None, identity.as_ref(), folder)
            .await?;
        self.kubeconfig("k3scontroller", "client-k3s-controller", folder)?;

        let pair = |name: &str| -> Result<Identity, JoinError> {
            let chain = files::read(&folder.join(format!("{name}.crt")), FILE_LIMIT)?;
            let key = files::read(&folder.join(format!("{name}.key")), FILE_LIMIT)?;
            Ok(Identity::from_pem(&chain, &key)?)
        };
        let kubelet = pair("client-kubelet")?;
        let addresses = self
            .get(&format!("{}apiservers", cluster::PREFIX), Some(&kubelet))
            .await?;
        let addresses: Vec<String> = serde_json::from_slice(&addresses)?;
        tracing::info!(
            addresses = addresses.join(","),
            "got apiserver addresses from supervisor"
        );
        Ok(Membership {
            settings,
            server: self.url,
            kubelet_client: Arc::new(tls::pinned_client(&self.ca, Some(&kubelet))?),
            serving: pair("serving-kubelet")?,
            client_ca: files::read(&folder.join("client-ca.crt"), FILE_LIMIT)?,
        })
    }

    fn client(&self, identity: Option<&Identity>) -> Result<Arc<ClientConfig>, JoinError> {
        Ok(Arc::new(tls::pinned_client(&self.ca, identity)?))
    }

    fn authorize(&self, request: &mut Request<Full<Bytes>>) -> Result<(), HttpError> {
        let mut value = HeaderValue::from_str(&self.authorization)
            .map_err(|error| HttpError::Request(error.into()))?;
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
        Ok(())
    }

    async fn get(&self, path: &str, identity: Option<&Identity>) -> Result<Bytes, JoinError> {
        let fail = |source| JoinError::Http {
            path: path.to_owned(),
            server: self.url,
            source,
        };
        let mut request = build(self.url, Method::GET, path, Bytes::new()).map_err(fail)?;
        self.authorize(&mut request).map_err(fail)?;
        let response = http::request(self.url, self.client(identity)?, request)
            .await
            .map_err(fail)?;
        ok(self.url, path, response)
    }

    /// Has the server sign the key `<name>.key`, and writes `<name>.crt`.
    async fn certify(
        &self,
        name: &str,
        node: Option<(&Applicant, &str)>,
        identity: Option<&Identity>,
        folder: &Path,
    ) -> Result<(), JoinError> {
        let path = format!("{}{name}.crt", cluster::PREFIX);
        let fail = |source| JoinError::Http {
            path: path.clone(),
            server: self.url,
            source,
        };
        let key = present_key(&folder.join(format!("{name}.key")))?;
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        // The server decides the name; this one is for people who look at the request.
        parameters.distinguished_name.push(DnType::CommonName, name);
        let body = Bytes::from(parameters.serialize_request(&key)?.der().to_vec());
        let request = || {
            let mut request = build(self.url, Method::POST, &path, body.clone())?;
            self.authorize(&mut request)?;
            if let Some((applicant, password)) = node {
                let address = applicant.node_address.to_string();
                for (header, value) in [
                    (cluster::NODE_NAME, applicant.node_name.as_str()),
                    (cluster::NODE_PASSWORD, password),
                    (cluster::NODE_IP, address.as_str()),
                ] {
                    let value = HeaderValue::from_str(value)
                        .map_err(|error| HttpError::Request(error.into()))?;
                    request.headers_mut().insert(header, value);
                }
            }
            Ok(request)
        };
        let client = self.client(identity)?;
        let mut response = http::request(self.url, client, request().map_err(fail)?)
            .await
            .map_err(fail)?;
        if response.status() == StatusCode::UNAUTHORIZED && identity.is_some() {
            tracing::info!(
                "node authorization rejected, retrying without client certificate authentication"
            );
            let client = self.client(None)?;
            response = http::request(self.url, client, request().map_err(fail)?)
                .await
                .map_err(fail)?;
        }
        if let (StatusCode::FORBIDDEN, Some((applicant, _))) = (response.status(), node) {
            return Err(JoinError::NodePassword(
                applicant.node_folder.join("password"),
            ));
        }
        let chain = ok(self.url, &path, response)?;
        files::write(&folder.join(format!("{name}.crt")), &chain, 0o600)?;
        Ok(())
    }

    /// A kubeconfig as k3s writes it. The double has no load balancer, so it names the server
    /// itself.
    fn kubeconfig(&self, name: &str, identity: &str, folder: &Path) -> Result<(), JoinError> {
        let file = |name: String| folder.join(name).display().to_string();
        let text = format!(
            "apiVersion: v1\nclusters:\n- cluster:\n    server: {server}\n    \
             certificate-authority: {ca}\n  name: local\ncontexts:\n- context:\n    \
             cluster: local\n    namespace: default\n    user: user\n  name: Default\n\
             current-context: Default\nkind: Config\npreferences: {{}}\nusers:\n- name: user\n  \
             user:\n    client-certificate: {certificate}\n    client-key: {key}\n",
            server = self.url,
            ca = file("server-ca.crt".to_owned()),
            certificate = file(format!("{identity}.crt")),
            key = file(format!("{identity}.key")),
        );
        files::write(
            &folder.join(format!("{name}.kubeconfig")),
            text.as_bytes(),
            0o600,
        )?;
        Ok(())
    }
}

/// A request without credentials.
///
/// # Errors
/// `path` is no path.
pub(super) fn build(
    server: ServerUrl,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, HttpError> {
    Ok(Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, server.0.to_string())
        .body(Full::new(body))?)
}

fn ok(server: ServerUrl, path: &str, response: hyper::Response<Bytes>) -> Result<Bytes, JoinError> {
    match response.status() {
        status if status.is_success() => Ok(response.into_body()),
        status => Err(JoinError::Status {
            path: path.to_owned(),
            server,
            status,
        }),
    }
}

/// The certificate of an earlier join. A broken or expired one is as good as none.
fn present_identity(certificate: &Path, key: &Path) -> Result<Option<Identity>, JoinError> {
    let chain = files::read_if_present(certificate, FILE_LIMIT)?;
    let key = files::read_if_present(key, FILE_LIMIT)?;
    Ok(match (chain, key) {
        (Some(chain), Some(key)) => Identity::from_pem(&chain, &key).ok(),
        _ => None,
    })
}

fn present_key(path: &Path) -> Result<KeyPair, JoinError> {
    if let Some(text) = files::read_if_present(path, FILE_LIMIT)?
        && let Ok(key) = KeyPair::from_pem(&text)
    {
        return Ok(key);
    }
    let key = KeyPair::generate()?;
    files::write(path, Zeroizing::new(key.serialize_pem()).as_bytes(), 0o600)?;
    Ok(key)
}

/// The node's password: made at the first join, and the only claim to the node's name after that.
fn node_password(folder: &Path) -> Result<Zeroizing<String>, JoinError> {
    let path = folder.join("password");
    if let Some(text) = files::read_if_present(&path, FILE_LIMIT)?.map(Zeroizing::new) {
        return Ok(Zeroizing::new(text.trim().to_owned()));
    }
    files::make_folder(folder, 0o755)?;
    let mut random = Zeroizing::new([0u8; 16]);
    getrandom::fill(random.as_mut_slice())?;
    let password = Zeroizing::new(hex::encode(random.as_slice()));
    files::write(
        &path,
        Zeroizing::new(format!("{}\n", password.as_str())).as_bytes(),
        0o600,
    )?;
    Ok(password)
}
