//! Asks how the stream is configured: whether it distributes records itself, and how large they may be.

use super::pace::Call;
use super::watcher::{TIMEOUT, Watcher};
use crate::kinesis::client::{Transport, TransportError};
use crate::kinesis::control::describe::{DescribeError, describe_stream};
use crate::log::{Level, duration};

impl<T: Transport> Watcher<T> {
    pub(super) async fn describe(&self) -> Call {
        let answer = tokio::time::timeout(TIMEOUT, describe_stream(&*self.transport, &self.stream)).await;
        let error = match answer {
            Ok(Ok(description)) => {
                return if self.facts.described(description) { Call::News } else { Call::NothingNew };
            }
            Ok(Err(error)) => error,
            Err(_) => {
                let reason = format!("none within {}", duration(TIMEOUT));
                DescribeError::Transport(TransportError::Ambiguous(reason))
            }
        };
        let is_busy = matches!(error, DescribeError::Busy(_));
        let is_news = !self.facts.description_pace.has_failed() && !is_busy;
        let level = if is_news { Level::Warn } else { Level::Debug };
        let reason = error.to_string();
        let destination = &self.reporter.destination;
        self.reporter.log.write(level, || match self.facts.without_description() {
            Some(then) => format!(
                "cannot describe {destination}: {reason}; record_distribution detect requires the permission kinesis:DescribeStreamSummary and {then} until it is known"
            ),
            None => format!(
                "cannot describe {destination}: {reason}; max_record_size auto requires the permission kinesis:DescribeStreamSummary and is {} bytes until it is known",
                self.facts.max_record_bytes()
            ),
        });
        match error {
            DescribeError::Busy(_) => Call::Throttled,
            DescribeError::Transport(_) => Call::Failed,
            DescribeError::Refused(_) | DescribeError::Unreadable => {
                self.facts.not_described();
                Call::Failed
            }
        }
    }
}
