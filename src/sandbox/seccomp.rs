//! The system calls that a sandbox refuses.
//!
//! Namespaces, the read-only root and dropped capabilities keep evaluated code from the machine. The
//! filter takes away what they do not cover: kernel interfaces with a history of faults, objects that
//! outlive a process or are charged to no process, and other processes' memory.

use seccompiler::sock_filter;

/// One instruction of classic BPF, as `struct sock_filter` lays it out.
type Instruction = (u16, u8, u8, u32);

const LOAD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_AT_LEAST: u16 = 0x35;
const JUMP_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

const ALLOW: u32 = 0x7fff_0000;
const KILL_PROCESS: u32 = 0x8000_0000;
const EPERM: u32 = refuse(libc::EPERM);
/// For calls that programs replace by others on a kernel that lacks them.
const ENOSYS: u32 = refuse(libc::ENOSYS);
const EAFNOSUPPORT: u32 = refuse(libc::EAFNOSUPPORT);

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7;

/// From this number on, calls belong to the x32 ABI, which shares the architecture of native calls.
#[cfg(target_arch = "x86_64")]
const X32: u32 = 0x4000_0000;

/// From this number on, after `mseal`, calls are newer than this filter. Programs do without them.
const UNKNOWN: u32 = 463;

const CLONE_NEW: u32 = 0x7e02_0000;
const THREAD: u32 = libc::CLONE_THREAD.cast_unsigned();
const SOCKET_BUFFERS: [i32; 4] =
    [libc::SO_SNDBUF, libc::SO_RCVBUF, libc::SO_SNDBUFFORCE, libc::SO_RCVBUFFORCE];

/// Calls that are refused whatever their arguments.
const REFUSED: &[libc::c_long] = &[
    // Keys outlive the process and are shared with whoever started the sandbox.
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_request_key,
    // Memory that no process is charged for.
    libc::SYS_memfd_create,
    libc::SYS_memfd_secret,
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_shmdt,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_semctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    libc::SYS_io_setup,
    libc::SYS_remap_file_pages,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    // Large interfaces of the kernel that evaluating does not need.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_userfaultfd,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_fanotify_init,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
    libc::SYS_personality,
    libc::SYS_vhangup,
    // Mounts and namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    // The machine.
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_syslog,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_uselib,
];

/// Calls that are not needed by a process that only reads files.
const REFUSED_WHEN_READING: &[libc::c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    // Signals and priorities affect other processes, maybe the farm.
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_setpriority,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_setattr,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setscheduler,
    libc::SYS_ioprio_set,
    // Writing to files, because an older Landlock does not know all of these.
    libc::SYS_truncate,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_creat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rmdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_link,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_symlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mkdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mknod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utime,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utimes,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_futimesat,
];

const fn refuse(errno: i32) -> u32 {
    0x0005_0000 | errno.cast_unsigned()
}

/// The filter in the form that bubblewrap reads from a file.
pub(super) fn filter() -> Vec<u8> {
    instructions(by_arguments(), &[]).into_iter().flat_map(bytes).collect()
}

/// The filter for a process of Gorget that only reads files. It also refuses to start anything, to
/// connect to anything, and to send signals.
pub(super) fn filter_of_reading() -> Vec<sock_filter> {
    let starts = call(libc::SYS_clone, 0, &[(JUMP_ANY_BIT, 1, 0, THREAD), (RETURN, 0, 0, EPERM)]);
    // Only a process's own limits may be changed.
    let limits = call(libc::SYS_prlimit64, 0, &[(JUMP_EQUAL, 1, 0, 0), (RETURN, 0, 0, EPERM)]);
    let program = instructions([starts, limits, by_arguments()].concat(), REFUSED_WHEN_READING);
    program.into_iter().map(|(code, jt, jf, k)| sock_filter { code, jt, jf, k }).collect()
}

