//! What a slashed node forgets.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use wire::paths::{AGENT_TOKEN, DOCUMENT, STAKER_SETTINGS, SUI_KEY};

/// Where the agent keeps what makes it a part of the cluster: the keys, certificates and kubeconfig
/// files of k3s and of the kubelet, and the node's password. The files of these directories go, and
/// not what lies further down.
const CREDENTIALS: [&str; 3] = [
    "var/lib/rancher/k3s/agent",
    "var/lib/kubelet/pki",
    "var/lib/daas/rancher/node",
];
/// More files than any of these directories has.
const MOST_FILES: usize = 1000;

/// Overwrites and removes every secret that lies on tmpfs. What fails is logged, and the others go
/// on.
pub(crate) fn forget_secrets() {
    let secrets = [STAKER_SETTINGS, SUI_KEY, DOCUMENT, AGENT_TOKEN].map(Path::new);
    // what a process that was killed while it wrote one may have left
    let unfinished = secrets.map(files::temporary_name);
    for file in secrets
        .into_iter()
        .chain(unfinished.iter().map(PathBuf::as_path))
    {
        match files::forget(file) {
            Ok(()) => tracing::info!(file = %file.display(), "secret removed"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(%error, file = %file.display(), "a secret can't be removed");
            }
        }
    }
}

/// Overwrites and removes the agent's credentials below `root`. They lie on a disk, which may not
/// answer: this is for where nothing waits for ever, and where nobody is left to write them anew.
pub(super) fn forget_credentials(root: &Path) {
    for directory in CREDENTIALS {
        let directory = root.join(directory);
        match forget_files(&directory) {
            Ok(0) => {}
            Ok(count) => {
                tracing::info!(directory = %directory.display(), count, "credentials removed");
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(
                %error, directory = %directory.display(), "credentials can't be removed"
            ),
        }
    }
}

/// The first error is told once the other files are gone.
fn forget_files(directory: &Path) -> io::Result<usize> {
    let mut count: usize = 0;
    let mut result = Ok(());
    for entry in fs::read_dir(directory)?.take(MOST_FILES) {
        let forgotten = entry.and_then(|entry| {
            let kind = entry.file_type()?;
            if kind.is_dir() {
                return Ok(false);
            }
            if kind.is_file() {
                files::forget(entry.path())?;
            } else {
                // a link, or what would block whoever opens it
                fs::remove_file(entry.path())?;
            }
            Ok(true)
        });
        match forgotten {
            Ok(forgotten) => count = count.saturating_add(usize::from(forgotten)),
            Err(error) => result = result.and(Err(error)),
        }
    }
    result.map(|()| count)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_agent_s_credentials_go_and_everything_else_stays() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"text").unwrap();
        };
        let gone = [
            "var/lib/rancher/k3s/agent/client-kubelet.key",
            "var/lib/rancher/k3s/agent/kubelet.kubeconfig",
            "var/lib/kubelet/pki/kubelet.key",
            "var/lib/daas/rancher/node/password",
        ];
        let stays = [
            "var/lib/rancher/k3s/agent/etc/config.toml",
            "var/lib/daas/node.toml",
            "var/lib/daas/machine-id",
            "var/lib/kubelet/pods/1/etc-hosts",
        ];
        gone.iter().chain(&stays).for_each(|path| write(path));
        let link = root.path().join("var/lib/kubelet/pki/current.pem");
        symlink(root.path().join("var/lib/daas/node.toml"), &link).unwrap();
        forget_credentials(root.path());
        for path in gone {
            assert!(!root.path().join(path).exists(), "{path}");
        }
        for path in stays {
            let text = fs::read(root.path().join(path)).unwrap();
            assert_eq!(text, b"text", "{path}");
        }
        assert!(fs::symlink_metadata(&link).is_err());
        // what is gone is no error
        forget_credentials(root.path());
        assert_eq!(
            forget_files(&root.path().join("no such"))
                .unwrap_err()
                .kind(),
            io::ErrorKind::NotFound
        );
    }

    /// Where the rest of the system puts them.
    #[test]
    fn the_directories_are_the_ones_of_the_agent() {
        let data = wire::paths::K3S_DATA.trim_start_matches('/');
        assert_eq!(CREDENTIALS[0], format!("{data}/agent"));
    }
}
