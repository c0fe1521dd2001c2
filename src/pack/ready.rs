//! Groups that are complete.

use std::collections::VecDeque;

use crate::kinesis::request::Group;

/// Complete groups, in order.
#[derive(Default)]
pub(super) struct Ready {
    groups: VecDeque<Group>,
    /// Memory for the data of another one.
    scratch: Vec<u8>,
}

impl Ready {
    pub(super) fn push(&mut self, group: Group) {
        self.groups.push_back(group);
    }

    /// The first of them.
    pub(super) fn pop(&mut self) -> Option<Group> {
        self.groups.pop_front()
    }

    /// Puts one back to the front.
    pub(super) fn put_back(&mut self, group: Group) {
        self.groups.push_front(group);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// An empty buffer for the data of a group, used before if possible: where a quarter of a megabyte is freed and
    /// allocated again and again, the system clears the same memory each time.
    pub(super) fn buffer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.scratch)
    }

    /// Takes a buffer back that [`Ready::buffer`] may return.
    pub(super) fn recycle(&mut self, buffer: Vec<u8>) {
        self.scratch = buffer;
    }
}
