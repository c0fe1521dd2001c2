//! What goes wrong in a run with faults: throttling and cut connections all the time, and one kill of the host.

use std::error::Error;
use std::time::{Duration, Instant};

use testing::fake_kinesis::{FakeKinesis, Faults, Stats};

use crate::sender::Sender;

/// The part of the records after which the host is killed.
const KILL_AFTER: f64 = 0.4;
/// How long nothing must have been accepted, nor read from the log, before the kill. A kill while a reply is on its way
/// costs the records of that request twice: nobody can know that they arrived.
const QUIET: Duration = Duration::from_millis(1500);

/// The faults of a run, and how far they are.
pub(crate) struct FaultsOfARun {
    lines: u64,
    phase: Phase,
}

enum Phase {
    Before,
    /// Everything is refused, so that nothing is on its way.
    Refusing {
        since: Instant,
        seen: (u64, u64),
    },
    After,
}

/// One record in ten is throttled, one connection in fifty is cut before the request is read, and replies take the
/// time of a network.
fn usual() -> Faults {
    Faults { seed: 1, throttle_records: 0.1, reset_before: 0.02, latency_ms: 20, ..Faults::default() }
}

impl FaultsOfARun {
    pub(crate) fn begin(kinesis: &FakeKinesis, lines: u64) -> FaultsOfARun {
        kinesis.set_faults(usual());
        FaultsOfARun { lines, phase: Phase::Before }
    }

    /// Takes the next step if it is time for it. Returns what there is to say of it.
    pub(crate) fn go_on(
        &mut self,
        kinesis: &FakeKinesis,
        stats: &Stats,
        sender: &mut Sender,
    ) -> Result<Option<String>, Box<dyn Error>> {
        let seen = (stats.records, sender.bytes_on_disk());
        match self.phase {
            Phase::Before if stats.distinct as f64 >= self.lines as f64 * KILL_AFTER => {
                kinesis.set_faults(Faults { throttle_calls: 1.0, ..usual() });
                self.phase = Phase::Refusing { since: Instant::now(), seen };
                Ok(Some("== Kinesis refuses everything now".to_owned()))
            }
            Phase::Refusing { seen: before, .. } if seen != before => {
                self.phase = Phase::Refusing { since: Instant::now(), seen };
                Ok(None)
            }
            Phase::Refusing { since, .. } if since.elapsed() >= QUIET => {
                sender.kill()?;
                sender.start()?;
                kinesis.set_faults(usual());
                self.phase = Phase::After;
                Ok(Some("== killed the host (SIGKILL) and started it again; Kinesis answers as before".to_owned()))
            }
            _ => Ok(None),
        }
    }
}
