//! What the agent asks of the operating system before it joins, as k3s and the kubelet do.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::files::{self, FileError};

/// No file that is read here is longer.
const FILE_LIMIT: u64 = 1024 * 1024;

/// The machine does not meet a demand.
#[derive(Debug, Error)]
pub enum HostError {
    /// A file is missing or cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Not root.
    #[error("agent requires additional privilege if not run with --rootless: not running as root")]
    Privilege,
    /// k3s would ask systemd for cgroups.
    #[error("INVOCATION_ID is set: k3s would take systemd for the cgroup manager")]
    Systemd,
    /// k3s's kubelet would feed a watchdog that is not its own.
    #[error("WATCHDOG_USEC is set: the kubelet would start feeding a watchdog")]
    Watchdog,
    /// cadvisor's labels break with a scheme.
    #[error("--container-runtime-endpoint must be a bare absolute path, not {0:?}")]
    Endpoint(String),
    /// No address to advertise.
    #[error("failed to get node name and addresses: unable to select an IP from default routes")]
    DefaultRoute,
    /// The interface of the default route has no address.
    #[error(
        "failed to get node name and addresses: {0} holds the default route but no address of its family"
    )]
    NoAddress(String),
    /// The addresses of interfaces cannot be listed.
    #[error("cannot list the addresses of interfaces")]
    Addresses(#[source] nix::Error),
    /// A node needs a name.
    #[error("the node has no name: give --node-name or set a host name")]
    NoName,
}

/// The machine, or a folder that stands for it in tests.
#[derive(Debug, Clone)]
pub struct Host {
    root: PathBuf,
}

impl Host {
    /// The machine itself.
    pub fn real() -> Self {
        Self {
            root: PathBuf::from("/"),
        }
    }

    /// A folder in place of `/`.
    pub fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// Where the absolute `path` is.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Reads a file of at most 1 MiB.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn read(&self, path: impl AsRef<Path>) -> Result<String, FileError> {
        files::read(&self.path(path), FILE_LIMIT)
    }

    /// The machine's memory in bytes; 0 where it does not say.
    #[must_use]
    pub fn memory(&self) -> u64 {
        let text = self.read("/proc/meminfo").unwrap_or_default();
        let total = text.lines().find_map(|line| {
            let kibibytes = line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?;
            kibibytes.trim().parse::<u64>().ok()
        });
        total.unwrap_or_default() * 1024
    }

    /// How many processes and threads the kernel allows, as the kubelet reads it (`pkg/kubelet/stats/pidlimit`).
    #[must_use]
    pub fn processes(&self) -> u64 {
        let limits = ["/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"]
            .into_iter()
            .filter_map(|path| self.read(path).ok()?.trim().parse().ok());
        limits.min().unwrap_or_default()
    }

    /// Root, no systemd's variables.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn check_process(&self) -> Result<(), HostError> {
        if !rustix::process::geteuid().is_root() {
            return Err(HostError::Privilege);
        }
        if std::env::var_os("INVOCATION_ID").is_some() {
            return Err(HostError::Systemd);
        }
        if std::env::var_os("WATCHDOG_USEC").is_some() {
            return Err(HostError::Watchdog);
        }
        Ok(())
    }

    /// The node's name: given or the host's, in lower case as Kubernetes demands.
    ///
    /// # Errors
    /// [`HostError::NoName`].
    pub fn node_name(&self, given: Option<&str>) -> Result<String, HostError> {
        let name = match given {
            Some(name) => name.to_owned(),
            None => self.read("/proc/sys/kernel/hostname")?.trim().to_owned(),
        };
        if name.is_empty() || name == "(none)" {
            return Err(HostError::NoName);
        }
        Ok(name.to_lowercase())
    }

    /// The node's address: given, or that of the interface with the default route.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn node_address(&self, given: Option<Ipv4Addr>) -> Result<IpAddr, HostError> {
        // Checked in any case: without it no pod gets out. IPv4 comes first, as with k3s.
        let routes = self.read("/proc/net/route")?;
        let routes6 = self.read("/proc/net/ipv6_route").unwrap_or_default();
        let (interface, four) = default_interface(&routes)
            .map(|name| (name, true))
            .or_else(|| default_interface6(&routes6).map(|name| (name, false)))
            .ok_or(HostError::DefaultRoute)?;
        if let Some(address) = given {
            return Ok(address.into());
        }
        nix::ifaddrs::getifaddrs()
            .map_err(HostError::Addresses)?
            .filter(|entry| entry.interface_name == interface)
            .find_map(|entry| {
                let address = entry.address?;
                if four {
                    return Some(address.as_sockaddr_in()?.ip().into());
                }
                let address = address.as_sockaddr_in6()?.ip();
                (!address.is_unicast_link_local()).then_some(address.into())
            })
            .ok_or_else(|| HostError::NoAddress(interface.to_owned()))
    }

    /// The resolv.conf that pods get: given, the host's, or one with a public server when the
    /// host's is of no use in a pod.
    ///
    /// # Errors
    /// The substitute cannot be written.
    pub fn resolv_conf(
        &self,
        given: Option<&Path>,
        data_folder: &Path,
    ) -> Result<PathBuf, HostError> {
        if let Some(given) = given {
            return Ok(given.to_owned());
        }
        let path = self.path("/etc/resolv.conf");
        if files::read(&path, FILE_LIMIT).is_ok_and(|text| serves_pods(&text)) {
            return Ok(path);
        }
        let substitute = data_folder.join("agent/etc/resolv.conf");
        files::make_folder(&data_folder.join("agent/etc"), 0o755)?;
        files::write(&substitute, b"nameserver 8.8.8.8\n", 0o644)?;
        tracing::warn!(
            substitute = %substitute.display(),
            "host resolv.conf has no name server that a pod can use: kubelet will use an \
             autogenerated one with nameserver 8.8.8.8"
        );
        Ok(substitute)
    }

    /// Tools that k3s, the kubelet or CNI plugins run; k3s brings some of them itself.
    pub fn missing_tools(&self) -> Vec<&'static str> {
        const TOOLS: [&str; 12] = [
            "mount",
            "umount",
            "modprobe",
            "iptables",
            "ip",
            "conntrack",
            "ipset",
            "ethtool",
            "losetup",
            "blkid",
            "find",
            "sh",
        ];
        let path = std::env::var_os("PATH").unwrap_or_default();
        TOOLS
            .into_iter()
            .filter(|tool| {
                !std::env::split_paths(&path).any(|folder| self.path(folder.join(tool)).exists())
            })
            .collect()
    }
}

