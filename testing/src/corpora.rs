//! The corpora for measurements: log lines that are the same on every machine.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// One kind of log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corpus {
    /// Lines of an access log, 134 bytes each; an event has one under `log`.
    Access,
    /// Nested JSON, 425 bytes per line, as from an application in Kubernetes; the event is the parsed line.
    Nested,
}

impl Corpus {
    pub const ALL: [Corpus; 2] = [Corpus::Access, Corpus::Nested];

    pub fn name(self) -> &'static str {
        match self {
            Corpus::Access => "access",
            Corpus::Nested => "nested",
        }
    }

    pub fn named(name: &str) -> Result<Corpus, String> {
        let found = Corpus::ALL.into_iter().find(|corpus| corpus.name() == name);
        found.ok_or_else(|| format!("corpus {name}: there are access and nested"))
    }

    /// The number of records to measure.
    pub fn records(self) -> u64 {
        match self {
            Corpus::Access => 1_000_000,
            Corpus::Nested => 500_000,
        }
    }

    /// Bytes per line, without the newline.
    pub fn line_bytes(self) -> usize {
        match self {
            Corpus::Access => 134,
            Corpus::Nested => 425,
        }
    }

    /// An endless iterator over the lines.
    pub fn lines(self) -> impl Iterator<Item = String> {
        let mut random = SmallRng::seed_from_u64(1);
        (0u32..).map(move |number| match self {
            Corpus::Access => access_line(number, &mut random),
            Corpus::Nested => nested_line(number, &mut random),
        })
    }

    /// Appends the event of a line as Fluent Bit 5 writes it: `[[time, {}], body]`.
    pub fn write_event(self, line: &str, chunk: &mut Vec<u8>) -> Result<(), Box<dyn std::error::Error>> {
        let body = match self {
            Corpus::Access => serde_json::json!({ "log": line }),
            Corpus::Nested => serde_json::from_str(line)?,
        };
        chunk.extend_from_slice(b"\x92\x92\xd7\x00\x68\xe7\x78\x00\x1d\xcd\x65\x00\xdf\0\0\0\0");
        // There, the maps of events always have five-byte heads.
        let entries = body.as_object().map_or(0, serde_json::Map::len);
        chunk.push(0xdf);
        chunk.extend_from_slice(&u32::try_from(entries)?.to_be_bytes());
        let head = chunk.len();
        rmp_serde::encode::write(chunk, &body)?;
        // Remove the one-byte head that was written.
        chunk.remove(head);
        Ok(())
    }
}

/// The line with `$` replaced by enough of `filler` to make it `bytes` long.
fn filled(line: &str, filler: &str, bytes: usize) -> String {
    let missing = (bytes + 1).saturating_sub(line.len());
    line.replacen('$', &filler.chars().cycle().take(missing).collect::<String>(), 1)
}

fn one_of(words: &[&'static str], random: &mut SmallRng) -> &'static str {
    words.get(random.random_range(0..words.len())).copied().unwrap_or_default()
}

fn access_line(number: u32, random: &mut SmallRng) -> String {
    let (hour, minute, second) = (number / 3_600_000 % 24, number / 60_000 % 60, number / 1000 % 60);
    let address = random.random::<[u8; 4]>();
    let [a, b, c, d] = address;
    let method = one_of(&["GET", "GET", "GET", "POST", "PUT"], random);
    let path = one_of(&["/", "/api/v1/orders", "/static/app.js", "/cart/checkout", "/search"], random);
    let status = one_of(&["200", "200", "200", "304", "404", "503"], random);
    let bytes = random.random_range(0..500_000);
    let line = format!(
        "{a}.{b}.{c}.{d} - - [10/Oct/2025:{hour:02}:{minute:02}:{second:02} +0000] \
         \"{method} {path}?id=$ HTTP/1.1\" {status} {bytes} \"-\" \"Mozilla/5.0 (X11; rv:128.0)\""
    );
    let query = format!("{:016x}", random.random::<u64>());
    filled(&line, &query, Corpus::Access.line_bytes())
}

fn nested_line(number: u32, random: &mut SmallRng) -> String {
    let pod = random.random_range(0x10000..0xfffff);
    let duration = f64::from(random.random_range(0..1_000_000)) / 1000.0;
    let bytes = random.random_range(0..500_000);
    let method = one_of(&["GET", "POST", "PUT"], random);
    let status = one_of(&["200", "304", "404", "503"], random);
    let level = one_of(&["info", "warn", "error"], random);
    let order = random.random_range(0..1_000_000);
    let trace = random.random::<u128>();
    let line = format!(
        "{{\"duration_ms\":{duration:?},\"http\":{{\"bytes\":{bytes},\"method\":\"{method}\",\
         \"path\":\"/api/v1/orders/{order}\",\"status\":{status}}},\"kubernetes\":{{\
         \"host\":\"ip-10-0-12-34.ec2.internal\",\"labels\":{{\"app\":\"shop\",\"tier\":\"frontend\"}},\
         \"namespace_name\":\"production\",\"pod_name\":\"web-6c8f7d9b5-{pod:05x}\"}},\"level\":\"{level}\",\
         \"message\":\"order \\\"{order}\\\" $\",\"ok\":true,\"sequence\":{number},\"tags\":[\"edge\",\"v2\"],\
         \"trace_id\":\"{trace:032x}\"}}"
    );
    filled(&line, "was taken from the queue and stored; ", Corpus::Nested.line_bytes())
}
