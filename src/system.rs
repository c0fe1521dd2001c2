//! What the standard library lacks: limits of the system, and child processes that inherit nothing.

#![expect(unsafe_code, reason = "code between fork and exec, and one system call that rustix does not have")]

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Resource, Signal, getrlimit, kill_process_group, set_parent_process_death_signal};

/// The maximum number of open files of this process; `None` if unlimited.
pub(crate) fn max_open_files() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Makes a child lead its own process group, die with the thread that starts it, and inherit no files except the
/// three that the command names.
pub(crate) fn isolate(command: &mut Command) -> &mut Command {
    command.process_group(0);
    let files = max_open_files().and_then(|limit| i32::try_from(limit).ok()).unwrap_or(i32::MAX);
    // SAFETY: between fork and exec the closure only makes system calls; it neither allocates nor locks.
    unsafe { command.pre_exec(move || inherit_nothing(files)) }
}

fn inherit_nothing(files: i32) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).ok();
    let all = libc::c_uint::MAX;
    // SAFETY: only numbers. Files are marked close-on-exec rather than closed, because the standard library still
    // writes to one of its own if exec fails.
    let marked = unsafe { libc::syscall(libc::SYS_close_range, 3, all, libc::CLOSE_RANGE_CLOEXEC) };
    if marked == 0 {
        return Ok(());
    }
    // Before Linux 5.11, try every number.
    for file in 3..files.min(MAX_FILES) {
        // SAFETY: used only for this call; a number without a file yields a harmless error.
        let file = unsafe { BorrowedFd::borrow_raw(file) };
        fcntl_setfd(file, FdFlags::CLOEXEC).ok();
    }
    Ok(())
}

/// More than a log router uses; trying them all takes a tenth of a second.
const MAX_FILES: i32 = 1 << 20;

/// Kills a child made by [`isolate`] and everything in its process group. The child must not have been waited for
/// yet: after that its id, also that of the group, may be reused.
pub(crate) fn end_group(child: &Child) {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(group) = group {
        kill_process_group(group, Signal::KILL).ok();
    }
}
