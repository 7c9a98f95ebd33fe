//! `--kubelet-arg config=`: the kubelet's configuration file, as far as this system sets it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

use crate::files::{self, FileError};

/// A configuration is no longer than this.
const LIMIT: u64 = 64 * 1024;
/// Where k3s lays a configuration of the command line, beside its own (its documentation, "Kubelet configuration
/// files"). Everything there must end in `.conf`.
const DROP_IN: &str = "agent/etc/kubelet.conf.d/10-cli-config.conf";

/// A configuration that the kubelet would refuse.
#[derive(Debug, Error)]
pub enum KubeletConfigError {
    /// Its file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its content.
    #[error("failed to load kubelet config file: {0}")]
    Content(String),
}

/// What the double knows of a `KubeletConfiguration` (Kubernetes, `staging/src/k8s.io/kubelet/config/v1beta1`).
/// The double reads JSON alone.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Document {
    api_version: String,
    kind: String,
    node_status_report_frequency: Option<String>,
    pod_pids_limit: Option<u64>,
    #[serde(default)]
    kube_reserved: BTreeMap<String, String>,
    #[serde(default)]
    system_reserved: BTreeMap<String, String>,
    enforce_node_allocatable: Option<Vec<String>>,
    /// The double evicts nothing.
    #[serde(default)]
    eviction_hard: BTreeMap<String, String>,
}

/// What the kubelet takes in a reservation (pkg/apis/core/v1/helper, `IsNativeResource`; pkg/kubelet/cm).
const RESOURCES: [&str; 4] = ["cpu", "memory", "ephemeral-storage", "pid"];
/// The signals of an eviction (pkg/kubelet/eviction/api).
const SIGNALS: [&str; 6] = [
    "memory.available",
    "nodefs.available",
    "nodefs.inodesFree",
    "imagefs.available",
    "imagefs.inodesFree",
    "pid.available",
];

/// The configuration that counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KubeletConfig {
    /// How often a status is reported that has not changed.
    pub status_report: Option<Duration>,
    /// How many processes and threads a pod may have.
    pub pod_pids: Option<u64>,
    /// What all pods together may not have of the machine's memory, in bytes, and of its processes.
    pub reserved: Reserved,
}

/// What is kept back from pods.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reserved {
    /// In bytes.
    pub memory: u64,
    /// Processes and threads.
    pub pids: u64,
}

impl KubeletConfig {
    /// Reads the file, and lays it beside k3s's own below `data_dir`.
    ///
    /// # Errors
    /// [`KubeletConfigError`].
    pub fn take(path: &Path, data_dir: &Path) -> Result<Self, KubeletConfigError> {
        let text = files::read(path, LIMIT)?;
        let config = Self::parse(&text)?;
        let drop_in = data_dir.join(DROP_IN);
        if let Some(folder) = drop_in.parent() {
            files::make_folder(folder, 0o700)?;
        }
        files::write(&drop_in, text.as_bytes(), 0o600)?;
        Ok(config)
    }

    fn parse(text: &str) -> Result<Self, KubeletConfigError> {
        let refuse = |why: String| KubeletConfigError::Content(why);
        let document: Document =
            serde_json::from_str(text).map_err(|error| refuse(error.to_string()))?;
        if (document.api_version.as_str(), document.kind.as_str())
            != ("kubelet.config.k8s.io/v1beta1", "KubeletConfiguration")
        {
            return Err(refuse(format!("no kind {:?} is registered", document.kind)));
        }
        let status_report = document
            .node_status_report_frequency
            .map(|text| seconds(&text).ok_or_else(|| refuse(format!("invalid duration {text:?}"))))
            .transpose()?;
        if let Some(signal) = document
            .eviction_hard
            .keys()
            .find(|signal| !SIGNALS.contains(&signal.as_str()))
        {
            return Err(refuse(format!("unknown eviction signal {signal}")));
        }
        if let Some(enforced) = document.enforce_node_allocatable
            && enforced != ["pods"]
        {
            return Err(refuse(format!(
                "the double enforces pods alone: {enforced:?}"
            )));
        }
        let mut reserved = Reserved::default();
        for share in [&document.kube_reserved, &document.system_reserved] {
            for (resource, quantity) in share {
                let wrong = || refuse(format!("cannot reserve {quantity:?} of {resource}"));
                if !RESOURCES.contains(&resource.as_str()) {
                    return Err(wrong());
                }
                match resource.as_str() {
                    "memory" => reserved.memory += mebibytes(quantity).ok_or_else(wrong)?,
                    "pid" => reserved.pids += quantity.parse::<u64>().map_err(|_| wrong())?,
                    _ => {}
                }
            }
        }
        Ok(Self {
            status_report,
            pod_pids: document.pod_pids_limit,
            reserved,
        })
    }
}

/// A quantity of mebibytes, in bytes.
fn mebibytes(text: &str) -> Option<u64> {
    let count: u64 = text.strip_suffix("Mi")?.parse().ok()?;
    count.checked_mul(1024 * 1024)
}

/// A duration of whole seconds, as Go writes it.
fn seconds(text: &str) -> Option<Duration> {
    let seconds = text.strip_suffix('s')?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(rest: &str) -> String {
        format!(
            r#"{{"apiVersion":"kubelet.config.k8s.io/v1beta1","kind":"KubeletConfiguration"{rest}}}"#
        )
    }

    #[test]
    fn configuration_is_taken_and_laid_beside_k3s_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubelet.json");
        let text = document(r#","nodeStatusReportFrequency":"10s""#);
        std::fs::write(&path, &text).unwrap();
        let config = KubeletConfig::take(&path, folder.path()).unwrap();
        assert_eq!(config.status_report, Some(Duration::from_secs(10)));
        let config = KubeletConfig::parse(&document(
            r#","podPidsLimit":512,"kubeReserved":{"cpu":"60m","memory":"340Mi","pid":"900"},
            "systemReserved":{"memory":"10Mi","pid":"100"},"enforceNodeAllocatable":["pods"],
            "evictionHard":{"memory.available":"64Mi"}"#,
        ));
        let config = config.unwrap();
        let reserved = Reserved {
            memory: 350 << 20,
            pids: 1000,
        };
        assert_eq!((config.pod_pids, config.reserved), (Some(512), reserved));
        let laid = std::fs::read_to_string(folder.path().join(DROP_IN)).unwrap();
        assert_eq!(laid, text);
    }

    #[test]
    fn configuration_of_another_kind_or_field_is_refused() {
        KubeletConfig::parse(&document("")).unwrap();
        for text in [
            document(r#","nodeStatusReportFrequency":"often""#),
            document(r#","nodeStatusReports":"10s""#),
            document(r#","kubeReserved":{"memory":"some"}"#),
            document(r#","kubeReserved":{"pids":"100"}"#),
            document(r#","evictionHard":{"memory.free":"100Mi"}"#),
            document(r#","enforceNodeAllocatable":["system-reserved"]"#),
            document("").replace("v1beta1", "v1"),
            "nodeStatusReportFrequency: 10s".to_owned(),
        ] {
            assert!(KubeletConfig::parse(&text).is_err(), "{text}");
        }
        let folder = tempfile::tempdir().unwrap();
        assert!(KubeletConfig::take(&folder.path().join("none"), folder.path()).is_err());
    }
}
