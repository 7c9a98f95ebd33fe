//! What a process may not ask the kernel for (seccomp(2)), whatever its user and capabilities.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
use thiserror::Error;

/// System calls that no service which only speaks to a network and reads files has a use for: the
/// way to other processes, mounts and namespaces, kernels and modules, keys, and parts of the kernel
/// that attackers like best.
const REFUSED: &[c_long] = &[
    // other processes
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // mounts and namespaces
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    // kernels, modules, power
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    // the whole machine
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_personality,
    // keys of the kernel
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // files past their paths
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_fanotify_mark,
    // what holes in the kernel are most often reached by
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
];

/// And those that a service has no use for which was handed all of its sockets: the way to others, and
/// to other programs.
const REFUSED_WHEN_CLOSED: &[c_long] = &[
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
];

/// `__X32_SYSCALL_BIT` of <asm/unistd.h>: the same calls by another binary interface, and behind
/// the number 512 some that it alone has.
const X32: c_long = 0x4000_0000;
const X32_ALONE: std::ops::RangeInclusive<c_long> = 512..=547;

/// A filter that answers `EPERM` to the calls above and lets all others pass. Whoever is started
/// with it keeps it, and so do its children.
#[derive(Debug, Clone)]
pub struct Filter(BpfProgram);

/// The filter can't be made: a mistake in this module.
#[derive(Debug, Error)]
#[error("the filter of system calls can't be made")]
pub struct FilterError(#[source] seccompiler::Error);

impl Filter {
    /// Makes the filter. A process of another architecture's calls is killed by it.
    ///
    /// # Errors
    /// [`FilterError`], which a test of this module keeps from happening.
    pub fn new() -> Result<Self, FilterError> {
        Self::of(REFUSED.iter().copied())
    }

    /// Makes a filter for a process that has its sockets: it opens no other, starts no program and
    /// signals nobody, besides what [`Filter::new`] refuses.
    ///
    /// # Errors
    /// As [`Filter::new`].
    pub fn for_closed_service() -> Result<Self, FilterError> {
        Self::of(REFUSED.iter().chain(REFUSED_WHEN_CLOSED).copied())
    }

    fn of(refused: impl Iterator<Item = c_long> + Clone) -> Result<Self, FilterError> {
        let numbers = refused
            .clone()
            .chain(refused.map(|number| number | X32))
            .chain(X32_ALONE.map(|number| number | X32));
        let rules: BTreeMap<i64, _> = numbers.map(|number| (number, Vec::new())).collect();
        let errno = libc::EPERM.unsigned_abs();
        let filter = SeccompFilter::new(
            rules,
            SeccompAction::Allow,
            SeccompAction::Errno(errno),
            TargetArch::x86_64,
        );
        let program = filter.and_then(TryInto::try_into);
        program.map(Self).map_err(|error| FilterError(error.into()))
    }

    /// The program as prctl(2) takes it: its length and where it begins.
    pub(crate) fn program(&self) -> Option<(u16, *const seccompiler::sock_filter)> {
        Some((u16::try_from(self.0.len()).ok()?, self.0.as_ptr()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_can_be_made_and_the_kernel_takes_its_length() {
        let filter = Filter::new().unwrap();
        let (length, _) = filter.program().unwrap();
        // BPF_MAXINSNS of <linux/bpf_common.h>
        assert!((100..4096).contains(&length), "{length}");
    }
}
