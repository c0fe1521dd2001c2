//! One configured output: its delivery thread, and the hand-over to it.

use std::sync::Arc;

use crate::error::ConfigError;
use crate::log::LogSink;
use crate::outcome::Outcome;

/// One instance of the plugin, as the host configured it.
pub struct Plugin {
    log: Arc<dyn LogSink>,
}

impl Plugin {
    /// Reads the configuration through `property` (the value of an option by its name, `None` when unset) and starts
    /// the delivery thread. All mistakes are reported at once.
    pub fn start(property: &dyn Fn(&str) -> Option<String>, log: Arc<dyn LogSink>) -> Result<Plugin, ConfigError> {
        let _ = property;
        Ok(Plugin { log })
    }

    /// Hands the chunk to the delivery thread and waits for its answer, writing the lines it logs meanwhile.
    pub fn flush(&self, chunk: &[u8], tag: &[u8]) -> Outcome {
        let _ = (chunk, tag, &self.log);
        Outcome::Retry
    }

    /// Stops the delivery thread and waits until it is gone. Later flushes answer [`Outcome::Retry`].
    pub fn stop(&self) {}
}
