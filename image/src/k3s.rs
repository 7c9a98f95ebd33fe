//! The k3s that an image carries: a release, any binary of the user's, or the double of the tests.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::bundle;
use crate::digest;
use crate::download::{Downloader, Size, Wanted};
use crate::elf;
use crate::lock::{Lock, LockedK3s};
use crate::programs::Programs;
use crate::progress::{human_size, step};
use crate::tree::{Entry, Kind, Tree};

/// Where the extracted data of a self-extracting k3s is in the root; `init` mounts it over
/// `<data-dir>/data`.
pub const DATA: &str = "usr/share/k3s-daas/k3s-data";
/// Where that data will be seen on the node.
const MOUNTED_DATA: &str = "/var/lib/rancher/k3s/data";
/// The CNI plugin that the image takes from a release of k3s.
const FLANNEL: &str = "flannel";
/// Where containerd looks for CNI plugins.
const CNI_PLUGINS: &str = "usr/lib/cni";
/// A release is about 70 MB.
const DOWNLOAD_BOUND: u64 = 512 << 20;
/// Upstream's releases.
const RELEASES: &str = "https://github.com/k3s-io/k3s/releases/download";
const ASSET: &str = "k3s";
const SUMS: &str = "sha256sum-amd64.txt";

/// What `--k3s` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The release in the lock.
    Pinned,
    /// The double of the tests, from the directory of programs.
    Double,
    /// A file of the host.
    Path(PathBuf),
    /// An address; `#sha256=<digest>` at its end pins it.
    Url(String),
}

impl std::str::FromStr for Source {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "pinned" => Self::Pinned,
            "double" => Self::Double,
            url if url.starts_with("https://") || url.starts_with("http://") => {
                Self::Url(url.to_owned())
            }
            path => Self::Path(path.into()),
        })
    }
}

/// A k3s at hand.
#[derive(Debug)]
pub struct K3s {
    /// The program.
    pub path: PathBuf,
    /// As os-release and manifest name it: the version, or `double`.
    pub version: String,
    /// SHA-256 of the program.
    pub sha256: String,
    /// The program's data, unpacked in the cache: its digest and where it is.
    data: Option<(String, PathBuf)>,
}

/// Gets the k3s that was asked for.
///
/// # Errors
/// When it can't be had or is no program for the image.
pub fn obtain(source: &Source, lock: &Lock, programs: &Programs, cache: &Path) -> Result<K3s> {
    let path = match source {
        Source::Double => {
            let path = programs.find("k3s-double")?;
            let program = fs::read(&path)
                .with_context(|| format!("can't read the k3s double {}", path.display()))?;
            elf::check_static("k3s-double", &program)?;
            let sha256 = digest::of_bytes(&program);
            return Ok(K3s {
                path,
                version: "double".to_owned(),
                sha256,
                data: None,
            });
        }
        Source::Path(path) => path.clone(),
        Source::Pinned => {
            let pinned = lock.k3s.as_ref().context(
                "packages.lock pins no k3s release, since its digest was not known when it was written; \
                 run `./build.sh lock` where github.com can be reached, or name a k3s binary with --k3s PATH",
            )?;
            download(
                &format!("k3s {}", pinned.version),
                &release_url(&pinned.version, ASSET),
                &pinned.sha256,
                cache,
            )?
        }
        Source::Url(url) => download_url(url, cache)?,
    };
    let program =
        fs::read(&path).with_context(|| format!("can't read the k3s binary {}", path.display()))?;
    elf::check_program(&path.display().to_string(), &program)?;
    let sha256 = digest::of_bytes(&program);
    let version = bundle::version(&program).unwrap_or_else(|| format!("unknown-{}", &sha256[..12]));
    let data = bundle::extract(&program, cache)
        .with_context(|| format!("can't unpack the data in {}", path.display()))?;
    step(format!(
        "k3s: {version}, {}{}",
        human_size(program.len() as u64),
        if data.is_some() {
            ", with its own data"
        } else {
            ""
        }
    ));
    Ok(K3s {
        path,
        version,
        sha256,
        data,
    })
}

