//! Reading a chunk ends, stays within its bytes, and tells of everything that is no event where it stands.

use kinesis::chunk::{Events, NotAnEvent};
use kinesis::msgpack::Reader;

/// Reads `input` as a chunk.
pub fn check(input: &[u8]) {
    // Where the next item may start.
    let mut position = 0;
    let mut ended = false;
    for (index, item) in Events::new(input).enumerate() {
        assert!(!ended, "nothing comes behind what cannot be read");
        assert!(index < input.len(), "an item has at least one byte");
        match item {
            Ok(event) => {
                let start = event.body.as_ptr().addr() - input.as_ptr().addr();
                assert!(start > position, "an event starts with its time");
                position = start + event.body.len();
                assert!(position <= input.len());
                assert!(event.time.nanoseconds < 1_000_000_000);
                let mut body = Reader::new(event.body);
                assert_eq!(body.skip(), Ok(()));
                assert!(body.rest().is_empty(), "a body is one value");
            }
            Err(NotAnEvent::WrongShape { offset }) => {
                assert!(offset >= position);
                let mut value = Reader::new(&input[offset..]);
                assert_eq!(value.skip(), Ok(()));
                position = input.len() - value.rest().len();
            }
            Err(NotAnEvent::Unreadable { offset, length, .. }) => {
                assert!(offset >= position && length > 0);
                assert_eq!(offset + length, input.len());
                ended = true;
            }
        }
    }
}
