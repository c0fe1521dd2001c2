//! Passes the delivery thread's log lines to a thread of the host, which writes them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::host::borrowed_chunk::LogSender;
use crate::log::{Line, LineQueue};

/// Sends lines to a waiting thread of the host, or keeps them for the next one.
#[derive(Default)]
pub(crate) struct LogRelay {
    listeners: RefCell<Vec<(u64, LogSender)>>,
    waiting: RefCell<LineQueue>,
    next: Cell<u64>,
}

/// A waiting thread of the host, until this is dropped.
pub(crate) struct Listening {
    relay: Rc<LogRelay>,
    id: u64,
}

impl LogRelay {
    pub(crate) fn relay(&self, line: Line) {
        let sent = match self.listeners.borrow().first() {
            Some((_, sender)) => sender.send(line),
            None => Err(line),
        };
        if let Err(line) = sent {
            self.waiting.borrow_mut().push(line);
        }
    }

    pub(crate) fn listen(self: &Rc<Self>, sender: LogSender) -> Listening {
        let id = self.next.get();
        self.next.set(id + 1);
        self.listeners.borrow_mut().push((id, sender));
        let mut waiting = self.take();
        while let Some(line) = waiting.pop() {
            self.relay(line);
        }
        Listening { relay: Rc::clone(self), id }
    }

    pub(crate) fn take(&self) -> LineQueue {
        self.waiting.take()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.relay.listeners.borrow_mut().retain(|(id, _)| *id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::borrowed_chunk::{Callers, with_chunk};
    use crate::log::Level;

    #[test]
    fn lines_without_a_waiting_thread_are_written_later_and_bounded() {
        let relay = Rc::new(LogRelay::default());
        let line = |number: usize| Line { level: Level::Info, text: number.to_string().into() };
        (0..LineQueue::CAPACITY + 50).for_each(|number| relay.relay(line(number)));
        let mut written = Vec::new();
        with_chunk(
            &Callers::default(),
            b"chunk",
            b"app",
            |chunk| {
                let listening = relay.listen(chunk.log_sender());
                relay.relay(line(9999));
                drop(listening);
                relay.relay(line(10_000));
            },
            |line| written.push(line.text.into_owned()),
            &|| false,
        );
        // The notice took the place of one line, and the last line that of another.
        assert_eq!(written.len(), LineQueue::CAPACITY + 1, "{written:?}");
        assert_eq!(written[0], "2 log lines are missing here: no Fluent Bit thread was free to write them");
        assert_eq!(written[1], "51", "{written:?}");
        assert_eq!(written.last().unwrap(), "9999");
        let mut rest = relay.take();
        assert_eq!((rest.pop(), rest.pop()), (Some(line(10_000)), None));
    }
}
