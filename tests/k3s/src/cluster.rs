//! What both sides of a join know: paths, headers, and the cluster's settings on the wire.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// The CA bundle, for anyone.
pub const CA_CERTS: &str = "/cacerts";
/// Where the calls of agents live.
pub const PREFIX: &str = "/v1-k3s/";
/// The tunnel.
pub const CONNECT: &str = "/v1-k3s/connect";
/// The header with a node's name.
pub const NODE_NAME: &str = "k3s-node-name";
/// The header with a node's password.
pub const NODE_PASSWORD: &str = "k3s-node-password";
/// The header with a node's addresses, comma-separated.
pub const NODE_IP: &str = "k3s-node-ip";

/// The part of the server's configuration that agents read, under the names of Go's fields
/// (k3s, `pkg/daemons/config/types.go`, `Control`). Agents skip fields that they don't know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Settings {
    /// The cluster's DNS service.
    #[serde(rename = "ClusterDNS")]
    pub cluster_dns: Option<Ipv4Addr>,
    /// The domain of services.
    pub cluster_domain: String,
    /// The range of pods.
    #[serde(rename = "ClusterIPRange")]
    pub cluster_ip_range: Option<Range>,
    /// The range of services.
    #[serde(rename = "ServiceIPRange")]
    pub service_ip_range: Option<Range>,
    /// How pods of different nodes reach each other; `none` here: the double has one bridge.
    pub flannel_backend: String,
    /// Which connections servers may ask agents for.
    pub egress_selector_mode: String,
    /// The port of the Kubernetes API.
    #[serde(rename = "HTTPSPort")]
    pub https_port: u16,
    /// The port of the calls of agents.
    pub supervisor_port: u16,
    /// No kube-proxy on agents.
    pub disable_kube_proxy: bool,
    /// No network policies.
    #[serde(rename = "DisableNPC")]
    pub disable_network_policy: bool,
    /// No cloud controller.
    #[serde(rename = "DisableCCM")]
    pub disable_cloud_controller: bool,
}

impl Default for Settings {
    /// k3s's own defaults, but for what the double does not have.
    fn default() -> Self {
        Self {
            cluster_dns: Some(Ipv4Addr::new(10, 43, 0, 10)),
            cluster_domain: "cluster.local".to_owned(),
            cluster_ip_range: Some(Range {
                address: Ipv4Addr::new(10, 42, 0, 0),
                prefix: 16,
            }),
            service_ip_range: Some(Range {
                address: Ipv4Addr::new(10, 43, 0, 0),
                prefix: 16,
            }),
            flannel_backend: "none".to_owned(),
            egress_selector_mode: "agent".to_owned(),
            https_port: 6443,
            supervisor_port: 6443,
            disable_kube_proxy: true,
            disable_network_policy: true,
            disable_cloud_controller: true,
        }
    }
}

/// A range of IPv4 addresses; in JSON as Go writes a `net.IPNet`: the address as text, the mask
/// as base64 of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "GoRange", into = "GoRange")]
pub struct Range {
    /// The first address.
    pub address: Ipv4Addr,
    /// The length of the prefix, at most 32.
    pub prefix: u8,
}

impl Range {
    /// Whether `address` is in the range.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        let mask = self.mask();
        u32::from(address) & mask == u32::from(self.address) & mask
    }

    fn mask(&self) -> u32 {
        u32::MAX
            .checked_shl(32 - u32::from(self.prefix))
            .unwrap_or(0)
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.address, self.prefix)
    }
}

impl std::str::FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("expected an IPv4 range such as 10.42.0.0/24, not {text:?}");
        let (address, prefix) = text.split_once('/').ok_or_else(expected)?;
        let address = address.parse().map_err(|_| expected())?;
        let prefix = prefix
            .parse()
            .ok()
            .filter(|prefix| *prefix <= 32)
            .ok_or_else(expected)?;
        Ok(Self { address, prefix })
    }
}

#[derive(Serialize, Deserialize)]
struct GoRange {
    #[serde(rename = "IP")]
    address: Ipv4Addr,
    #[serde(rename = "Mask")]
    mask: String,
}

impl From<Range> for GoRange {
    fn from(range: Range) -> Self {
        use base64::Engine as _;
        let mask = range.mask().to_be_bytes();
        Self {
            address: range.address,
            mask: base64::engine::general_purpose::STANDARD.encode(mask),
        }
    }
}

impl TryFrom<GoRange> for Range {
    type Error = &'static str;

    fn try_from(range: GoRange) -> Result<Self, Self::Error> {
        use base64::Engine as _;
        let mask = base64::engine::general_purpose::STANDARD
            .decode(range.mask)
            .ok()
            .and_then(|bytes| <[u8; 4]>::try_from(bytes).ok())
            .map(u32::from_be_bytes)
            .ok_or("expected four bytes of mask in base64")?;
        if mask.leading_ones() + mask.trailing_zeros() != 32 {
            return Err("expected a mask of ones followed by zeros");
        }
        // At most 32, so it fits.
        Ok(Self {
            address: range.address,
            prefix: mask.leading_ones() as u8,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_written_as_go_writes_them() {
        let range: Range = "10.42.0.0/16".parse().unwrap();
        assert_eq!(
            serde_json::to_string(&range).unwrap(),
            r#"{"IP":"10.42.0.0","Mask":"//8AAA=="}"#
        );
        assert_eq!(
            serde_json::from_str::<Range>(r#"{"IP":"10.42.3.0","Mask":"////AA=="}"#).unwrap(),
            "10.42.3.0/24".parse().unwrap()
        );
        assert!(serde_json::from_str::<Range>(r#"{"IP":"10.42.3.0","Mask":"/wD/AA=="}"#).is_err());
        assert!(range.contains("10.42.255.1".parse().unwrap()));
        assert!(!range.contains("10.43.0.1".parse().unwrap()));
        assert!("10.42.0.0/33".parse::<Range>().is_err());
    }

    #[test]
    fn a_real_servers_settings_are_understood() {
        let text = r#"{"ClusterDNSs":["10.43.0.10"],"ClusterIPRanges":[{"IP":"10.42.0.0","Mask":
            "//8AAA=="}],"ClusterDNS":"10.43.0.10","ClusterDomain":"cluster.local","HTTPSPort":6444,
            "SupervisorPort":6443,"FlannelBackend":"vxlan","Disables":{"traefik":true}}"#;
        let settings: Settings = serde_json::from_str(text).unwrap();
        assert_eq!(settings.https_port, 6444);
        assert_eq!(settings.flannel_backend, "vxlan");
    }
}
