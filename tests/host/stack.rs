//! A flush fits on the stack that Fluent Bit gives it: 24 KiB of heap up to 4.x, 64 KiB since 5.0, without a guard
//! page.
//!
//! Each test prints how much was used: `cargo test --test host stack:: -- --nocapture`.

use std::alloc::{Layout, alloc, dealloc};
use std::cell::Cell;
use std::ffi::c_int;
use std::sync::MutexGuard;
use std::{mem, panic, ptr, slice};

use kinesis::host::guard::{guard, keep_panics_quiet};
use testing::host::bindings::{FLB_ERROR, FLB_RETRY};
use testing::host::chunk::Chunk;
use testing::host::library::{Definition, Library, built_plugin};
use testing::host::log;
use testing::host::one_at_a_time;
use testing::host::output::{Output, UNREACHABLE, set_environment};

const KIB: usize = 1024;

#[test]
fn a_flush_fits_16_kib_above_a_guard_page() {
    let host = Host::start();
    let stack = GuardedStack::new(16 * KIB);
    // Twice: the first flush of a process may still load something.
    for round in ["first", "second"] {
        let mut answer = -1;
        let used = on_stack(stack.bytes(), || answer = host.flush());
        println!("{round} flush: {used} bytes of stack");
        assert_eq!(answer, FLB_RETRY, "{:?}", log::take());
    }
    host.stop();
}

#[test]
fn a_flush_that_is_an_error_fits_16_kib_above_a_guard_page() {
    let host = Host::start();
    let stack = GuardedStack::new(16 * KIB);
    let mut answer = -1;
    // SAFETY: a missing context is the case under test.
    let flush = || unsafe { (host.library.flush_ctx)(ptr::null_mut(), ptr::null(), 0, ptr::null()) };
    let used = on_stack(stack.bytes(), || answer = flush());
    println!("refused flush with its log line: {used} bytes of stack");
    assert_eq!((answer, log::take().len()), (FLB_ERROR, 1));
    host.stop();
}

#[test]
fn a_panic_is_caught_within_16_kib_above_a_guard_page() {
    let host = Host::start();
    let stack = GuardedStack::new(16 * KIB);
    let harness = panic::take_hook();
    keep_panics_quiet();
    let mut answer = -1;
    let used = on_stack(stack.bytes(), || answer = guard(FLB_RETRY, || panic!("no luck with {}", "this")));
    panic::set_hook(harness);
    println!("panic with its log line: {used} bytes of stack");
    assert_eq!(answer, FLB_RETRY);
    let place = format!("({}:", file!());
    let lines = log::take();
    assert!(
        matches!(&lines[..], [(1, line)] if line.contains("internal error: no luck with this") && line.contains(&place)),
        "{lines:?}"
    );
    host.stop();
}

#[test]
fn a_flush_stays_within_a_coroutine_stack_of_24_kib() {
    let host = Host::start();
    let stack = HeapStack::new(24 * KIB);
    let mut answer = -1;
    let used = on_stack(stack.bytes(), || answer = host.flush());
    println!("flush on the heap: {used} bytes of stack");
    assert_eq!(answer, FLB_RETRY, "{:?}", log::take());
    stack.check();
    host.stop();
}

/// A started output, with the log and the library locked for this test.
struct Host {
    library: Library,
    definition: Definition,
    output: Box<Output>,
    chunk: Vec<u8>,
    _alone: MutexGuard<'static, ()>,
}

impl Host {
    /// Nothing listens at the output's endpoint, so it also has something to log.
    fn start() -> Host {
        let alone = one_at_a_time();
        log::collect();
        let library = Library::open(&built_plugin().unwrap()).unwrap();
        let definition = library.register(0).unwrap();
        // SAFETY: each test stops its output before the next one begins.
        unsafe { set_environment() };
        let properties = [&UNREACHABLE[..], &[("log_level", "debug")]].concat();
        let mut output = Output::new("kinesis.0", &properties).unwrap();
        assert_eq!(output.init(&library), 1, "{:?}", log::take());
        log::take();
        let mut chunk = Chunk::default();
        for _ in 0..1000 {
            chunk.push(1_760_000_000, "log", b"one line of many");
        }
        Host { library, definition, output, chunk: chunk.bytes, _alone: alone }
    }

    fn flush(&self) -> c_int {
        self.output.flush(&self.library, &self.chunk, c"app.log")
    }

