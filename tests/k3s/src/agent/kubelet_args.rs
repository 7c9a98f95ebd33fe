//! `--kubelet-arg`: unknown names are errors, and the ones that bear on this system are obeyed.

use std::path::PathBuf;

use thiserror::Error;

/// Every flag of the kubelet 1.36 (Kubernetes, `cmd/kubelet/app/options`; component-base, `logs`,
/// without JSON logs, which k3s does not link). Gone by 1.35: `pod-infra-container-image`. The
/// double obeys those of [`KubeletArguments`] and passes over the rest.
const KNOWN: &str = "
    address allowed-unsafe-sysctls anonymous-auth application-metrics-count-limit
    authentication-token-webhook authentication-token-webhook-cache-ttl authorization-mode
    authorization-webhook-cache-authorized-ttl authorization-webhook-cache-unauthorized-ttl
    boot-id-file bootstrap-kubeconfig cert-dir cgroup-driver cgroup-root cgroups-per-qos
    client-ca-file cloud-provider cluster-dns cluster-domain config config-dir container-hints
    container-log-max-files container-log-max-size container-runtime-endpoint containerd
    containerd-namespace contention-profiling cpu-cfs-quota cpu-cfs-quota-period
    cpu-manager-policy cpu-manager-policy-options cpu-manager-reconcile-period
    enable-controller-attach-detach enable-debugging-handlers enable-load-reader enable-server
    enforce-node-allocatable event-burst event-qps event-storage-age-limit
    event-storage-event-limit eviction-hard eviction-max-pod-grace-period eviction-minimum-reclaim
    eviction-pressure-transition-period eviction-soft eviction-soft-grace-period
    exit-on-lock-contention experimental-allocatable-ignore-eviction experimental-mounter-path
    fail-cgroupv1 fail-swap-on feature-gates file-check-frequency global-housekeeping-interval
    hairpin-mode healthz-bind-address healthz-port hostname-override housekeeping-interval
    http-check-frequency image-credential-provider-bin-dir image-credential-provider-config
    image-gc-high-threshold image-gc-low-threshold image-service-endpoint
    kernel-memcg-notification kube-api-burst kube-api-content-type kube-api-qps kube-reserved
    kube-reserved-cgroup kubeconfig kubelet-cgroups local-storage-capacity-isolation lock-file
    log-cadvisor-usage log-flush-frequency log-text-info-buffer-size log-text-split-stream
    logging-format machine-id-file make-iptables-util-chains manifest-url manifest-url-header
    max-open-files max-pods maximum-dead-containers maximum-dead-containers-per-container
    memory-manager-policy minimum-container-ttl-duration minimum-image-ttl-duration node-ip
    node-labels node-status-max-images node-status-update-frequency oom-score-adj pod-cidr
    pod-manifest-path pod-max-pids pods-per-core port protect-kernel-defaults provider-id
    qos-reserved read-only-port register-node register-with-taints registry-burst registry-qps
    reserved-cpus reserved-memory resolv-conf root-dir rotate-certificates
    rotate-server-certificates runonce runtime-cgroups runtime-request-timeout seccomp-default
    serialize-image-pulls storage-driver-buffer-duration storage-driver-db storage-driver-host
    storage-driver-password storage-driver-secure storage-driver-table storage-driver-user
    streaming-connection-idle-timeout sync-frequency system-cgroups system-reserved
    system-reserved-cgroup tls-cert-file tls-cipher-suites tls-min-version tls-private-key-file
    topology-manager-policy topology-manager-policy-options topology-manager-scope v version
    vmodule volume-plugin-dir volume-stats-agg-period
";

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
    #[error("systemd not running on this host, cannot use systemd cgroups manager")]
    Systemd,
    /// Swap is on.
    #[error(
        "running with swap on is not supported, please disable swap or set --fail-swap-on flag \
         to false"
    )]
    Swap,
}

/// What makes and limits the cgroups of pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupDriver {
    /// The kubelet and the runtime, which write the cgroups' files themselves.
    Cgroupfs,
    /// systemd, which must be PID 1.
    Systemd,
}

/// The arguments that the double obeys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubeletArguments {
    /// The driver where the runtime does not name one.
    pub cgroup_driver: CgroupDriver,
    /// Swap is an error.
    pub fail_swap_on: bool,
    /// Where volume plugins would be.
    pub volume_plugin_folder: PathBuf,
    /// Where pods' files are.
    pub root_folder: PathBuf,
    /// The kubelet's configuration file.
    pub config: Option<PathBuf>,
}

