//! Which service's cgroup a process is in.

use rustix::process::Pid;

use super::{Name, SERVICES};

/// A line a hierarchy; version 2 has one, and this system mounts no other.
const FILE_LIMIT: usize = 64 * 1024;

/// The service in whose cgroup a process is; none where the process is gone or belongs to none.
pub(crate) fn of_process(process: Pid) -> Option<Name> {
    let path = format!("/proc/{}/cgroup", process.as_raw_nonzero());
    service_of(&files::read_text(path, FILE_LIMIT).ok()?)
}

/// Reads `/proc/PID/cgroup` (cgroups(7)): the line `0::/path` is the one of version 2.
fn service_of(text: &str) -> Option<Name> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    SERVICES
        .iter()
        .find(|service| {
            path.strip_prefix(service.cgroup)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
        .map(|service| service.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_belongs_to_its_service_with_all_below_it() {
        for (text, name) in [
            ("0::/k3s", Some(Name::K3s)),
            ("0::/k3s/below\n", Some(Name::K3s)),
            ("1:name=x:/other\n0::/system/netd", Some(Name::Netd)),
            ("0::/k3sx", None),
            ("0::/kubepods/besteffort/pod1", None),
            ("0::/", None),
            ("0::/system", None),
            ("", None),
        ] {
            assert_eq!(service_of(text), name, "{text}");
        }
    }
}