/// Asks upstream for the digest of a release.
///
/// # Errors
/// When upstream can't be reached or has no such release.
pub fn lock_release(version: &str) -> Result<LockedK3s> {
    let url = release_url(version, SUMS);
    let sums = Downloader::https_alone()
        .small(&url, 1 << 20)?
        .with_context(|| format!("{url} does not exist"))?;
    let sha256 = sum_of(&String::from_utf8_lossy(&sums), ASSET)
        .with_context(|| format!("{url} does not list {ASSET}"))?;
    Ok(LockedK3s {
        version: version.to_owned(),
        sha256,
    })
}

fn release_url(version: &str, asset: &str) -> String {
    format!("{RELEASES}/{}/{asset}", version.replace('+', "%2B"))
}

/// The digest of a file in the output of sha256sum.
fn sum_of(sums: &str, name: &str) -> Option<String> {
    sums.lines().find_map(|line| {
        let (digest, file) = line.split_once(char::is_whitespace)?;
        let valid = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        (valid && file.trim_start_matches([' ', '*']) == name).then(|| digest.to_ascii_lowercase())
    })
}

fn download_url(url: &str, cache: &Path) -> Result<PathBuf> {
    let (url, sha256) = match url.split_once('#') {
        Some((url, fragment)) => {
            let digest = fragment
                .strip_prefix("sha256=")
                .filter(|digest| digest.len() == 64);
            (
                url,
                digest
                    .with_context(|| {
                        format!(
                            "{fragment:?} after the address is not of the form sha256=<64 digits>"
                        )
                    })?
                    .to_owned(),
            )
        }
        None => {
            let (directory, name) = url
                .rsplit_once('/')
                .context("the address of k3s names no file")?;
            let sums_url = format!("{directory}/{SUMS}");
            // whoever can change the program on its way can change a list of sums from the same place
            if !url.starts_with("https://") {
                bail!(
                    "nothing vouches for {url}: {sums_url} comes over the same unencrypted connection; \
                     add #sha256=<digest> to the address, or use https"
                );
            }
            let sums = Downloader::https_alone().small(&sums_url, 1 << 20)?;
            let digest = sums.and_then(|sums| sum_of(&String::from_utf8_lossy(&sums), name));
            let hint = || {
                format!(
                    "nothing vouches for {url}: {sums_url} does not list it; add #sha256=<digest> to the address"
                )
            };
            (url, digest.with_context(hint)?)
        }
    };
    download(url, url, &sha256, cache)
}

fn download(name: &str, url: &str, sha256: &str, cache: &Path) -> Result<PathBuf> {
    let wanted = Wanted {
        name,
        urls: vec![url.to_owned()],
        size: Size::AtMost(DOWNLOAD_BOUND),
        sha256,
    };
    let result = Downloader::new().fetch(&wanted, &cache.join("k3s"), "");
    result.context("can't get k3s; where it can't be downloaded, name a k3s binary with --k3s PATH")
}

