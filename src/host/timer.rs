//! The timers that suspended coroutines wait for, in the event loops of their threads.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::read;
use rustix::ioctl::{self, Setter, opcode};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use super::handoff::TICK;

/// A timer (`timerfd_create(2)`). Clones are the same one.
#[derive(Clone)]
pub(super) struct Timer(Arc<OwnedFd>);

/// Timers for which nobody waits. Creating one takes longer than all else that it takes to wait.
#[derive(Default)]
pub(super) struct SpareTimers(Mutex<Vec<Timer>>);

/// How many timers are kept; more flushes than that at a time are rare.
const MOST_SPARES: usize = 16;

const NEVER: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
const EVERY_TICK: Timespec = Timespec { tv_sec: TICK.as_secs().cast_signed(), tv_nsec: 0 };
const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 1 };

impl Timer {
    pub(super) fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Lets it expire now. May be called on any thread.
    pub(super) fn expire(&self) {
        const EXPIRATIONS: u64 = 1;
        // SAFETY: the number of this request, and the type that it takes (ioctl_timerfd: TFD_IOC_SET_TICKS).
        let set_ticks = unsafe { Setter::<{ opcode::write::<u64>(b'T', 0) }, u64>::new(EXPIRATIONS) };
        // SAFETY: the request only reads that value.
        if unsafe { ioctl::ioctl(&*self.0, set_ticks) }.is_err() {
            // The kernel lacks it. This does the same, but programs the clock: 20 us in a virtual machine.
            self.set(AT_ONCE, EVERY_TICK);
        }
    }

    /// Resets the count of expirations, which keeps an event loop from reporting them again.
    pub(super) fn acknowledge(&self) {
        // Fails if there are none.
        read(&*self.0, &mut [0_u8; 8]).ok();
    }

    /// Resets the count of expirations, and expires after `first`, then after every `interval`.
    fn set(&self, first: Timespec, interval: Timespec) {
        let times = Itimerspec { it_interval: interval, it_value: first };
        // Cannot fail: it is a timer, and the times are valid.
        timerfd_settime(&*self.0, TimerfdTimerFlags::empty(), &times).ok();
    }
}

impl SpareTimers {
    /// A timer that expires every [`TICK`]. `None` if there is no free descriptor.
    pub(super) fn start(&self) -> Option<Timer> {
        let spare = self.spares().pop();
        let timer = spare.or_else(|| {
            let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
            Some(Timer(Arc::new(timerfd_create(TimerfdClockId::Monotonic, flags).ok()?)))
        })?;
        timer.set(EVERY_TICK, EVERY_TICK);
        Some(timer)
    }

    /// Takes a timer back that is in no event loop. A late [`Timer::expire`] makes whoever gets it next look once more.
    pub(super) fn stop(&self, timer: Timer) {
        timer.set(NEVER, NEVER);
        let mut spares = self.spares();
        if spares.len() < MOST_SPARES {
            spares.push(timer);
        }
    }

    fn spares(&self) -> MutexGuard<'_, Vec<Timer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expirations(timer: &Timer) -> Option<u64> {
        let mut count = [0_u8; 8];
        read(&*timer.0, &mut count).ok().map(|_| u64::from_ne_bytes(count))
    }

    #[test]
    fn a_timer_expires_when_it_is_told_to_and_starts_afresh_when_it_is_used_again() {
        let spares = SpareTimers::default();
        let timer = spares.start().unwrap();
        assert_eq!(expirations(&timer), None);
        timer.expire();
        assert_eq!(expirations(&timer), Some(1));
        let (late, descriptor) = (timer.clone(), timer.descriptor());
        spares.stop(timer);
        // By a thread that did not know yet.
        late.expire();
        let again = spares.start().unwrap();
        assert_eq!((again.descriptor(), expirations(&again)), (descriptor, None));
        // What a kernel without the request does.
        again.set(AT_ONCE, EVERY_TICK);
        std::thread::sleep(std::time::Duration::from_millis(1));
        assert_eq!(expirations(&again), Some(1));
        assert_ne!(spares.start().unwrap().descriptor(), descriptor, "two at a time");
    }
}
