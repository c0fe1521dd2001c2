use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use super::known::RefusedAlone;
use super::waiting::ENTRY_LIFE_CHUNKS;
use super::*;
use crate::record_set::RecordSet;

fn set(records: &[u32]) -> RecordSet {
    records.iter().copied().collect()
}

fn ledger(max_bytes: usize) -> Rc<Ledger> {
    Rc::new(Ledger::new(max_bytes))
}

/// What is known of a chunk, which stays in the ledger.
fn known(ledger: &Rc<Ledger>, tag: &[u8], chunk: &[u8]) -> RecordSet {
    ledger.begin(tag, chunk).progress().done().clone()
}

#[test]
fn an_entry_is_found_by_tag_and_bytes_until_its_chunk_is_done() {
    let ledger = ledger(1 << 20);
    ledger.begin(b"app", b"chunk").progress().mark_done([1, 70]);
    assert_eq!(known(&ledger, b"app", b"other"), set(&[]));
    assert_eq!(known(&ledger, b"web", b"chunk"), set(&[]));
    assert_eq!(known(&ledger, b"app", b"chunk"), set(&[1, 70]));
    assert_eq!(known(&ledger, b"app", b"chunk"), set(&[1, 70]), "it is put back");
    ledger.begin(b"app", b"chunk").done();
    assert_eq!(known(&ledger, b"app", b"chunk"), set(&[]));
    assert!(ledger.is_empty());
}

#[test]
fn chunks_with_the_same_bytes_each_have_their_entry() {
    let ledger = ledger(1 << 20);
    let (first, second) = (ledger.begin(b"app", b"chunk"), ledger.begin(b"app", b"chunk"));
    first.progress().mark_done([1]);
    second.progress().mark_done([2]);
    drop((first, second));
    let taken = [(); 3].map(|()| ledger.begin(b"app", b"chunk"));
    let done = taken.each_ref().map(|chunk| chunk.progress().done().clone());
    assert_eq!(done, [set(&[1]), set(&[2]), set(&[])]);
}

#[test]
fn a_chunk_of_which_nothing_is_known_needs_no_entry() {
    let ledger = ledger(1 << 20);
    drop(ledger.begin(b"app", b"chunk"));
    assert!(ledger.is_empty());
    ledger.begin(b"app", b"chunk").progress().mark_refused_alone(3, 5);
    assert_eq!(ledger.len(), 1);
}

#[test]
fn a_record_is_refused_alone_until_it_is_done() {
    let progress = Progress::default();
    progress.mark_refused_alone(3, 5);
    progress.mark_refused_alone(4, 4);
    assert_eq!(*progress.refused_alone(), RefusedAlone { records: set(&[3, 4]), latest: 5 });
    progress.mark_done([3]);
    progress.mark_refused_alone(3, 9);
    assert_eq!(*progress.refused_alone(), RefusedAlone { records: set(&[4]), latest: 5 });
}

#[test]
fn the_bound_holds_and_the_oldest_go_first() {
    let ledger = ledger(10_000);
    for number in 0..1000_u32 {
        ledger.begin(b"app", &number.to_le_bytes()).progress().mark_done([number]);
        assert!(ledger.bytes() <= 10_000);
    }
    assert!(ledger.len() > 20, "{}", ledger.len());
    assert!(known(&ledger, b"app", &0_u32.to_le_bytes()).is_empty());
    assert!(!known(&ledger, b"app", &999_u32.to_le_bytes()).is_empty());
}

#[test]
fn a_ledger_is_filled_to_the_last_byte_and_not_beyond() {
    let one = ledger(1 << 20);
    assert_eq!(one.bytes(), 0);
    one.begin(b"app", b"0").progress().mark_done([1]);
    let bytes = one.bytes();
    assert!(bytes > waiting::ENTRY_OVERHEAD, "{bytes}");
    for (max_bytes, kept) in [(bytes - 1, 0), (bytes, 1), (2 * bytes, 2), (3 * bytes - 1, 2), (3 * bytes, 3)] {
        let ledger = ledger(max_bytes);
        for chunk in [b"0", b"1", b"2"] {
            ledger.begin(b"app", chunk).progress().mark_done([1]);
        }
        assert_eq!((ledger.len(), ledger.bytes()), (kept, kept * bytes));
    }
}

