//! Faults of Fluent Bit itself: the only list of what a version is forgiven. Everything else must hold for it as for
//! the others, and a run in which a fault occurred reports it.

use super::host::{Binary, Version};
use super::note;

/// Something that goes wrong with any plugin.
#[derive(Clone, Copy, PartialEq)]
pub enum Fault {
    /// It ends with SIGABRT after its last exit call.
    AbortsAtTheEnd,
    /// A stop in the moment in which a retry ends flushes that chunk again.
    FlushesAgain,
    /// After a reload nothing is delivered any more until it is killed and restarted.
    ReloadHangs,
}

const FLUSHES_AGAIN: &str =
    "a stop in the moment in which a retry ends flushes that chunk again, whatever the plugin has answered";

const KNOWN: [(Version, Fault, &str); 4] = [
    ((1, 9, 10), Fault::AbortsAtTheEnd, "with two outputs it aborts after the last exit call, with older plugins too"),
    ((2, 2, 3), Fault::FlushesAgain, FLUSHES_AGAIN),
    ((3, 2, 10), Fault::FlushesAgain, FLUSHES_AGAIN),
    ((2, 2, 3), Fault::ReloadHangs, "a reload with chunks in retry hangs, with its own outputs too"),
];

/// Whether this version has the fault.
pub fn has(binary: &Binary, fault: Fault) -> bool {
    known(binary, fault).is_some()
}

/// Reports that the fault occurred.
pub fn tolerated(binary: &Binary, fault: Fault) {
    note(binary, &format!("known fault: {}", known(binary, fault).unwrap_or("none")));
}

fn known(binary: &Binary, fault: Fault) -> Option<&'static str> {
    KNOWN.iter().find(|(version, known, _)| *version == binary.version && *known == fault).map(|(_, _, what)| *what)
}
