//! Faults of Fluent Bit itself: the only list of what a version is forgiven. Everything else must hold for it as for
//! the others. docs/compatibility.md shows the list, and for each version how many of them occurred.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use super::host::{Binary, Version};
use super::{compatibility, note};

/// Something that goes wrong with any plugin.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    AbortsAtTheEnd,
    ClosesTwice,
    FlushesAgain,
    ReloadHangs,
    ReloadsWithWorkers,
    ForgetsHalfLines,
    AbortsOnLogLevel,
}

/// A fault in some versions.
pub struct Known {
    fault: Fault,
    /// The first and the last version that has it.
    pub versions: (Version, Version),
    pub what: &'static str,
    pub advice: &'static str,
}

pub const KNOWN: [Known; 7] = [
    Known {
        fault: Fault::AbortsAtTheEnd,
        versions: ((1, 9, 10), (1, 9, 10)),
        what: "With two outputs of a plugin of this kind it may abort after the last exit call.",
        advice: "Nothing is lost by then; one output for each process avoids it.",
    },
    Known {
        fault: Fault::ClosesTwice,
        versions: ((1, 9, 10), (4, 0, 5)),
        what: "When an input pauses (a stop, a reload, `mem_buf_limit`), it closes a timer's descriptor twice, and so perhaps one that another thread has just opened.",
        advice: "A newer version, where inputs pause often.",
    },
    Known {
        fault: Fault::FlushesAgain,
        versions: ((2, 0, 0), (4, 0, 1)),
        what: "A stop while a retry is under way flushes that chunk again.",
        advice: "Sent once all the same, unless the first flush has just ended.",
    },
    Known {
        fault: Fault::ReloadHangs,
        versions: ((2, 2, 0), (3, 2, 2)),
        what: "While it reloads, it answers each flush of a plugin of this kind with \"retry\" by itself, and waits until no chunk is left: if one is under way, nothing is delivered until it is killed and started again.",
        advice: "Set `hot_reload.ensure_thread_safety off` in the service: a reload then waits for `grace`, and chunks on disk are kept.",
    },
    Known {
        fault: Fault::ReloadsWithWorkers,
        versions: ((2, 2, 0), (5, 1, 1)),
        what: "It starts the `workers` of a plugin of this kind twice and stops them once; after a hot reload the others run on freed memory.",
        advice: "Leave out `workers` or `hot_reload`; a line in the log reminds of it. No test does both.",
    },
    Known {
        fault: Fault::ForgetsHalfLines,
        versions: ((3, 0, 0), (5, 0, 2)),
        what: "`tail` forgets the beginning of a line that was not yet complete at a stop or a reload.",
        advice: "Nothing helps where the line is written in parts.",
    },
    Known {
        fault: Fault::AbortsOnLogLevel,
        versions: ((5, 1, 0), (5, 1, 1)),
        what: "It aborts at the start if both the variable FLB_LOG_LEVEL and `log_level` of the service are set.",
        advice: "Set one of them.",
    },
];

/// Whether this version has the fault.
pub fn has(binary: &Binary, fault: Fault) -> bool {
    known(binary, fault).is_some()
}

/// Reports that the fault occurred.
pub fn tolerated(binary: &Binary, fault: Fault) {
    compatibility::met(binary, fault);
    note(binary, &format!("known fault: {}", known(binary, fault).map_or("none", |known| known.what)));
}

/// Whether it aborted as this version may once its last output has exited. Reports that.
pub fn aborted_at_the_end(binary: &Binary, status: ExitStatus) -> bool {
    let aborted = status.signal() == Some(libc::SIGABRT) && has(binary, Fault::AbortsAtTheEnd);
    if aborted {
        tolerated(binary, Fault::AbortsAtTheEnd);
    }
    aborted
}

fn known(binary: &Binary, fault: Fault) -> Option<&'static Known> {
    let is_among = |(first, last): (Version, Version)| (first..=last).contains(&binary.version);
    KNOWN.iter().find(|known| known.fault == fault && is_among(known.versions))
}
