//! The master's configuration.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use super::certificates::Certificate;
use super::cluster::Cluster;
use super::description::Description;
use super::service::Service;

/// The name of the master's configuration.
const FILE: &str = "master.toml";

#[derive(Serialize)]
struct Document<'a> {
    listen: String,
    certificate: &'a Path,
    key: &'a Path,
    chain: Chain<'a>,
    join: Join,
    kubernetes: Kubernetes<'a>,
    attestation: Attestation<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enclave: Option<Enclave<'a>>,
}

#[derive(Serialize)]
struct Chain<'a> {
    chain_id: &'a str,
    fullnodes: [&'a str; 1],
    root_certificate: &'a str,
    package: &'a str,
    pool: &'a str,
}

#[derive(Serialize)]
struct Join {
    server: String,
}

#[derive(Serialize)]
struct Kubernetes<'a> {
    server: String,
    root_certificate: PathBuf,
    token_file: &'a Path,
}

#[derive(Default, Serialize)]
struct Attestation<'a> {
    required: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    endorsement_roots: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    releases: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    require_secure_boot: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secure_boot_certificates: Option<&'a Path>,
}

#[derive(Serialize)]
struct Enclave<'a> {
    id: &'a str,
    key: &'a Path,
}

/// What the master proves of itself, and asks of nodes beside their stake.
pub(super) struct Trust {
    /// The object that registers its key.
    pub(super) enclave: String,
    /// The key: PKCS #8 in PEM.
    pub(super) key: PathBuf,
    /// Roots of makers of TPMs: PEM.
    pub(super) endorsement_roots: PathBuf,
    /// What Secure Boot may let start: PEM; none: it need not be on.
    pub(super) secure_boot_certificates: Option<PathBuf>,
}

/// The master; it does not run yet.
pub(super) fn service(
    programs: &Path,
    directory: &Path,
    description: &Description,
    root_certificate: &str,
    port: u16,
    cluster: &Cluster,
    certificate: &Certificate,
) -> Result<Service> {
    configure(
        directory,
        description,
        root_certificate,
        port,
        cluster,
        certificate,
        None,
    )?;
    Ok(Service::new(
        "the master",
        programs.join("master"),
        vec!["--config".into(), directory.join(FILE).into()],
        "listening on ",
        directory.join("master.log"),
    ))
}

/// Writes the master's configuration.
pub(super) fn configure(
    directory: &Path,
    description: &Description,
    root_certificate: &str,
    port: u16,
    cluster: &Cluster,
    certificate: &Certificate,
    trust: Option<&Trust>,
) -> Result<()> {
    let document = Document {
        listen: format!("127.0.0.1:{port}"),
        certificate: &certificate.certificate,
        key: &certificate.key,
        chain: Chain {
            chain_id: &description.chain_id,
            fullnodes: [&description.fullnode],
            root_certificate,
            package: &description.package,
            pool: &description.pool,
        },
        join: Join {
            // nodes reach the cluster as their machine sees this host
            server: cluster.join_url(),
        },
        kubernetes: Kubernetes {
            server: format!("https://127.0.0.1:{}", cluster.port()),
            root_certificate: cluster.root_certificate(),
            token_file: cluster.master_token(),
        },
        attestation: match trust {
            // nodes that QEMU starts by itself have measured nothing
            None => Attestation::default(),
            Some(trust) => Attestation {
                required: true,
                endorsement_roots: Some(&trust.endorsement_roots),
                releases: Some(&description.release_registry),
                require_secure_boot: Some(trust.secure_boot_certificates.is_some()),
                secure_boot_certificates: trust.secure_boot_certificates.as_deref(),
            },
        },
        enclave: trust.map(|trust| Enclave {
            id: &trust.enclave,
            key: &trust.key,
        }),
    };
    let text = toml::to_string(&document).context("the master's configuration has no TOML")?;
    let path = directory.join(FILE);
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}
