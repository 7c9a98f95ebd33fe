//! `--kubelet-arg`: unknown names are errors, and the ones that bear on this system are obeyed.

use std::path::PathBuf;

use thiserror::Error;

/// Flags of the kubelet (its reference, "kubelet" in Kubernetes' documentation). The double obeys
/// those of [`KubeletArguments`] and passes over the rest.
const KNOWN: &[&str] = &[
    "address",
    "allowed-unsafe-sysctls",
    "anonymous-auth",
    "authentication-token-webhook",
    "authorization-mode",
    "cgroup-driver",
    "cgroup-root",
    "cgroups-per-qos",
    "client-ca-file",
    "cluster-dns",
    "cluster-domain",
    "config",
    "config-dir",
    "container-log-max-files",
    "container-log-max-size",
    "cpu-cfs-quota",
    "cpu-manager-policy",
    "enforce-node-allocatable",
    "event-qps",
    "eviction-hard",
    "eviction-minimum-reclaim",
    "eviction-soft",
    "eviction-soft-grace-period",
    "fail-swap-on",
    "feature-gates",
    "healthz-bind-address",
    "healthz-port",
    "image-gc-high-threshold",
    "image-gc-low-threshold",
    "image-service-endpoint",
    "kube-api-burst",
    "kube-api-qps",
    "kube-reserved",
    "kube-reserved-cgroup",
    "kubelet-cgroups",
    "make-iptables-util-chains",
    "max-open-files",
    "max-pods",
    "memory-manager-policy",
    "node-labels",
    "node-status-update-frequency",
    "pod-max-pids",
    "pods-per-core",
    "read-only-port",
    "register-node",
    "register-with-taints",
    "reserved-cpus",
    "resolv-conf",
    "root-dir",
    "runtime-cgroups",
    "runtime-request-timeout",
    "seccomp-default",
    "serialize-image-pulls",
    "streaming-connection-idle-timeout",
    "sync-frequency",
    "system-cgroups",
    "system-reserved",
    "system-reserved-cgroup",
    "tls-cipher-suites",
    "tls-min-version",
    "topology-manager-policy",
    "v",
    "vmodule",
    "volume-plugin-dir",
    "volume-stats-agg-period",
];

/// A kubelet argument that the kubelet would refuse.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum KubeletArgumentError {
    /// No such flag.
    #[error("failed to parse kubelet flag: unknown flag: --{0}")]
    Unknown(String),
    /// A value of another kind.
    #[error("invalid argument {value:?} for \"--{name}\" flag: expected {expected}")]
    Value {
        /// The flag.
        name: &'static str,
        /// What was given.
        value: String,
        /// What belongs there.
        expected: &'static str,
    },
    /// There is no systemd.
    #[error("--kubelet-arg cgroup-driver=systemd on a system whose PID 1 is not systemd")]
    Systemd,
    /// Swap is on.
    #[error(
        "running with swap on is not supported, please disable swap or set --fail-swap-on flag \
         to false"
    )]
    Swap,
}

/// The arguments that the double obeys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubeletArguments {
    /// Swap is an error.
    pub fail_swap_on: bool,
    /// Where volume plugins would be.
    pub volume_plugin_folder: PathBuf,
    /// Where pods' files are.
    pub root_folder: PathBuf,
}

impl KubeletArguments {
    /// Parses `name=value` arguments; a name alone means `true`.
    ///
    /// # Errors
    /// [`KubeletArgumentError`].
    pub fn parse(arguments: &[String]) -> Result<Self, KubeletArgumentError> {
        let mut parsed = Self {
            fail_swap_on: true,
            volume_plugin_folder: PathBuf::from(
                "/usr/libexec/kubernetes/kubelet-plugins/volume/exec/",
            ),
            root_folder: PathBuf::from("/var/lib/kubelet"),
        };
        for argument in arguments {
            let argument = argument.trim_start_matches('-');
            let (name, value) = argument.split_once('=').unwrap_or((argument, "true"));
            match name {
                "fail-swap-on" => {
                    parsed.fail_swap_on =
                        value.parse().map_err(|_| KubeletArgumentError::Value {
                            name: "fail-swap-on",
                            value: value.to_owned(),
                            expected: "true or false",
                        })?;
                }
                "cgroup-driver" => match value {
                    "cgroupfs" => {}
                    "systemd" => return Err(KubeletArgumentError::Systemd),
                    other => {
                        return Err(KubeletArgumentError::Value {
                            name: "cgroup-driver",
                            value: other.to_owned(),
                            expected: "cgroupfs or systemd",
                        });
                    }
                },
                "volume-plugin-dir" => parsed.volume_plugin_folder = PathBuf::from(value),
                "root-dir" => parsed.root_folder = PathBuf::from(value),
                name if KNOWN.contains(&name) => {}
                name => return Err(KubeletArgumentError::Unknown(name.to_owned())),
            }
        }
        Ok(parsed)
    }

    /// Refuses swap, given `/proc/swaps`, unless the arguments allow it.
    ///
    /// # Errors
    /// [`KubeletArgumentError::Swap`].
    pub fn check_swap(&self, swaps: &str) -> Result<(), KubeletArgumentError> {
        let on = swaps.lines().skip(1).any(|line| !line.trim().is_empty());
        if self.fail_swap_on && on {
            Err(KubeletArgumentError::Swap)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<KubeletArguments, KubeletArgumentError> {
        KubeletArguments::parse(
            &arguments
                .iter()
                .map(|&text| text.into())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn known_arguments_are_taken_and_others_refused() {
        let arguments = parse(&[
            "fail-swap-on=false",
            "volume-plugin-dir=/var/lib/kubelet/volumeplugins",
            "cgroup-driver=cgroupfs",
            "max-pods=20",
        ])
        .unwrap();
        assert!(!arguments.fail_swap_on);
        assert_eq!(
            arguments.volume_plugin_folder,
            PathBuf::from("/var/lib/kubelet/volumeplugins")
        );
        assert_eq!(
            parse(&["fail-swap=false"]),
            Err(KubeletArgumentError::Unknown("fail-swap".into()))
        );
        assert_eq!(
            parse(&["cgroup-driver=systemd"]),
            Err(KubeletArgumentError::Systemd)
        );
        assert!(matches!(
            parse(&["fail-swap-on=perhaps"]),
            Err(KubeletArgumentError::Value { .. })
        ));
    }

    #[test]
    fn swap_is_refused_unless_allowed() {
        let header = "Filename\tType\tSize\tUsed\tPriority\n";
        let on = format!("{header}/dev/zram0 partition 1024 0 -2\n");
        let strict = parse(&[]).unwrap();
        assert_eq!(strict.check_swap(&on), Err(KubeletArgumentError::Swap));
        strict.check_swap(header).unwrap();
        parse(&["fail-swap-on=false"])
            .unwrap()
            .check_swap(&on)
            .unwrap();
    }
}
