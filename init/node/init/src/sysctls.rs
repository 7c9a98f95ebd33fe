//! Kernel parameters below `/proc/sys` (Documentation/admin-guide/sysctl).

use std::io;

/// One parameter.
#[derive(Debug, Clone, Copy)]
struct Sysctl {
    name: &'static str,
    value: &'static str,
}

const fn set(name: &'static str, value: &'static str) -> Sysctl {
    Sysctl { name, value }
}

/// What is set before anything is started.
const EARLY: &[Sysctl] = &[
    // A crash restarts the machine; the kubelet asks for the same with protect-kernel-defaults.
    set("kernel.panic", "10"),
    set("kernel.panic_on_oops", "1"),
    // As the kubelet wants them (pkg/kubelet/cm/container_manager_linux.go).
    set("vm.overcommit_memory", "1"),
    set("vm.panic_on_oom", "0"),
    set("kernel.keys.root_maxkeys", "1000000"),
    set("kernel.keys.root_maxbytes", "25000000"),
    // Many pods, each with many watches and mappings.
    set("fs.inotify.max_user_instances", "8192"),
    set("fs.inotify.max_user_watches", "1048576"),
    set("vm.max_map_count", "1048576"),
    set("kernel.pid_max", "4194304"),
    // Pods are routed through the node.
    set("net.ipv4.ip_forward", "1"),
    set("net.ipv6.conf.all.forwarding", "1"),
    set("net.ipv6.conf.default.forwarding", "1"),
    // A forwarding node still takes its own address from router advertisements.
    set("net.ipv6.conf.all.accept_ra", "2"),
    set("net.ipv6.conf.default.accept_ra", "2"),
    // Nobody on the link tells the node where to send its packets.
    set("net.ipv4.conf.all.accept_redirects", "0"),
    set("net.ipv4.conf.default.accept_redirects", "0"),
    set("net.ipv4.conf.all.send_redirects", "0"),
    set("net.ipv4.conf.default.send_redirects", "0"),
    set("net.ipv4.conf.all.accept_source_route", "0"),
    set("net.ipv6.conf.all.accept_redirects", "0"),
    set("net.ipv6.conf.default.accept_redirects", "0"),
    // What the kernel knows of itself is for root alone, and nothing replaces the kernel that was
    // measured at boot.
    set("kernel.kptr_restrict", "2"),
    set("kernel.dmesg_restrict", "1"),
    set("kernel.kexec_load_disabled", "1"),
    set("kernel.unprivileged_bpf_disabled", "1"),
    set("net.core.bpf_jit_harden", "1"),
    // No program reads another's memory without CAP_SYS_PTRACE.
    set("kernel.yama.ptrace_scope", "2"),
    set("kernel.perf_event_paranoid", "3"),
    set("vm.unprivileged_userfaultfd", "0"),
    set("dev.tty.ldisc_autoload", "0"),
    set("dev.tty.legacy_tiocsti", "0"),
    // Most escapes from containers of the last years began there; programs that use it do without.
    set("kernel.io_uring_disabled", "2"),
    set("kernel.randomize_va_space", "2"),
    set("vm.mmap_min_addr", "65536"),
    set("vm.mmap_rnd_bits", "32"),
    set("vm.mmap_rnd_compat_bits", "16"),
    // The keyboard's and the serial line's magic key; `/proc/sysrq-trigger` still works for root.
    set("kernel.sysrq", "0"),
    // Links and pipes in directories that everybody writes to.
    set("fs.protected_hardlinks", "1"),
    set("fs.protected_symlinks", "1"),
    set("fs.protected_fifos", "2"),
    set("fs.protected_regular", "2"),
    // A dump of memory would hold secrets.
    set("fs.suid_dumpable", "0"),
    set("kernel.core_pattern", "|/bin/false"),
];

/// What exists only once the module `br_netfilter` is loaded: pods' packets on a bridge pass
/// iptables, where services and network policies are.
const BRIDGE: &[Sysctl] = &[
    set("net.bridge.bridge-nf-call-iptables", "1"),
    set("net.bridge.bridge-nf-call-ip6tables", "1"),
];

/// Longer than any value here.
const VALUE_LIMIT: usize = 256;

/// Sets the parameters that need no module. What the kernel does not have or refuses is logged:
/// none of them is worth a node that does not start.
pub(crate) fn apply() {
    EARLY.iter().for_each(apply_one);
}

/// Sets the parameters of bridges, after `br_netfilter` is loaded.
pub(crate) fn apply_bridge() {
    BRIDGE.iter().for_each(apply_one);
}

fn apply_one(sysctl: &Sysctl) {
    let Sysctl { name, value } = *sysctl;
    match files::write_existing(path(name), value) {
        Ok(()) => check(sysctl),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            tracing::info!(name, "this kernel does not have the sysctl");
        }
        Err(error) => tracing::warn!(name, value, %error, "a sysctl is not set"),
    }
}

/// What was set is read back: the kernel takes some values and keeps others.
fn check(sysctl: &Sysctl) {
    let Sysctl { name, value } = *sysctl;
    let found = files::read_text(path(name), VALUE_LIMIT).unwrap_or_default();
    let found = found.trim();
    if found != value {
        tracing::warn!(
            name,
            value,
            found,
            "a sysctl has another value than was set"
        );
    }
}

/// Dots part the names, as in sysctl(8).
fn path(name: &str) -> String {
    format!("/proc/sys/{}", name.replace('.', "/"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_parameter_stands_once() {
        let mut names = HashSet::new();
        for sysctl in EARLY.iter().chain(BRIDGE) {
            assert!(names.insert(sysctl.name), "{} stands twice", sysctl.name);
            assert!(!sysctl.name.contains('/') && !sysctl.value.is_empty());
        }
        assert_eq!(path("net.ipv4.ip_forward"), "/proc/sys/net/ipv4/ip_forward");
    }
}
