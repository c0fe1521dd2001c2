//! Refused records are kept, whatever happens around them, and can be sent again.

use std::collections::BTreeMap;
use std::fs;

use libtest_mimic::Failed;
use serde_json::Value;

use crate::fluent_bit::host::{Binary, Home, line};
use crate::fluent_bit::stand_in::{assert_each_once, checked, home_beside, section, tail_to};
use crate::fluent_bit::stopping::starts;
use crate::fluent_bit::{Claim, features};
use testing::fake_kinesis::{Settings, Stream};
use testing::sources::read;

pub fn claims() -> Vec<Claim> {
    vec![
        Claim::new("refused_records_that_are_replayed_arrive_once", replays).needs(&features::YAML_PARSERS),
        Claim::new("two_outputs_share_a_folder_of_dead_letters", |binary| shared_folder(binary, false)),
        Claim::new("two_outputs_share_a_folder_of_dead_letters_over_a_hot_reload", |binary| {
            shared_folder(binary, true)
        })
        .needs(&features::RELOAD),
        Claim::new("the_hosts_own_queue_gets_only_chunks_that_are_refused_whole", hosts_queue)
            .needs(&features::REJECTED),
    ]
}

/// Lines of four digits are refused, by a limit that is too low, in two runs. Without it they arrive, once, with the
/// time they had.
fn replays(binary: &Binary) -> Result<(), Failed> {
    const LINES: usize = 2000;
    const SHORT: usize = 1000;
    let (mut home, kinesis) = home_beside(binary, checked())?;
    home.set("STATE", ".");
    home.set("AWS_ENDPOINT_URL_KINESIS", kinesis.endpoint());
    let longest = serde_json::json!({ "log": line(SHORT - 1).trim_end() }).to_string().len() + RANDOM_KEY_BYTES;
    let limit = format!("max_record_size {longest}");
    let refusing = ["stream logs", &limit, "oversize discard", "dead_letter_path dead-letters"];
    home.write("main.conf", &tail_to(&kinesis, &[], &[], &refusing))?;
    for read in [0..1200, 1200..LINES] {
        home.append_lines(read.clone())?;
        let mut fluent_bit = home.start("main.conf")?;
        let is_settled = || kinesis.stats().distinct >= SHORT as u64 && letters(&home).len() >= read.end - SHORT;
        fluent_bit.wait_until("each line is stored or kept", is_settled)?;
        fluent_bit.stop()?;
    }
    assert_each_once(&kinesis, "logs", SHORT)?;
    let letters = letters(&home);
    let replay = read("examples/audit/replay.yaml").replace("stream: audit", "stream: logs");
    home.write("replay.yaml", &replay.replace("format: iso8601", "format: \"%Y-%m-%dT%H:%M:%S.%3N\""))?;
    for _ in 0..2 {
        home.start("replay.yaml")?.end_well()?;
        assert_each_once(&kinesis, "logs", LINES)?;
    }
    let with_time = |letter: &serde_json::Value| {
        // Fluent Bit reads a fraction of a second as a float, so the last digits may differ.
        let milliseconds = letter["time"].as_str().and_then(|time| time.get(.."2001-01-01T00:00:00.000".len()));
        let record = serde_json::json!({ "log": letter["record"]["log"], "time": milliseconds });
        serde_json::to_vec(&record)
    };
    let mut expected = letters.iter().map(with_time).collect::<Result<Vec<_>, _>>()?;
    let mut replayed: Vec<Vec<u8>> =
        kinesis.records().into_iter().skip(SHORT).map(|record| record.data.to_vec()).collect();
    expected.sort();
    replayed.sort();
    match expected.iter().zip(&replayed).find(|(expected, replayed)| expected != replayed) {
        None => Ok(()),
        Some((expected, replayed)) => {
            let [expected, replayed] = [expected, replayed].map(|record| String::from_utf8_lossy(record).into_owned());
            Err(format!("{expected} was replayed as {replayed}").into())
        }
    }
}

