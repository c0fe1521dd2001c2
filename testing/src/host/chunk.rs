//! Chunks as Fluent Bit 5 hands them over: consecutive events `[[time, {}], {key: line}]` in msgpack.

use std::io;

/// One chunk for the plugin.
#[derive(Debug, Default)]
pub struct Chunk {
    pub bytes: Vec<u8>,
    pub records: usize,
}

impl Chunk {
    /// Appends the event of one log line.
    pub fn push(&mut self, seconds: u32, key: &str, line: &[u8]) {
        let out = &mut self.bytes;
        out.extend([0x92, 0x92, 0xd7, 0x00]);
        out.extend(seconds.to_be_bytes());
        out.extend(0u32.to_be_bytes());
        out.extend([0x80, 0x81]);
        write_str(out, key.as_bytes());
        write_str(out, line);
        self.records += 1;
    }
}

/// Splits lines into chunks of about `bytes` each, holding one chunk at a time.
pub struct Chunks<L> {
    pub lines: L,
    pub key: String,
    pub bytes: usize,
}

impl<L: Iterator<Item = io::Result<Vec<u8>>>> Iterator for Chunks<L> {
    type Item = io::Result<Chunk>;

    fn next(&mut self) -> Option<io::Result<Chunk>> {
        // The line that crosses the limit still belongs to the chunk.
        let mut chunk = Chunk { bytes: Vec::with_capacity(self.bytes + 4096), records: 0 };
        while chunk.bytes.len() < self.bytes {
            match self.lines.next() {
                Some(Ok(line)) => chunk.push(1_760_000_000, &self.key, &line),
                Some(Err(error)) => return Some(Err(error)),
                None => break,
            }
        }
        (chunk.records > 0).then_some(Ok(chunk))
    }
}

/// A str header and the raw bytes: tail passes on what is in the file, valid UTF-8 or not.
fn write_str(out: &mut Vec<u8>, text: &[u8]) {
    match text.len() {
        length @ 0..32 => out.push(0xa0 | length as u8),
        length @ 32..256 => out.extend([0xd9, length as u8]),
        length @ 256..65536 => {
            out.push(0xda);
            out.extend((length as u16).to_be_bytes());
        }
        length => {
            out.push(0xdb);
            out.extend((length as u32).to_be_bytes());
        }
    }
    out.extend(text);
}
