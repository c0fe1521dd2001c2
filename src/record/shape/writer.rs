//! Writes msgpack.

/// The header of a map whose entries are counted while they are written. Always map 32, which fits any count.
pub(super) struct MapHeader {
    position: usize,
}

impl MapHeader {
    pub(super) fn write(out: &mut Vec<u8>) -> Self {
        let position = out.len();
        out.extend_from_slice(&[rmp::Marker::Map32.to_u8(), 0, 0, 0, 0]);
        MapHeader { position }
    }

    pub(super) fn set(self, entries: u32, out: &mut [u8]) {
        if let Some(count) = out.get_mut(self.position + 1..self.position + 5) {
            count.copy_from_slice(&entries.to_be_bytes());
        }
    }
}

pub(in crate::record) fn write_string(text: &[u8], out: &mut Vec<u8>) {
    write_string_header(text.len(), out);
    out.extend_from_slice(text);
}

pub(super) fn write_string_header(length: usize, out: &mut Vec<u8>) {
    // A chunk is far smaller than 4 GiB, and a Vec takes everything.
    rmp::encode::write_str_len(out, u32::try_from(length).unwrap_or(u32::MAX)).ok();
}

pub(in crate::record) fn write_integer(number: i64, out: &mut Vec<u8>) {
    rmp::encode::write_sint(out, number).ok();
}
