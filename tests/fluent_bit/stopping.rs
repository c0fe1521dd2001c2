//! Stops, restarts and reloads lose nothing.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
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
        Claim::new("a_kinesis_that_does_not_answer_holds_up_no_stop", |binary| {
            stop_while_away(binary, Faults { hang: 1.0, ..Faults::default() }, &["Workers 2"])
        }),
        Claim::new("a_kinesis_that_does_not_answer_holds_up_no_stop_without_workers", |binary| {
            stop_while_away(binary, Faults { hang: 1.0, ..Faults::default() }, &[])
        }),
        Claim::new("a_broken_network_holds_up_no_stop", |binary| {
            stop_while_away(binary, Faults { reset_before: 1.0, ..Faults::default() }, &["Workers 2"])
        }),
        Claim::new("a_kill_in_the_middle_loses_no_line", kill),
        Claim::new("a_restart_during_retries_sends_nothing_twice", restart_during_retries),
        Claim::new("a_hot_reload_loses_no_line", |binary| reload(binary, 3, Duration::ZERO))
            .since((2, 1, 0), NO_RELOAD),
        Claim::new("a_minute_of_hot_reloads_every_two_seconds_loses_no_line", |binary| {
            reload(binary, 30, Duration::from_secs(2))
        })
        .since((2, 1, 0), NO_RELOAD),
    ]
}

