use std::fs;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::chunk::EventTime;
use crate::clock::SystemClock;
use crate::log::tests::TestLog;
use crate::metrics::RefusalReason;

fn open(path: &Path, max_bytes: u64, log: &TestLog) -> DeadLetters {
    let place = Place { path: path.to_owned(), max_bytes };
    DeadLetters::open(place, 7, Arc::new(SystemClock), log.logger(), Metrics::default()).unwrap()
}

fn letter(number: usize, bytes: usize) -> Letter {
    Letter {
        time: Some(EventTime::default()),
        tag: b"app".as_slice().into(),
        stream: "logs".into(),
        reason: RefusalReason::TooLarge,
        detail: number.to_string(),
        body: rmp_serde::to_vec(&serde_json::json!({ "log": "x".repeat(bytes) })).unwrap(),
    }
}

/// The details of the letters in all files.
fn kept(path: &Path) -> Vec<usize> {
    let files = fs::read_dir(path).unwrap().map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
    let mut kept: Vec<usize> = files
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(&line).unwrap()["detail"].as_str().unwrap().parse().unwrap()
        })
        .collect();
    kept.sort_unstable();
    kept
}

async fn close(letters: &DeadLetters) -> (u64, u64) {
    letters.close(Instant::now() + Duration::from_secs(60)).await;
    (letters.metrics.get(Metric::DeadLettersWritten), letters.metrics.get(Metric::DeadLettersDropped))
}

#[tokio::test]
async fn every_letter_is_in_a_file_at_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let log = TestLog::default();
    let letters = open(directory.path(), 1 << 20, &log);
    (0..2000).for_each(|number| letters.keep(letter(number, 100)));
    assert_eq!(close(&letters).await, (2000, 0));
    assert_eq!(kept(directory.path()), (0..2000).collect::<Vec<_>>());
    assert!(fs::read_dir(directory.path()).unwrap().count() > 1, "a file takes an eighth of the bound");
    assert_eq!(log.lines(), [""; 0]);
}

#[tokio::test]
async fn what_was_written_is_counted_while_the_output_runs() {
    let directory = tempfile::tempdir().unwrap();
    let letters = open(directory.path(), 1 << 20, &TestLog::default());
    letters.keep(letter(0, 100));
    let is_counted = async {
        while letters.metrics.get(Metric::DeadLettersWritten) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        () = letters.watch() => panic!("the thread ended"),
        () = is_counted => {}
    }
    assert_eq!(kept(directory.path()), [0], "and it is in its file");
    assert_eq!(close(&letters).await, (1, 0));
}

/// Two thousand letters of ten kilobytes are more than the queue holds; the thread cannot be faster than their hand-over.
#[tokio::test]
async fn a_full_queue_costs_letters_with_one_line_and_bounded_memory_and_never_waits() {
    let directory = tempfile::tempdir().unwrap();
    let log = TestLog::default();
    let letters = open(directory.path(), 1 << 30, &log);
    let stuck = Arc::clone(&letters.queued);
    // As if the disk took nothing.
    stuck.fetch_add(QUEUE_BYTES, Ordering::Relaxed);
    (0..100).for_each(|number| letters.keep(letter(number, 10_000)));
    assert_eq!(stuck.load(Ordering::Relaxed), QUEUE_BYTES);
    stuck.fetch_sub(QUEUE_BYTES, Ordering::Relaxed);
    letters.keep(letter(100, QUEUE_BYTES));
    assert_eq!(close(&letters).await, (1, 100));
    assert_eq!(kept(directory.path()), [100], "one is taken whatever its size");
    let folder = directory.path().display();
    assert_eq!(
        log.lines(),
        [format!(
            "Warn refused records are not kept in {folder}: they come faster than they can be written; delivery goes on"
        )]
    );
}

#[tokio::test]
async fn a_disk_that_takes_nothing_costs_letters_with_one_line_and_what_follows_is_written_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("letters");
    let log = TestLog::default();
    let letters = open(&path, 1 << 20, &log);
    let away = directory.path().join("away");
    fs::rename(&path, &away).unwrap();
    for number in 0..10 {
        letters.keep(letter(number, 10));
        let is_taken = async {
            while letters.queued.load(Ordering::Relaxed) > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), is_taken).await.expect("the thread takes it");
    }
    let counted = async {
        while letters.metrics.get(Metric::DeadLettersDropped) < 10 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        () = letters.watch() => panic!("the thread ended"),
        () = counted => {}
    }
    fs::rename(&away, &path).unwrap();
    letters.keep(letter(10, 10));
    assert_eq!(close(&letters).await, (1, 10));
    assert_eq!(kept(&path), [10]);
    let lines = log.lines();
    let expected = format!("Warn refused records are not kept in {}: No such file or directory", path.display());
    assert!(lines.len() == 1 && lines[0].starts_with(&expected), "{lines:?}");
}

#[tokio::test]
async fn a_letter_larger_than_all_files_may_be_is_dropped_and_others_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let log = TestLog::default();
    let letters = open(directory.path(), 1000, &log);
    for (number, bytes) in [(0, 10), (1, 2000), (2, 10)] {
        letters.keep(letter(number, bytes));
    }
    assert_eq!(close(&letters).await, (2, 1));
    assert_eq!(kept(directory.path()), [0, 2]);
    assert!(log.lines()[0].contains("one is larger than dead_letter_max_bytes"), "{:?}", log.lines());
}

#[tokio::test]
async fn the_oldest_files_go_with_a_line() {
    let directory = tempfile::tempdir().unwrap();
    let log = TestLog::default();
    let letters = open(directory.path(), 10_000, &log);
    (0..200).for_each(|number| letters.keep(letter(number, 200)));
    assert_eq!(close(&letters).await, (200, 0));
    let kept = kept(directory.path());
    assert_eq!(kept, (200 - kept.len()..200).collect::<Vec<_>>());
    let expected =
        format!("Warn {} has reached dead_letter_max_bytes: removed the oldest files, ", directory.path().display());
    assert!(log.lines()[0].starts_with(&expected), "{:?}", log.lines());
}
