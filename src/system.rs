//! What the standard library does not offer: limits of the system, and child processes that inherit nothing.

#![expect(unsafe_code, reason = "system calls between fork and exec, and limits of the process")]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

/// How many files this process may have open.
pub fn max_open_files() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes into the structure, which lives through the call.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    (result == 0).then_some(limit.rlim_cur)
}

/// Makes a child that leads a process group of its own, ends with the thread that starts it, and inherits no file but the
/// three that the command names.
pub fn isolate(command: &mut Command) -> &mut Command {
    command.process_group(0);
    let files = max_open_files().and_then(|limit| i32::try_from(limit).ok()).unwrap_or(i32::MAX);
    // SAFETY: between fork and exec the closure makes system calls alone: it neither allocates nor locks.
    unsafe { command.pre_exec(move || leave_everything_behind(files)) }
}

fn leave_everything_behind(files: i32) -> io::Result<()> {
    // SAFETY: no pointer is passed; the signal is for this process, which is about to become another program.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let all = libc::c_uint::MAX;
    // SAFETY: numbers alone. Files are marked to be closed by exec rather than closed: the standard library still writes to
    // one of its own when exec fails.
    let marked = unsafe { libc::syscall(libc::SYS_close_range, 3, all, libc::CLOSE_RANGE_CLOEXEC) };
    if marked == 0 {
        return Ok(());
    }
    // Before Linux 5.11, try each number.
    for file in 3..files.min(MOST_FILES) {
        // SAFETY: as above; a number without a file is an error that changes nothing.
        unsafe { libc::fcntl(file, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(())
}

/// A log router has no more files, and trying them takes a tenth of a second.
const MOST_FILES: i32 = 1 << 20;

/// Ends a child that [`isolate`] made, with whatever it started in its group. It must not have been waited for.
pub fn end_group(child: &Child) {
    let Ok(group) = i32::try_from(child.id()) else { return };
    // SAFETY: numbers alone. The child was not waited for, so its number, which is its group's, is nobody else's.
    unsafe { libc::kill(-group, libc::SIGKILL) };
}
