//! The plugin as Fluent Bit sees it: the built library, opened with `dlopen` and called through its exports.
//!
//! Nothing listens at the instances' endpoint, so a flush answers "retry".

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::MutexGuard;

use goblin::elf::Elf;
use goblin::elf::dynamic::DF_1_NODELETE;
use kinesis::config::options::OPTIONS;
use testing::host::bindings::{FLB_ERROR, FLB_OK, FLB_RETRY, flb_config_map, flb_plugin_proxy_def};
use testing::host::chunk::Chunk;
use testing::host::elf::{EXPORTS, dynamic_flags_1, exported_symbols};
use testing::host::library::{Definition, Library, built_plugin};
use testing::host::log;
use testing::host::one_at_a_time;
use testing::host::output::{Output, UNREACHABLE, set_environment};

/// The library's statics and the log are one per process, so a test locks them for itself.
struct Host {
    library: Library,
    _alone: MutexGuard<'static, ()>,
}

impl Host {
    /// Calls `FLBPluginFlush`, which finds the output itself; an error if there is none or more than one.
    fn flush_the_only_output(&self) -> c_int {
        let chunk = chunk();
        // SAFETY: chunk and tag live through the call.
        unsafe { (self.library.flush)(chunk.as_ptr().cast(), chunk.len(), TAG.as_ptr()) }
    }
}

fn host() -> Host {
    let alone = one_at_a_time();
    log::collect();
    // SAFETY: each test stops its outputs before the next one begins.
    unsafe { set_environment() };
    Host { library: Library::open(&built_plugin().unwrap()).unwrap(), _alone: alone }
}

fn output(name: &str) -> Box<Output> {
    Output::new(name, &UNREACHABLE).unwrap()
}

fn chunk() -> Vec<u8> {
    let mut chunk = Chunk::default();
    chunk.push(1_760_000_000, "log", b"one line");
    chunk.bytes
}

const TAG: &CStr = c"app.log";
const ERROR: c_int = 1;

#[test]
fn the_plugin_registers_as_the_output_kinesis() {
    let host = host();
    let definition = host.library.register(0).unwrap();
    // SAFETY: registered, 48 bytes long.
    let fields = unsafe { &*definition.pointer() };
    assert_eq!((fields.type_, fields.proxy, fields.flags, fields.event_type), (2, 11, 0, 0));
    // SAFETY: the plugin's own static texts.
    let (name, description) = unsafe { (CStr::from_ptr(fields.name), CStr::from_ptr(fields.description)) };
    assert_eq!(name, c"kinesis");
    let wanted = concat!("Amazon Kinesis Data Streams, version ", env!("CARGO_PKG_VERSION"));
    assert_eq!(description.to_str(), Ok(wanted));
    host.library.unregister(definition);
    assert_eq!(log::take(), []);
}

#[test]
fn the_host_is_told_every_option_by_each_of_its_names() {
    let host = host();
    let definition = host.library.register(0).unwrap();
    // SAFETY: registered, 48 bytes long.
    let mut entry = unsafe { (*definition.pointer()).config_map };
    let mut told = Vec::new();
    // SAFETY: the table ends with an entry without a name.
    while let Some(option) = unsafe { entry.as_ref() }.filter(|option| !option.name.is_null()) {
        // SAFETY: the plugin's own static texts.
        let text = |text: *const c_char| (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_str().unwrap());
        told.push((text(option.name).unwrap(), text(option.def_value), text(option.desc).unwrap().to_owned()));
        let flb_config_map { type_, flags, set_property, offset, value, link, .. } = *option;
        assert_eq!((type_, flags, set_property, offset, value, link), (0, 0, 0, 0, [0; 5], [0; 2]), "{told:?}");
        // SAFETY: this entry has a name, so there is a next one.
        entry = unsafe { entry.add(1) };
    }
    let mut wanted = Vec::new();
    for option in OPTIONS {
        wanted.push((option.name, option.default, option.doc.to_owned()));
        let same = format!("Same as {}.", option.name);
        wanted.extend(option.aliases.iter().map(|name| (*name, option.default, same.clone())));
    }
    assert_eq!(told, wanted);
    host.library.unregister(definition);
}

