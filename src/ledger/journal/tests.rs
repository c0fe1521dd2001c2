use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use proptest::prelude::*;
use tempfile::TempDir;

use super::super::{Ledger, OpenChunk};
use super::*;
use crate::log::tests::TestLog;

fn set(records: &[u32]) -> RecordSet {
    records.iter().copied().collect()
}

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger");
    (folder, path)
}

fn open_with(path: &Path, destination: &str, log: &TestLog) -> Result<Rc<Ledger>, String> {
    Ledger::open(1 << 20, path.to_owned(), destination.to_owned(), 7, log.logger())
        .map(Rc::new)
        .map_err(|error| error.to_string())
}

/// Opens a ledger without anything to log.
fn open(path: &Path) -> Rc<Ledger> {
    let log = TestLog::default();
    let ledger = open_with(path, "logs", &log).unwrap();
    assert_eq!(log.lines(), [""; 0]);
    ledger
}

fn journal(ledger: &Ledger) -> &Journal {
    ledger.journal.as_ref().unwrap()
}

/// What is known of a chunk, which stays in the ledger.
fn known(ledger: &Rc<Ledger>, chunk: &[u8]) -> (RecordSet, RecordSet) {
    let open = ledger.begin(b"app", chunk);
    (open.progress().done().clone(), open.progress().refused_alone().records.clone())
}

/// The file as a process starting now would find it.
fn after_a_kill(path: &Path) -> (TempDir, Rc<Ledger>) {
    let (folder, copy) = folder();
    fs::copy(path, &copy).unwrap();
    let ledger = open(&copy);
    (folder, ledger)
}

#[test]
fn what_is_done_or_refused_alone_is_in_the_file_when_the_call_returns() {
    let (_folder, path) = folder();
    let ledger = open(&path);
    let chunk = ledger.begin(b"app", b"chunk of some bytes");
    chunk.progress().mark_done([0, 1, 2, 9]);
    assert_eq!(known(&after_a_kill(&path).1, b"chunk of some bytes"), (set(&[0, 1, 2, 9]), set(&[])));
    chunk.progress().mark_refused_alone(4, 3);
    chunk.progress().mark_done([5]);
    let (_copy, read) = after_a_kill(&path);
    assert_eq!(known(&read, b"chunk of some bytes"), (set(&[0, 1, 2, 5, 9]), set(&[4])));
    assert_eq!(read.begin(b"app", b"chunk of some bytes").progress().refused_alone().latest, 0);
}

#[test]
fn a_chunk_that_is_done_is_not_in_the_file_when_the_call_returns_nor_is_what_its_tasks_still_learn() {
    let (_folder, path) = folder();
    let ledger = open(&path);
    let chunk = ledger.begin(b"app", b"chunk");
    let request = Rc::clone(chunk.progress());
    request.mark_done([1]);
    chunk.done();
    assert!(after_a_kill(&path).1.is_empty());
    request.mark_done([2]);
    request.mark_refused_alone(3, 1);
    assert!(after_a_kill(&path).1.is_empty());
    assert_eq!(known(&ledger, b"chunk"), (set(&[]), set(&[])));
}

#[test]
fn at_a_clean_exit_128_waiting_and_open_chunks_keep_128_entries() {
    let (_folder, path) = folder();
    let ledger = open(&path);
    let chunks: Vec<Vec<u8>> = (0..128_u8).map(|number| vec![number; 100]).collect();
    chunks.iter().for_each(|chunk| ledger.begin(b"app", chunk).progress().mark_done([1]));
    let under_way: Vec<OpenChunk<'_>> = chunks.iter().skip(64).map(|chunk| ledger.begin(b"app", chunk)).collect();
    ledger.save().unwrap();
    drop(under_way);
    drop(ledger);
    let ledger = open(&path);
    assert_eq!(ledger.len(), 128);
    assert!(chunks.iter().all(|chunk| known(&ledger, chunk) == (set(&[1]), set(&[]))));
}