impl K3s {
    /// Adds the program, and its data where it has some, to the root.
    ///
    /// # Errors
    /// When the data holds something that no root may hold.
    pub fn install(&self, tree: &mut Tree) -> Result<()> {
        let origin = format!("k3s {}", self.version);
        tree.file("usr/bin/k3s", 0o755, &self.path, &origin)?;
        let Some((hash, directory)) = &self.data else {
            return Ok(());
        };
        tree.copy(directory, &format!("{DATA}/{hash}"), &origin)?;
        // what k3s itself would leave beside the data when it unpacks it (cmd/k3s/main.go, extract)
        tree.symlink(
            &format!("{DATA}/current"),
            &format!("{MOUNTED_DATA}/{hash}"),
            &origin,
        )?;
        let plugins = format!("{DATA}/{hash}/bin/cni");
        if tree.get(&plugins).is_none() {
            return Ok(());
        }
        let links: Vec<String> = tree
            .iter()
            .filter(|(_, entry)| entry.kind == Kind::Symlink("cni".to_owned()))
            .filter_map(|(path, _)| {
                path.strip_prefix(&format!("{DATA}/{hash}/bin/"))
                    .map(str::to_owned)
            })
            .collect();
        for name in links.iter().map(String::as_str).chain(["cni"]) {
            tree.symlink(
                &format!("{DATA}/cni/{name}"),
                &format!("{MOUNTED_DATA}/{hash}/bin/cni"),
                &origin,
            )?;
        }
        // flannel's plugin matches k3s's network backend; all others are the image's own
        if links.iter().any(|name| name == FLANNEL) {
            let kind = Kind::Symlink(format!("../../share/k3s-daas/k3s-data/{hash}/bin/cni"));
            tree.insert(
                &format!("{CNI_PLUGINS}/{FLANNEL}"),
                Entry {
                    kind,
                    mode: 0o777,
                    origin: origin.clone(),
                },
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_installed_with_its_data_and_plugins() {
        let directory = tempfile::tempdir().unwrap();
        let bin = directory.path().join("data/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::write(bin.join("cni"), "cni").unwrap();
        for name in ["flannel", "bridge", "firewall"] {
            std::os::unix::fs::symlink("cni", bin.join(name)).unwrap();
        }
        let path = directory.path().join("k3s");
        fs::write(&path, "k3s").unwrap();
        let data = Some(("ab12".to_owned(), directory.path().join("data")));
        let k3s = K3s {
            path,
            version: "v".into(),
            sha256: String::new(),
            data,
        };
        let mut tree = Tree::usr_merged().unwrap();
        tree.bytes("usr/lib/cni/bridge", 0o755, "ours", "go")
            .unwrap();
        k3s.install(&mut tree).unwrap();
        assert_eq!(
            tree.resolve("usr/lib/cni/flannel").unwrap().0,
            format!("{DATA}/ab12/bin/cni")
        );
        let bridge = tree.get("usr/lib/cni/bridge").unwrap();
        assert_eq!(bridge.origin, "go");
        assert!(tree.get("usr/lib/cni/firewall").is_none());
        let link = tree.get(&format!("{DATA}/cni/flannel")).unwrap();
        let target = "/var/lib/rancher/k3s/data/ab12/bin/cni";
        assert_eq!(link.kind, Kind::Symlink(target.to_owned()));
    }

    #[test]
    fn sums_are_read() {
        let digest = "0".repeat(64);
        let sums = format!(
            "{digest}  k3s-airgap.tar\n{}  k3s\nshort  k3s\n",
            digest.replace('0', "A")
        );
        assert_eq!(sum_of(&sums, "k3s").unwrap(), "a".repeat(64));
        assert_eq!(sum_of(&sums, "k3s-arm64"), None);
        assert_eq!(
            release_url("v1.34.1+k3s1", ASSET),
            format!("{RELEASES}/v1.34.1%2Bk3s1/k3s")
        );
    }

    #[test]
    fn http_address_without_a_digest_is_refused() {
        let cache = tempfile::tempdir().unwrap();
        // nothing listens there: it is refused before anything is asked for
        let error = download_url("http://127.0.0.1:1/k3s", cache.path()).unwrap_err();
        let error = format!("{error:#}");
        assert!(
            error.contains("unencrypted") && error.contains("#sha256="),
            "{error}"
        );
        let pinned = format!("http://127.0.0.1:1/k3s#sha256={}", "0".repeat(64));
        let error = format!("{:#}", download_url(&pinned, cache.path()).unwrap_err());
        assert!(error.contains("can't reach"), "{error}");
    }

    #[test]
    fn sources_are_told_apart() {
        assert_eq!("double".parse(), Ok(Source::Double));
        assert_eq!("./double".parse(), Ok(Source::Path("./double".into())));
        assert_eq!(
            "https://x/k3s".parse(),
            Ok(Source::Url("https://x/k3s".into()))
        );
    }
}
