//! A program of its own, because it exports less than other hosts: it plays a Fluent Bit up to 2.1.7.
//!
//! Such a host, and hence each aws-for-fluent-bit 2.x, frees chunks while flushes are using them: it ends its inputs
//! before its outputs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]
#![allow(unsafe_code, reason = "plays the C side of the boundary")]

use std::ptr;

use testing::host::bindings::{FLB_OK, FLB_RETRY};
use testing::host::event_loop::{Coroutine, EVENT, Form, Host, Server};
use testing::host::output::Output;

testing::export_log!();
testing::export_metrics!();
testing::export_event_loop!();

/// More than start at first, so that some are not yet read.
const FLUSHES: usize = 20;

#[test]
fn a_chunk_that_is_freed_while_it_is_in_use_is_not_read_any_more() {
    let host = Host::start(Form::Usual);
    let server = Server::start();
    let output = host.output(&server.endpoint);
    let (chunks, flushes) = flushes(&host, &output);
    chunks.into_iter().for_each(Pages::free);
    server.close();
    host.run_until(|| flushes.iter().all(|flush| flush.answer().is_some()));
    assert!(flushes.iter().all(|flush| flush.answer() == Some(FLB_RETRY)));
    assert_eq!(output.exit(&host.library), FLB_OK);
    host.stop();
}

/// Without workers, these versions free the chunks, end the output, and never resume the flushes.
#[test]
fn an_output_that_ends_after_its_chunks_are_freed_does_not_read_them() {
    let host = Host::start(Form::Usual);
    let server = Server::start();
    let output = host.output(&server.endpoint);
    let (chunks, flushes) = flushes(&host, &output);
    chunks.into_iter().for_each(Pages::free);
    assert_eq!(output.exit(&host.library), FLB_OK);
    assert!(flushes.iter().all(|flush| flush.answer().is_none()));
    server.close();
    host.stop();
}

#[allow(clippy::vec_box, reason = "the plugin keeps their addresses")]
fn flushes(host: &Host, output: &Output) -> (Vec<Pages>, Vec<Box<Coroutine>>) {
    let start = |_| {
        let (chunk, tag) = (Pages::new(&EVENT.repeat(100)), Pages::new(b"app.log\0"));
        let flush = host.flush_chunk(output, chunk.0, tag.0);
        assert_eq!(flush.answer(), None, "it waits");
        ([chunk, tag], flush)
    };
    let (chunks, flushes): (Vec<_>, Vec<_>) = (0..FLUSHES).map(start).unzip();
    (chunks.into_iter().flatten().collect(), flushes)
}

/// Memory whose use after it is freed kills the process.
struct Pages(*const [u8]);

impl Pages {
    fn new(bytes: &[u8]) -> Pages {
        let (read, private) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: new memory at any free address.
        let pages = unsafe { libc::mmap(ptr::null_mut(), bytes.len(), read, private, -1, 0) };
        assert_ne!(pages, libc::MAP_FAILED);
        // SAFETY: mapped with that length.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), pages.cast(), bytes.len()) };
        Pages(ptr::slice_from_raw_parts(pages.cast(), bytes.len()))
    }

    fn free(self) {
        // SAFETY: mapped above; the test is to find out whether something still uses it.
        assert_eq!(unsafe { libc::munmap(self.0.cast_mut().cast(), self.0.len()) }, 0);
    }
}
