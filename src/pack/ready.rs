//! Complete groups.

use std::collections::VecDeque;

use super::settings::Limits;
use crate::digest::md5::LANES;
use crate::kinesis::kpl::write_digests;
use crate::kinesis::request::Group;

/// Complete groups, in order. Aggregates wait until there are enough to write their digests side by side.
#[derive(Default)]
pub(super) struct Ready {
    groups: VecDeque<Group>,
    /// The number of groups, from the first on, that wait for nothing.
    done: usize,
    /// The size of all groups as Kinesis counts it, in bytes.
    bytes: usize,
    /// Buffers for the data of further groups.
    free: Vec<Vec<u8>>,
}

impl Ready {
    pub(super) fn push(&mut self, group: Group) {
        let waits = group.is_aggregate || self.done < self.groups.len();
        self.bytes += size(&group);
        self.groups.push_back(group);
        if !waits || self.groups.len() - self.done == LANES {
            self.finish();
        }
    }

    /// Lets no group wait any longer.
    pub(super) fn finish(&mut self) {
        let waiting = self.groups.range_mut(self.done..);
        write_digests(waiting.filter(|group| group.is_aggregate).map(|group| group.data.as_mut_slice()));
        self.done = self.groups.len();
    }

    /// Removes the first group.
    pub(super) fn pop(&mut self) -> Option<Group> {
        let group = self.groups.pop_front()?;
        self.done = self.done.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(size(&group));
        Some(group)
    }

    /// The first group, unless it waits.
    pub(super) fn first(&self) -> Option<&Group> {
        self.groups.front().filter(|_| self.done > 0)
    }

    /// Whether there are more than fit into a request.
    pub(super) fn can_fill(&self, limits: Limits) -> bool {
        self.groups.len() > limits.request_records || self.bytes > limits.request_bytes
    }

    /// An empty buffer for a group's data, reused if possible: freeing and allocating large ones each time makes the
    /// system clear the same memory over and over.
    pub(super) fn buffer(&mut self) -> Vec<u8> {
        self.free.pop().unwrap_or_default()
    }

    /// Takes back a buffer for [`Ready::buffer`].
    pub(super) fn recycle(&mut self, buffer: Vec<u8>) {
        if self.free.len() < LANES {
            self.free.push(buffer);
        }
    }
}

/// A group's size as Kinesis counts it, in bytes.
pub(super) fn size(group: &Group) -> usize {
    group.data.len() + group.key.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(is_aggregate: bool) -> Group {
        Group { data: vec![0; 20], is_aggregate, ..Group::default() }
    }

    fn has_digest(group: &Group) -> bool {
        group.data.last_chunk() != Some(&[0; 16])
    }

    #[test]
    fn aggregates_wait_for_others_but_never_more_than_have_their_digests_written_at_once() {
        let mut ready = Ready::default();
        for count in 1..=3 * LANES {
            ready.push(group(true));
            assert_eq!(ready.first().is_some(), count >= LANES);
            assert_eq!(ready.groups.iter().filter(|group| has_digest(group)).count(), count / LANES * LANES);
        }
        ready.push(group(true));
        ready.finish();
        let sent: Vec<Group> = std::iter::from_fn(|| ready.first().is_some().then(|| ready.pop()).flatten()).collect();
        assert_eq!(sent.len(), 3 * LANES + 1);
        assert!(sent.iter().all(has_digest));
    }

    #[test]
    fn what_is_no_aggregate_waits_only_behind_one_and_stays_as_it_is() {
        let mut ready = Ready::default();
        ready.push(group(false));
        assert!(ready.first().is_some());
        ready.push(group(true));
        ready.push(group(false));
        assert!(ready.pop().is_some());
        assert!(ready.first().is_none());
        ready.finish();
        assert_eq!([ready.pop(), ready.pop()].map(|group| has_digest(&group.unwrap())), [true, false]);
        assert!(ready.first().is_none());
    }
}