    fn stop(self) {
        self.output.exit(&self.library);
        self.library.unregister(self.definition);
    }
}

/// Runs `call` on the given stack, as a coroutine, and returns how many bytes of the stack it touched.
fn on_stack(stack: &'static mut [u8], mut call: impl FnMut()) -> usize {
    thread_local! {
        static CALL: Cell<Option<*mut dyn FnMut()>> = const { Cell::new(None) };
    }
    extern "C" fn start() {
        if let Some(call) = CALL.take() {
            // SAFETY: set below, by the function that waits for this one.
            unsafe { (*call)() }
        }
    }
    const UNTOUCHED: u8 = 0xa5;
    stack.fill(UNTOUCHED);
    let call: *mut (dyn FnMut() + '_) = &mut call;
    // SAFETY: the call ends before this function does.
    CALL.set(Some(unsafe { mem::transmute::<*mut (dyn FnMut() + '_), *mut (dyn FnMut() + 'static)>(call) }));
    // SAFETY: both contexts are initialized by the C library before use and stay where they are, and the stack is
    // not used by anything else.
    unsafe {
        let (mut here, mut there) = (mem::zeroed::<libc::ucontext_t>(), mem::zeroed::<libc::ucontext_t>());
        assert_eq!(libc::getcontext(&mut there), 0);
        there.uc_stack.ss_sp = stack.as_mut_ptr().cast();
        there.uc_stack.ss_size = stack.len();
        there.uc_link = &mut here;
        libc::makecontext(&mut there, start, 0);
        assert_eq!(libc::swapcontext(&mut here, &there), 0);
    }
    stack.len() - stack.iter().take_while(|byte| **byte == UNTOUCHED).count()
}

/// A stack that ends in an inaccessible page: overflowing it aborts the test.
struct GuardedStack {
    mapping: *mut u8,
    guard: usize,
    length: usize,
}

impl GuardedStack {
    fn new(length: usize) -> GuardedStack {
        // SAFETY: a fresh mapping of our own, whose lowest page is made inaccessible.
        unsafe {
            let guard = libc::sysconf(libc::_SC_PAGESIZE) as usize;
            let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            let mapping = libc::mmap(ptr::null_mut(), guard + length, access, flags, -1, 0);
            assert_ne!(mapping, libc::MAP_FAILED);
            assert_eq!(libc::mprotect(mapping, guard, libc::PROT_NONE), 0);
            GuardedStack { mapping: mapping.cast(), guard, length }
        }
    }

    fn bytes(&self) -> &'static mut [u8] {
        // SAFETY: mapped until the end of the test; one call uses it at a time.
        unsafe { slice::from_raw_parts_mut(self.mapping.add(self.guard), self.length) }
    }
}

impl Drop for GuardedStack {
    fn drop(&mut self) {
        // SAFETY: the mapping made above.
        unsafe { libc::munmap(self.mapping.cast(), self.guard + self.length) };
    }
}

/// A stack on the heap with 4 KiB of canaries on either side.
struct HeapStack {
    block: *mut u8,
    length: usize,
}

impl HeapStack {
    const CANARY: u8 = 0xc5;
    const MARGIN: usize = 4 * KIB;

    fn layout(length: usize) -> Layout {
        Layout::from_size_align(length + 2 * Self::MARGIN, 16).unwrap()
    }

    fn new(length: usize) -> HeapStack {
        // SAFETY: the layout has a size.
        let block = unsafe { alloc(Self::layout(length)) };
        assert!(!block.is_null());
        // SAFETY: the whole block.
        unsafe { block.write_bytes(Self::CANARY, length + 2 * Self::MARGIN) };
        HeapStack { block, length }
    }

    fn bytes(&self) -> &'static mut [u8] {
        // SAFETY: allocated until the end of the test; one call uses it at a time.
        unsafe { slice::from_raw_parts_mut(self.block.add(Self::MARGIN), self.length) }
    }

    fn check(&self) {
        for (where_, from) in [("below", 0), ("above", Self::MARGIN + self.length)] {
            // SAFETY: the margins lie in the block.
            let margin = unsafe { slice::from_raw_parts(self.block.add(from), Self::MARGIN) };
            assert!(margin.iter().all(|byte| *byte == Self::CANARY), "{where_} the stack something was written");
        }
    }
}

impl Drop for HeapStack {
    fn drop(&mut self) {
        // SAFETY: the block allocated above.
        unsafe { dealloc(self.block, Self::layout(self.length)) };
    }
}
