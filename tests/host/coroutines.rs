//! Flushes on coroutines wait concurrently on one thread, like those of the host's own outputs.
//!
//! The host here has coroutines and an event loop like Fluent Bit's.

use std::fs;

use testing::host::bindings::{FLB_OK, FLB_RETRY};
use testing::host::event_loop::{Form, Host, Server, break_loop};
use testing::host::log;

const FLUSHES: usize = 20;

#[test]
fn flushes_of_one_thread_wait_side_by_side() {
    let host = Host::start(Form::Usual);
    let server = Server::start();
    let output = host.output(&server.endpoint);
    let flushes = (0..FLUSHES).map(|_| host.flush(&output)).collect::<Vec<_>>();
    assert!(flushes.iter().all(|flush| flush.answer().is_none()), "none waits in the thread");
    assert!(host.events() > 0, "the event loop knows of them");
    server.close();
    host.run_until(|| flushes.iter().all(|flush| flush.answer().is_some()));
    assert!(flushes.iter().all(|flush| flush.answer() == Some(FLB_RETRY)));
    assert_eq!(host.events(), 0, "the event loop is left as it was");
    assert_eq!(output.exit(&host.library), FLB_OK);
    host.stop();
}

#[test]
fn a_host_that_was_built_for_valgrind_is_understood() {
    let host = Host::start(Form::ForValgrind);
    let server = Server::start();
    let output = host.output(&server.endpoint);
    let flush = host.flush(&output);
    assert_eq!(flush.answer(), None);
    server.close();
    host.run_until(|| flush.answer().is_some());
    output.exit(&host.library);
    host.stop();
}

#[test]
fn a_coroutine_of_another_form_waits_in_its_thread() {
    let host = Host::start(Form::Unknown);
    let server = Server::start();
    let output = host.output(&server.endpoint);
    server.close();
    assert_eq!(host.flush(&output).answer(), Some(FLB_RETRY));
    output.exit(&host.library);
    host.stop();
}

#[test]
fn an_event_loop_that_takes_no_event_makes_the_flush_wait_in_its_thread() {
    let host = Host::start(Form::Usual);
    let server = Server::start();
    let output = host.output(&server.endpoint);
    break_loop();
    server.close();
    assert_eq!(host.flush(&output).answer(), Some(FLB_RETRY));
    output.exit(&host.library);
    host.stop();
}

/// The grace period ends, without workers.
#[test]
fn an_exit_does_not_wait_for_flushes_that_the_host_never_continues() {
    let host = Host::start(Form::Usual);
    let server = Server::start();
    let output = host.output(&server.endpoint);
    let flush = host.flush(&output);
    assert_eq!(flush.answer(), None);
    assert_eq!(output.exit(&host.library), FLB_OK);
    assert_eq!(flush.answer(), None);
    server.close();
    host.stop();
}

/// Lines come from the delivery thread, but the host accepts them only from its own threads.
#[test]
fn what_is_logged_meanwhile_is_written_by_the_flush() {
    let host = Host::start(Form::Usual);
    let server = Server::start();
    let output = host.output(&server.endpoint);
    log::take();
    let flush = host.flush(&output);
    server.close();
    host.run_until(|| flush.answer().is_some());
    let lines = log::take();
    assert!(lines.iter().any(|(_, line)| line.contains("Fluent Bit will retry the rest")), "{lines:?}");
    output.exit(&host.library);
    host.stop();
}

#[test]
fn events_of_another_form_make_flushes_wait_in_their_thread_and_one_line_says_so() {
    let host = Host::start(Form::LongerEvents);
    let server = Server::start();
    let output = host.output(&server.endpoint);
    server.close();
    log::take();
    assert_eq!(host.flush(&output).answer(), Some(FLB_RETRY));
    assert_eq!(host.flush(&output).answer(), Some(FLB_RETRY));
    assert_eq!(host.events(), 0, "the event loop is left as it was");
    let lines = log::take();
    let told = lines.iter().filter(|(_, line)| line.contains("differ from those this plugin knows")).count();
    assert_eq!(told, 1, "{lines:?}");
    output.exit(&host.library);
    host.stop();
}

