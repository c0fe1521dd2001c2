//! Stops, restarts and reloads lose nothing.

use std::time::Duration;

use libtest_mimic::Failed;

use crate::host::{Binary, Home};
use crate::stand_in::{assert_all, assert_each_once, checked, home_beside, tail_to};
use crate::support::fake_kinesis::{Faults, Settings};
use crate::{Claim, note};

const NO_RELOAD: &str = "hot reload came with Fluent Bit 2.1";

pub fn claims() -> Vec<Claim> {
    vec![
        Claim::new("a_stop_delivers_what_is_pending", stop_delivers),
        Claim::new("what_a_stop_leaves_on_disk_arrives_after_the_next_start", stop_leaves_on_disk),
        Claim::new("a_hot_reload_loses_no_line", reload).since((2, 1, 0), NO_RELOAD),
    ]
}

/// Each reply is slow, so the stop comes while records are under way and others wait.
fn stop_delivers(binary: &Binary) -> Result<(), Failed> {
    const LINES: usize = 20_000;
    let faults = Faults { latency_ms: 300, ..Faults::default() };
    let (home, kinesis) = home_beside(binary, Settings { faults, ..checked() })?;
    home.append_lines(0..LINES)?;
    home.write("main.conf", &tail_to(&kinesis, &["Grace 10"], &[], &["stream logs", "Workers 2"]))?;
    let mut fluent_bit = home.start("main.conf")?;
    fluent_bit.wait_until("something arrived", || kinesis.stats().records > 0)?;
    let before = kinesis.stats().records;
    fluent_bit.stop()?;
    let after = kinesis.stats().records;
    if before >= LINES as u64 || after <= before {
        return Err(format!("nothing was pending: {before} lines had arrived before the stop, {after} after").into());
    }
    // What was not yet read from the file is read by the next run.
    drop(fluent_bit);
    kinesis.set_faults(Faults::default());
    let mut fluent_bit = home.start("main.conf")?;
    fluent_bit.wait_until("it started again", || starts(&home) == 2)?;
    fluent_bit.wait_until("every line arrived", || kinesis.stats().distinct >= LINES as u64)?;
    fluent_bit.stop()?;
    assert_each_once(&kinesis, "logs", LINES)
}

/// Kinesis takes nothing until after the stop.
fn stop_leaves_on_disk(binary: &Binary) -> Result<(), Failed> {
    const LINES: usize = 5000;
    let faults = Faults { throttle_records: 1.0, ..Faults::default() };
    let (home, kinesis) = home_beside(binary, Settings { faults, ..checked() })?;
    home.append_lines(0..LINES)?;
    let service = ["Grace 2", "storage.path storage", "scheduler.base 1", "scheduler.cap 2"];
    let output = ["stream logs", "Workers 2", "Retry_Limit no_limits", "retries_on_batch_request 1"];
    home.write("main.conf", &tail_to(&kinesis, &service, &["storage.type filesystem"], &output))?;
    let mut fluent_bit = home.start("main.conf")?;
    fluent_bit.wait_until("records were throttled", || kinesis.stats().throttled_records > 0)?;
    let time = fluent_bit.stop()?;
    if time > Duration::from_secs(10) {
        return Err(fluent_bit.failure(&format!("the stop took {time:?}")));
    }
    drop(fluent_bit);
    kinesis.set_faults(Faults::default());
    let mut fluent_bit = home.start("main.conf")?;
    fluent_bit.wait_until("it started again", || starts(&home) == 2)?;
    fluent_bit.wait_until("every line arrived", || kinesis.stats().distinct >= LINES as u64)?;
    fluent_bit.stop()?;
    assert_each_once(&kinesis, "logs", LINES)
}

/// Lines are written before, during and after each of three reloads.
fn reload(binary: &Binary) -> Result<(), Failed> {
    const PART: usize = 1000;
    let (home, kinesis) = home_beside(binary, checked())?;
    let service = ["Hot_Reload on", "storage.path storage"];
    let output = ["stream logs", "Workers 2", "Retry_Limit no_limits"];
    home.write("main.conf", &tail_to(&kinesis, &service, &["storage.type filesystem"], &output))?;
    let mut fluent_bit = home.start("main.conf")?;
    let mut lines = 0;
    for reloads in 0..3 {
        home.append_lines(lines..lines + PART)?;
        fluent_bit.wait_until("lines arrive", || kinesis.stats().distinct > lines as u64)?;
        fluent_bit.signal(libc::SIGHUP);
        home.append_lines(lines + PART..lines + 2 * PART)?;
        fluent_bit.wait_until("the plugin started again", || starts(&home) == reloads + 2)?;
        lines += 2 * PART;
    }
    fluent_bit.wait_until("every line arrived", || kinesis.stats().distinct >= lines as u64)?;
    fluent_bit.stop()?;
    let twice = assert_all(&kinesis, "logs", lines)?;
    note(binary, &format!("{twice} of {lines} lines arrived more than once over three reloads"));
    Ok(())
}

/// How often the plugin started, by its log.
fn starts(home: &Home) -> usize {
    home.log().matches("[output:kinesis:kinesis.0] version ").count()
}