#[test]
fn what_the_bound_or_age_drops_is_dropped_from_the_file() {
    let (_folder, path) = folder();
    let log = TestLog::default();
    let ledger = Rc::new(Ledger::open(4096, path.clone(), "logs".to_owned(), 7, log.logger()).unwrap());
    for number in 0..100_u32 {
        ledger.begin(b"app", &number.to_le_bytes()).progress().mark_done([1]);
    }
    let kept = ledger.len();
    assert!(kept < 50);
    assert_eq!(after_a_kill(&path).1.len(), kept);
    drop(ledger);
    let smaller = Ledger::open(1024, path, "logs".to_owned(), 7, log.logger()).unwrap();
    assert!(smaller.bytes() <= 1024 && !smaller.is_empty());
}

#[tokio::test(start_paused = true)]
async fn restarts_do_not_lengthen_a_life_that_is_counted_in_chunks() {
    let (_folder, path) = folder();
    open(&path).begin(b"app", b"dropped").progress().mark_done([1]);
    let a_third_of_a_life_later = || {
        let ledger = open(&path);
        ledger.begun.set(ledger.begun.get() + crate::ledger::waiting::ENTRY_LIFE_CHUNKS / 3);
        let other = ledger.begin(b"app", b"other");
        other.progress().mark_done([1]);
        other.done();
        ledger.len()
    };
    assert_eq!([(); 3].map(|()| a_third_of_a_life_later()), [1, 1, 0]);
    assert!(open(&path).is_empty());
}

#[test]
fn a_file_is_hashed_with_the_seed_it_was_made_with() {
    let (_folder, path) = folder();
    for seed in [7, 8] {
        let ledger = Ledger::open(4096, path.clone(), "logs".to_owned(), seed, TestLog::default().logger());
        let ledger = Rc::new(ledger.unwrap());
        assert_eq!(ledger.begin(b"app", b"chunk").key, Some(Key::of(7, b"app", b"chunk")));
    }
}

#[test]
fn what_is_known_already_is_not_noted_again() {
    let (_folder, path) = folder();
    let ledger = open(&path);
    let open = ledger.begin(b"app", &[0; 100]);
    open.progress().mark_done([1, 2]);
    open.progress().mark_refused_alone(3, 1);
    let length = fs::metadata(&path).unwrap().len();
    open.progress().mark_done([2, 1]);
    open.progress().mark_refused_alone(3, 2);
    open.progress().mark_refused_alone(1, 2);
    assert_eq!(fs::metadata(&path).unwrap().len(), length);
    open.progress().mark_done([2, 4]);
    assert!(fs::metadata(&path).unwrap().len() > length);
}

