//! A small fleet on one stream, in virtual time; `examples/fleet` runs a large one.

// The example's own files: a separate simulation would prove nothing about docs/fleet.md.
#[path = "../../examples/fleet/producer.rs"]
mod producer;
#[allow(dead_code, reason = "the program prints the rest")]
#[path = "../../examples/fleet/scenario.rs"]
mod scenario;
#[path = "../../examples/fleet/service.rs"]
mod service;

use std::time::Duration;

use producer::Resend;
use scenario::{Measured, Scenario, Setup};

fn play(scenario: Scenario, resend: Resend) -> Measured {
    let setup = Setup {
        producers: 50,
        shards: 2,
        shard_records: 100.0,
        seconds: 60,
        seed: 1,
        resend,
        retries: 8,
        reset_backoff: true,
    };
    scenario.play(setup).unwrap()
}

#[test]
fn a_throttled_stream_takes_nine_tenths_of_what_it_can_and_nothing_is_lost_or_stored_twice() {
    let measured = play(Scenario::Throttled, Resend::Records);
    assert!(measured.made > 30_000, "{measured:?}");
    assert_eq!((measured.missing, measured.duplicates), (0, 0), "{measured:?}");
    assert!(measured.goodput >= 0.9 && measured.delivered.is_some(), "{measured:?}");
}

#[test]
fn records_leave_a_shard_that_others_fill() {
    let measured = play(Scenario::HotShard, Resend::Records);
    assert_eq!((measured.missing, measured.duplicates), (0, 0), "{measured:?}");
    assert!(
        measured.goodput >= 0.75 && measured.backlog_gone.is_some_and(|time| time < Duration::from_secs(10)),
        "{measured:?}"
    );
}

#[test]
fn no_record_is_lost_or_stored_twice_while_shards_split() {
    let measured = play(Scenario::Resharding, Resend::Records);
    assert_eq!((measured.missing, measured.duplicates), (0, 0), "{measured:?}");
    assert!(measured.goodput >= 0.8 && measured.delivered.is_some(), "{measured:?}");
}

#[test]
fn after_an_outage_the_fleet_comes_back_without_waves_and_loses_nothing() {
    let measured = play(Scenario::Outage, Resend::Records);
    assert_eq!((measured.missing, measured.duplicates), (0, 0), "{measured:?}");
    assert!(measured.goodput >= 0.9 && measured.delivered.is_some(), "{measured:?}");
    assert!(measured.requests_peak as f64 <= 2.0 * measured.requests_mean, "{measured:?}");
}

/// What the tests above measure does occur.
#[test]
fn a_fleet_that_sends_whole_chunks_again_stores_records_twice_and_wastes_the_stream() {
    let measured = play(Scenario::Throttled, Resend::Chunk);
    assert_eq!(measured.missing, 0, "{measured:?}");
    assert!(measured.duplicates > measured.made / 10 && measured.goodput < 0.9, "{measured:?}");
}