/// Regression: a write to `config_map` would run past the end of the definition of Fluent Bit up to 5.1.0, into its
/// heap.
#[test]
fn a_shorter_definition_of_an_older_host_is_not_written_past() {
    let host = host();
    for size in [32, 40] {
        // The allocator may return a longer leftover; of several blocks, one is as short as requested.
        let definitions = [(); 100].map(|()| Definition::new(size).unwrap());
        let definition = definitions.into_iter().find(|definition| definition.usable_size() < 48).unwrap();
        let bytes = definition.pointer().cast::<u8>();
        // SAFETY: the allocator says that these bytes are usable.
        let usable = unsafe {
            bytes.write_bytes(0xaa, definition.usable_size());
            assert_eq!((host.library.register)(bytes.cast()), 0);
            std::slice::from_raw_parts(bytes, definition.usable_size())
        };
        assert_ne!(usable[24..32], [0xaa; 8], "the description is set");
        assert!(usable[32..].iter().all(|byte| *byte == 0xaa), "{usable:x?}");
        host.library.unregister(definition);
    }
}

#[test]
fn a_configuration_with_mistakes_is_refused_and_each_mistake_is_logged() {
    let host = host();
    let definition = host.library.register(0).unwrap();
    let mut output = Output::new("bad", &[("stream", ""), ("endpoint", "ftp://nowhere")]).unwrap();
    assert_eq!(output.init(&host.library), 0);
    assert_eq!(output.context(), ptr::null_mut());
    let lines = log::take();
    assert!(lines.iter().all(|(level, _)| *level == ERROR), "{lines:?}");
    for option in ["stream", "endpoint"] {
        let prefix = format!("[output:kinesis:bad] {option}: ");
        assert_eq!(lines.iter().filter(|(_, line)| line.starts_with(&prefix)).count(), 1, "{option} in {lines:?}");
    }
    host.library.unregister(definition);
}

#[test]
fn several_outputs_live_side_by_side() {
    let host = host();
    let definition = host.library.register(0).unwrap();
    let (mut first, mut second) = (output("first"), output("second"));
    assert_eq!((first.init(&host.library), second.init(&host.library)), (1, 1), "{:?}", log::take());
    assert_ne!(first.context(), second.context());
    assert_eq!(first.flush(&host.library, &chunk(), TAG), FLB_RETRY);
    assert_eq!(second.flush(&host.library, &chunk(), TAG), FLB_RETRY);
    assert_eq!(first.exit(&host.library), FLB_OK);
    assert_eq!(host.flush_the_only_output(), FLB_RETRY);
    assert_eq!(second.exit(&host.library), FLB_OK);
    host.library.unregister(definition);
}

#[test]
fn one_output_is_flushed_by_several_threads_concurrently() {
    struct Shared<'a>(&'a Library, &'a Output);
    // SAFETY: the plugin lets any number of threads flush one instance.
    unsafe impl Sync for Shared<'_> {}
    impl Shared<'_> {
        fn flush(&self) -> c_int {
            self.1.flush(self.0, &chunk(), TAG)
        }
    }
    let host = host();
    let definition = host.library.register(0).unwrap();
    let mut output = output("shared");
    assert_eq!(output.init(&host.library), 1, "{:?}", log::take());
    let shared = Shared(&host.library, &output);
    let answers = std::thread::scope(|scope| {
        let threads = [(); 4].map(|()| scope.spawn(|| shared.flush()));
        threads.map(|thread| thread.join().unwrap())
    });
    assert_eq!(answers, [FLB_RETRY; 4]);
    output.exit(&host.library);
    host.library.unregister(definition);
}

#[test]
fn missing_pointers_and_empty_chunks_are_an_error_with_one_line() {
    let host = host();
    let definition = host.library.register(0).unwrap();
    let mut output = output("checked");
    assert_eq!(output.init(&host.library), 1, "{:?}", log::take());
    log::take();
    let (context, chunk) = (output.context(), chunk());
    let data = chunk.as_ptr().cast::<c_void>();
    let cases = [
        ("no context", ptr::null_mut(), data, chunk.len(), TAG.as_ptr()),
        ("no data", context, ptr::null(), chunk.len(), TAG.as_ptr()),
        ("no tag", context, data, chunk.len(), ptr::null()),
        ("no length", context, data, 0, TAG.as_ptr()),
        ("a negative length", context, data, usize::MAX, TAG.as_ptr()),
    ];
    for (what, context, data, length, tag) in cases {
        // SAFETY: what is passed is NULL, or rejected for its length, or valid.
        assert_eq!(unsafe { (host.library.flush_ctx)(context, data, length, tag) }, FLB_ERROR, "{what}");
        let lines = log::take();
        assert!(matches!(&lines[..], [(ERROR, line)] if line.starts_with("[output:kinesis] ")), "{what}: {lines:?}");
    }
    output.exit(&host.library);
    host.library.unregister(definition);
}

#[test]
fn registration_and_initialization_without_structures_are_refused() {
    let host = host();
    // SAFETY: NULL is the case under test.
    unsafe {
        assert_eq!((host.library.register)(ptr::null_mut()), -1);
        assert_eq!((host.library.init)(ptr::null_mut()), 0);
        let mut empty = std::mem::zeroed();
        assert_eq!((host.library.init)(&mut empty), 0);
    }
    let lines = log::take();
    assert_eq!(lines.len(), 3, "{lines:?}");
}

