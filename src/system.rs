//! What the standard library does not offer: limits of the system, and child processes that inherit nothing.

#![expect(unsafe_code, reason = "code between fork and exec, and one system call that rustix does not have")]

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Resource, Signal, getrlimit, kill_process_group, set_parent_process_death_signal};

/// The number of files that this process may have open; `None` if it is unlimited.
pub(crate) fn max_open_files() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Makes a child that leads a process group of its own, ends with the thread that starts it, and inherits no file but the
/// three that the command names.
pub(crate) fn isolate(command: &mut Command) -> &mut Command {
    command.process_group(0);
    let files = max_open_files().and_then(|limit| i32::try_from(limit).ok()).unwrap_or(i32::MAX);
    // SAFETY: between fork and exec the closure makes nothing but system calls: it neither allocates nor locks.
    unsafe { command.pre_exec(move || inherit_nothing(files)) }
}

fn inherit_nothing(files: i32) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).ok();
    let all = libc::c_uint::MAX;
    // SAFETY: numbers alone. Files are marked to be closed by exec rather than closed: the standard library still writes to
    // one of its own when exec fails.
    let marked = unsafe { libc::syscall(libc::SYS_close_range, 3, all, libc::CLOSE_RANGE_CLOEXEC) };
    if marked == 0 {
        return Ok(());
    }
    // Before Linux 5.11, try each number.
    for file in 3..files.min(MAX_FILES) {
        // SAFETY: used for this call alone; a number without a file is an error that changes nothing.
        let file = unsafe { BorrowedFd::borrow_raw(file) };
        fcntl_setfd(file, FdFlags::CLOEXEC).ok();
    }
    Ok(())
}

/// A log router has fewer files, and trying them takes a tenth of a second.
const MAX_FILES: i32 = 1 << 20;

/// Ends a child that [`isolate`] made, with whatever it started in its group. It must not have been waited for: until then
/// its number, which is its group's, is nobody else's.
pub(crate) fn end_group(child: &Child) {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(group) = group {
        kill_process_group(group, Signal::KILL).ok();
    }
}
