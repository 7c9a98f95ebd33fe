//! Kernel modules and settings that k3s and the kubelet see to themselves.
//!
//! Sources: k3s, `pkg/agent/syssetup`; Kubernetes, `pkg/kubelet/cm/container_manager_linux.go`
//! (`setupKernelTunables`).

use std::process::Stdio;
use std::time::Duration;

use thiserror::Error;
use tokio::process::Command;

use super::host::Host;
use crate::files::FileError;

/// No tool may take longer.
const TOOL_TIMEOUT: Duration = Duration::from_secs(60);

/// The kernel cannot be set up.
#[derive(Debug, Error)]
pub enum KernelError {
    /// A setting cannot be read or written.
    #[error("failed to set the kernel's {name}")]
    Setting {
        /// Below `/proc/sys`.
        name: &'static str,
        /// Why.
        source: FileError,
    },
    /// A setting differs and must not be changed.
    #[error("invalid kernel flag: {name}, expected value: {expected}, actual value: {actual}")]
    Protected {
        /// Below `/proc/sys`.
        name: &'static str,
        /// The kubelet's wish.
        expected: &'static str,
        /// What it is.
        actual: String,
    },
    /// A tool is missing or failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
}

/// A tool is missing or failed.
#[derive(Debug, Error)]
pub enum ToolError {
    /// Not found or not runnable.
    #[error("cannot run {tool}")]
    Run {
        /// Its name.
        tool: String,
        /// Why.
        source: std::io::Error,
    },
    /// It said no.
    #[error("{tool} failed with {status}: {message}")]
    Failed {
        /// Its name.
        tool: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The end of its standard error.
        message: String,
    },
    /// It hung.
    #[error("{0} took more than {limit} s", limit = TOOL_TIMEOUT.as_secs())]
    Timeout(String),
}

/// Runs one of the host's tools to its end.
///
/// # Errors
/// [`ToolError`].
pub async fn run(tool: &str, arguments: &[&str]) -> Result<(), ToolError> {
    let output = Command::new(tool)
        .args(arguments)
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(TOOL_TIMEOUT, output)
        .await
        .map_err(|_| ToolError::Timeout(tool.to_owned()))?
        .map_err(|source| ToolError::Run {
            tool: tool.to_owned(),
            source,
        })?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr);
    let message = message.trim().chars().take(512).collect();
    Err(ToolError::Failed {
        tool: tool.to_owned(),
        status: output.status,
        message,
    })
}

/// Loads modules and writes settings.
///
/// # Errors
/// [`KernelError`] for what the kubelet or CNI plugins fail on; the rest is a warning, as in k3s.
pub async fn set_up(host: &Host, protect_defaults: bool) -> Result<(), KernelError> {
    for module in [
        "overlay",
        "nf_conntrack",
        "br_netfilter",
        "iptable_nat",
        "iptable_filter",
    ] {
        if host.path("/sys/module").join(module).exists() {
            continue;
        }
        if let Err(error) = run("modprobe", &["--", module]).await {
            tracing::warn!(module, %error, "failed to load kernel module with modprobe");
        }
    }
    for name in [
        "net/ipv4/conf/all/forwarding",
        "net/ipv4/conf/default/forwarding",
        "net/bridge/bridge-nf-call-iptables",
    ] {
        if let Err(error) = set(host, name, "1", false) {
            tracing::error!(
                name,
                error = crate::logging::chain(&error),
                "failed to set sysctl"
            );
        }
    }
    for (name, value) in [
        ("vm/overcommit_memory", "1"),
        ("vm/panic_on_oom", "0"),
        ("kernel/panic", "10"),
        ("kernel/panic_on_oops", "1"),
        ("kernel/keys/root_maxkeys", "1000000"),
        ("kernel/keys/root_maxbytes", "25000000"),
    ] {
        set(host, name, value, protect_defaults)?;
    }
    // What kube-proxy, network policies and the bridge plugin's masquerading run.
    Ok(run("iptables", &["-w", "30", "-t", "nat", "-S"]).await?)
}

fn set(
    host: &Host,
    name: &'static str,
    value: &'static str,
    protect: bool,
) -> Result<(), KernelError> {
    let fail = |source| KernelError::Setting { name, source };
    let path = host.path("/proc/sys").join(name);
    let actual = crate::files::read(&path, 4096)
        .map_err(fail)?
        .trim()
        .to_owned();
    if actual == value {
        return Ok(());
    }
    if protect {
        return Err(KernelError::Protected {
            name,
            expected: value,
            actual,
        });
    }
    tracing::info!(name, value, "set sysctl");
    std::fs::write(&path, value).map_err(|source| fail(FileError::new("write", &path, source)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_written_once_and_protected_ones_are_not() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::at(root.path());
        let path = root.path().join("proc/sys/kernel/panic");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "0\n").unwrap();
        let error = set(&host, "kernel/panic", "10", true).unwrap_err();
        assert!(matches!(error, KernelError::Protected { .. }));
        set(&host, "kernel/panic", "10", false).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "10");
        set(&host, "kernel/panic", "10", true).unwrap();
        assert!(matches!(
            set(&host, "vm/missing", "1", false),
            Err(KernelError::Setting { .. })
        ));
    }

    #[tokio::test]
    async fn a_tools_failure_carries_its_words() {
        run("sh", &["-c", "exit 0"]).await.unwrap();
        let error = run("sh", &["-c", "echo no such thing >&2; exit 3"])
            .await
            .unwrap_err();
        assert!(error.to_string().contains("no such thing"), "{error}");
        assert!(matches!(
            run("/no/such/tool", &[]).await,
            Err(ToolError::Run { .. })
        ));
    }
}