#[test]
fn leaving_twice_or_with_a_foreign_context_is_harmless() {
    let host = host();
    let definition = host.library.register(0).unwrap();
    let (mut stays, mut leaves) = (output("stays"), output("leaves"));
    assert_eq!((stays.init(&host.library), leaves.init(&host.library)), (1, 1), "{:?}", log::take());
    let left = leaves.context();
    let mut foreign = 0u64;
    let contexts = [left, left, ptr::null_mut(), (&raw mut foreign).cast::<c_void>()];
    for context in contexts {
        // SAFETY: the plugin compares the pointer before it follows it.
        assert_eq!(unsafe { (host.library.exit_ctx)(context) }, FLB_OK);
    }
    assert_eq!(host.flush_the_only_output(), FLB_RETRY);
    stays.exit(&host.library);
    host.library.unregister(definition);
}

#[test]
fn a_flush_without_context_goes_to_the_only_output() {
    let host = host();
    let definition = host.library.register(0).unwrap();
    assert_eq!(host.flush_the_only_output(), FLB_ERROR, "there is none");
    let (mut first, mut second) = (output("first"), output("second"));
    assert_eq!(first.init(&host.library), 1, "{:?}", log::take());
    assert_eq!(host.flush_the_only_output(), FLB_RETRY, "there is one");
    assert_eq!(second.init(&host.library), 1, "{:?}", log::take());
    assert_eq!(host.flush_the_only_output(), FLB_ERROR, "there are two");
    // SAFETY: no flush is in progress.
    assert_eq!(unsafe { (host.library.exit)() }, FLB_OK);
    assert_eq!(host.flush_the_only_output(), FLB_ERROR, "all have left");
    host.library.unregister(definition);
}

/// Fluent Bit 1.9 calls exit once for all outputs, with the context of the last one.
#[test]
fn unregistering_stops_the_outputs_that_have_not_exited() {
    let host = host();
    let definition = host.library.register(0).unwrap();
    let (mut first, mut second) = (output("first"), output("second"));
    assert_eq!((first.init(&host.library), second.init(&host.library)), (1, 1), "{:?}", log::take());
    second.exit(&host.library);
    host.library.unregister(definition);
    assert_eq!(host.flush_the_only_output(), FLB_ERROR, "there is none left");
    // SAFETY: the context is only compared.
    assert_eq!(unsafe { (host.library.exit_ctx)(first.context()) }, FLB_OK);
}

#[test]
fn hot_reload_registers_the_new_before_the_old_has_left() {
    let host = host();
    let definition = host.library.register(0).unwrap();
    let mut old = output("old");
    assert_eq!(old.init(&host.library), 1, "{:?}", log::take());
    assert_eq!(old.flush(&host.library, &chunk(), TAG), FLB_RETRY);

    // The new configuration opens the library again and registers while the old one runs.
    let reloaded = Library::open(&built_plugin().unwrap()).unwrap();
    let new_definition = reloaded.register(1).unwrap();
    assert_eq!(old.flush(&host.library, &chunk(), TAG), FLB_RETRY);
    // SAFETY: as the host calls it at this point.
    unsafe { (host.library.output_pre_exit)(1) };
    assert_eq!(old.exit(&host.library), FLB_OK);
    host.library.unregister(definition);
    drop(host.library);

    let mut new = output("new");
    assert_eq!(new.init(&reloaded), 1, "{:?}", log::take());
    // SAFETY: as the host calls it at this point.
    assert_eq!(unsafe { (reloaded.output_pre_run)(1) }, FLB_OK);
    assert_eq!(new.flush(&reloaded, &chunk(), TAG), FLB_RETRY);
    assert_eq!(new.exit(&reloaded), FLB_OK);
    reloaded.unregister(new_definition);
}

