//! Whether a state holds what workloads have left: then it was a configured node's.

use std::fs;
use std::io;
use std::path::Path;

use wire::state_paths::{Home, STATE_PATHS};

/// Whether there is a volume of a pod on the state that is mounted at `root`, in the places that the table of paths
/// keeps for them. What can't be looked at counts as one.
pub(super) fn are_there(root: &Path) -> bool {
    let mut places = STATE_PATHS
        .iter()
        .filter(|row| row.home == Home::KeptWithPrograms)
        .filter_map(|row| row.path.strip_prefix("/var/"));
    places.any(|place| holds_something(&root.join(place)))
}

fn holds_something(directory: &Path) -> bool {
    match fs::read_dir(directory) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_places_hold_no_workloads_and_a_volume_does() {
        let root = tempfile::tempdir().unwrap();
        assert!(!are_there(root.path()));
        for place in [
            "lib/kubelet/pods",
            "lib/rancher/k3s/storage",
            "lib/daas/netd",
        ] {
            fs::create_dir_all(root.path().join(place)).unwrap();
        }
        fs::write(root.path().join("lib/daas/netd/last-time"), "1").unwrap();
        assert!(!are_there(root.path()));
        fs::create_dir(root.path().join("lib/kubelet/pods/0f")).unwrap();
        assert!(are_there(root.path()));
    }

    #[test]
    fn place_that_cannot_be_read_counts_as_workloads() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("lib/kubelet")).unwrap();
        fs::write(root.path().join("lib/kubelet/pods"), "").unwrap();
        assert!(are_there(root.path()));
    }
}
