//! A program of its own, because it exports what no other host does: it plays a Fluent Bit newer than all known
//! versions. The plugin does not touch its structures.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]
#![allow(unsafe_code, reason = "exports C functions as the host does")]

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::ptr;

use testing::host::library::{Library, built_plugin};
use testing::host::log;
use testing::host::output::{Output, UNREACHABLE, set_environment};

testing::export_log!();

#[test]
fn a_newer_host_gets_no_option_table_and_its_coroutines_are_not_used() {
    log::collect();
    // SAFETY: the plugin is not loaded yet.
    unsafe { set_environment() };
    let library = Library::open(&built_plugin().unwrap()).unwrap();
    let definition = library.register(0).unwrap();
    // SAFETY: the definition has all members.
    assert!(unsafe { (*definition.pointer()).config_map }.is_null());
    let mut output = Output::new("kinesis.0", &UNREACHABLE).unwrap();
    assert_eq!(output.init(&library), 1);
    for _ in 0..2 {
        assert_eq!(output.flush(&library, b"\x92\x92\xd7\0\0\0\0\0\0\0\0\0\x80\x80", c"app.log"), 2);
    }
    let lines = log::take();
    let told = lines.iter().filter(|(_, line)| line.contains("newer than the versions this plugin knows")).count();
    assert_eq!(told, 1, "{lines:?}");
    output.exit(&library);
    library.unregister(definition);
}

#[unsafe(no_mangle)]
extern "C" fn cmt_version() -> *const c_char {
    c"3.0.0".as_ptr()
}

#[unsafe(no_mangle)]
extern "C" fn co_active() -> *mut c_void {
    ptr::without_provenance_mut(8)
}

#[unsafe(no_mangle)]
extern "C" fn co_switch(_context: *mut c_void) {
    panic!("switched")
}

#[unsafe(no_mangle)]
extern "C" fn flb_coro_get() -> *mut c_void {
    // Nothing is there.
    ptr::without_provenance_mut(8)
}

#[unsafe(no_mangle)]
extern "C" fn flb_coro_set(_coroutine: *mut c_void) {
    panic!("continued")
}

#[unsafe(no_mangle)]
extern "C" fn flb_engine_evl_get() -> *mut c_void {
    ptr::without_provenance_mut(8)
}

#[unsafe(no_mangle)]
extern "C" fn mk_event_add(_loop: *mut c_void, _fd: c_int, _kind: c_int, _mask: c_uint, _event: *mut c_void) -> c_int {
    panic!("an event was added")
}

#[unsafe(no_mangle)]
extern "C" fn mk_event_del(_loop: *mut c_void, _event: *mut c_void) -> c_int {
    panic!("an event was taken out")
}
