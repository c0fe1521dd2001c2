//! Every line that is written to a file is in the stream, once.

use libtest_mimic::Failed;

use crate::Claim;
use crate::host::Binary;
use crate::stand_in::{assert_each_once, checked, home_beside, section, tail_to};
use crate::support::fake_kinesis::{Faults, Settings, Stream};

pub fn claims() -> Vec<Claim> {
    vec![
        Claim::new("each_line_arrives_once_with_two_workers", |binary| each_line_once(binary, &["Workers 2"])),
        Claim::new("each_line_arrives_once_without_workers", |binary| each_line_once(binary, &[])),
        Claim::new("two_outputs_deliver_to_their_own_streams", two_outputs),
        Claim::new("each_line_arrives_once_after_a_time_of_throttling", throttled_for_a_time),
        Claim::new("each_line_arrives_once_when_the_stream_is_created_late", stream_is_created_late),
    ]
}

fn each_line_once(binary: &Binary, output: &[&str]) -> Result<(), Failed> {
    const LINES: usize = 20_000;
    let (home, kinesis) = home_beside(binary, checked())?;
    home.append_lines(0..LINES)?;
    home.write("main.conf", &tail_to(&kinesis, &[], &[], &[&["stream logs"], output].concat()))?;
    let mut fluent_bit = home.start("main.conf")?;
    fluent_bit.wait_until("every line arrived", || kinesis.stats().distinct >= LINES as u64)?;
    fluent_bit.stop()?;
    assert_each_once(&kinesis, "logs", LINES)
}

fn two_outputs(binary: &Binary) -> Result<(), Failed> {
    const LINES: usize = 2000;
    let streams = vec![Stream::new("logs", 2), Stream::new("audit", 1)];
    let (home, kinesis) = home_beside(binary, Settings { streams, ..checked() })?;
    home.append_lines(0..LINES)?;
    let endpoint = format!("endpoint {}", kinesis.endpoint());
    let second = ["Name kinesis", "Match *", "region eu-west-1", "stream audit", "Workers 1", &endpoint];
    let text = tail_to(&kinesis, &[], &[], &["stream logs", "Workers 2"]) + &section("OUTPUT", &[&second]);
    home.write("main.conf", &text)?;
    let mut fluent_bit = home.start("main.conf")?;
    fluent_bit.wait_until("every line arrived twice", || kinesis.stats().records >= 2 * LINES as u64)?;
    fluent_bit.stop()?;
    assert_each_once(&kinesis, "logs", LINES)?;
    assert_each_once(&kinesis, "audit", LINES)
}

/// Retries that come quickly, and without end.
const SHORT_RETRIES: [&str; 2] = ["scheduler.base 1", "scheduler.cap 2"];
const ENDLESS: [&str; 4] = ["stream logs", "Workers 2", "Retry_Limit no_limits", "retries_on_batch_request 1"];

/// All at first, then some: chunks come back whole, then in part.
fn throttled_for_a_time(binary: &Binary) -> Result<(), Failed> {
    const LINES: usize = 2000;
    let faults = Faults { throttle_records: 1.0, ..Faults::default() };
    let (home, kinesis) = home_beside(binary, Settings { faults, ..checked() })?;
    home.append_lines(0..LINES)?;
    home.write("main.conf", &tail_to(&kinesis, &SHORT_RETRIES, &[], &ENDLESS))?;
    let mut fluent_bit = home.start("main.conf")?;
    let handed_back = "the rest is left to Fluent Bit's retry";
    fluent_bit.wait_until("a flush is left to the retry", || home.log().contains(handed_back))?;
    kinesis.set_faults(Faults { throttle_records: 0.3, seed: 7, ..Faults::default() });
    fluent_bit.wait_until("every line arrived", || kinesis.stats().distinct >= LINES as u64)?;
    fluent_bit.stop()?;
    assert_each_once(&kinesis, "logs", LINES)
}

fn stream_is_created_late(binary: &Binary) -> Result<(), Failed> {
    const LINES: usize = 2000;
    let (home, kinesis) = home_beside(binary, Settings { streams: vec![Stream::new("other", 1)], ..checked() })?;
    home.append_lines(0..LINES)?;
    home.write("main.conf", &tail_to(&kinesis, &SHORT_RETRIES, &[], &ENDLESS))?;
    let mut fluent_bit = home.start("main.conf")?;
    let told = "cannot put records into stream logs";
    fluent_bit.wait_until("the missing stream is in the log", || home.log().contains(told))?;
    kinesis.add_stream(Stream::new("logs", 2));
    fluent_bit.wait_until("every line arrived", || kinesis.stats().distinct >= LINES as u64)?;
    fluent_bit.stop()?;
    assert_each_once(&kinesis, "logs", LINES)
}
