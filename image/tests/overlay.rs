//! The overlay agrees with what the programs of a node take for granted.

use std::fs;
use std::path::{Path, PathBuf};

use wire::{paths, users};

fn etc(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../overlays/base/etc")
        .join(name)
}

fn lines(name: &str) -> Vec<String> {
    let text = fs::read_to_string(etc(name)).expect("a file of the overlay");
    text.lines().map(str::to_owned).collect()
}

/// passwd(5) and group(5).
#[test]
fn overlay_users_are_those_of_the_programs() {
    let (passwd, group) = (lines("passwd"), lines("group"));
    for (name, id) in users::ALL {
        let user = format!("{name}:x:{id}:{id}:");
        let found = passwd.iter().filter(|line| line.starts_with(&user)).count();
        assert_eq!(found, 1, "{user}");
        assert!(group.contains(&format!("{name}:x:{id}:")), "{name}");
    }
    let ours = |line: &&String| {
        let id = line.split(':').nth(2).and_then(|id| id.parse::<u32>().ok());
        id.is_some_and(|id| (900..1000).contains(&id))
    };
    assert_eq!(passwd.iter().filter(ours).count(), users::ALL.len());
    assert_eq!(group.iter().filter(ours).count(), users::ALL.len());
}

#[test]
fn overlay_paths_are_those_of_the_programs() {
    let resolver = fs::read_link(etc("resolv.conf")).expect("a link");
    assert_eq!(resolver, Path::new(paths::RESOLVER));
    // what else k3s looks for in /etc/rancher is on the verified root: nothing
    let rancher = fs::read_dir(etc("rancher")).expect("a directory");
    let names: Vec<_> = rancher
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(names, ["node"]);
    let node = fs::read_link(etc("rancher/node")).expect("a link");
    assert!(node.starts_with(paths::STATE), "{}", node.display());
    let containerd = fs::read_to_string(etc("containerd/config.toml")).expect("a file");
    for wanted in [
        paths::CONTAINERD_SOCKET,
        paths::CONTAINERD_HEALTH,
        paths::K3S_DATA,
    ] {
        assert!(containerd.contains(&format!("\"{wanted}")), "{wanted}");
    }
    // PID 1 reads from a container's bundle how long its pod has to end
    let annotations = "container_annotations = [\"io.kubernetes.pod.terminationGracePeriod\"]";
    assert!(containerd.contains(annotations));
    // one group alone may connect to either socket, and that one to the harmless one
    let groups: Vec<&str> = containerd
        .lines()
        .filter(|line| line.starts_with("gid"))
        .collect();
    assert_eq!(groups, [format!("gid = {}", users::PROBE)]);
}
