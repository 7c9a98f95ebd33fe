//! Where Debian's archives are: the host's own apt configuration knows, or the environment does.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::lock::Archive;

/// Overrides the mirror of the main archive.
pub const MIRROR_VARIABLE: &str = "K3S_DAAS_MIRROR";
/// Overrides the mirror of the security archive.
pub const SECURITY_MIRROR_VARIABLE: &str = "K3S_DAAS_SECURITY_MIRROR";

/// The addresses of both archives, best first, each with a slash at its end.
#[derive(Debug, Clone)]
pub struct Mirrors {
    debian: Vec<String>,
    security: Vec<String>,
}

impl Mirrors {
    /// Reads the environment and, where that is silent, apt's configuration.
    ///
    /// # Errors
    /// When neither names a Debian mirror.
    pub fn find() -> Result<Self> {
        let variable = |name| {
            std::env::var(name)
                .ok()
                .filter(|value: &String| !value.is_empty())
        };
        let configured = if variable(MIRROR_VARIABLE).is_some() {
            Vec::new()
        } else {
            apt_addresses()?
        };
        Self::choose(
            variable(MIRROR_VARIABLE),
            variable(SECURITY_MIRROR_VARIABLE),
            configured,
        )
    }

    fn choose(
        debian: Option<String>,
        security: Option<String>,
        configured: Vec<String>,
    ) -> Result<Self> {
        let is_security = |address: &String| address.contains("security");
        let is_debian = |address: &String| {
            let last = address
                .trim_end_matches('/')
                .rsplit('/')
                .next()
                .unwrap_or_default();
            last == "debian"
        };
        let debian = match debian {
            Some(address) => vec![with_slash(address)],
            None => configured
                .iter()
                .filter(|address| is_debian(address))
                .cloned()
                .map(with_slash)
                .collect(),
        };
        if debian.is_empty() {
            bail!(
                "apt's configuration names no Debian mirror; set {MIRROR_VARIABLE} to one, \
                 for example {MIRROR_VARIABLE}=https://mirror.example/debian"
            );
        }
        let mut security = match security {
            Some(address) => vec![with_slash(address)],
            None => configured
                .iter()
                .filter(|address| is_security(address))
                .cloned()
                .map(with_slash)
                .collect(),
        };
        if security.is_empty() {
            // by convention the security archive stands beside the main one
            security = debian
                .iter()
                .map(|address| format!("{}-security/", address.trim_end_matches('/')))
                .collect();
        }
        Ok(Self { debian, security })
    }

    /// The addresses of an archive, best first, each with a slash at its end.
    #[must_use]
    pub fn of(&self, archive: Archive) -> &[String] {
        match archive {
            Archive::Debian => &self.debian,
            Archive::DebianSecurity => &self.security,
        }
    }
}

fn with_slash(mut address: String) -> String {
    if !address.ends_with('/') {
        address.push('/');
    }
    address
}

/// The distinct archive addresses of apt's sources.
fn apt_addresses() -> Result<Vec<String>> {
    let output = Command::new("apt-get")
        .args([
            "indextargets",
            "-o",
            "APT::Get::IndexTargets::Filtered=false",
            "--format",
            "$(REPO_URI)",
        ])
        .output()
        .with_context(|| {
            format!("can't run apt-get to find a Debian mirror; set {MIRROR_VARIABLE} to one")
        })?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        bail!(
            "apt-get can't list its sources: {}; set {MIRROR_VARIABLE} to a Debian mirror",
            reason.trim()
        );
    }
    let mut seen = BTreeSet::new();
    let mut addresses = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        for address in expand(line.trim()) {
            if seen.insert(address.clone()) {
                addresses.push(address);
            }
        }
    }
    Ok(addresses)
}

/// What an address of apt's stands for: itself, or the lines of a mirror list (apt-transport-mirror(1)),
/// which Debian's cloud images use.
fn expand(address: &str) -> Vec<String> {
    if let Some(path) = address.strip_prefix("mirror+file:") {
        let path = format!("/{}", path.trim_matches('/'));
        let list = std::fs::read_to_string(path).unwrap_or_default();
        return list.lines().filter_map(mirror_list_entry).collect();
    }
    if address.starts_with("http://") || address.starts_with("https://") {
        return vec![address.to_owned()];
    }
    Vec::new()
}

fn mirror_list_entry(line: &str) -> Option<String> {
    let address = line.split_whitespace().next()?;
    address
        .starts_with("http")
        .then(|| with_slash(address.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apts_sources_are_told_apart() {
        let configured = [
            "http://a.example/debian/",
            "http://a.example/debian-security/",
            "http://b.example/apt/",
        ];
        let mirrors = Mirrors::choose(None, None, configured.map(str::to_owned).to_vec()).unwrap();
        assert_eq!(mirrors.of(Archive::Debian), ["http://a.example/debian/"]);
        assert_eq!(
            mirrors.of(Archive::DebianSecurity),
            ["http://a.example/debian-security/"]
        );
    }

    #[test]
    fn the_environment_wins() {
        let configured = vec!["http://a.example/debian/".to_owned()];
        let mirrors =
            Mirrors::choose(Some("https://m.example/debian".into()), None, configured).unwrap();
        assert_eq!(mirrors.of(Archive::Debian), ["https://m.example/debian/"]);
        assert_eq!(
            mirrors.of(Archive::DebianSecurity),
            ["https://m.example/debian-security/"]
        );
    }

    #[test]
    fn a_host_without_debian_sources_is_told_what_to_do() {
        let error =
            Mirrors::choose(None, None, vec!["http://a.example/ubuntu/".into()]).unwrap_err();
        assert!(error.to_string().contains(MIRROR_VARIABLE));
    }

    #[test]
    fn mirror_lists_are_read() {
        let list = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            list.path(),
            "https://a.example/debian\tpriority:1\n# no\n\nhttp://b.example/debian/\n",
        )
        .unwrap();
        let address = format!("mirror+file:{}/", list.path().display());
        assert_eq!(
            expand(&address),
            ["https://a.example/debian/", "http://b.example/debian/"]
        );
        assert_eq!(expand("cdrom:[x]/"), Vec::<String>::new());
    }
}