/// Regression: Fluent Bit since 2.2 runs half of the workers on freed memory after a reload, and nothing said so.
#[test]
fn workers_in_a_host_that_may_reload_are_warned_of_once() {
    let host = host();
    let definition = host.library.register(0).unwrap();
    for (hot_reload, on_worker, told) in [(1, true, 1), (1, false, 0), (0, true, 0)] {
        let mut output = output("kinesis.0");
        assert_eq!(output.init(&host.library), 1, "{:?}", log::take());
        // SAFETY: as the host calls it at this point.
        assert_eq!(unsafe { (host.library.output_pre_run)(hot_reload) }, FLB_OK);
        let (flush, context) = (host.library.flush_ctx, output.context().expose_provenance());
        let two_flushes = move || {
            let (chunk, context) = (chunk(), ptr::with_exposed_provenance_mut(context));
            // SAFETY: the output is there, and chunk and tag live through the call.
            [(); 2].map(|()| unsafe { flush(context, chunk.as_ptr().cast(), chunk.len(), TAG.as_ptr()) })
        };
        let answers = if on_worker { std::thread::spawn(two_flushes).join().unwrap() } else { two_flushes() };
        assert_eq!(answers, [FLB_RETRY; 2]);
        let lines = log::take();
        let warnings = lines.iter().filter(|(_, line)| line.contains("a hot reload may crash Fluent Bit")).count();
        assert_eq!(warnings, told, "hot reload {hot_reload}, on a worker {on_worker}: {lines:?}");
        output.exit(&host.library);
    }
    host.library.unregister(definition);
}

/// If one of two engines in a process ends, it stops only its own outputs.
#[test]
fn unregistering_leaves_the_outputs_of_another_registration_alone() {
    let host = host();
    let first_definition = host.library.register(0).unwrap();
    let mut first = output("first");
    assert_eq!(first.init(&host.library), 1, "{:?}", log::take());
    let second_definition = host.library.register(0).unwrap();
    let mut second = output("second");
    assert_eq!(second.init(&host.library), 1, "{:?}", log::take());
    first.exit(&host.library);
    host.library.unregister(first_definition);
    assert_eq!(host.flush_the_only_output(), FLB_RETRY);
    second.exit(&host.library);
    host.library.unregister(second_definition);
}

#[test]
fn the_library_can_be_closed_and_opened_again() {
    let mut host = host();
    for _ in 0..3 {
        let definition = host.library.register(0).unwrap();
        let mut output = output("again");
        assert_eq!(output.init(&host.library), 1, "{:?}", log::take());
        assert_eq!(output.flush(&host.library, &chunk(), TAG), FLB_RETRY);
        output.exit(&host.library);
        host.library.unregister(definition);
        host = Host { library: Library::open(&built_plugin().unwrap()).unwrap(), ..host };
    }
}

#[test]
fn log_level_of_the_output_is_honoured() {
    let host = host();
    let definition = host.library.register(0).unwrap();
    let properties = [&UNREACHABLE[..], &[("log_level", "off"), ("alias", "quiet")]].concat();
    let mut output = Output::new("kinesis.0", &properties).unwrap();
    assert_eq!(output.init(&host.library), 1);
    assert_eq!(output.flush(&host.library, &chunk(), TAG), FLB_RETRY);
    output.exit(&host.library);
    let mut refused = Output::new("kinesis.0", &[("log_level", "off")]).unwrap();
    assert_eq!(refused.init(&host.library), 0);
    assert_eq!(log::take(), []);
    host.library.unregister(definition);
}

/// Fluent Bit 1.9 with two outputs ends each with exit, unregister and `dlclose`, using memory that it freed with the
/// first. Regression: it crashed on the first call into the unmapped library.
#[test]
fn the_library_stays_mapped_when_it_is_closed() {
    let file = std::fs::read(built_plugin().unwrap()).unwrap();
    let flags = dynamic_flags_1(&Elf::parse(&file).unwrap());
    assert_eq!(flags & DF_1_NODELETE, DF_1_NODELETE, "{flags:#x}");
}

#[test]
fn a_value_of_the_configuration_cannot_forge_or_cut_a_log_line() {
    let host = host();
    let definition = host.library.register(0).unwrap();
    let properties = [("alias", "two\nlines"), ("stream", "logs"), ("endpoint", "x y\r\n[error] forged\x1b[31m")];
    let mut output = Output::new("kinesis.0", &properties).unwrap();
    assert_eq!(output.init(&host.library), 0);
    let lines = log::take();
    assert!(lines.iter().all(|(_, line)| line.starts_with("[output:kinesis:two lines] ")), "{lines:?}");
    assert!(lines.iter().any(|(_, line)| line.contains("forged")), "{lines:?}");
    assert!(!lines.iter().any(|(_, line)| line.contains(char::is_control)), "{lines:?}");
    host.library.unregister(definition);
}

/// Our symbols must not replace a program's, nor may another plugin's replace ours.
#[test]
fn only_the_functions_of_the_interface_are_exported() {
    let file = std::fs::read(built_plugin().unwrap()).unwrap();
    let symbols = exported_symbols(&Elf::parse(&file).unwrap());
    assert_eq!(symbols, EXPORTS);
}

/// The host allocates its definitions with its own size; ours is the longest.
#[test]
fn the_definition_has_the_size_of_the_newest_host() {
    assert_eq!((size_of::<flb_plugin_proxy_def>(), size_of::<flb_config_map>()), (48, 104));
}
