//! After the exit calls no thread of the plugin runs: the host unloads the library next.
//!
//! A program of its own, with one test, because the threads of the process are counted.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(unsafe_code, reason = "calls C functions as the host does")]

#[path = "support/host/mod.rs"]
mod host;

use std::thread;
use std::time::{Duration, Instant};

use host::library::{Library, built_plugin};
use host::log;
use host::output::{Output, UNREACHABLE, set_environment};

#[test]
fn no_thread_of_the_plugin_outlives_its_instance() {
    log::collect();
    // SAFETY: the plugin is not loaded yet.
    unsafe { set_environment() };
    let threads = thread_count();
    // Each answers what the host still has of the output.
    type End = fn(&Library, Box<Output>) -> Option<Box<Output>>;
    let ends: [(&str, End); 3] = [
        ("FLBPluginExitCtx", |library, output| {
            output.exit(library);
            None
        }),
        ("FLBPluginExit", |library, _| {
            // SAFETY: no flush is under way.
            unsafe { (library.exit)() };
            None
        }),
        ("FLBPluginUnregister", |_, output| Some(output)),
    ];
    for (how, end) in ends {
        let library = Library::open(&built_plugin().unwrap()).unwrap();
        let definition = library.register(0).unwrap();
        let mut output = Output::new(how, &UNREACHABLE).unwrap();
        assert_eq!(output.init(&library), 1, "{:?}", log::take());
        assert_eq!(output.flush(&library, b"\x92\x92\xd7\0\0\0\0\0\0\0\0\0\x80\x80", c"app.log"), 2);
        let _kept = end(&library, output);
        library.unregister(definition);
        // A thread that was joined may be listed for a moment longer.
        let deadline = Instant::now() + Duration::from_secs(5);
        while thread_count() != threads && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(thread_count(), threads, "after {how}");
    }
}

fn thread_count() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}
