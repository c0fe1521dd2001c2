//! The chunks being flushed: one that Fluent Bit hands over again meanwhile is not sent a second time.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::sync::watch;

use crate::outcome::Outcome;

/// Chunks that are lent to us, by the memory they are in.
///
/// Fluent Bit 2.0.0 to 4.0.1 flushes a chunk once more when it shuts down while a retry of it is under way. Memory that
/// is lent twice at a time holds one chunk: chunks of equal content are in different places.
#[derive(Default)]
pub(crate) struct ActiveChunks(RefCell<Vec<Active>>);

struct Active {
    place: Place,
    outcome: watch::Receiver<Option<Outcome>>,
}

/// Address and length.
type Place = (usize, usize);

/// The one flush of a chunk; others of the same chunk wait for its outcome.
pub(crate) struct OnlyFlush {
    chunks: Rc<ActiveChunks>,
    place: Place,
    outcome: watch::Sender<Option<Outcome>>,
}

impl ActiveChunks {
    /// Begins a flush of `chunk`. If another is under way, waits for that one and returns its outcome, without reading the
    /// chunk, which the host may have freed by then.
    pub(crate) async fn begin(self: &Rc<Self>, chunk: &[u8]) -> Result<OnlyFlush, Outcome> {
        let place = (chunk.as_ptr().addr(), chunk.len());
        if let Some(mut outcome) = self.other(place) {
            let outcome = outcome.wait_for(Option::is_some).await.ok().and_then(|outcome| *outcome);
            return Err(outcome.unwrap_or(Outcome::Retry));
        }
        let (sender, outcome) = watch::channel(None);
        self.0.borrow_mut().push(Active { place, outcome });
        Ok(OnlyFlush { chunks: Rc::clone(self), place, outcome: sender })
    }

    fn other(&self, place: Place) -> Option<watch::Receiver<Option<Outcome>>> {
        self.0.borrow().iter().find(|active| active.place == place).map(|active| active.outcome.clone())
    }
}

impl OnlyFlush {
    /// Ends the flush; those that waited for it end with the same outcome.
    pub(crate) fn end(self, outcome: Outcome) {
        self.outcome.send_replace(Some(outcome));
    }
}

impl Drop for OnlyFlush {
    fn drop(&mut self) {
        self.chunks.0.borrow_mut().retain(|active| active.place != self.place);
    }
}
