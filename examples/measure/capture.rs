//! Request bodies in a file: the sink records what it receives, and the floor sends exactly the same.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

/// The body of one request.
pub struct Body {
    pub records: u32,
    pub is_cbor: bool,
    pub bytes: Vec<u8>,
}

/// Appends a body.
pub fn write(out: &mut impl Write, records: u32, is_cbor: bool, body: &[u8]) -> io::Result<()> {
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(&records.to_le_bytes())?;
    out.write_all(&[u8::from(is_cbor)])?;
    out.write_all(body)
}

/// All bodies of a file.
pub fn read(path: &Path) -> io::Result<Vec<Body>> {
    let mut file = BufReader::new(File::open(path)?);
    let mut bodies = Vec::new();
    loop {
        let mut length = [0; 4];
        match file.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(bodies),
            other => other?,
        }
        let (mut records, mut is_cbor) = ([0; 4], [0; 1]);
        file.read_exact(&mut records)?;
        file.read_exact(&mut is_cbor)?;
        let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
        file.read_exact(&mut bytes)?;
        bodies.push(Body { records: u32::from_le_bytes(records), is_cbor: is_cbor != [0], bytes });
    }
}
