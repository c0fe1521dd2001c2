//! Stops, restarts and reloads lose nothing.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;

use super::host::{Binary, Home, line};
use super::known_faults::{Fault, has, tolerated};
use super::stand_in::{assert_all, assert_each_once, checked, home_beside, not_whole, section, tail_to};
use super::{Claim, features, note};
use testing::fake_kinesis::{FakeKinesis, Faults, Settings};

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
        Claim::new("the_end_of_an_input_is_not_held_up_by_a_kinesis_that_does_not_answer", |binary| {
            input_ends_while_away(binary, &["Workers 2"])
        }),
        Claim::new("the_end_of_an_input_is_not_held_up_by_a_kinesis_that_does_not_answer_without_workers", |binary| {
            input_ends_while_away(binary, &[])
        }),
        Claim::new("the_end_of_stdin_is_not_held_up_by_a_kinesis_that_does_not_answer", stdin_ends_while_away),
        Claim::new("a_slow_kinesis_makes_no_exit_crash", |binary| {
            slow_at_the_end(binary, &["Workers 2"], Ending::Signal)
        }),
        Claim::new("a_slow_kinesis_makes_no_exit_crash_without_workers", |binary| {
            slow_at_the_end(binary, &[], Ending::Signal)
        }),
        Claim::new("a_slow_kinesis_makes_no_end_of_an_input_crash", |binary| {
            slow_at_the_end(binary, &["Workers 2"], Ending::Input)
        }),
        Claim::new("a_slow_kinesis_makes_no_end_of_an_input_crash_without_workers", |binary| {
            slow_at_the_end(binary, &[], Ending::Input)
        }),
        Claim::new("a_line_that_is_half_written_at_a_stop_arrives_whole", half_line),
        Claim::new("a_kill_in_the_middle_loses_no_line", kill),
        Claim::new("a_restart_during_retries_sends_nothing_twice", restart_during_retries),
        Claim::new("a_hot_reload_loses_no_line", |binary| {
            reload(binary, &[], 3, Duration::ZERO)?;
            // What docs/compatibility.md advises must help.
            if has(binary, Fault::ReloadHangs) { reload(binary, &[ONLY_GRACE], 3, Duration::ZERO) } else { Ok(()) }
        })
        .needs(&features::RELOAD),
        Claim::new("a_minute_of_hot_reloads_every_two_seconds_loses_no_line", |binary| {
            reload(binary, &[], 30, Duration::from_secs(2))
        })
        .needs(&features::RELOAD),
    ]
}

/// Each reply is slow, so the stop comes while records are in flight and others wait.
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
    // The next run reads what had not yet been read from the file.
    drop(fluent_bit);
    kinesis.set_faults(Faults::default());
    next_start_delivers_each_once(&home, &kinesis, LINES)
}

/// What the first start has left on disk arrives after the second.
fn next_start_delivers_each_once(home: &Home, kinesis: &FakeKinesis, lines: usize) -> Result<(), Failed> {
    let mut fluent_bit = home.start("main.conf")?;
    fluent_bit.wait_until("it started again", || starts(home) == 2)?;
    fluent_bit.wait_until("every line arrived", || kinesis.stats().distinct >= lines as u64)?;
    fluent_bit.stop()?;
    assert_each_once(kinesis, "logs", lines)
}

/// Kinesis accepts nothing until after the stop.
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
    next_start_delivers_each_once(&home, &kinesis, LINES)
}

/// A flush that outlasts the grace period delays the exit. Regression: in Fluent Bit 1.9 it read freed memory, and
/// the process crashed.
fn stop_while_away(binary: &Binary, faults: Faults, output: &[&str]) -> Result<(), Failed> {
    const PART: usize = 500;
    const PARTS: usize = 10;
    let (home, kinesis) = home_beside(binary, Settings { faults, ..checked() })?;
    let service = ["Grace 5", "storage.path storage", "scheduler.base 1", "scheduler.cap 2"];
    let input = [&WHOLE_LINES[..], &["storage.type filesystem"]].concat();
    let output = [&["stream logs", "Retry_Limit no_limits"], output].concat();
    home.write("main.conf", &tail_to(&kinesis, &service, &input, &output))?;
    let mut fluent_bit = home.start("main.conf")?;
    // Many chunks, so that more wait in the host's queue than are in flight.
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
    next_start_delivers_each_once(&home, &kinesis, PARTS * PART)
}

