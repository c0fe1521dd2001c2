//! Processor time of this process and of its children.

use std::io;
use std::process::Child;

/// User and system time of this process in seconds, over all threads.
pub fn processor_seconds() -> io::Result<f64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure is written to, and nothing else.
    match unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) } {
        0 => Ok(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9),
        _ => Err(io::Error::last_os_error()),
    }
}

/// How many times this process's threads blocked (voluntary context switches).
pub fn waits() -> io::Result<u64> {
    // SAFETY: all zeros is a valid value; it is only written to.
    let (answer, usage) = unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        (libc::getrusage(libc::RUSAGE_SELF, &mut usage), usage)
    };
    if answer == 0 { Ok(usage.ru_nvcsw as u64) } else { Err(io::Error::last_os_error()) }
}

/// What a process used.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pub is_success: bool,
    /// User and system time.
    pub cpu_seconds: f64,
    /// Peak resident memory, in KiB.
    pub resident_kib: u64,
}

/// Waits for a process to end.
#[allow(clippy::needless_pass_by_value, reason = "nobody can wait for it again")]
pub fn wait(child: Child) -> io::Result<Usage> {
    let mut status = 0;
    // SAFETY: all zeros is a usage of nothing; it and the status are written to; the child was not waited for before.
    let (ended, usage) = unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        (libc::wait4(child.id() as libc::pid_t, &mut status, 0, &mut usage), usage)
    };
    if ended < 0 {
        return Err(io::Error::last_os_error());
    }
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    Ok(Usage {
        is_success: libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0,
        cpu_seconds: seconds(usage.ru_utime) + seconds(usage.ru_stime),
        resident_kib: usage.ru_maxrss as u64,
    })
}
