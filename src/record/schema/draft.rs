//! Collects short pieces of JSON.

use crate::msgpack::ShortString;

pub(super) const DRAFT_BYTES: usize = 1024;

/// Pieces on their way to `out`. Each is written into memory of constant size, which takes a third of the instructions
/// of appending it to a vector: of that, the compiler checks the capacity for every part of a piece.
pub(super) struct Draft<'d> {
    memory: &'d mut [u8; DRAFT_BYTES],
    length: usize,
    out: &'d mut Vec<u8>,
}

impl<'d> Draft<'d> {
    #[inline]
    pub(super) fn new(memory: &'d mut [u8; DRAFT_BYTES], out: &'d mut Vec<u8>) -> Self {
        Draft { memory, length: 0, out }
    }

    /// Where the next `N` bytes go. Never `None` for less than [`DRAFT_BYTES`].
    #[inline]
    fn place<const N: usize>(&mut self) -> Option<&mut [u8; N]> {
        if self.length > DRAFT_BYTES - N {
            append(self.out, self.memory.get(..self.length)?);
            self.length = 0;
        }
        self.memory.get_mut(self.length..)?.first_chunk_mut()
    }

    /// Appends the first `length` bytes of `block`.
    #[inline]
    pub(super) fn push<const N: usize>(&mut self, block: &[u8; N], length: usize) -> Option<()> {
        *self.place()? = *block;
        self.length += length;
        Some(())
    }

    /// Appends a string that needs no escaping.
    #[inline]
    pub(super) fn push_string(&mut self, string: ShortString<'_>) -> Option<()> {
        let [quote, text @ ..]: &mut [u8; 34] = self.place()?;
        *quote = b'"';
        *text.first_chunk_mut()? = *string.block;
        *text.get_mut(string.length)? = b'"';
        self.length += string.length + 2;
        Some(())
    }

    /// Appends any number of bytes.
    #[inline]
    pub(super) fn push_long(&mut self, bytes: &[u8]) {
        append(self.flush(), bytes);
    }

    #[inline]
    pub(super) fn push_boolean(&mut self, boolean: bool) -> Option<()> {
        if boolean { self.push(b"true", 4) } else { self.push(b"false", 5) }
    }

    #[inline]
    pub(super) fn push_number(&mut self, number: u64) -> Option<()> {
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(number).as_bytes();
        let place: &mut [u8; 20] = self.place()?;
        place.get_mut(..digits.len())?.copy_from_slice(digits);
        self.length += digits.len();
        Some(())
    }

    /// Appends all pieces so far to `out`, and returns it.
    #[inline]
    pub(super) fn flush(&mut self) -> &mut Vec<u8> {
        const FEW: usize = 48;
        match self.memory.first_chunk::<FEW>() {
            // A block of constant size is copied without a call.
            Some(few) if self.length <= FEW => {
                let end = self.out.len() + self.length;
                self.out.extend_from_slice(few);
                self.out.truncate(end);
            }
            _ => self.out.extend_from_slice(self.memory.get(..self.length).unwrap_or_default()),
        }
        self.length = 0;
        self.out
    }
}

/// Rarely needed. A function of its own so that a [`Draft`] stays in registers.
#[cold]
#[inline(never)]
fn append(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
}