/// Fluent Bit ends by itself when its input has ended, and notifies no plugin.
fn input_ends_while_away(binary: &Binary, output: &[&str]) -> Result<(), Failed> {
    let (home, kinesis) = home_beside(binary, Settings { faults: silent(), ..checked() })?;
    home.append_lines(0..5000)?;
    let input = [&WHOLE_LINES[..], &["Exit_On_Eof on"]].concat();
    let output = [&["stream logs", "Retry_Limit no_limits"], output].concat();
    home.write("main.conf", &tail_to(&kinesis, &["Grace 3"], &input, &output))?;
    ends_within(&home, 3, "main.conf")
}

fn stdin_ends_while_away(binary: &Binary) -> Result<(), Failed> {
    let (home, kinesis) = home_beside(binary, Settings { faults: silent(), ..checked() })?;
    let stdin = section("INPUT", &[&["Name stdin", "Tag app"]]);
    let endpoint = format!("endpoint {}", kinesis.endpoint());
    let output = ["Name kinesis", "Match app", "region eu-west-1", "stream logs", "Workers 1", &endpoint];
    let service = section("SERVICE", &[&["Flush 0.2", "Grace 3", "Log_File fluent-bit.log"]]);
    home.write("main.conf", &(service + &stdin + &section("OUTPUT", &[&output])))?;
    home.write("stdin", &(0..1000).map(|number| format!("{{\"log\":\"line {number}\"}}\n")).collect::<String>())?;
    ends_within(&home, 3, "main.conf")
}

/// Fails unless Fluent Bit ends well and by itself, within its grace period plus five seconds from the first request.
fn ends_within(home: &Home, grace: u64, configuration: &str) -> Result<(), Failed> {
    let mut fluent_bit = home.start(configuration)?;
    let began = Instant::now();
    fluent_bit.end_well()?;
    let time = began.elapsed();
    // Startup and the first flush take a second or two.
    if time > Duration::from_secs(grace + 5 + 3) {
        return Err(fluent_bit.failure(&format!("it took {time:?}")));
    }
    // The log says at exit what became of the flush.
    match home.log().contains("is shutting down and Kinesis accepts nothing")
        || home.log().contains("left for Fluent Bit to retry")
    {
        true => Ok(()),
        false => Err(fluent_bit.failure("nothing was under way")),
    }
}

enum Ending {
    Signal,
    Input,
}

/// Kinesis accepts one request at a time, so that flushes of many chunks outlast the grace period, and the host
/// returns freed memory to the system. Three times, because freed memory does not always look freed.
fn slow_at_the_end(binary: &Binary, output: &[&str], ending: Ending) -> Result<(), Failed> {
    const PART: usize = 500;
    const PARTS: usize = 24;
    let grace = Duration::from_secs(2);
    let faults = Faults { latency_ms: 500, ..Faults::default() };
    for _ in 0..3 {
        let (mut home, kinesis) = home_beside(binary, Settings { faults: faults.clone(), ..checked() })?;
        home.set("JE_MALLOC_CONF", "junk:true,retain:false,dirty_decay_ms:0,muzzy_decay_ms:0,tcache:false");
        let storage = ["storage.type filesystem", "Buffer_Chunk_Size 32k", "Buffer_Max_Size 32k"];
        let input = match ending {
            Ending::Signal => storage.to_vec(),
            Ending::Input => [&storage[..], &["Exit_On_Eof on"]].concat(),
        };
        let service = ["Grace 2", "storage.path storage"];
        let output = [&["stream logs", "concurrency 1", "Retry_Limit no_limits"], output];
        home.write("main.conf", &tail_to(&kinesis, &service, &input, &output.concat()))?;
        home.append_lines(0..PART)?;
        let mut fluent_bit = home.start("main.conf")?;
        // Chunk by chunk; the input ends when nothing is added for a moment.
        for part in 1..PARTS {
            home.append_lines(part * PART..(part + 1) * PART)?;
            thread::sleep(Duration::from_millis(if matches!(ending, Ending::Input) { 5 } else { 250 }));
        }
        let began = Instant::now();
        match ending {
            Ending::Signal => drop(fluent_bit.stop()?),
            Ending::Input => fluent_bit.end_well()?,
        }
        if began.elapsed() < grace && kinesis.stats().records >= (PARTS * PART) as u64 {
            return Err(fluent_bit.failure("nothing was under way when the grace was over"));
        }
        // Freed memory would not be a chunk.
        if home.log().contains("msgpack") || home.log().contains("[error]") {
            return Err(fluent_bit.failure("a chunk could not be read"));
        }
    }
    Ok(())
}

