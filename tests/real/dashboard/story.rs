//! What the picture of the dashboard shows: a load of two streams, and an outage of Kinesis in the middle.
//!
//! `DATA` names a file for the answers to the dashboard's queries, which scripts/dashboard/draw.mjs draws.

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use libtest_mimic::{Failed, Trial};

use testing::corpora::Corpus;
use testing::fake_kinesis::{FakeKinesis, Faults, Keep, Settings, Stream};

use super::{Prometheus, Scraped, ignored, shown};

const WATCHED: Duration = Duration::from_secs(20 * 60);

/// What is wrong with Kinesis, from which second on.
fn faults() -> [(u64, Faults); 7] {
    let usual = Faults { latency_ms: 20, slow: 0.05, slow_ms: 80, ..Faults::default() };
    [
        (0, usual.clone()),
        // A shard is hot.
        (210, Faults { throttle_shards: vec![2], ..usual.clone() }),
        (360, usual.clone()),
        // It fails now and then, then always.
        (540, Faults { error_503: 0.5, reset_after: 0.02, ..usual.clone() }),
        (570, Faults { error_503: 1.0, ..usual.clone() }),
        // All that has waited comes at once.
        (690, Faults { throttle_records: 0.1, ..usual.clone() }),
        (780, usual),
    ]
}

/// Only on request, because it takes [`WATCHED`].
pub fn trial() -> Option<Trial> {
    let file = PathBuf::from(env::var_os("DATA")?);
    let fluent_bit = env::split_paths(&env::var_os("FLUENT_BIT").unwrap_or_default()).find(|path| path.is_file());
    let is_missing = fluent_bit.is_none();
    let trial =
        Trial::test("the_story_of_the_picture_has_data", move || tell(&fluent_bit.ok_or("no Fluent Bit")?, &file));
    Some(match is_missing {
        true => ignored(trial, "FLUENT_BIT names no Fluent Bit"),
        false => trial,
    })
}

fn tell(fluent_bit: &Path, file: &Path) -> Result<(), Failed> {
    let streams = vec![Stream::new("access", 4), Stream::new("orders", 2)];
    let kinesis = FakeKinesis::start(Settings { streams, keep: Keep::Counts, ..Settings::default() });
    let logs = tempfile::tempdir()?;
    let log = |name: &str| logs.path().join(name);
    let input = |name| (name, format!("Name tail\n Read_from_Head on\n Path {}", log(name).display()));
    let access = (File::create(log("access"))?, 1500.0, Corpus::Access);
    let orders = (File::create(log("orders"))?, 100.0, Corpus::Nested);
    let scraped = Scraped::fluent_bit(fluent_bit, &kinesis, &[input("access"), input("orders")])?;
    let prometheus = Prometheus::start(&scraped, 5)?;
    thread::scope(|scope| {
        for (log, rate, corpus) in [access, orders] {
            scope.spawn(move || load(log, rate, corpus).unwrap());
        }
        let began = Instant::now();
        for (second, faults) in faults() {
            thread::sleep(Duration::from_secs(second).saturating_sub(began.elapsed()));
            kinesis.set_faults(faults);
        }
    });
    let answers = shown(&prometheus, WATCHED)?;
    let (from, to) = (prometheus.started, prometheus.started + WATCHED.as_secs_f64());
    let told = serde_json::json!({ "from": from, "to": to, "step": prometheus.every, "answers": answers });
    Ok(fs::write(file, told.to_string())?)
}

/// Appends around `rate` lines per second.
fn load(mut log: File, rate: f64, corpus: Corpus) -> Result<(), Box<dyn Error>> {
    let (mut lines, mut due, began) = (corpus.lines(), 0.0, Instant::now());
    let step = Duration::from_millis(100);
    while began.elapsed() < WATCHED {
        let second = began.elapsed().as_secs_f64();
        let swing = 0.2 * (second / 110.0).sin() + 0.08 * (second / 17.0).sin() + 0.05 * (second * 1.7).sin();
        due += rate * (1.0 + swing) * step.as_secs_f64();
        let mut text = String::new();
        while due >= 1.0 {
            text += &lines.next().unwrap_or_default();
            text.push('\n');
            due -= 1.0;
        }
        log.write_all(text.as_bytes())?;
        thread::sleep(step);
    }
    Ok(())
}
