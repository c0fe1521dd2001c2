//! Reuses the memory of sent bodies.

use std::cell::RefCell;

use crate::kinesis::request::Batch;

/// Most bytes kept while idle: the bodies of a few requests with 500 typical lines.
const MOST_BYTES: usize = 1 << 20;

/// Bodies that are no longer needed.
#[derive(Debug, Default)]
pub struct BodyPool(RefCell<Vec<Vec<u8>>>);

impl BodyPool {
    /// Takes one, or a new empty one.
    pub(super) fn take(&self) -> Vec<u8> {
        self.0.borrow_mut().pop().unwrap_or_default()
    }

    /// Keeps a body unless the pool is full.
    pub(super) fn give_back(&self, body: Vec<u8>) {
        let mut kept = self.0.borrow_mut();
        if body.capacity() + kept.iter().map(Vec::capacity).sum::<usize>() <= MOST_BYTES {
            kept.push(body);
        }
    }

    /// Keeps the body of a finished batch unless a request still uses it.
    pub fn keep(&self, batch: Batch) {
        if let Some(body) = batch.into_body() {
            self.give_back(body);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinesis::request::{BatchBuilder, Json};
    use crate::kinesis::stream::Stream;

    /// A batch that fills its memory.
    fn batch(body: Vec<u8>) -> Batch {
        let data = vec![b'x'; body.capacity() / 2];
        let mut builder = BatchBuilder::<Json>::new(&Stream::parse("logs").unwrap(), body);
        builder.push(0, &data, "key", false);
        builder.finish()
    }

    #[test]
    fn a_body_that_is_done_is_written_over_and_one_in_use_is_left_alone() {
        let pool = BodyPool::default();
        let body = Vec::with_capacity(1000);
        let memory = body.as_ptr();
        let done = batch(body);
        let in_use = done.body();
        pool.keep(done.clone());
        assert_eq!(pool.take().capacity(), 0, "{in_use:?} is in use");
        drop((in_use, done.clone()));
        pool.keep(done);
        let again = pool.take();
        assert_eq!((again.as_ptr(), again.len()), (memory, 0));
    }

    #[test]
    fn no_more_is_kept_than_the_bound() {
        let pool = BodyPool::default();
        pool.keep(batch(Vec::with_capacity(2 * MOST_BYTES)));
        assert_eq!(pool.take().capacity(), 0);
        (0..1000).for_each(|_| pool.keep(batch(Vec::with_capacity(MOST_BYTES / 8))));
        assert_eq!(pool.0.borrow().len(), 8);
    }
}
