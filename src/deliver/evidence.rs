//! Whether Kinesis accepted anything since a refusal.
//!
//! A refused request alone proves nothing about its records: a proxy, a policy or a wrong stream refuses any. A record is at
//! fault only when it is refused, then another record of a later request is accepted, and then it is refused again.

use std::cell::Cell;

/// Counts the requests of an output and remembers the last of which Kinesis accepted any record.
#[derive(Default)]
pub(super) struct Evidence {
    sent: Cell<u64>,
    accepted: Cell<u64>,
}

impl Evidence {
    /// Numbers a request that is about to be sent.
    pub(super) fn number(&self) -> u64 {
        self.sent.set(self.sent.get() + 1);
        self.sent.get()
    }

    /// Notes that Kinesis accepted a record of this request.
    pub(super) fn accepted(&self, request: u64) {
        self.accepted.set(self.accepted.get().max(request));
    }

    /// Now, as a point between two requests.
    pub(super) fn now(&self) -> u64 {
        self.sent.get()
    }

    /// Whether Kinesis accepted a record of a request that was sent after `then`.
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
        assert!(!evidence.accepted_since(refused), "it is only under way");
        evidence.accepted(later);
        evidence.accepted(earlier);
        assert!(evidence.accepted_since(refused));
    }
}
