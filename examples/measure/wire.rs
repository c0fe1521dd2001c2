//! TLS over TCP with few system calls: rustls reads 4 KiB at a time unless something reads ahead for it.

use std::io::{self, BufReader, IoSlice, Read, Write};
use std::net::TcpStream;

/// Buffers reads and writes immediately.
pub struct Wire {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
}

impl Wire {
    pub fn new(stream: TcpStream) -> io::Result<Wire> {
        stream.set_nodelay(true)?;
        Ok(Wire { reader: BufReader::with_capacity(256 << 10, stream.try_clone()?), writer: stream })
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.writer.write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads HTTP/1.1 messages from a stream, one after another.
pub struct Messages {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were read.
    filled: usize,
    /// Bytes of `buffer` that the last message used.
    taken: usize,
}

/// A request or a reply.
pub struct Message<'a> {
    pub head: &'a str,
    pub body: &'a [u8],
}

impl Default for Messages {
    fn default() -> Messages {
        Messages { buffer: vec![0; 1 << 20], filled: 0, taken: 0 }
    }
}

impl Messages {
    /// The next message; `None` at the end of the stream.
    pub fn next(&mut self, stream: &mut impl Read) -> io::Result<Option<Message<'_>>> {
        let malformed = || io::Error::from(io::ErrorKind::InvalidData);
        self.buffer.copy_within(self.taken..self.filled, 0);
        self.filled -= std::mem::take(&mut self.taken);
        let head = loop {
            let read = self.buffer.get(..self.filled).unwrap_or_default();
            match memchr::memmem::find(read, b"\r\n\r\n") {
                Some(end) => break end + 4,
                None if !self.more(stream)? => return Ok(None),
                None => {}
            }
        };
        let text = std::str::from_utf8(self.buffer.get(..head).unwrap_or_default()).map_err(|_| malformed())?;
        let length = header(text, "content-length").and_then(|length| length.parse::<usize>().ok());
        let end = head + length.ok_or_else(malformed)?;
        while self.filled < end {
            if self.buffer.len() < end {
                self.buffer.resize(end, 0);
            }
            if !self.more(stream)? {
                return Ok(None);
            }
        }
        self.taken = end;
        let (head, rest) = self.buffer.split_at(head);
        let head = std::str::from_utf8(head).map_err(|_| malformed())?;
        Ok(Some(Message { head, body: rest.get(..end - head.len()).unwrap_or_default() }))
    }

    fn more(&mut self, stream: &mut impl Read) -> io::Result<bool> {
        let read = stream.read(self.buffer.get_mut(self.filled..).unwrap_or_default())?;
        self.filled += read;
        Ok(read > 0)
    }
}

/// The value of a header, by lower-case name.
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let fields = head.split("\r\n").filter_map(|line| line.split_once(':'));
    fields.into_iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}