/// A filter of instructions for single calls. It refuses `more` besides [`REFUSED`].
fn instructions(by_arguments: Vec<Instruction>, more: &[libc::c_long]) -> Vec<Instruction> {
    let mut program = vec![
        (LOAD, 0, 0, ARCHITECTURE),
        (JUMP_EQUAL, 1, 0, NATIVE),
        // 32-bit calls have other numbers, which the filter does not know.
        (RETURN, 0, 0, KILL_PROCESS),
        (LOAD, 0, 0, NUMBER),
    ];
    #[cfg(target_arch = "x86_64")]
    program.extend([(JUMP_AT_LEAST, 0, 1, X32), (RETURN, 0, 0, KILL_PROCESS)]);
    let refused = |call: &libc::c_long| [(JUMP_EQUAL, 0, 1, number(*call)), (RETURN, 0, 0, EPERM)];
    // This comes first, so that `by_arguments` cannot allow a call that is refused here.
    program.extend(more.iter().flat_map(refused));
    program.extend(by_arguments);
    program.extend(REFUSED.iter().flat_map(refused));
    // Its flags are in memory, where a filter cannot read them. The C library then uses `clone`.
    program.extend([(JUMP_EQUAL, 0, 1, number(libc::SYS_clone3)), (RETURN, 0, 0, ENOSYS)]);
    program.extend([(JUMP_AT_LEAST, 0, 1, UNKNOWN), (RETURN, 0, 0, ENOSYS), (RETURN, 0, 0, ALLOW)]);
    program
}

/// Calls that are refused only with certain arguments. The instructions of each end with a verdict.
fn by_arguments() -> Vec<Instruction> {
    let flag = |bits: i32| (JUMP_ANY_BIT, 0, 1, bits.cast_unsigned());
    let value = |value: i32| (JUMP_EQUAL, 0, 1, value.cast_unsigned());
    let refused = (RETURN, 0, 0, EPERM);
    let mut program = Vec::new();
    // Shared memory without a file, and huge pages, are charged to no process once unmapped.
    program.extend(call(
        libc::SYS_mmap,
        3,
        &[
            flag(libc::MAP_HUGETLB),
            refused,
            (JUMP_ANY_BIT, 0, 2, libc::MAP_ANONYMOUS.cast_unsigned()),
            flag(libc::MAP_SHARED),
            refused,
        ],
    ));
    // Only Unix sockets: vsock, for one, reaches the host of a virtual machine.
    for number in [libc::SYS_socket, libc::SYS_socketpair] {
        let unix = (JUMP_EQUAL, 1, 0, libc::AF_UNIX.cast_unsigned());
        program.extend(call(number, 0, &[unix, (RETURN, 0, 0, EAFNOSUPPORT)]));
    }
    // A socket must not hold more than is charged for it.
    let sizes = SOCKET_BUFFERS.iter().flat_map(|option| [value(*option), refused]);
    program.extend(call(libc::SYS_setsockopt, 2, &sizes.collect::<Vec<_>>()));
    program.extend(call(libc::SYS_clone, 0, &[(JUMP_ANY_BIT, 0, 1, CLONE_NEW), refused]));
    program.extend(call(libc::SYS_ioctl, 1, &[value(0x5412), refused, value(0x541c), refused]));
    program
}

/// Runs `body` on the lower half of one argument of `call`, then allows the call.
fn call(call: libc::c_long, argument: u32, body: &[Instruction]) -> Vec<Instruction> {
    let length = u8::try_from(body.len() + 2).unwrap_or(u8::MAX);
    let mut program = vec![(JUMP_EQUAL, 0, length, number(call)), (LOAD, 0, 0, 16 + 8 * argument)];
    program.extend(body);
    program.push((RETURN, 0, 0, ALLOW));
    program
}

fn number(call: libc::c_long) -> u32 {
    u32::try_from(call).unwrap_or(u32::MAX)
}

fn bytes((code, yes, no, operand): Instruction) -> Vec<u8> {
    [&code.to_ne_bytes()[..], &[yes, no], &operand.to_ne_bytes()].concat()
}
