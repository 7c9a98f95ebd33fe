//! The master's configuration.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use super::certificates::Certificate;
use super::cluster::Cluster;
use super::description::Description;
use super::node::HOST;
use super::service::Service;

#[derive(Serialize)]
struct Document<'a> {
    listen: String,
    certificate: &'a Path,
    key: &'a Path,
    chain: Chain<'a>,
    join: Join,
    kubernetes: Kubernetes<'a>,
    attestation: Attestation,
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

#[derive(Serialize)]
struct Attestation {
    required: bool,
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
            server: format!("https://{HOST}:{}", cluster.port()),
        },
        kubernetes: Kubernetes {
            server: format!("https://127.0.0.1:{}", cluster.port()),
            root_certificate: cluster.root_certificate(),
            token_file: cluster.master_token(),
        },
        attestation: Attestation { required: false },
    };
    let text = toml::to_string(&document).context("the master's configuration has no TOML")?;
    let path = directory.join("master.toml");
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Service::new(
        "the master",
        programs.join("master"),
        vec!["--config".into(), path.into()],
        "listening on ",
        directory.join("master.log"),
    ))
}
