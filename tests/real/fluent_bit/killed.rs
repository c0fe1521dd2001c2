//! Kills at random moments, with chunks and the ledger on disk: nothing is lost, and almost nothing is sent twice.

use std::thread;
use std::time::Duration;

use libtest_mimic::Failed;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::host::Binary;
use super::stand_in::{checked, home_beside, tail_to, times_arrived};
use super::stopping::{WHOLE_LINES, starts};
use super::{Claim, note};
use testing::fake_kinesis::{Faults, Settings};

const KILLS: usize = 20;
/// How much Kinesis delays its replies.
const LATENCY_MS: u64 = 50;
/// Requests in flight, and records in each.
const CONCURRENCY: usize = 2;
const REQUEST: usize = 20;

pub fn claims() -> Vec<Claim> {
    vec![
        Claim::new("twenty_kills_send_twice_no_more_than_the_requests_under_way", |binary| {
            // So few and large chunks that none is done between the first kill and the last.
            kill(binary, &Plan { parts: 1, part: 40_000, just_done: 0 })
        }),
        Claim::new("twenty_kills_between_small_chunks_send_twice_no_more_than_those_that_were_just_done", |binary| {
            kill(binary, &Plan { parts: 60, part: 400, just_done: 3 })
        }),
    ]
}

struct Plan {
    /// Parts of the log, one chunk each.
    parts: usize,
    /// Lines of each.
    part: usize,
    /// Over all kills, the chunks that were done but not yet deleted by Fluent Bit; each takes only milliseconds.
    just_done: usize,
}

/// Kinesis stores immediately and replies late: what is in flight at the kill is stored without a reply.
fn kill(binary: &Binary, plan: &Plan) -> Result<(), Failed> {
    let lines = plan.parts * plan.part;
    let away = Faults { throttle_calls: 1.0, ..Faults::default() };
    let slow = Faults { latency_ms: LATENCY_MS, throttle_records: 0.1, ..Faults::default() };
    let (home, kinesis) = home_beside(binary, Settings { faults: away, ..checked() })?;
    let service = ["Grace 2", "storage.path storage", "scheduler.base 1", "scheduler.cap 2"];
    let (concurrency, count) = (format!("concurrency {CONCURRENCY}"), format!("batch_request_max_count {REQUEST}"));
    let output = ["stream logs", "Workers 1", "Retry_Limit no_limits", "ledger_path ledger", &concurrency, &count];
    let input = [&WHOLE_LINES[..], &["storage.type filesystem"]].concat();
    home.write("main.conf", &tail_to(&kinesis, &service, &input, &output))?;

    // Nothing is accepted until all lines are in chunks on disk, so that no kill hits the input.
    let mut fluent_bit = home.start("main.conf")?;
    fluent_bit.wait_until("it started", || starts(&home) == 1)?;
    for part in 0..plan.parts {
        home.append_lines(part * plan.part..(part + 1) * plan.part)?;
        thread::sleep(Duration::from_millis(300));
    }
    thread::sleep(Duration::from_secs(3));
    fluent_bit.signal(libc::SIGKILL);
    fluent_bit.wait_until("it is dead", || false).err().ok_or("it lives")?;
    drop(fluent_bit);
    if kinesis.stats().records > 0 {
        return Err("Kinesis took something before it should".into());
    }

    kinesis.set_faults(slow);
    let mut random = SmallRng::seed_from_u64(7);
    for kill in 1..=KILLS {
        let mut fluent_bit = home.start("main.conf")?;
        let before = kinesis.stats().records;
        fluent_bit.wait_until("more arrived", || kinesis.stats().records > before)?;
        thread::sleep(Duration::from_millis(random.random_range(200..1000)));
        if kinesis.stats().distinct >= lines as u64 {
            return Err(format!("everything had arrived before kill {kill}").into());
        }
        fluent_bit.signal(libc::SIGKILL);
        fluent_bit.wait_until("it is dead", || false).err().ok_or("it lives")?;
    }
    kinesis.set_faults(Faults::default());
    let mut fluent_bit = home.start("main.conf")?;
    fluent_bit.wait_until("every line arrived", || kinesis.stats().distinct >= lines as u64)?;
    fluent_bit.stop()?;

    let times = times_arrived(&kinesis, "logs")?;
    let missing = (0..lines).filter(|number| !times.contains_key(number)).count();
    let twice: usize = times.values().map(|times| times - 1).sum();
    note(binary, &format!("{twice} of {lines} lines came again over {KILLS} kills, {missing} are missing"));
    let allowed = KILLS * CONCURRENCY * REQUEST + plan.just_done * plan.part;
    if missing > 0 || times.len() != lines || twice > allowed {
        return Err(format!("{missing} of {lines} lines are missing; {twice} came again, {allowed} may").into());
    }
    let said = home.log();
    match said.lines().find(|line| line.contains("the ledger file") && !line.contains("is truncated after")) {
        Some(line) => Err(line.into()),
        None => Ok(()),
    }
}
