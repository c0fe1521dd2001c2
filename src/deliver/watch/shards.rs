//! Lists the stream's shards, so that records whose keys belong to one shard can share an aggregate, and so that an
//! aggregate in a wrong shard is noticed.

use super::pace::Call;
use super::watcher::{TIMEOUT, Watcher};
use crate::kinesis::client::Transport;
use crate::kinesis::control::list_shards::{ListShardsError, list_shards};
use crate::log::{Level, duration};

impl<T: Transport> Watcher<T> {
    pub(super) async fn list(&self) -> Call {
        if self.facts.ignores_keys() {
            return Call::NothingNew;
        }
        let answer = tokio::time::timeout(TIMEOUT, list_shards(&*self.transport, &self.stream)).await;
        let is_refused = matches!(&answer, Ok(Err(error)) if !matches!(error, ListShardsError::Transport(_)));
        let answer = match answer {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no reply within {}", duration(TIMEOUT))),
        };
        let (log, destination) = (&self.reporter.log, &self.reporter.destination);
        let has_failed = self.facts.shards_pace.has_failed();
        match answer {
            Ok(map) => {
                let count = map.len();
                let level = if has_failed { Level::Info } else { Level::Debug };
                log.write(level, || format!("the shards of {destination} are known: {count} are open"));
                if self.facts.listed(map) { Call::News } else { Call::NothingNew }
            }
            Err(reason) => {
                let level = if has_failed { Level::Debug } else { Level::Warn };
                log.write(level, || match self.facts.without_shards() {
                    Some(then) => format!(
                        "cannot list the shards of {destination}: {reason}; shard_map requires the permission kinesis:ListShards and {then} until they are known"
                    ),
                    None => format!(
                        "cannot list the shards of {destination}: {reason}; record_distribution detect requires the permission kinesis:ListShards and cannot see in which shards aggregates are until they are known"
                    ),
                });
                if is_refused {
                    self.facts.not_listed();
                }
                Call::Failed
            }
        }
    }
}