/// Each reply is slow, so the stop comes while records are under way and others wait.
fn stop_delivers(binary: &Binary) -> Result<(), Failed> {
    const LINES: usize = 20_000;
    let faults = Faults { latency_ms: 300, ..Faults::default() };
    let (home, kinesis) = home_beside(binary, Settings { faults, ..checked() })?;
    home.append_lines(0..LINES)?;
    home.write("main.conf", &tail_to(&kinesis, &["Grace 10"], &WHOLE_LINES, &["stream logs", "Workers 2"]))?;
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
    let input = [&WHOLE_LINES[..], &["storage.type filesystem"]].concat();
    home.write("main.conf", &tail_to(&kinesis, &service, &input, &output))?;
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

/// A flush that outlasts the grace period holds up the exit; in Fluent Bit 1.9 it read memory that was given back, and the
/// process crashed.
fn stop_while_away(binary: &Binary, faults: Faults, output: &[&str]) -> Result<(), Failed> {
    const PART: usize = 500;
    const PARTS: usize = 10;
    let (home, kinesis) = home_beside(binary, Settings { faults, ..checked() })?;
    let service = ["Grace 5", "storage.path storage", "scheduler.base 1", "scheduler.cap 2"];
    let input = [&WHOLE_LINES[..], &["storage.type filesystem"]].concat();
    let output = [&["stream logs", "Retry_Limit no_limits"], output].concat();
    home.write("main.conf", &tail_to(&kinesis, &service, &input, &output))?;
    let mut fluent_bit = home.start("main.conf")?;
    // Many chunks, so that more wait in the host's queue than are under way.
    for part in 0..PARTS {
        home.append_lines(part * PART..(part + 1) * PART)?;
        thread::sleep(Duration::from_millis(300));
    }
    fluent_bit.wait_until("a request is under way", || kinesis.stats().connections > 0)?;
    let time = fluent_bit.stop()?;
    if time > Duration::from_secs(9) {
        return Err(fluent_bit.failure(&format!("the stop took {time:?}")));
    }
    drop(fluent_bit);
    kinesis.set_faults(Faults::default());
    let mut fluent_bit = home.start("main.conf")?;
    fluent_bit.wait_until("it started again", || starts(&home) == 2)?;
    fluent_bit.wait_until("every line arrived", || kinesis.stats().distinct >= (PARTS * PART) as u64)?;
    fluent_bit.stop()?;
    assert_each_once(&kinesis, "logs", PARTS * PART)
}

/// Killed while requests are under way; what Kinesis took in them comes again, as nobody was told.
fn kill(binary: &Binary) -> Result<(), Failed> {
    const LINES: usize = 50_000;
    let faults = Faults { latency_ms: 300, throttle_records: 0.2, ..Faults::default() };
    let (home, kinesis) = home_beside(binary, Settings { faults, ..checked() })?;
    home.append_lines(0..LINES)?;
    let service = ["storage.path storage", "scheduler.base 1", "scheduler.cap 2"];
    let output = ["stream logs", "Workers 2", "Retry_Limit no_limits"];
    let input = [&WHOLE_LINES[..], &["storage.type filesystem"]].concat();
    home.write("main.conf", &tail_to(&kinesis, &service, &input, &output))?;
    for kills in 1..=3 {
        let mut fluent_bit = home.start("main.conf")?;
        let before = kinesis.stats().records;
        fluent_bit.wait_until("more arrived", || kinesis.stats().records > before)?;
        if kinesis.stats().distinct >= LINES as u64 {
            return Err(format!("everything had arrived before kill {kills}").into());
        }
        fluent_bit.signal(libc::SIGKILL);
        fluent_bit.wait_until("it is dead", || false).err().ok_or("it lives")?;
    }
    kinesis.set_faults(Faults::default());
    let mut fluent_bit = home.start("main.conf")?;
    fluent_bit.wait_until("every line arrived", || kinesis.stats().distinct >= LINES as u64)?;
    fluent_bit.stop()?;
    let twice = assert_all(&kinesis, "logs", LINES)?;
    note(binary, &format!("{twice} of {LINES} lines arrived more than once over three kills"));
    Ok(())
}

/// Some records of each chunk are accepted, the others are throttled until after a clean restart.
fn restart_during_retries(binary: &Binary) -> Result<(), Failed> {
    const LINES: usize = 5000;
    let faults = Faults { throttle_shards: vec![0, 1], ..Faults::default() };
    let (home, kinesis) = home_beside(binary, Settings { faults, ..checked() })?;
    home.append_lines(0..LINES)?;
    let service = ["Grace 2", "storage.path storage", "scheduler.base 1", "scheduler.cap 2"];
    let output =
        ["stream logs", "Workers 2", "Retry_Limit no_limits", "retries_on_batch_request 0", "ledger_path ledger"];
    let input = [&WHOLE_LINES[..], &["storage.type filesystem"]].concat();
    home.write("main.conf", &tail_to(&kinesis, &service, &input, &output))?;
    let mut fluent_bit = home.start("main.conf")?;
    fluent_bit.wait_until("records were throttled", || kinesis.stats().throttled_records > 0)?;
    fluent_bit.stop()?;
    drop(fluent_bit);
    let before = kinesis.stats().records;
    if before == 0 || before >= LINES as u64 || !home.path("ledger").exists() {
        return Err(format!("{before} of {LINES} lines had arrived before the restart, or there is no ledger").into());
    }
    kinesis.set_faults(Faults::default());
    let mut fluent_bit = home.start("main.conf")?;
    fluent_bit.wait_until("it started again", || starts(&home) == 2)?;
    fluent_bit.wait_until("every line arrived", || kinesis.stats().distinct >= LINES as u64)?;
    fluent_bit.stop()?;
    assert_each_once(&kinesis, "logs", LINES)
}

/// Lines are written before, during and after each of several reloads, which come `pause` apart.
///
/// Without workers: Fluent Bit since 2.2 starts the workers of a plugin of this kind twice and stops them once, and those
/// that go on use memory of the configuration that is gone. It crashes now and then, whatever the plugin.
fn reload(binary: &Binary, reloads: usize, pause: Duration) -> Result<(), Failed> {
    let (home, kinesis) = home_beside(binary, checked())?;
    let service = ["Hot_Reload on", "storage.path storage"];
    let input = [&WHOLE_LINES[..], &["storage.type filesystem"]].concat();
    // Its file is locked: the old output must have closed it when the new one opens it.
    let output = ["stream logs", "Retry_Limit no_limits", "ledger_path ledger"];
    home.write("main.conf", &tail_to(&kinesis, &service, &input, &output))?;
    let mut fluent_bit = home.start("main.conf")?;
    let (written, enough) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            while !enough.load(Ordering::Relaxed) {
                let number = written.load(Ordering::Relaxed);
                home.append_lines(number..number + 1)?;
                written.store(number + 1, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(1));
            }
            Ok::<(), Failed>(())
        });
        let reloaded = (1..=reloads).try_for_each(|reload| {
            let before = written.load(Ordering::Relaxed) as u64;
            fluent_bit.wait_until("lines arrive", || kinesis.stats().distinct > before)?;
            fluent_bit.signal(libc::SIGHUP);
            fluent_bit.wait_until("the plugin started again", || starts(&home) == reload + 1)?;
            thread::sleep(pause);
            Ok::<(), Failed>(())
        });
        enough.store(true, Ordering::Relaxed);
        writer.join().unwrap_or_else(|_| Err("the writer panicked".into())).and(reloaded)
    })?;
    let lines = written.into_inner();
    fluent_bit.wait_until("every line arrived", || kinesis.stats().distinct >= lines as u64)?;
    fluent_bit.stop()?;
    let twice = assert_all(&kinesis, "logs", lines)?;
    note(binary, &format!("{twice} of {lines} lines arrived more than once over {reloads} reloads"));
    Ok(())
}

/// Buffers that hold all lines of a test. Fluent Bit from 2 to 4 forgets a line of which it had read a part when it
/// stopped: its tail counts as read what only lies in the buffer.
pub const WHOLE_LINES: [&str; 2] = ["Buffer_Chunk_Size 4M", "Buffer_Max_Size 4M"];

/// How often the plugin started, by its log.
pub fn starts(home: &Home) -> usize {
    home.log().matches("[output:kinesis:kinesis.0] version ").count()
}