#[test]
fn coroutines_can_be_switched_off_by_an_option_or_a_variable() {
    let host = Host::start(Form::Usual);
    let server = Server::start();
    let endpoint = server.endpoint.clone();
    server.close();
    let by_option = host.output_with(&endpoint, &[("coroutines", "off")]);
    assert_eq!(host.flush(&by_option).answer(), Some(FLB_RETRY));
    // SAFETY: the only running instance no longer reads variables, and the other tests wait.
    unsafe { std::env::set_var("KINESIS_COROUTINES", "off") };
    let by_variable = host.output(&endpoint);
    let silent = Server::start();
    let option_wins = host.output_with(&silent.endpoint, &[("coroutines", "on")]);
    // SAFETY: as above.
    unsafe { std::env::remove_var("KINESIS_COROUTINES") };
    assert_eq!(host.flush(&by_variable).answer(), Some(FLB_RETRY));
    let flush = host.flush(&option_wins);
    assert_eq!(flush.answer(), None);
    silent.close();
    host.run_until(|| flush.answer().is_some());
    [by_option, by_variable, option_wins].into_iter().for_each(|output| assert_eq!(output.exit(&host.library), FLB_OK));
    host.stop();
}

/// A hot reload does that to flushes still waiting when the grace period is over.
#[test]
fn an_exit_closes_the_descriptors_of_flushes_that_the_host_never_continues() {
    let host = Host::start(Form::Usual);
    let server = Server::start();
    // The first one opens what remains open for all.
    assert_eq!(host.output(&server.endpoint).exit(&host.library), FLB_OK);
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    let output = host.output(&server.endpoint);
    let flushes = (0..FLUSHES).map(|_| host.flush(&output)).collect::<Vec<_>>();
    assert!(descriptors() >= before + FLUSHES);
    assert_eq!(output.exit(&host.library), FLB_OK);
    assert_eq!(descriptors(), before, "{} flushes never ended", flushes.len());
    assert_eq!(host.events(), 0, "the event loop is left as it was");
    server.close();
    host.stop();
}

/// The end of an input, `flb_stop` or a reload.
#[test]
fn a_host_that_ends_without_a_signal_is_not_held_up_by_a_kinesis_that_is_away() {
    let host = Host::start(Form::Usual);
    let server = Server::start();
    let output = host.output(&server.endpoint);
    let flush = host.flush(&output);
    log::take();
    let flags = host.config.get();
    // SAFETY: the plugin only reads it.
    unsafe { ((*flags).is_ingestion_active, (*flags).is_shutting_down) = (0, 1) };
    host.run_until(|| flush.answer().is_some());
    assert_eq!(flush.answer(), Some(FLB_RETRY), "though the server is as silent as ever");
    let lines = log::take();
    assert!(lines.iter().any(|(_, line)| line.contains("Fluent Bit is shutting down")), "{lines:?}");
    output.exit(&host.library);
    server.close();
    host.stop();
}

#[test]
fn a_flush_of_another_form_is_not_asked_whether_the_host_ends() {
    let host = Host::start(Form::LongerFlush);
    let server = Server::start();
    let output = host.output(&server.endpoint);
    let flags = host.config.get();
    // SAFETY: the plugin only reads it.
    unsafe { ((*flags).is_ingestion_active, (*flags).is_shutting_down) = (0, 1) };
    let flush = host.flush(&output);
    assert_eq!(flush.answer(), None);
    server.close();
    host.run_until(|| flush.answer().is_some());
    let lines = log::take();
    assert!(!lines.iter().any(|(_, line)| line.contains("Fluent Bit is shutting down")), "{lines:?}");
    output.exit(&host.library);
    host.stop();
}