impl KubeletArguments {
    /// Parses `name=value` arguments; a name alone means `true`.
    ///
    /// # Errors
    /// [`KubeletArgumentError`].
    pub fn parse(arguments: &[String]) -> Result<Self, KubeletArgumentError> {
        let mut parsed = Self {
            // as in the configuration that k3s writes (pkg/daemons/agent, defaultKubeletConfig)
            cgroup_driver: CgroupDriver::Cgroupfs,
            fail_swap_on: true,
            volume_plugin_folder: PathBuf::from(
                "/usr/libexec/kubernetes/kubelet-plugins/volume/exec/",
            ),
            root_folder: PathBuf::from("/var/lib/kubelet"),
            config: None,
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
                "cgroup-driver" => {
                    parsed.cgroup_driver = match value {
                        "cgroupfs" => CgroupDriver::Cgroupfs,
                        "systemd" => CgroupDriver::Systemd,
                        other => {
                            return Err(KubeletArgumentError::Value {
                                name: "cgroup-driver",
                                value: other.to_owned(),
                                expected: "cgroupfs or systemd",
                            });
                        }
                    };
                }
                "volume-plugin-dir" => parsed.volume_plugin_folder = PathBuf::from(value),
                "config" => parsed.config = Some(PathBuf::from(value)),
                "root-dir" => parsed.root_folder = PathBuf::from(value),
                name if KNOWN.split_whitespace().any(|known| known == name) => {}
                name => return Err(KubeletArgumentError::Unknown(name.to_owned())),
            }
        }
        Ok(parsed)
    }

    /// Refuses a cgroup driver that needs systemd. The runtime's word counts; the argument counts
    /// where the runtime has none (Kubernetes, `cmd/kubelet/app/server.go`,
    /// `getCgroupDriverFromCRI`).
    ///
    /// # Errors
    /// [`KubeletArgumentError::Systemd`].
    pub fn check_driver(&self, reported: Option<CgroupDriver>) -> Result<(), KubeletArgumentError> {
        match reported.unwrap_or(self.cgroup_driver) {
            CgroupDriver::Cgroupfs => Ok(()),
            CgroupDriver::Systemd => Err(KubeletArgumentError::Systemd),
        }
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
            "config=/run/daas/agent/kubelet.json",
        ])
        .unwrap();
        assert!(!arguments.fail_swap_on);
        assert_eq!(
            arguments.config,
            Some(PathBuf::from("/run/daas/agent/kubelet.json"))
        );
        assert_eq!(
            arguments.volume_plugin_folder,
            PathBuf::from("/var/lib/kubelet/volumeplugins")
        );
        assert_eq!(
            parse(&["fail-swap=false"]),
            Err(KubeletArgumentError::Unknown("fail-swap".into()))
        );
        for argument in ["fail-swap-on=perhaps", "cgroup-driver=perhaps"] {
            assert!(matches!(
                parse(&[argument]),
                Err(KubeletArgumentError::Value { .. })
            ));
        }
    }

    #[test]
    fn flag_that_is_gone_or_not_linked_is_refused() {
        for name in [
            "container-runtime",
            "log-json-split-stream",
            "keep-terminated-pod-volumes",
            "master-service-namespace",
            "pod-infra-container-image",
        ] {
            assert_eq!(
                parse(&[&format!("{name}=x")]),
                Err(KubeletArgumentError::Unknown(name.into()))
            );
        }
        parse(&["image-service-endpoint=unix:///run/x", "containerd=/run/x"]).unwrap();
    }

    #[test]
    fn cgroup_driver_is_the_runtimes_then_the_arguments() {
        let (cgroupfs, systemd) = (Some(CgroupDriver::Cgroupfs), Some(CgroupDriver::Systemd));
        let default = parse(&[]).unwrap();
        default.check_driver(None).unwrap();
        default.check_driver(cgroupfs).unwrap();
        assert_eq!(
            default.check_driver(systemd),
            Err(KubeletArgumentError::Systemd)
        );
        let argument = parse(&["cgroup-driver=systemd"]).unwrap();
        argument.check_driver(cgroupfs).unwrap();
        assert_eq!(
            argument.check_driver(None),
            Err(KubeletArgumentError::Systemd)
        );
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
