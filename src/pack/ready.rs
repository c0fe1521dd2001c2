//! Complete groups.

use std::collections::VecDeque;

use crate::kinesis::request::Group;

/// Complete groups, in order.
#[derive(Default)]
pub(super) struct Ready {
    groups: VecDeque<Group>,
    /// A buffer for the next group's data.
    scratch: Vec<u8>,
}

impl Ready {
    pub(super) fn push(&mut self, group: Group) {
        self.groups.push_back(group);
    }

    /// Removes the first group.
    pub(super) fn pop(&mut self) -> Option<Group> {
        self.groups.pop_front()
    }

    pub(super) fn first(&self) -> Option<&Group> {
        self.groups.front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// An empty buffer for a group's data, reused if possible: freeing and allocating a quarter of a megabyte each
    /// time makes the system clear the same memory over and over.
    pub(super) fn buffer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.scratch)
    }

    /// Takes back a buffer for [`Ready::buffer`].
    pub(super) fn recycle(&mut self, buffer: Vec<u8>) {
        self.scratch = buffer;
    }
}
