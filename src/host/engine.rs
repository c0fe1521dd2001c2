//! Whether the host is shutting down.
//!
//! It does not notify plugins: it first waits for the flushes of its outputs. It records a signal in a variable of
//! its executable, but the end of an input, `flb_stop` and a reload only in its configuration. That can be reached
//! from each flush's coroutine, through structures that have been the same from 1.9.0 to 5.1.1. They are read through
//! the kernel, so that a wrong address is an error and not a crash, and used only if their content is as expected.

use std::ffi::{c_int, c_void};
use std::ptr::NonNull;
use std::sync::{Arc, OnceLock};

use super::bindings::{MK_EVENT_READ, MK_EVENT_REGISTERED, flb_config, flb_output_flush};
use super::presence::Presence;
use super::{coroutine, probe, symbols};

/// The engine that an output belongs to.
pub(crate) struct Engine {
    presence: Arc<Presence>,
    instance: *mut c_void,
    config: OnceLock<Option<NonNull<flb_config>>>,
}

// SAFETY: the instance is only compared, and the configuration only read while the output is present.
unsafe impl Send for Engine {}
// SAFETY: as above.
unsafe impl Sync for Engine {}

impl Engine {
    pub(crate) fn new(instance: *mut c_void, presence: Arc<Presence>) -> Engine {
        Engine { presence, instance, config: OnceLock::new() }
    }

    /// Finds the engine's configuration, once. Call this in a flush.
    pub(crate) fn locate(&self) {
        self.config.get_or_init(|| find_config(self.instance));
    }

    /// Whether it is shutting down, for any reason.
    pub(crate) fn is_stopping(&self) -> bool {
        let config = self.config.get().copied().flatten();
        symbols::was_signalled() || config.is_some_and(|config| self.is_shutting_down(config))
    }

    fn is_shutting_down(&self, config: NonNull<flb_config>) -> bool {
        let Some(_held) = self.presence.hold() else { return true };
        // SAFETY: `find_config` made sure that it is the configuration, which outlives its outputs; the host writes
        // the member in one piece.
        unsafe { (&raw const (*config.as_ptr()).is_shutting_down).read_volatile() != 0 }
    }
}

/// The configuration that the running flush of `instance` belongs to.
fn find_config(instance: *mut c_void) -> Option<NonNull<flb_config>> {
    let (coroutine, data) = coroutine::running()?;
    let flush: flb_output_flush = probe::read(data)?;
    if flush.instance != instance || flush.coroutine != coroutine.as_ptr() {
        return None;
    }
    let config: flb_config = probe::read(NonNull::new(flush.config.cast_mut().cast::<c_void>())?)?;
    looks_right(&config).then(|| NonNull::new(flush.config.cast_mut()))?
}

fn looks_right(config: &flb_config) -> bool {
    let flags = [config.support_mode, config.is_ingestion_active, config.is_shutting_down, config.is_running];
    let is_running = matches!(flags, [0 | 1, 1, 0, 1] | [0 | 1, 0, 1, 0 | 1]);
    let has_channel = config.channel_fd > 0
        && config.channel_type == CHANNEL
        && config.channel_mask == MK_EVENT_READ.cast_unsigned()
        && c_int::from(config.channel_status) == MK_EVENT_REGISTERED;
    is_running && has_channel
}

/// The type of the engine's own events (`MK_EVENT_NOTIFICATION`).
const CHANNEL: c_int = 0;

#[cfg(test)]
mod tests {
    use super::*;

    /// As in Fluent Bit 1.9.10 and 5.1.1 while they run.
    const RUNNING: flb_config = flb_config {
        channel_fd: 7,
        channel_type: 0,
        channel_mask: 1,
        channel_status: 2,
        channel_rest: [0; 7],
        support_mode: 0,
        is_ingestion_active: 1,
        is_shutting_down: 0,
        is_running: 1,
    };

    #[test]
    fn a_configuration_of_another_form_is_not_believed() {
        assert!(looks_right(&RUNNING));
        assert!(looks_right(&flb_config { is_ingestion_active: 0, is_shutting_down: 1, ..RUNNING }));
        // One member more in the event, or among the flags.
        assert!(!looks_right(&flb_config { support_mode: 0, is_ingestion_active: 0, is_running: 0, ..RUNNING }));
        assert!(!looks_right(&flb_config { is_ingestion_active: 0, is_shutting_down: 1, is_running: 7, ..RUNNING }));
        assert!(!looks_right(&flb_config { is_shutting_down: 1, ..RUNNING }));
        assert!(!looks_right(&flb_config { channel_status: 1, ..RUNNING }));
        assert!(!looks_right(&flb_config { channel_fd: 0, ..RUNNING }));
    }
}
