//! What is known of a stream itself, and how it is kept current: its shards and its configuration.
//!
//! Both are asked for periodically, and when replies show that they have changed. Nothing that is known late loses
//! records, so no call is urgent, and instances that start together or see the same change must not call together.

mod description;
mod facts;
mod pace;
mod shards;
mod watcher;

use crate::kinesis::client::Transport;
use pace::{Call, Pace};

pub(super) use facts::Facts;
pub(super) use watcher::Watcher;

impl<T: Transport> Watcher<T> {
    /// Keeps what is known current until shutdown. Returns immediately if nothing has to be known.
    pub(in crate::deliver) async fn run(&self) {
        let shards = async {
            if self.facts.needs_shards() {
                self.repeat(&self.facts.shards_pace, async || self.list().await).await;
            }
        };
        let description = async {
            if self.facts.needs_description() {
                self.repeat(&self.facts.description_pace, async || self.describe().await).await;
            }
        };
        tokio::join!(shards, description);
    }

    async fn repeat(&self, pace: &Pace, ask: impl AsyncFn() -> Call) {
        let mut pause = Pace::first(&mut self.random.borrow_mut());
        loop {
            let was_announced = tokio::select! {
                () = tokio::time::sleep(pause) => false,
                () = pace.announced(&self.random) => true,
                _ = self.shutdown.begun() => return,
            };
            let call = ask().await;
            pause = pace.next(&call, was_announced, &mut self.random.borrow_mut());
        }
    }
}
