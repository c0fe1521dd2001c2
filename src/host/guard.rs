//! A panic becomes a return value for the host and a line in its log; it never unwinds into the host.
//!
//! The standard panic hook prints a backtrace to stderr, which would bypass the host's log and overflow a coroutine's
//! stack. The hook installed by [`keep_panics_quiet`] only notes message and location for the line that [`guard`]
//! writes.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;

use super::log;
use crate::log::Level;

/// Runs `body`. If it panics, writes one line to the host's log and returns `fallback`.
pub fn guard<T>(fallback: T, body: impl FnOnce() -> T) -> T {
    catch(body).unwrap_or_else(|message| {
        log::report(Level::Error, &["internal error: ", &message]);
        fallback
    })
}

/// Runs `body`. A panic is returned as its message, with its location if [`keep_panics_quiet`] was called before.
fn catch<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    // Nothing that the body left half done is used again: callers abandon it.
    panic::catch_unwind(AssertUnwindSafe(body)).map_err(|payload| {
        let noted = LAST_PANIC.try_with(|last| last.borrow_mut().take()).ok().flatten();
        noted.unwrap_or_else(|| text(payload.as_ref()).to_owned())
    })
}

/// Replaces the panic hook of this library's copy of the standard library, once. Called when a host registers the
/// plugin, never when the crate is linked into another Rust program.
pub fn keep_panics_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| panic::set_hook(Box::new(note)));
}

thread_local! {
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

fn note(info: &PanicHookInfo<'_>) {
    let message = text(info.payload());
    let noted = match info.location() {
        Some(place) => format!("{message} ({}:{})", place.file(), place.line()),
        None => message.to_owned(),
    };
    // Fails only while the thread is ending, when nobody reads it any more.
    LAST_PANIC.try_with(|last| last.replace(Some(noted))).ok();
}

fn text(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "panic without a message"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_comes_back_as_its_message() {
        assert_eq!(catch(|| panic!("no luck")), Err::<(), _>("no luck".to_owned()));
        assert_eq!(catch(|| panic!("no {}", "luck")), Err::<(), _>("no luck".to_owned()));
        assert_eq!(catch(|| panic::panic_any(7)), Err::<(), _>("panic without a message".to_owned()));
    }

    #[test]
    fn the_body_decides_the_answer_and_a_panic_the_fallback() {
        assert_eq!(guard(0, || 1), 1);
        assert_eq!(guard(0, || panic!("no luck")), 0);
    }
}
