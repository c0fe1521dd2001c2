//! Blocks of lines that threads compress.

use libtest_mimic::Failed;

use crate::fluent_bit::host::{Binary, line};
use crate::fluent_bit::stand_in::{checked, home_beside, tail_to};
use testing::fake_kinesis::FakeKinesis;

/// With each number of threads, and with none.
pub fn each_line_once(binary: &Binary, threads: usize) -> Result<(), Failed> {
    const LINES: usize = 20_000;
    let (home, kinesis) = home_beside(binary, checked())?;
    home.append_lines(0..LINES)?;
    let threads = format!("compression_threads {threads}");
    let output = ["stream logs", "Workers 1", "aggregation lines", "compression zstd", &threads];
    home.write("main.conf", &tail_to(&kinesis, &[], &[], &output))?;
    let mut fluent_bit = home.start("main.conf")?;
    let arrived = || lines(&kinesis).is_ok_and(|lines| lines.len() >= LINES);
    fluent_bit.wait_until("every line arrived", arrived)?;
    fluent_bit.stop()?;
    let mut expected: Vec<String> = (0..LINES).map(line).collect();
    expected.sort();
    let lines = lines(&kinesis)?;
    if lines == expected { Ok(()) } else { Err(format!("{} lines instead of {LINES}", lines.len()).into()) }
}

/// What a consumer reads, sorted.
fn lines(kinesis: &FakeKinesis) -> Result<Vec<String>, Failed> {
    let mut lines = Vec::new();
    for record in kinesis.records() {
        for json in zstd::decode_all(&record.data[..])?.split_inclusive(|&byte| byte == b'\n') {
            let json: serde_json::Value = serde_json::from_slice(json)?;
            lines.push(format!("{}\n", json["log"].as_str().unwrap_or_default()));
        }
    }
    lines.sort();
    Ok(lines)
}