fn silent() -> Faults {
    Faults { hang: 1.0, ..Faults::default() }
}

/// Its end is written only after the next start.
fn half_line(binary: &Binary) -> Result<(), Failed> {
    let (home, kinesis) = home_beside(binary, checked())?;
    home.write("main.conf", &tail_to(&kinesis, &[], &[], &["stream logs"]))?;
    let (begin, end) = (&line(10)[..20], &line(10)[20..]);
    home.append_lines(0..10)?;
    home.append(begin)?;
    let mut fluent_bit = home.start("main.conf")?;
    fluent_bit.wait_until("the lines before it arrived", || kinesis.stats().distinct >= 10)?;
    fluent_bit.stop()?;
    drop(fluent_bit);
    home.append(end)?;
    home.append_lines(11..20)?;
    let mut fluent_bit = home.start("main.conf")?;
    fluent_bit.wait_until("as many lines arrived", || kinesis.stats().distinct >= 20)?;
    fluent_bit.stop()?;
    if forgot_half_lines(binary, &kinesis, 20)? { Ok(()) } else { assert_each_once(&kinesis, "logs", 20) }
}

/// Whether lines arrived without their beginning, in a version with that fault. No other line may be missing.
fn forgot_half_lines(binary: &Binary, kinesis: &FakeKinesis, lines: usize) -> Result<bool, Failed> {
    let (missing, ends) = not_whole(kinesis, lines)?;
    if ends == 0 || missing.len() != ends || !has(binary, Fault::ForgetsHalfLines) {
        return Ok(false);
    }
    tolerated(binary, Fault::ForgetsHalfLines);
    Ok(true)
}

/// Killed while requests are in flight; what Kinesis stored from them comes again, as no reply arrived.
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

/// Some records of each chunk are accepted; the others are throttled until after a clean restart.
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
    next_start_delivers_each_once(&home, &kinesis, LINES)
}

/// A reload waits for the grace period only, not until no chunk is left.
const ONLY_GRACE: &str = "hot_reload.ensure_thread_safety off";

/// Lines are written before, during and after each of several reloads, `pause` apart.
///
/// Without workers, because of `ReloadsWithWorkers`.
fn reload(binary: &Binary, service: &[&str], reloads: usize, pause: Duration) -> Result<(), Failed> {
    let (home, kinesis) = home_beside(binary, checked())?;
    let may_hang = has(binary, Fault::ReloadHangs) && !service.contains(&ONLY_GRACE);
    let service = [&["Hot_Reload on", "storage.path storage"], service].concat();
    let input = [&WHOLE_LINES[..], &["storage.type filesystem"]].concat();
    // Its file is locked: the old output must have closed it when the new one opens it.
    let output = ["stream logs", "Retry_Limit no_limits", "ledger_path ledger"];
    home.write("main.conf", &tail_to(&kinesis, &service, &input, &output))?;
    let mut fluent_bit = home.start("main.conf")?;
    let (written, enough) = (AtomicUsize::new(0), AtomicBool::new(false));
    let reloaded = thread::scope(|scope| {
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
        writer.join().unwrap_or_else(|_| Err("the writer panicked".into())).map(|()| reloaded)
    })?;
    let lines = written.into_inner();
    let arrived = || kinesis.stats().distinct >= lines as u64;
    let mut done = reloaded.and_then(|()| fluent_bit.wait_until("every line arrived", arrived));
    if done.is_err() && may_hang {
        tolerated(binary, Fault::ReloadHangs);
        // What it holds is on disk, so the next run has it.
        drop(fluent_bit);
        fluent_bit = home.start("main.conf")?;
        done = fluent_bit.wait_until("every line arrived after a kill", arrived);
    }
    done?;
    fluent_bit.stop()?;
    // A line that crosses a page may be read while only half of it is written.
    if forgot_half_lines(binary, &kinesis, lines)? {
        return Ok(());
    }
    let twice = assert_all(&kinesis, "logs", lines)?;
    note(binary, &format!("{twice} of {lines} lines arrived more than once over {reloads} reloads"));
    Ok(())
}

/// Buffers large enough for all lines of a test, so that none is half read at a stop: see `ForgetsHalfLines`.
pub const WHOLE_LINES: [&str; 2] = ["Buffer_Chunk_Size 4M", "Buffer_Max_Size 4M"];

/// How many times the plugin started, according to its log.
pub fn starts(home: &Home) -> usize {
    home.log().matches("[output:kinesis:kinesis.0] version ").count()
}