/// A record's size includes its partition key.
const RANDOM_KEY_BYTES: usize = 6;

/// The lines of all files in the folder of dead letters.
fn letters(home: &Home) -> Vec<serde_json::Value> {
    let files = fs::read_dir(home.path("dead-letters")).into_iter().flatten().flatten();
    let texts: Vec<String> = files.filter_map(|file| fs::read_to_string(file.path()).ok()).collect();
    texts.iter().flat_map(|text| text.lines()).filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Nothing has the key that is sent, so each output refuses every line.
fn shared_folder(binary: &Binary, reloads: bool) -> Result<(), Failed> {
    const LINES: usize = 500;
    let streams = vec![Stream::new("logs", 2), Stream::new("audit", 1)];
    let (home, kinesis) = home_beside(binary, Settings { streams, ..checked() })?;
    let refusing = ["log_key nothing", "dead_letter_path dead-letters"];
    let endpoint = format!("endpoint {}", kinesis.endpoint());
    let second = ["Name kinesis", "Match app", "region eu-west-1", "stream audit", &endpoint];
    let service: &[&str] = if reloads { &["Hot_Reload on"] } else { &[] };
    let text = tail_to(&kinesis, service, &[], &[&["stream logs"], &refusing[..]].concat())
        + &section("OUTPUT", &[&second, &refusing]);
    home.write("main.conf", &text)?;
    home.append_lines(0..LINES)?;
    let mut fluent_bit = home.start("main.conf")?;
    fluent_bit.wait_until("each line is kept twice", || letters(&home).len() >= 2 * LINES)?;
    if reloads {
        fluent_bit.signal(libc::SIGHUP);
        fluent_bit.wait_until("it started again", || starts(&home) == 2)?;
    }
    home.append_lines(LINES..2 * LINES)?;
    fluent_bit.wait_until("each line is kept twice", || letters(&home).len() >= 4 * LINES)?;
    fluent_bit.stop_or_abort()?;
    let mut times = BTreeMap::new();
    for letter in letters(&home) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        *times.entry((text(&letter["stream"]), text(&letter["record"]["log"]))).or_insert(0) += 1;
    }
    let each = |stream: &'static str| (0..2 * LINES).map(move |number| (stream, line(number).trim_end().to_owned()));
    let is_once = |(stream, text): (&'static str, String)| times.get(&(stream.to_owned(), text)) == Some(&1);
    match times.len() == 4 * LINES && each("logs").chain(each("audit")).all(is_once) {
        true => Ok(()),
        false => Err(format!("{} different letters of {}", times.len(), 4 * LINES).into()),
    }
}

/// A chunk of which some lines are refused is answered "ok", one of which all are "error".
fn hosts_queue(binary: &Binary) -> Result<(), Failed> {
    let (home, kinesis) = home_beside(binary, checked())?;
    let service = ["storage.path storage", "storage.keep.rejected on", "storage.rejected.path rejected"];
    let output = ["stream logs", "max_record_size 60", "oversize discard", "dead_letter_path dead-letters"];
    home.write("main.conf", &tail_to(&kinesis, &service, &["storage.type filesystem"], &output))?;
    home.append(&format!("short\n{}", line(1)))?;
    let mut fluent_bit = home.start("main.conf")?;
    fluent_bit.wait_until("the short line arrived", || kinesis.stats().distinct == 1 && letters(&home).len() == 1)?;
    home.append(&line(2))?;
    let rejected = || fs::read_dir(home.path("storage/rejected")).into_iter().flatten().flatten().count();
    fluent_bit.wait_until("a chunk is in the host's queue", || letters(&home).len() == 2 && rejected() > 0)?;
    fluent_bit.stop()?;
    match rejected() {
        1 => Ok(()),
        other => Err(format!("{other} chunks in the host's queue").into()),
    }
}
