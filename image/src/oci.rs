//! The pause image: one static program in an OCI archive (image-spec 1.0, image layout).

use anyhow::{Context, Result};
use serde_json::json;

use crate::digest;

/// The name under which containerd knows the image.
pub const NAME: &str = "k3s-daas.local/pause:1";
/// Where the archive is in the root.
pub const PATH: &str = "usr/share/k3s-daas/pause.tar";

/// Packs the program as an OCI archive that containerd imports (`image/runtime/containerd/sandboximage`).
///
/// # Errors
/// When a tar header can't hold a value.
pub fn pause_image(program: &[u8], date: u64) -> Result<Vec<u8>> {
    let mut layer = tar::Builder::new(Vec::new());
    append(&mut layer, "pause", program, 0o755, date)?;
    let layer = layer.into_inner().context("can't finish the layer")?;
    let layer_digest = digest::of_bytes(&layer);
    let configuration = json!({
        "architecture": "amd64",
        "os": "linux",
        // nobody: it needs no rights, and containerd would otherwise run it as root
        "config": { "Entrypoint": ["/pause"], "User": "65535:65535", "WorkingDir": "/" },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer_digest}")] },
    })
    .to_string();
    let descriptor = |kind: &str, content: &[u8]| {
        json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"),
            "digest": format!("sha256:{}", digest::of_bytes(content)),
            "size": content.len(),
        })
    };
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("config.v1+json", configuration.as_bytes()),
        "layers": [descriptor("layer.v1.tar", &layer)],
    })
    .to_string();
    let mut reference = descriptor("manifest.v1+json", manifest.as_bytes());
    reference["platform"] = json!({ "architecture": "amd64", "os": "linux" });
    reference["annotations"] = json!({
        "io.containerd.image.name": NAME,
        "org.opencontainers.image.ref.name": NAME.rsplit(':').next().unwrap_or(NAME),
    });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [reference],
    })
    .to_string();
    let mut archive = tar::Builder::new(Vec::new());
    append(
        &mut archive,
        "oci-layout",
        br#"{"imageLayoutVersion":"1.0.0"}"#,
        0o644,
        date,
    )?;
    append(&mut archive, "index.json", index.as_bytes(), 0o644, date)?;
    for blob in [manifest.as_bytes(), configuration.as_bytes(), &layer] {
        append(
            &mut archive,
            &format!("blobs/sha256/{}", digest::of_bytes(blob)),
            blob,
            0o644,
            date,
        )?;
    }
    archive.into_inner().context("can't finish the archive")
}

fn append(
    archive: &mut tar::Builder<Vec<u8>>,
    path: &str,
    content: &[u8],
    mode: u32,
    date: u64,
) -> Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    header.set_mtime(date);
    header.set_uid(0);
    header.set_gid(0);
    archive
        .append_data(&mut header, path, content)
        .with_context(|| format!("can't pack {path}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read;

    use super::*;

    #[test]
    fn every_reference_leads_to_its_blob() {
        let archive = pause_image(b"program", 7).unwrap();
        assert_eq!(archive, pause_image(b"program", 7).unwrap());
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(archive.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            files.insert(path, content);
        }
        let blob = |descriptor: &serde_json::Value| {
            let digest = descriptor["digest"]
                .as_str()
                .unwrap()
                .strip_prefix("sha256:")
                .unwrap();
            let content = &files[&format!("blobs/sha256/{digest}")];
            assert_eq!(digest::of_bytes(content), digest);
            assert_eq!(descriptor["size"].as_u64().unwrap(), content.len() as u64);
            content.clone()
        };
        let index: serde_json::Value = serde_json::from_slice(&files["index.json"]).unwrap();
        assert_eq!(
            index["manifests"][0]["annotations"]["io.containerd.image.name"],
            NAME
        );
        let manifest: serde_json::Value =
            serde_json::from_slice(&blob(&index["manifests"][0])).unwrap();
        let configuration: serde_json::Value =
            serde_json::from_slice(&blob(&manifest["config"])).unwrap();
        let layer = blob(&manifest["layers"][0]);
        assert_eq!(
            configuration["rootfs"]["diff_ids"][0],
            format!("sha256:{}", digest::of_bytes(&layer))
        );
    }
}
