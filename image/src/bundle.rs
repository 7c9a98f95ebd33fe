//! Looks into a k3s binary without running it: its version, and the data that a release carries.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use memchr::memmem;

use crate::cache;
use crate::digest;
use crate::progress::{human_size, step};

/// The data in a release unpacks to about 250 MB.
const DATA_BOUND: u64 = 4 << 30;

/// The release that a binary calls itself, such as `v1.34.1+k3s1`. `None`: nothing in it looks like one.
#[must_use]
pub fn version(program: &[u8]) -> Option<String> {
    let marker = b"+k3s";
    let mut from = 0;
    while let Some(at) = memmem::find(&program[from..], marker).map(|at| at + from) {
        let start = program[..at]
            .iter()
            .rposition(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-')));
        let start = start.map_or(0, |before| before + 1);
        let digits = program[at + marker.len()..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let text = std::str::from_utf8(&program[start..at + marker.len() + digits]).ok()?;
        // strings of a Go program stand side by side without an end: the version begins at its last `v1.`
        if digits > 0
            && let Some(begin) = text.rfind("v1.")
            && text[begin + 1..].split('.').take(3).count() == 3
        {
            return Some(text[begin..].to_owned());
        }
        from = at + marker.len();
    }
    None
}

/// Finds and unpacks the data in a self-extracting k3s. Upstream embeds one tar archive, compressed
/// as a single zstd frame and named `<SHA-256 of the frame>.tar.zst` (scripts/package-cli), so the name in
/// the binary both finds and vouches for it, and the binary need not be run. `None`: it has no such name,
/// so it is a plain binary.
///
/// # Errors
/// When the data is damaged, or the cache can't be written.
pub fn extract(program: &[u8], cache: &Path) -> Result<Option<(String, PathBuf)>> {
    let names = embedded_names(program);
    if names.is_empty() {
        return Ok(None);
    }
    let directory = cache.join("k3s-data");
    for name in &names {
        let into = directory.join(name);
        if into.exists() {
            return Ok(Some((name.clone(), into)));
        }
    }
    let magic = zstd::zstd_safe::MAGICNUMBER.to_le_bytes();
    let mut from = 0;
    while let Some(at) = memmem::find(&program[from..], &magic).map(|at| at + from) {
        from = at + magic.len();
        let Ok(length) = zstd::zstd_safe::find_frame_compressed_size(&program[at..]) else {
            continue;
        };
        let frame = &program[at..at + length];
        let hash = digest::of_bytes(frame);
        if names.contains(&hash) {
            step(format!(
                "k3s: unpacking its data, {}",
                human_size(length as u64)
            ));
            let into = unpack(frame, &directory, &hash)?;
            return Ok(Some((hash, into)));
        }
    }
    bail!(
        "it names the data {}.tar.zst, but holds no data of that digest; is it truncated?",
        names[0]
    )
}

/// The digests in all `<64 hexadecimal digits>.tar.zst` of a binary.
fn embedded_names(program: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    let mut from = 0;
    while let Some(at) = memmem::find(&program[from..], b".tar.zst").map(|at| at + from) {
        from = at + 1;
        let Some(digits) = at.checked_sub(64).map(|start| &program[start..at]) else {
            continue;
        };
        if digits
            .iter()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            && let Ok(name) = String::from_utf8(digits.to_vec())
            && !names.contains(&name)
        {
            names.push(name);
        }
    }
    names
}

fn unpack(frame: &[u8], directory: &Path, hash: &str) -> Result<PathBuf> {
    cache::directory(&directory.join(hash), |into| {
        let data = zstd::Decoder::with_buffer(frame)?.take(DATA_BOUND);
        let mut archive = tar::Archive::new(data);
        archive.set_preserve_permissions(true);
        archive.unpack(into).context("its archive is malformed")?;
        let bin = into.join("bin");
        if !bin.join("k3s").exists() && !bin.join("containerd").exists() {
            bail!(
                "its data has neither bin/k3s nor bin/containerd; this is no k3s that this builder knows"
            );
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A binary that carries data the way upstream's release does.
    fn release(files: &[(&str, &[u8])]) -> (Vec<u8>, String) {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            header.set_mode(0o755);
            tar.append_data(&mut header, path, *content).unwrap();
        }
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, "bin/flannel", "cni").unwrap();
        let frame = zstd::encode_all(tar.into_inner().unwrap().as_slice(), 3).unwrap();
        let hash = digest::of_bytes(&frame);
        let decoy = zstd::encode_all(&b"decoy"[..], 3).unwrap();
        let name = format!("xxv1.34.1-rc1+k3s1embed/{hash}.tar.zst");
        (
            [
                b"\x7fELF",
                name.as_bytes(),
                &decoy,
                b"\x28\xb5\x2f\xfdjunk",
                &frame,
                b"tail",
            ]
            .concat(),
            hash,
        )
    }

    #[test]
    fn a_release_is_unpacked() {
        let cache = tempfile::tempdir().unwrap();
        let (program, hash) = release(&[("bin/k3s", b"k3s"), ("bin/cni", b"cni")]);
        let (found, directory) = extract(&program, cache.path()).unwrap().unwrap();
        assert_eq!(found, hash);
        assert_eq!(fs::read(directory.join("bin/k3s")).unwrap(), b"k3s");
        assert_eq!(
            fs::read_link(directory.join("bin/flannel")).unwrap(),
            Path::new("cni")
        );
    }

    #[test]
    fn a_damaged_release_is_refused_and_a_plain_binary_is_not() {
        let cache = tempfile::tempdir().unwrap();
        let (mut program, _) = release(&[("bin/k3s", b"k3s")]);
        let last = program.len() - 10;
        program[last] ^= 1;
        let error = extract(&program, cache.path()).unwrap_err().to_string();
        assert!(error.contains("no data of that digest"), "{error}");
        assert_eq!(extract(b"\x7fELF plain", cache.path()).unwrap(), None);
        let (program, _) = release(&[("bin/other", b"x")]);
        assert!(
            extract(&program, cache.path())
                .unwrap_err()
                .to_string()
                .contains("neither")
        );
    }

    #[test]
    fn versions_are_found_among_go_strings() {
        assert_eq!(version(&release(&[]).0).unwrap(), "v1.34.1-rc1+k3s1");
        assert_eq!(
            version(b"usage of +k3s and a+k3s1 then go1.25v1.36.4+k3s12zzz").unwrap(),
            "v1.36.4+k3s12"
        );
        assert_eq!(version(b"nothing"), None);
    }
}
