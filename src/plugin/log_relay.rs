//! Passes log lines of the delivery thread to a thread of the host.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::host::loan::Teller;
use crate::log::{Line, LineQueue};

/// Sends lines to a thread of the host that waits, or keeps them for the next one.
#[derive(Default)]
pub(crate) struct LineRouter {
    listeners: RefCell<Vec<(u64, Teller)>>,
    waiting: RefCell<LineQueue>,
    next: Cell<u64>,
}

/// A listening thread; it stops listening when this is dropped.
pub(crate) struct Listening {
    router: Rc<LineRouter>,
    id: u64,
}

impl LineRouter {
    pub(crate) fn route(&self, line: Line) {
        let told = match self.listeners.borrow().first() {
            Some((_, teller)) => teller.tell(line),
            None => Err(line),
        };
        if let Err(line) = told {
            self.waiting.borrow_mut().push(line);
        }
    }

    pub(crate) fn listen(self: &Rc<Self>, teller: Teller) -> Listening {
        let id = self.next.get();
        self.next.set(id + 1);
        self.listeners.borrow_mut().push((id, teller));
        let mut waiting = self.take();
        while let Some(line) = waiting.pop() {
            self.route(line);
        }
        Listening { router: Rc::clone(self), id }
    }

    pub(crate) fn take(&self) -> LineQueue {
        self.waiting.take()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.router.listeners.borrow_mut().retain(|(id, _)| *id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::loan::{Lenders, lend};
    use crate::log::Level;

    #[test]
    fn lines_that_nobody_waited_for_are_written_later_and_bounded() {
        let router = Rc::new(LineRouter::default());
        let line = |number: usize| Line { level: Level::Info, text: number.to_string().into() };
        (0..LineQueue::CAPACITY + 50).for_each(|number| router.route(line(number)));
        let mut written = Vec::new();
        lend(
            &Lenders::default(),
            b"chunk",
            b"app",
            |loan| {
                let listening = router.listen(loan.teller());
                router.route(line(9999));
                drop(listening);
                router.route(line(10_000));
            },
            |line| written.push(line.text.into_owned()),
            &|| false,
        );
        // The line that says so took the place of one more, and the last one that of another.
        assert_eq!(written.len(), LineQueue::CAPACITY + 1, "{written:?}");
        assert_eq!(written[0], "2 log lines are missing here: no thread of Fluent Bit was free to write them");
        assert_eq!(written[1], "51", "{written:?}");
        assert_eq!(written.last().unwrap(), "9999");
        let mut rest = router.take();
        assert_eq!((rest.pop(), rest.pop()), (Some(line(10_000)), None));
    }
}
