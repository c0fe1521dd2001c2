//! After the exit calls no thread of the plugin runs: the host unloads the library next.
//!
//! In a process of its own, because its threads are counted.

use testing::host::library::{Library, built_plugin};
use testing::host::log;
use testing::host::output::{IN_BLOCKS, Output, set_environment};
use testing::programs::alone;

use crate::chunk_of_a_block as chunk;

#[test]
fn no_thread_of_the_plugin_outlives_its_instance() {
    if !alone(no_thread_of_the_plugin_outlives_its_instance, &[]) {
        return;
    }
    log::collect();
    // SAFETY: the plugin is not loaded yet.
    unsafe { set_environment() };
    let threads = running_threads();
    // Each returns what the host still has of the output.
    type End = fn(&Library, Box<Output>) -> Option<Box<Output>>;
    let ends: [(&str, End); 3] = [
        ("FLBPluginExitCtx", |library, output| {
            output.exit(library);
            None
        }),
        ("FLBPluginExit", |library, _| {
            // SAFETY: no flush is in progress.
            unsafe { (library.exit)() };
            None
        }),
        ("FLBPluginUnregister", |_, output| Some(output)),
    ];
    for (how, end) in ends {
        for _ in 0..ROUNDS {
            let library = Library::open(&built_plugin().unwrap()).unwrap();
            let definition = library.register(0).unwrap();
            let mut output = Output::new(how, &IN_BLOCKS).unwrap();
            assert_eq!(output.init(&library), 1, "{:?}", log::take());
            assert_eq!(output.flush(&library, &chunk(), c"app.log"), 2);
            assert!(running_threads() > threads + 2, "the delivery thread runs, and those for compression");
            let _kept = end(&library, output);
            library.unregister(definition);
            assert_eq!(running_threads(), threads, "{how} does not wait for a thread");
        }
    }
}

/// A thread that is not joined may happen to end in time, so repeat.
const ROUNDS: usize = 10;

/// The threads that may still run code of the library.
///
/// The kernel lists a thread for a moment after it was joined, with the flag `PF_EXITING` (0x4 in field 9 of
/// `proc_pid_stat(5)`) set before the join returns.
fn running_threads() -> usize {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let statuses = threads.filter_map(|thread| std::fs::read_to_string(thread.unwrap().path().join("stat")).ok());
    let flags = statuses.map(|status| {
        // The name of a thread, field 2, is in parentheses and may contain anything.
        let (_, fields) = status.rsplit_once(") ").unwrap();
        fields.split(' ').nth(6).unwrap().parse::<u32>().unwrap()
    });
    flags.filter(|flags| flags & 0x4 == 0).count()
}