/// The endpoint as k3s wants it.
///
/// # Errors
/// [`HostError::Endpoint`].
pub fn check_endpoint(endpoint: &str) -> Result<&Path, HostError> {
    if endpoint.starts_with('/') && !endpoint.contains("://") {
        return Ok(Path::new(endpoint));
    }
    Err(HostError::Endpoint(endpoint.to_owned()))
}

/// The interface of the default route in `/proc/net/route` (proc(5); columns: interface,
/// destination, gateway, flags, …, mask).
fn default_interface(routes: &str) -> Option<&str> {
    /// `RTF_UP`, linux/route.h.
    const UP: u32 = 1;
    routes.lines().skip(1).find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [interface, destination, _, flags, _, _, _, mask, ..] = columns.as_slice() else {
            return None;
        };
        let flags = u32::from_str_radix(flags, 16).ok()?;
        (*destination == "00000000" && *mask == "00000000" && flags & UP != 0).then_some(*interface)
    })
}

/// The interface of the default route of `/proc/net/ipv6_route`.
fn default_interface6(routes: &str) -> Option<&str> {
    /// `RTF_UP` and `RTF_GATEWAY`, linux/route.h.
    const BY_GATEWAY: u32 = 3;
    routes.lines().find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [destination, prefix, _, _, _, _, _, _, flags, interface] = columns.as_slice() else {
            return None;
        };
        let flags = u32::from_str_radix(flags, 16).ok()?;
        let default = *prefix == "00" && destination.bytes().all(|digit| digit == b'0');
        (default && flags & BY_GATEWAY == BY_GATEWAY).then_some(*interface)
    })
}

/// Whether a pod could use this resolv.conf: at least one name server, and none on the loopback
/// address or for many hosts.
fn serves_pods(text: &str) -> bool {
    let mut servers = text
        .lines()
        .filter_map(|line| line.strip_prefix("nameserver")?.split_whitespace().next());
    let usable = |server: &str| {
        server.parse::<IpAddr>().is_ok_and(|address| {
            let link_local = match address {
                IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
                IpAddr::V6(address) => address.is_unicast_link_local(),
            };
            !(address.is_loopback()
                || address.is_multicast()
                || address.is_unspecified()
                || link_local)
        })
    };
    match servers.next() {
        Some(first) => usable(first) && servers.all(usable),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_route_is_found_and_missed() {
        let header = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\n";
        let local = "eth0\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        let default = "eth0\t00000000\t0202000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
        assert_eq!(
            default_interface(&format!("{header}{local}{default}")),
            Some("eth0")
        );
        assert_eq!(default_interface(&format!("{header}{local}")), None);
    }

    #[test]
    fn default_route_of_ipv6_needs_a_gateway() {
        let zero = "0".repeat(32);
        let route = |flags: &str, name: &str| {
            format!("{zero} 00 {zero} 00 {zero} 00000400 00000001 00000000 {flags} {name}\n")
        };
        // the kernel's own entry that rejects, on lo
        let rejects = route("00200200", "lo");
        let default = route("00450003", "eth0");
        assert_eq!(
            default_interface6(&format!("{rejects}{default}")),
            Some("eth0")
        );
        assert_eq!(default_interface6(&rejects), None);
    }

    #[test]
    fn a_resolv_conf_of_no_use_in_pods_is_replaced() {
        assert!(serves_pods("search x\nnameserver 10.0.2.3\n"));
        assert!(!serves_pods(""));
        assert!(!serves_pods("nameserver 127.0.0.53\n"));
        assert!(!serves_pods("nameserver 10.0.2.3\nnameserver ::1\n"));

        let root = tempfile::tempdir().unwrap();
        let host = Host::at(root.path());
        let data = root.path().join("data");
        let substitute = host.resolv_conf(None, &data).unwrap();
        assert_eq!(
            std::fs::read_to_string(substitute).unwrap(),
            "nameserver 8.8.8.8\n"
        );
        std::fs::create_dir(root.path().join("etc")).unwrap();
        std::fs::write(root.path().join("etc/resolv.conf"), "nameserver 10.0.2.3\n").unwrap();
        assert_eq!(
            host.resolv_conf(None, &data).unwrap(),
            root.path().join("etc/resolv.conf")
        );
    }

    #[test]
    fn the_endpoint_is_a_bare_path() {
        assert!(check_endpoint(wire::paths::CONTAINERD_SOCKET).is_ok());
        assert!(check_endpoint("unix:///run/containerd/containerd.sock").is_err());
        assert!(check_endpoint("containerd.sock").is_err());
    }
}
