//! What whoever was root once may leave on the state: a container that is to be started by containerd's
//! restart monitor, and that tries to unseal the node's configuration as soon as it runs.
//!
//! Messages of containerd's own interface, with the field numbers of containerd/api,
//! `services/containers/v1/containers.proto`.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use hyper_util::rt::TokioIo;
use serde_json::json;
use thiserror::Error;
use tokio::net::UnixStream;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Endpoint, Uri};
use tonic_prost::ProstCodec;
use wire::paths::CONTAINERD_SOCKET;

use super::unseal;
use crate::control::PLANTED;
use crate::logging;

/// Where the planted container's files lie: a place of the state that programs may start from.
const FOLDER: &str = "/var/lib/kubelet/pods/planted";
/// Where the container has them.
const INSIDE: &str = "/planted";
const SEALED: &str = "sealed";
const CONTEXT: &str = "planted";
const CREATE: &str = "/containerd.services.containers.v1.Containers/Create";
/// containerd, `api/../typeurl`: a specification of the OCI's.
const SPECIFICATION: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";

/// The container cannot be planted.
#[derive(Debug, Error)]
pub(super) enum PlantError {
    /// Its files cannot be written.
    #[error("cannot write below {FOLDER}")]
    Files(#[source] io::Error),
    /// containerd does not answer.
    #[error("containerd does not answer")]
    Connect(#[source] tonic::transport::Error),
    /// containerd refuses.
    #[error("containerd refuses: {0}")]
    Refused(String),
}

#[derive(Clone, PartialEq, prost::Message)]
struct CreateContainer {
    #[prost(message, optional, tag = "1")]
    container: Option<Container>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Container {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(map = "string, string", tag = "2")]
    labels: HashMap<String, String>,
    #[prost(message, optional, tag = "4")]
    runtime: Option<ContainerRuntime>,
    #[prost(message, optional, tag = "5")]
    spec: Option<Any>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ContainerRuntime {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Nothing {}

/// Plants the container, with a copy of the sealed configuration, in base64.
pub(super) async fn container(sealed: &str) -> Result<(), PlantError> {
    let folder = Path::new(FOLDER);
    fs::create_dir_all(folder.join("rootfs"))
        .and_then(|()| fs::write(folder.join(SEALED), sealed))
        .map_err(PlantError::Files)?;
    let request = CreateContainer {
        container: Some(Container {
            id: "planted".to_owned(),
            labels: HashMap::from([(
                "containerd.io/restart.status".to_owned(),
                "running".to_owned(),
            )]),
            runtime: Some(ContainerRuntime {
                name: "io.containerd.runc.v2".to_owned(),
            }),
            spec: Some(Any {
                type_url: SPECIFICATION.to_owned(),
                value: specification().to_string().into_bytes(),
            }),
        }),
    };
    let channel = Endpoint::from_static("http://containerd")
        .connect_with_connector(tower::service_fn(|_: Uri| async {
            let stream = UnixStream::connect(CONTAINERD_SOCKET).await?;
            Ok::<_, io::Error>(TokioIo::new(stream))
        }))
        .await
        .map_err(PlantError::Connect)?;
    let refused = |status: tonic::Status| PlantError::Refused(status.message().to_owned());
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.map_err(PlantError::Connect)?;
    let mut request = tonic::Request::new(request);
    let namespace = tonic::metadata::MetadataValue::from_static(CONTEXT);
    request
        .metadata_mut()
        .insert("containerd-namespace", namespace);
    let codec = ProstCodec::<CreateContainer, Nothing>::default();
    grpc.unary(request, PathAndQuery::from_static(CREATE), codec)
        .await
        .map_err(refused)?;
    rustix::fs::sync();
    Ok(())
}

/// As root, in namespaces of mounts alone, with the host's devices and this very program.
fn specification() -> serde_json::Value {
    let bind = |destination: &str, source: &str| {
        json!({
            "destination": destination, "source": source, "type": "bind", "options": ["rbind", "rw"],
        })
    };
    // the TPM is the broker's
    let capabilities = json!(["CAP_DAC_OVERRIDE", "CAP_SYS_ADMIN"]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
            },
            "args": ["/usr/bin/k3s", "double-planted"],
            "env": ["PATH=/usr/bin"],
            "cwd": "/",
        },
        "root": {"path": format!("{FOLDER}/rootfs")},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            bind("/usr/bin", "/usr/bin"),
            bind("/dev", "/dev"),
            bind("/run/daas", "/run/daas"),
            bind(INSIDE, FOLDER),
        ],
        "linux": {
            "cgroupsPath": "/planted",
            "namespaces": [{"type": "mount"}],
            "resources": {"devices": [{"allow": true, "access": "rwm"}]},
        },
    })
}

/// What the planted container does: it tells the console that it runs, and what it gets of the TPM.
///
/// # Errors
/// What the system says of the kernel's log.
pub fn live_planted() -> io::Result<()> {
    let sealed = fs::read_to_string(PathBuf::from(INSIDE).join(SEALED));
    let outcome = match sealed {
        Err(error) => error.to_string(),
        Ok(sealed) => match unseal::attempt(&sealed) {
            Ok(attempt) if attempt.opened => "the sealed configuration is open".to_owned(),
            Ok(attempt) => attempt.refusal,
            Err(error) => logging::chain(&error),
        },
    };
    // a level that every console shows
    let mut log = fs::OpenOptions::new().write(true).open("/dev/kmsg")?;
    log.write_all(format!("<2>{PLANTED}: {outcome}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_planted_container_has_what_it_needs() {
        let specification = specification();
        let root = specification.pointer("/root/path").unwrap();
        assert_eq!(root, "/var/lib/kubelet/pods/planted/rootfs");
        let mounts = specification
            .pointer("/mounts")
            .unwrap()
            .as_array()
            .unwrap();
        for path in [
            wire::paths::RELEASE_POLICIES,
            wire::paths::TPM,
            "/usr/bin/k3s",
        ] {
            let holds = |mount: &serde_json::Value| {
                let place = mount
                    .pointer("/destination")
                    .and_then(serde_json::Value::as_str);
                Path::new(path).starts_with(place.unwrap_or("/none"))
            };
            assert!(mounts.iter().any(holds), "{path}");
        }
    }
}