#[test]
fn two_ledgers_cannot_have_one_file() {
    let (_folder, path) = folder();
    let refused = |path: &Path| {
        let refused = open_with(path, "logs", &TestLog::default()).unwrap_err();
        assert_eq!(refused, format!("{} is in use by another output: each output needs its own", path.display()));
    };
    let first = open(&path);
    refused(&path);
    first.begin(b"app", b"chunk").progress().mark_done([1]);
    first.save().unwrap();
    refused(&path);
    let link = path.with_extension("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    refused(&link);
    assert_eq!(known(&first, b"chunk"), (set(&[1]), set(&[])));
    drop(first);
    assert_eq!(open(&path).len(), 1);
}

#[test]
fn files_of_similar_names_do_not_destroy_each_other() {
    let (folder, path) = folder();
    let new = path.with_extension("new");
    let (one, other) = (open(&path), open(&new));
    one.begin(b"app", b"chunk").progress().mark_done([1]);
    other.begin(b"app", b"chunk").progress().mark_done([2]);
    one.save().unwrap();
    other.save().unwrap();
    one.save().unwrap();
    drop((one, other));
    assert_eq!(known(&open(&path), b"chunk"), (set(&[1]), set(&[])));
    assert_eq!(known(&open(&new), b"chunk"), (set(&[2]), set(&[])));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else is left");
}

/// A write that fails half way leaves the old file unchanged.
#[test]
fn a_file_is_replaced_whole_or_not_at_all() {
    let (folder, path) = folder();
    let ledger = open(&path);
    ledger.begin(b"app", b"chunk").progress().mark_done([1]);
    let before = fs::read(&path).unwrap();
    let journal = journal(&ledger);
    let inode = fs::metadata(&path).unwrap().ino();
    // What is at the temporary path cannot be removed, so writing fails.
    fs::create_dir(&journal.temporary).unwrap();
    assert!(journal.rewrite(&mut journal.state.borrow_mut(), true).is_err());
    assert_eq!(fs::read(&path).unwrap(), before);
    ledger.save().unwrap();
    assert_eq!(fs::read(&path).unwrap(), before, "it is only made lasting");
    fs::remove_dir(&journal.temporary).unwrap();
    ledger.save().unwrap();
    assert_ne!(fs::metadata(&path).unwrap().ino(), inode, "another file was put in its place");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn what_is_no_ledger_is_refused_and_left_as_it_is() {
    let (folder, path) = folder();
    for content in ["notes of the operator\n", "x", "fluent-bit-kinesis.conf"] {
        fs::write(&path, content).unwrap();
        let refused = open_with(&path, "logs", &TestLog::default()).unwrap_err();
        assert_eq!(refused, format!("{} is not a ledger and was left unchanged", path.display()));
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
    let refused = |path: &Path| open_with(path, "logs", &TestLog::default()).unwrap_err();
    assert!(refused(folder.path()).contains(" cannot be used: Is a directory"), "{}", refused(folder.path()));
    let nowhere = folder.path().join("nowhere/ledger");
    assert_eq!(
        refused(&nowhere),
        format!("{} cannot be used: No such file or directory (os error 2)", nowhere.display())
    );
    assert_eq!(refused(Path::new("/dev/null")), "/dev/null cannot be used: it is not a file");
    // Not even root can create a file there.
    assert!(refused(Path::new("/sys/ledger")).starts_with("/sys/ledger cannot be used: "));
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(refused(&pipe).ends_with("cannot be used: it is not a file"));
}

#[test]
fn a_ledger_of_another_stream_or_version_is_logged_and_ignored() {
    let (_folder, path) = folder();
    open(&path).begin(b"app", b"chunk").progress().mark_done([1]);
    let log = TestLog::default();
    assert!(open_with(&path, "others", &log).unwrap().is_empty());
    let expected = format!(
        "Warn the ledger file {} is ignored: it belongs to logs; chunks awaiting retry will be sent whole",
        path.display()
    );
    assert_eq!(log.lines(), [expected]);
    let log = TestLog::default();
    fs::write(&path, b"fluent-bit-kinesis ledger 1\n0123").unwrap();
    assert!(open_with(&path, "logs", &log).unwrap().is_empty());
    assert!(log.lines()[0].contains(" is ignored: it is from another version of this plugin; "), "{:?}", log.lines());
    fs::write(&path, [0; 9999]).unwrap();
    assert!(open(&path).is_empty(), "a file that a power failure filled with zeros is an empty one");
}

#[test]
fn a_note_truncated_by_a_crash_is_logged_and_all_before_it_is_used() {
    let (_folder, path) = folder();
    let ledger = open(&path);
    let chunk = ledger.begin(b"app", b"chunk");
    chunk.progress().mark_done([1]);
    chunk.progress().mark_done([2]);
    drop((chunk, ledger));
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    let log = TestLog::default();
    let ledger = open_with(&path, "logs", &log).unwrap();
    assert_eq!(known(&ledger, b"chunk").0, set(&[1]));
    assert!(log.lines()[0].contains(" bytes, as after a crash; everything before it is used"), "{:?}", log.lines());
}

#[test]
fn a_file_that_grew_is_rewritten() {
    let (_folder, path) = folder();
    let ledger = open(&path);
    let chunk = vec![0; 2 << 20];
    ledger.begin(b"app", b"another").progress().mark_done([1]);
    let mut longest = 0;
    for round in 0..40_u32 {
        let open = ledger.begin(b"app", &chunk);
        // Every other one: the longest encoding.
        (0..30).for_each(|part| open.progress().mark_done((0..1000).map(|n| part * 2000 + round % 2 + 2 * n)));
        longest = longest.max(fs::metadata(&path).unwrap().len());
        open.done();
    }
    assert!(longest > GROWTH / 2 && longest < GROWTH + (200 << 10), "{longest}");
    assert_eq!(after_a_kill(&path).1.len(), 1);
}

/// `/dev/full` accepts nothing, like a full disk.
#[tokio::test(start_paused = true)]
async fn a_full_disk_is_logged_once_and_costs_only_the_file_until_there_is_room() {
    let (_folder, path) = folder();
    let log = TestLog::default();
    let ledger = open_with(&path, "logs", &log).unwrap();
    let done = ledger.begin(b"app", b"done");
    done.progress().mark_done([1]);
    journal(&ledger).state.borrow_mut().file = OpenOptions::new().write(true).open("/dev/full").unwrap();
    // That this one is done cannot be noted, so nothing may remain in the file.
    done.done();
    assert!(!path.exists());
    let open = ledger.begin(b"app", b"chunk");
    for record in 0..3 {
        open.progress().mark_done([record]);
    }
    let full = format!(
        "Warn the ledger file {} cannot be written: No space left on device (os error 28); chunks will be sent whole if Fluent Bit ends before it can be written",
        path.display()
    );
    assert_eq!(log.lines(), [full]);
    assert!(!path.exists(), "it is not tried again at once");
    tokio::time::advance(PAUSE).await;
    open.progress().mark_done([3]);
    assert_eq!(known(&after_a_kill(&path).1, b"chunk"), (set(&[0, 1, 2, 3]), set(&[])));
    open.progress().mark_done([4]);
    assert_eq!(known(&after_a_kill(&path).1, b"chunk").0, set(&[0, 1, 2, 3, 4]));
    assert_eq!(log.lines().len(), 1);
}

#[test]
fn where_the_file_cannot_be_rewritten_a_ledger_does_not_open_and_one_that_is_open_goes_on_appending() {
    let (_folder, path) = folder();
    let ledger = open(&path);
    fs::create_dir(&journal(&ledger).temporary).unwrap();
    ledger.begin(b"app", b"chunk").progress().mark_done([1]);
    ledger.save().expect("all of it was appended");
    journal(&ledger).state.borrow_mut().retry_at = Some(Instant::now());
    let failed = ledger.save().unwrap_err().to_string();
    assert!(failed.contains("cannot be written"), "{failed}");
    drop(ledger);
    let refused = open_with(&path, "logs", &TestLog::default()).unwrap_err();
    assert!(refused.starts_with(&format!("{} cannot be written: ", path.display())), "{refused}");
}

const CHUNKS: usize = 4;

#[derive(Clone, Debug)]
enum Step {
    Begin(usize),
    Mark(usize, Vec<u32>),
    Refuse(usize, u32),
    Drop(usize),
    Done(usize),
    Save,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let chunk = 0..CHUNKS;
    let records = proptest::collection::vec(0..200_u32, 0..20);
    let step = prop_oneof![
        3 => chunk.clone().prop_map(Step::Begin),
        6 => (chunk.clone(), records).prop_map(|(chunk, records)| Step::Mark(chunk, records)),
        2 => (chunk.clone(), 0..200_u32).prop_map(|(chunk, record)| Step::Refuse(chunk, record)),
        2 => chunk.clone().prop_map(Step::Drop),
        2 => chunk.prop_map(Step::Done),
        1 => Just(Step::Save),
    ];
    proptest::collection::vec(step, 1..30)
}

/// For each chunk, what is done and what was refused alone.
type Model = [(RecordSet, RecordSet); CHUNKS];

/// Runs the steps. Returns the file, what it must contain at each length, and its name.
fn play(path: &Path, steps: Vec<Step>) -> (Vec<u8>, Vec<(usize, Model)>) {
    let chunks: Vec<Vec<u8>> = (0..CHUNKS).map(|number| vec![number as u8; 200]).collect();
    let ledger = open(path);
    let length = || fs::metadata(path).unwrap().len() as usize;
    let mut model = Model::default();
    let mut history = vec![(length(), model.clone())];
    let mut open: [Option<OpenChunk<'_>>; CHUNKS] = Default::default();
    for step in steps {
        match step {
            Step::Begin(chunk) => {
                // Not while it is open: it would be another chunk with the same bytes.
                if open[chunk].is_none() {
                    open[chunk] = Some(ledger.begin(b"app", &chunks[chunk]));
                }
            }
            Step::Mark(chunk, records) => {
                if let Some(open) = &open[chunk] {
                    open.progress().mark_done(records.iter().copied());
                    let (done, refused) = &mut model[chunk];
                    records.into_iter().for_each(|record| {
                        done.insert(record);
                        refused.remove_run(record..record + 1);
                    });
                }
            }
            Step::Refuse(chunk, record) => {
                if let Some(open) = &open[chunk] {
                    open.progress().mark_refused_alone(record, 1);
                    if !model[chunk].0.contains(record) {
                        model[chunk].1.insert(record);
                    }
                }
            }
            Step::Drop(chunk) => drop(open[chunk].take()),
            Step::Done(chunk) => {
                if let Some(open) = open[chunk].take() {
                    open.done();
                    model[chunk] = Default::default();
                }
            }
            Step::Save => {
                ledger.save().unwrap();
                history.clear();
            }
        }
        for (chunk, open) in open.iter().enumerate() {
            if let Some(open) = open {
                assert_eq!(*open.progress().done(), model[chunk].0);
            }
        }
        history.push((length(), model.clone()));
    }
    (fs::read(path).unwrap(), history)
}

fn state_in(bytes: &[u8]) -> Option<Model> {
    let Content::Ledger(read) = frame::read(bytes, "logs") else { return None };
    let mut state = Model::default();
    for known in read.chunks.into_values() {
        let chunk = (0..CHUNKS).find(|&n| known.key == Key::of(read.seed, b"app", &[n as u8; 200]))?;
        if !known.done.is_empty() || !known.refused_alone.is_empty() {
            assert_eq!(state[chunk], Default::default(), "there are two of a chunk");
        }
        if state[chunk] == Default::default() {
            state[chunk] = (known.done, known.refused_alone);
        }
    }
    Some(state)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn a_crash_at_any_byte_leaves_what_was_known_after_one_of_the_steps(steps in steps()) {
        let (_folder, path) = folder();
        let (bytes, history) = play(&path, steps);
        let smallest = history[0].0;
        for end in smallest..=bytes.len() {
            let (_, expected) = history.iter().rfind(|(length, _)| *length <= end).unwrap();
            prop_assert_eq!(state_in(&bytes[..end]), Some(expected.clone()), "cut at {}", end);
        }
        // After a power failure, a file that was being rewritten and renamed may be there only in part.
        let is_part = |part: &RecordSet, whole: &RecordSet| part.iter().all(|record| whole.contains(record));
        for end in 0..smallest {
            for (chunk, whole) in state_in(&bytes[..end]).iter().flatten().zip(&history[0].1) {
                prop_assert!(is_part(&chunk.0, &whole.0) && is_part(&chunk.1, &whole.1), "cut at {}", end);
            }
        }
    }

    #[test]
    fn a_file_that_is_damaged_at_any_byte_is_not_used(steps in steps(), bit in 0..8_u8) {
        let (_folder, path) = folder();
        let (mut bytes, _) = play(&path, steps);
        for position in 0..bytes.len() {
            bytes[position] ^= 1 << bit;
            prop_assert_eq!(state_in(&bytes), None, "flipped at {}", position);
            bytes[position] ^= 1 << bit;
        }
    }

    #[test]
    fn frames_in_another_order_are_not_used(from in 0..1000_usize, to in 0..1000_usize) {
        let (_folder, path) = folder();
        let mark = |record| Step::Mark(0, vec![record]);
        let (bytes, history) = play(&path, vec![Step::Begin(0), mark(1), mark(2), mark(3), mark(4), Step::Done(0)]);
        let frames: Vec<&[u8]> = history.windows(2).map(|pair| &bytes[pair[0].0..pair[1].0]).filter(|f| !f.is_empty()).collect();
        let (from, to) = (from % frames.len(), to % frames.len());
        prop_assume!(from != to);
        let mut shuffled = frames.clone();
        shuffled.swap(from, to);
        let mut file = bytes[..history[0].0].to_vec();
        shuffled.iter().for_each(|frame| file.extend_from_slice(frame));
        prop_assert_eq!(state_in(&file), None);
    }
}