#[test]
fn records_refused_alone_take_bytes_too() {
    let ledger = ledger(1 << 20);
    ledger.begin(b"app", b"chunk").progress().mark_refused_alone(80_000, 1);
    assert!(ledger.bytes() > 10_000, "{}", ledger.bytes());
}

#[test]
fn a_chunk_is_hashed_with_the_seed_and_only_when_one_of_its_length_waits() {
    let ledger = Rc::new(Ledger::new(1 << 20).with_seed(7));
    assert_eq!(ledger.begin(b"app", b"chunk").key, None);
    ledger.begin(b"app", b"chunk").progress().mark_done([1]);
    assert_eq!(ledger.begin(b"app", b"chunk").key, Some(Key::of(7, b"app", b"chunk")));
    assert_eq!(ledger.begin(b"app", b"other").key, Some(Key::of(7, b"app", b"other")));
    assert_eq!(ledger.begin(b"app", b"a longer one").key, None);
}

#[test]
fn an_entry_larger_than_the_bound_evicts_nothing_but_itself() {
    let ledger = ledger(4096);
    for number in 0..10_u32 {
        ledger.begin(b"app", &number.to_le_bytes()).progress().mark_done([number]);
    }
    ledger.begin(b"app", b"huge").progress().mark_done([4096 * 8]);
    assert!(known(&ledger, b"app", b"huge").is_empty());
    assert_eq!(ledger.len(), 10);
}

#[test]
fn flushes_that_are_dropped_or_panic_leave_all_that_was_known() {
    let ledger = ledger(1 << 20);
    let chunks: Vec<Vec<u8>> = (0..128_u8).map(|number| vec![number; 100]).collect();
    chunks.iter().for_each(|chunk| ledger.begin(b"app", chunk).progress().mark_done([1]));
    let dropped: Vec<OpenChunk<'_>> = chunks.iter().map(|chunk| ledger.begin(b"app", chunk)).collect();
    dropped.iter().for_each(|chunk| chunk.progress().mark_done([2]));
    assert_eq!(ledger.len(), 0);
    drop(dropped);
    assert_eq!(ledger.len(), 128);
    for chunk in &chunks {
        let flush = AssertUnwindSafe(|| {
            let open = ledger.begin(b"app", chunk);
            open.progress().mark_done([3]);
            std::panic::resume_unwind(Box::new("a flush panics"));
        });
        assert!(catch_unwind(flush).is_err());
    }
    assert_eq!(ledger.len(), 128);
    assert!(chunks.iter().all(|chunk| known(&ledger, b"app", chunk) == set(&[1, 2, 3])));
}

#[test]
fn what_a_request_still_learns_after_its_flush_was_dropped_counts() {
    let ledger = ledger(1 << 20);
    let open = ledger.begin(b"app", b"chunk");
    let request = Rc::clone(open.progress());
    request.mark_done([1]);
    drop(open);
    request.mark_done([2]);
    assert_eq!(known(&ledger, b"app", b"chunk"), set(&[1, 2]));
}

/// The longest wait that Fluent Bit's scheduler allows: `FLB_SCHED_CAP` plus a second, then up to the next frame.
const LONGEST_WAIT: Duration = Duration::from_secs(2000 + 1 + 10);

#[tokio::test(start_paused = true)]
async fn a_chunk_that_is_brought_again_as_late_as_can_be_is_known_and_a_dropped_one_forgotten_after_an_hour() {
    let ledger = ledger(1 << 20);
    ledger.begin(b"app", b"in retry").progress().mark_done([1]);
    ledger.begin(b"app", b"dropped").progress().mark_done([1]);
    for _ in 0..3 {
        tokio::time::advance(LONGEST_WAIT).await;
        assert_eq!(known(&ledger, b"app", b"in retry"), set(&[1]));
    }
    assert_eq!(ledger.len(), 1);
    assert!(known(&ledger, b"app", b"dropped").is_empty());
}

#[test]
fn an_entry_is_forgotten_when_a_million_other_chunks_have_come() {
    let ledger = ledger(1 << 20);
    ledger.begin(b"app", b"dropped").progress().mark_done([1]);
    for _ in 0..ENTRY_LIFE_CHUNKS {
        ledger.begin(b"app", b"other").done();
    }
    assert_eq!(ledger.len(), 1);
    assert!(known(&ledger, b"app", b"dropped").is_empty());
}
