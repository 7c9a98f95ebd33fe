//! The pod over its lives: kept while it runs, made anew when it is dead.

mod support;

use std::path::Path;

use k3s_double::agent::kubelet_args::CgroupDriver;
use k3s_double::agent::pod::runtime::Runtime;
use k3s_double::agent::pod::specification::{Specification, uid};
use k3s_double::agent::pod::{Pod, PodError};
use support::runtime::{FakeRuntime, books};

fn specification(folder: &Path) -> Specification {
    Specification {
        name: "k3s-double-edge-0001".into(),
        uid: uid("edge-0001"),
        cgroup: format!("/kubepods/besteffort/pod{}", uid("edge-0001")),
        dns: (vec!["10.43.0.10".into()], vec!["cluster.local".into()]),
        kubelet_folder: folder.join("kubelet"),
        log_folder: folder.join("log"),
    }
}

/// An agent that has just started: it knows nothing of an earlier one.
fn pod(folder: &Path, runtime: &FakeRuntime) -> Pod {
    Pod::new(Runtime::at(&runtime.socket), specification(folder))
}

#[tokio::test]
async fn a_pod_is_started_once_and_kept_by_the_next_agent() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = FakeRuntime::start(folder.path(), books());
    let mut first = pod(folder.path(), &runtime);
    let started = first.sync().await.unwrap();
    assert!(!started.kept);
    first
        .check(&started, "10.42.0.0/24".parse().unwrap())
        .unwrap();
    assert!(matches!(
        first.check(&started, "10.42.1.0/24".parse().unwrap()),
        Err(PodError::Unsound(_))
    ));

    let (_, config) = runtime.books().sandboxes.first().cloned().unwrap();
    let cgroup = config.linux.unwrap().cgroup_parent;
    assert!(cgroup.starts_with("/kubepods/besteffort/pod"), "{cgroup}");
    let hosts = std::fs::read_to_string(specification(folder.path()).hosts_file()).unwrap();
    assert!(hosts.contains("10.42.0.2\tk3s-double-edge-0001"), "{hosts}");
    let link = specification(folder.path()).container_log_link(&started.container);
    assert!(std::fs::read_to_string(link).unwrap().contains("pause"));

    let kept = pod(folder.path(), &runtime).sync().await.unwrap();
    assert!(kept.kept);
    assert_eq!(
        (kept.sandbox, kept.container),
        (started.sandbox, started.container)
    );
    assert_eq!(runtime.books().containers.len(), 1);

    let state = first.state().await.unwrap();
    let container = state.container.unwrap();
    assert_eq!((container.state.as_str(), container.pid), ("running", 4242));
    assert!(state.log_tail.contains("pause"));
}

#[tokio::test]
async fn runtime_with_driver_reports_it_and_old_one_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let fake = FakeRuntime::start(folder.path(), books());
    let runtime = Runtime::at(&fake.socket);
    for (number, driver) in [
        (Some(1), Some(CgroupDriver::Cgroupfs)),
        (Some(0), Some(CgroupDriver::Systemd)),
        (None, None),
    ] {
        fake.books().cgroup_driver = number;
        assert_eq!(runtime.cgroup_driver().await.unwrap(), driver);
    }
    fake.books().cgroup_driver = Some(2);
    let error = runtime.cgroup_driver().await.unwrap_err().to_string();
    assert_eq!(error, "runtime returned an unknown cgroup driver 2");
}

#[tokio::test]
async fn a_runtime_that_comes_back_finds_its_pod_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = FakeRuntime::start(folder.path(), books());
    let mut pod = pod(folder.path(), &runtime);
    let started = pod.sync().await.unwrap();
    let books = std::sync::Arc::clone(&runtime.books);
    drop(runtime);
    // Until the connection has noticed, a call may still end either way; then it fails.
    let down = async {
        while pod.sync().await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(support::PATIENCE, down).await.unwrap();

    let runtime = FakeRuntime::start(folder.path(), books);
    let kept = pod.sync().await.unwrap();
    assert!(kept.kept);
    assert_eq!(kept.container, started.container);
    assert_eq!(runtime.books().sandboxes.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dead_container_is_started_again_with_growing_pauses() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = FakeRuntime::start(folder.path(), books());
    let mut pod = pod(folder.path(), &runtime);
    let started = pod.sync().await.unwrap();
    let die = |runtime: &FakeRuntime| {
        for (container, _) in &mut runtime.books().containers {
            container.state = 2;
        }
    };

    die(&runtime);
    let second = pod.sync().await.unwrap();
    assert_eq!(
        (second.restart_count, &second.sandbox),
        (1, &started.sandbox)
    );
    die(&runtime);
    assert!(matches!(pod.sync().await, Err(PodError::BackOff(pause)) if pause.as_secs() == 10));
    tokio::time::advance(std::time::Duration::from_secs(11)).await;
    let third = pod.sync().await.unwrap();
    assert_eq!(third.restart_count, 2);
    die(&runtime);
    tokio::time::advance(std::time::Duration::from_secs(11)).await;
    assert!(matches!(pod.sync().await, Err(PodError::BackOff(pause)) if pause.as_secs() == 20));
    // One dead container is kept beside the newest.
    assert_eq!(runtime.books().containers.len(), 2);
}

#[tokio::test]
async fn a_dead_sandbox_is_replaced_and_its_network_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = FakeRuntime::start(folder.path(), books());
    let mut pod = pod(folder.path(), &runtime);
    let started = pod.sync().await.unwrap();
    // As after a power cut: containerd remembers both, and neither runs.
    for (sandbox, _) in &mut runtime.books().sandboxes {
        sandbox.state = 1;
    }
    for (container, _) in &mut runtime.books().containers {
        container.state = 2;
    }
    runtime.books().calls.clear();
    let renewed = pod.sync().await.unwrap();
    assert_ne!(renewed.sandbox, started.sandbox);
    assert_eq!(renewed.restart_count, 1);
    assert!(!renewed.kept);
    let books = runtime.books();
    assert_eq!((books.sandboxes.len(), books.containers.len()), (1, 1));
    let (sandbox, _) = books.sandboxes.first().unwrap();
    assert_eq!(sandbox.metadata.as_ref().unwrap().attempt, 1);
    let order: Vec<&str> = books
        .calls
        .iter()
        .map(String::as_str)
        .filter(|call| call.ends_with("PodSandbox") && !call.starts_with("List"))
        .collect();
    assert_eq!(
        order,
        ["StopPodSandbox", "RemovePodSandbox", "RunPodSandbox"]
    );
}

#[tokio::test]
async fn an_image_that_is_not_there_is_not_pulled() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = FakeRuntime::start(folder.path(), books());
    runtime.books().has_image = false;
    let error = pod(folder.path(), &runtime).sync().await.unwrap_err();
    assert!(matches!(error, PodError::NoImage), "{error}");
    assert!(
        error
            .to_string()
            .contains("is not present with pull policy of Never"),
        "{error}"
    );
}
