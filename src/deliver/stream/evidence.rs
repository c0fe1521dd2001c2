//! Whether Kinesis has accepted anything since a refusal.
//!
//! A refused request proves nothing about its records: a proxy, a policy or a wrong stream name refuses everything. A
//! record is at fault only if it is refused, then another record in a later request is accepted, and then it is
//! refused again.

use std::cell::Cell;
use std::rc::Rc;

/// Numbers the requests of an output and remembers the last one in which the stream accepted a record.
#[derive(Default)]
pub(super) struct Evidence {
    /// The requests to all streams, so that a number outlives what is kept of a stream.
    sent: Rc<Cell<u64>>,
    accepted: Cell<u64>,
}

impl Evidence {
    pub(super) fn new(sent: Rc<Cell<u64>>) -> Evidence {
        Evidence { sent, accepted: Cell::new(0) }
    }

    /// Returns the number of a request about to be sent.
    pub(super) fn number(&self) -> u64 {
        self.sent.set(self.sent.get() + 1);
        self.sent.get()
    }

    /// Notes that Kinesis accepted a record of this request.
    pub(super) fn accepted(&self, request: u64) {
        self.accepted.set(self.accepted.get().max(request));
    }

    /// The current point in the sequence of requests.
    pub(super) fn now(&self) -> u64 {
        self.sent.get()
    }

    /// Whether Kinesis accepted a record in a request sent after `then`.
    pub(super) fn accepted_since(&self, then: u64) -> bool {
        self.accepted.get() > then
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_to_an_earlier_request_proves_nothing_however_late_it_comes() {
        let evidence = Evidence::default();
        let (earlier, refused) = (evidence.number(), evidence.now());
        evidence.accepted(earlier);
        assert!(!evidence.accepted_since(refused));
        let later = evidence.number();
        assert!(!evidence.accepted_since(refused), "it is still in flight");
        evidence.accepted(later);
        evidence.accepted(earlier);
        assert!(evidence.accepted_since(refused));
    }
}
