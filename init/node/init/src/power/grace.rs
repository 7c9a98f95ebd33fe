//! How long pods have to end: what the most patient of them asks for, within the node's bound.
//!
//! The kubelet notes a pod's `terminationGracePeriodSeconds` on each of its containers; containerd has that note in
//! the container's bundle (`container_annotations` in its configuration). A pod that ends earlier is not waited for.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

/// Where containerd has the bundles of the containers that run, each with the name of its container.
const BUNDLES: &str = "/run/containerd/io.containerd.runtime.v2.task/k8s.io";
/// The kind of a pod's own container, which holds its name spaces and nothing else.
const SANDBOX: &str = "sandbox";
/// A bundle's configuration is some KB.
const CONFIGURATION_LIMIT: usize = 1024 * 1024;
/// More containers than a node has pods, many times over.
const CONTAINERS_LIMIT: usize = 4096;

/// What no pod gets more than: Kubernetes' default, which is what almost every pod asks for.
pub(super) const LONGEST: Duration = Duration::from_secs(30);
/// What every pod gets: one that asks for nothing at all can still be writing.
const SHORTEST: Duration = Duration::from_secs(2);

/// What the node reads of a bundle's `config.json` (OCI runtime specification).
#[derive(Deserialize)]
struct Configuration {
    #[serde(default)]
    annotations: Annotations,
}

#[derive(Default, Deserialize)]
struct Annotations {
    /// Kubernetes, pkg/kubelet/kuberuntime/labels.go (`podTerminationGracePeriodLabel`): seconds.
    #[serde(rename = "io.kubernetes.pod.terminationGracePeriod")]
    grace: Option<String>,
    /// containerd, pkg/cri/annotations (`ContainerType`).
    #[serde(rename = "io.kubernetes.cri.container-type")]
    kind: Option<String>,
}

/// How long the pods that run now have to end.
pub(super) fn of_pods() -> Duration {
    of_bundles(Path::new(BUNDLES))
}

fn of_bundles(bundles: &Path) -> Duration {
    let entries = fs::read_dir(bundles).into_iter().flatten().flatten();
    let asked = entries
        .take(CONTAINERS_LIMIT)
        .filter_map(|entry| asked(&entry.path().join("config.json")));
    asked.max().unwrap_or(LONGEST).clamp(SHORTEST, LONGEST)
}

/// What a container asks for; where it does not say so, the most. None: it is no container of a pod's.
fn asked(configuration: &Path) -> Option<Duration> {
    let bytes = files::read_bounded(configuration, CONFIGURATION_LIMIT).ok()?;
    let Ok(Configuration { annotations }) = serde_json::from_slice(&bytes) else {
        return Some(LONGEST);
    };
    if annotations.kind.as_deref() == Some(SANDBOX) {
        return None;
    }
    let seconds = annotations.grace.and_then(|grace| grace.parse().ok());
    Some(seconds.map_or(LONGEST, Duration::from_secs))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";
    const KIND: &str = "io.kubernetes.cri.container-type";

    fn bundles(configurations: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (number, configuration) in configurations.iter().enumerate() {
            let bundle = directory.path().join(number.to_string());
            fs::create_dir(&bundle).unwrap();
            fs::write(bundle.join("config.json"), configuration).unwrap();
        }
        directory
    }

    fn container(seconds: &str) -> String {
        format!(
            r#"{{"ociVersion":"1.2.1","process":{{"env":["SECRET=x"]}},
            "annotations":{{"{GRACE}":"{seconds}","{KIND}":"container","other":"x"}}}}"#
        )
    }

    fn seconds(configurations: &[&str]) -> u64 {
        of_bundles(bundles(configurations).path()).as_secs()
    }

    #[test]
    fn most_patient_pod_counts_within_the_bound() {
        let sandbox = format!(r#"{{"annotations":{{"{KIND}":"{SANDBOX}"}}}}"#);
        assert_eq!(seconds(&[&container("5"), &container("12"), &sandbox]), 12);
        assert_eq!(seconds(&[&container("3600"), &container("5")]), 30);
        assert_eq!(seconds(&[&container("0"), &sandbox]), 2);
    }

    #[test]
    fn pod_that_says_nothing_gets_the_most() {
        for silent in [
            container("soon"),
            container("-1"),
            r#"{"annotations":{}}"#.to_owned(),
            "{}".to_owned(),
            "cut off".to_owned(),
        ] {
            assert_eq!(seconds(&[&container("5"), &silent]), 30, "{silent}");
        }
        assert_eq!(of_bundles(Path::new("/nowhere")), LONGEST);
    }
}
