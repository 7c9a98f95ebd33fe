//! The network of pods: one bridge with addresses of the node's range, by the reference CNI
//! plugins. k3s's flannel delegates to the same bridge plugin.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::cluster::Range;
use crate::files::{self, FileError};

/// The bridge, as k3s names it.
pub const BRIDGE: &str = "cni0";
/// The file below `<data-dir>`, where k3s puts it and containerd is told to look.
const FILE: &str = "agent/etc/cni/net.d/10-k3s-double.conflist";

/// Writes the configuration for `range`, unless it stands there already.
///
/// # Errors
/// The folder cannot be written.
pub fn configure(data_folder: &Path, range: Range) -> Result<PathBuf, FileError> {
    let path = data_folder.join(FILE);
    if let Some(folder) = path.parent() {
        files::make_folder(folder, 0o755)?;
    }
    let text = format!("{:#}\n", network(range));
    if files::read_if_present(&path, 64 * 1024)?.as_deref() != Some(&text) {
        files::write(&path, text.as_bytes(), 0o644)?;
        tracing::info!(path = %path.display(), %range, "CNI configuration written");
    }
    Ok(path)
}

/// A network configuration list of the CNI specification 1.0.0.
fn network(range: Range) -> serde_json::Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "cbr0",
        "plugins": [
            {
                "type": "bridge",
                "bridge": BRIDGE,
                "isGateway": true,
                "isDefaultGateway": true,
                "forceAddress": true,
                "hairpinMode": true,
                "ipMasq": true,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": range.to_string()}]],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_whole_and_written_once() {
        let folder = tempfile::tempdir().unwrap();
        let range = "10.42.7.0/24".parse().unwrap();
        let path = configure(folder.path(), range).unwrap();
        let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
        let value: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let subnet = value.pointer("/plugins/0/ipam/ranges/0/0/subnet").unwrap();
        assert_eq!(subnet, "10.42.7.0/24");
        configure(folder.path(), range).unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().modified().unwrap(),
            modified
        );
        configure(folder.path(), "10.42.8.0/24".parse().unwrap()).unwrap();
        assert!(
            std::fs::read_to_string(&path)
                .unwrap()
                .contains("10.42.8.0/24")
        );
    }
}
