//! Cutting down what this process may do to what a file server needs. It goes one way only: nothing gives it back.
//!
//! A list of what is forbidden, not of what is allowed: a library that uses one more harmless call in its next
//! version must not stop a mount.

use std::collections::BTreeMap;

use rustix::io;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs,
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use super::quota;

/// What a daemon of root needs once it runs, and for what.
pub const NEEDED: CapabilitySet = CapabilitySet::empty()
    // mount, unmount, trusted xattrs
    .union(CapabilitySet::SYS_ADMIN)
    // serving callers whoever they are: the kernel has decided above the mount what they may do
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::CHOWN)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::SETFCAP)
    // making files as the caller
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETGID)
    // keys in locked memory
    .union(CapabilitySet::IPC_LOCK);

/// Gives up every capability but [`NEEDED`], and the way to get others by a setuid program. For this thread and those
/// that it starts from now on, so it comes before the first. What passes quotas stays in reserve, for moments.
///
/// # Errors
/// What the kernel answers; none is known to happen.
pub fn drop_capabilities() -> io::Result<()> {
    for capability in CapabilitySet::all().difference(NEEDED).iter() {
        // Refused where somebody dropped the right to do so before; and older kernels do not know all of them.
        let _ = remove_capability_from_bounding_set(capability);
    }
    let own = capabilities(None)?;
    let kept = CapabilitySets {
        effective: own.effective.intersection(NEEDED),
        permitted: own.permitted.intersection(NEEDED | quota::PASSES),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, kept)?;
    set_no_new_privs(true)
}

/// Calls that no file server makes once it has mounted: starting programs, looking into other processes, changing the
/// kernel, the clock or the tree of mounts (but for unmounting).
const FORBIDDEN: &[libc::c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_syslog,
    libc::SYS_quotactl,
    libc::SYS_mount,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_open_by_handle_at,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
];

/// Has the kernel answer `EPERM` to the calls that no file server makes, in every thread of this process. Implies that
/// it gets no new privileges.
///
/// # Errors
/// A kernel without seccomp, or an architecture that the filter is not known for.
pub fn forbid_calls() -> Result<(), seccompiler::Error> {
    seccompiler::apply_filter_all_threads(&filter()?)
}

fn filter() -> Result<BpfProgram, seccompiler::Error> {
    let forbidden: BTreeMap<i64, _> = FORBIDDEN.iter().map(|call| (*call, Vec::new())).collect();
    let refuse = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let architecture = std::env::consts::ARCH.try_into()?;
    Ok(SeccompFilter::new(forbidden, SeccompAction::Allow, refuse, architecture)?.try_into()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Within a thread of its own, which takes the fence with it when it ends.
    fn alone<T: Send>(test: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| scope.spawn(test).join().unwrap())
    }

    #[test]
    fn what_is_not_needed_is_gone_for_good() {
        alone(|| {
            drop_capabilities().unwrap();
            let own = capabilities(None).unwrap();
            assert!((NEEDED | quota::PASSES).contains(own.permitted) && NEEDED.contains(own.effective));
            let all = CapabilitySets {
                effective: CapabilitySet::all(),
                permitted: CapabilitySet::all(),
                inheritable: CapabilitySet::empty(),
            };
            assert!(set_capabilities(None, all).is_err());
            assert!(rustix::thread::no_new_privs().unwrap());
        });
    }

    #[test]
    fn no_program_can_be_started_behind_the_fence() {
        let started = || std::process::Command::new("true").status();
        assert!(started().is_ok());
        let refused = alone(|| {
            seccompiler::apply_filter(&filter().unwrap()).unwrap();
            started().unwrap_err()
        });
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
    }
}
