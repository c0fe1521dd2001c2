//! What is sent of events that inputs and filters make, with the options about the content of a record.

use std::io::Write;
use std::net::TcpStream;

use libtest_mimic::Failed;
use serde_json::{Value, json};

mod opentelemetry;

use super::Claim;
use super::host::{Binary, FluentBit, Home};
use super::metrics::free_port;
use super::stand_in::{checked, home_beside, section};
use testing::fake_kinesis::{FakeKinesis, StoredRecord};

pub fn claims() -> Vec<Claim> {
    vec![
        Claim::new("an_emoji_that_python_escaped_is_one", emoji),
        Claim::new("two_maps_of_one_name_are_merged", merged),
        Claim::new("keys_are_left_out_and_empty_events_dropped", left_out),
        Claim::new("a_time_is_a_number_and_hash_keys_decide", numbers),
        Claim::new("events_of_times_that_mark_groups_are_sent", of_times_that_mark_groups),
        Claim::new("metadata_and_group_of_opentelemetry_are_added", opentelemetry::added),
    ]
}

/// What a Fluent Bit with this input and output, and these sections between, sent once `count` records arrived.
fn sent(
    binary: &Binary,
    count: u64,
    input: &[&str],
    between: &str,
    output: &[&str],
    feed: impl FnOnce(&Home, &mut FluentBit<'_>) -> Result<(), Failed>,
) -> Result<Vec<StoredRecord>, Failed> {
    let (home, kinesis) = home_beside(binary, checked())?;
    home.write("parsers.conf", &section("PARSER", &[&["Name json", "Format json"]]))?;
    home.write("main.conf", &configuration(&kinesis, input, between, output))?;
    let mut fluent_bit = home.start("main.conf")?;
    feed(&home, &mut fluent_bit)?;
    fluent_bit.wait_until("the records arrived", || kinesis.stats().records >= count)?;
    fluent_bit.stop()?;
    match kinesis.records() {
        records if records.len() as u64 == count => Ok(records),
        records => Err(format!("{} records instead of {count}", records.len()).into()),
    }
}

fn configuration(kinesis: &FakeKinesis, input: &[&str], between: &str, output: &[&str]) -> String {
    let endpoint = format!("endpoint {}", kinesis.endpoint());
    let kinesis = ["Name kinesis", "Match app", "region eu-west-1", "stream logs", "Workers 1", &endpoint];
    let service = ["Flush 0.2", "Log_File fluent-bit.log", "Parsers_File parsers.conf"];
    section("SERVICE", &[&service]) + &section("INPUT", &[input]) + between + &section("OUTPUT", &[&kinesis, output])
}

const TAIL: [&str; 6] =
    ["Name tail", "Tag app", "Path app.log", "Read_from_Head on", "Refresh_Interval 1", "Parser json"];

fn json_of(record: &StoredRecord) -> Result<Value, Failed> {
    Ok(serde_json::from_slice(&record.data)?)
}

fn expect<T: PartialEq + std::fmt::Debug>(found: T, expected: T) -> Result<(), Failed> {
    if found == expected { Ok(()) } else { Err(format!("{found:?} instead of {expected:?}").into()) }
}

fn emoji(binary: &Binary) -> Result<(), Failed> {
    let line = "{\"n\":1,\"log\":\"pair \\ud83d\\ude00 end\"}\n";
    let records = sent(binary, 1, &TAIL, "", &["partition_key log"], |home, _| home.append(line))?;
    let found = (json_of(&records[0])?, records[0].partition_key.to_string());
    expect(found, (json!({"n": 1, "log": "pair 😀 end"}), "pair 😀 end".to_owned()))
}

fn merged(binary: &Binary) -> Result<(), Failed> {
    let event = r#"Dummy {"one":"v1","two":"v2","kubernetes":{"pod_name":"p"},"cluster":"c"}"#;
    let nest = |key: &str, under: &str| {
        let lines = [format!("Wildcard {key}"), format!("Nest_under {under}")];
        section("FILTER", &[&["Name nest", "Match *", "Operation nest", &lines[0], &lines[1]]])
    };
    let filters = nest("one", "nested") + &nest("two", "nested") + &nest("cluster", "kubernetes");
    let input = ["Name dummy", "Tag app", "Samples 1", event];
    let output = ["partition_key kubernetes->pod_name", "duplicate_keys merge"];
    let records = sent(binary, 1, &input, &filters, &output, |_, _| Ok(()))?;
    let expected = json!({"nested": {"one": "v1", "two": "v2"}, "kubernetes": {"pod_name": "p", "cluster": "c"}});
    expect((json_of(&records[0])?, &*records[0].partition_key), (expected, "p"))
}

fn left_out(binary: &Binary) -> Result<(), Failed> {
    let lines = "{\"secret\":1}\n{\"log\":\"l\",\"secret\":2,\"k\":{\"pod\":\"p\",\"labels\":{\"a\":1}}}\n{}\n";
    let output = ["exclude_keys secret, k->labels", "drop_empty on", "partition_key constant:one shard"];
    let records = sent(binary, 1, &TAIL, "", &output, |home, _| home.append(lines))?;
    expect(json_of(&records[0])?, json!({"log": "l", "k": {"pod": "p"}}))?;
    expect(&*records[0].partition_key, "one shard")
}

/// The last hash key.
const LARGEST: &str = "340282366920938463463374607431768211455";

fn numbers(binary: &Binary) -> Result<(), Failed> {
    let event = format!(r#"Dummy {{"log":"l","route":"{LARGEST}"}}"#);
    let input = [
        "Name dummy",
        "Tag app",
        "Samples 1",
        "Start_time_sec 1600000000",
        "Start_time_nsec 123456789",
        "Fixed_timestamp on",
        &event,
    ];
    let time = ["time_key t", "time_key_format epoch_ms"];
    for protocol in ["protocol json", "protocol cbor"] {
        let output = [&time[..], &["explicit_hash_key route", "exclude_keys route", protocol]].concat();
        let records = sent(binary, 1, &input, "", &output, |_, _| Ok(()))?;
        expect(json_of(&records[0])?, json!({"log": "l", "t": 1_600_000_000_123_i64}))?;
        // The last of four.
        expect((records[0].shard, records[0].explicit_hash_key.as_deref()), (3, Some(LARGEST)))?;
    }
    Ok(())
}

/// As a client of the forward protocol may send them. Only versions before 2.1 take negative seconds, and 5 takes no
/// seconds that would be negative as 32 bits.
fn of_times_that_mark_groups(binary: &Binary) -> Result<(), Failed> {
    let events = match binary.version {
        (0..=1, ..) | (2, 0, _) => b"\x92\xff\x81\xa1a\x01\x92\xfe\x81\xa1a\x02".to_vec(),
        (2..=4, ..) => {
            let event = |last| [b"\x92\xd7\0\xff\xff\xff", &[last][..], b"\0\0\0\x05\x81\xa1a", &[!last + 1]].concat();
            [event(0xff), event(0xfe)].concat()
        }
        _ => b"\x92\xd7\0\x7f\xff\xff\xff\0\0\0\x05\x81\xa1a\x01\x92\0\x81\xa1a\x02".to_vec(),
    };
    let events = [b"\x92\xa3app\x92", &events[..]].concat();
    let port = free_port()?;
    let listen = format!("Port {port}");
    let input = ["Name forward", "Listen 127.0.0.1", &listen];
    let records = sent(binary, 2, &input, "", &[], |_, fluent_bit| {
        let listens = || TcpStream::connect(("127.0.0.1", port));
        fluent_bit.wait_until("it listens", || listens().is_ok())?;
        Ok(listens()?.write_all(&events)?)
    })?;
    let mut found = records.iter().map(json_of).collect::<Result<Vec<_>, _>>()?;
    found.sort_by_key(|event| event["a"].as_i64());
    expect(found, vec![json!({"a": 1}), json!({"a": 2})])
}
