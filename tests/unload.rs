//! After the exit calls no thread of the plugin runs: the host unloads the library next.
//!
//! A program of its own, with one test, because the threads of the process are counted.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(unsafe_code, reason = "calls C functions as the host does")]

mod support;

use support::host::library::{Library, built_plugin};
use support::host::log;
use support::host::output::Output;

#[test]
fn no_thread_of_the_plugin_outlives_its_instance() {
    log::collect();
    let threads = thread_count();
    type End = fn(&Library, Box<Output>);
    let ends: [(&str, End); 3] = [
        ("FLBPluginExitCtx", |library, output| {
            output.exit(library);
        }),
        // SAFETY: no flush is under way.
        ("FLBPluginExit", |library, _| unsafe {
            (library.exit)();
        }),
        ("FLBPluginUnregister", |_, _| ()),
    ];
    for (how, end) in ends {
        let library = Library::open(&built_plugin().unwrap()).unwrap();
        let definition = library.register(0).unwrap();
        let properties = [("stream", "logs"), ("region", "eu-west-1"), ("endpoint", "http://127.0.0.1:9")];
        let mut output = Output::new(how, &properties).unwrap();
        assert_eq!(output.init(&library), 1, "{:?}", log::take());
        assert_eq!(output.flush(&library, b"\x92\x92\xd7\0\0\0\0\0\0\0\0\0\x80\x80", c"app.log"), 2);
        end(&library, output);
        library.unregister(definition);
        assert_eq!(thread_count(), threads, "after {how}");
    }
}

fn thread_count() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}
