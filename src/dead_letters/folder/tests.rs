use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

struct Clock(SystemTime);

impl crate::clock::Clock for Clock {
    fn now(&self) -> SystemTime {
        self.0
    }
}

/// A writer that starts so many seconds after the billionth.
fn folder_of(path: &Path, max_bytes: u64, id: u32, seconds: u64) -> Folder {
    let time = UNIX_EPOCH + Duration::from_millis(1_000_000_000_000 + seconds * 1000);
    Folder::open(path.to_owned(), max_bytes, id, Arc::new(Clock(time))).unwrap()
}

fn folder(max_bytes: u64) -> (TempDir, Folder) {
    let directory = tempfile::tempdir().unwrap();
    let folder = folder_of(directory.path(), max_bytes, 7, 0);
    (directory, folder)
}

/// Writes as the thread does. Returns how many files were removed.
fn write(folder: &mut Folder, lines: &str) -> usize {
    let mut removed = 0;
    if !folder.has_room(lines.len()) {
        folder.finish().unwrap();
        removed = folder.begin(lines.len()).unwrap();
    }
    folder.append(lines.as_bytes()).unwrap();
    removed
}

/// The files, oldest first.
fn files(path: &Path) -> Vec<(String, String)> {
    let mut files: Vec<_> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

fn texts(path: &Path) -> Vec<String> {
    files(path).into_iter().map(|(_, text)| text).collect()
}

#[test]
fn a_file_is_named_by_the_time_of_its_first_line_and_only_its_owner_may_read_it() {
    let (directory, mut folder) = folder(8000);
    assert_eq!(files(directory.path()), [], "nothing was refused, so there is no file");
    write(&mut folder, "a\n");
    write(&mut folder, "b\n");
    let name = "kinesis-20010909T014640.000Z-00000007-000001.jsonl";
    assert_eq!(files(directory.path()), [(name.to_owned(), "a\nb\n".to_owned())]);
    assert_eq!(fs::metadata(directory.path().join(name)).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn a_file_takes_an_eighth_of_the_bound_and_the_oldest_go_first() {
    let (directory, mut folder) = folder(80);
    let removed: usize = (10..50).map(|number| write(&mut folder, &format!("{number}..\n"))).sum();
    // Two lines in each file, eight files.
    let expected: Vec<String> = (34..50).step_by(2).map(|n| format!("{n}..\n{}..\n", n + 1)).collect();
    assert_eq!(texts(directory.path()), expected);
    assert_eq!(removed, 12);
}

#[test]
fn what_an_earlier_run_left_counts_and_what_is_not_ours_is_left_alone() {
    let (directory, mut earlier) = folder(80);
    fs::write(directory.path().join("notes.jsonl"), "n".repeat(500)).unwrap();
    fs::create_dir(directory.path().join("kinesis-folder.jsonl")).unwrap();
    write(&mut earlier, "an old line of 31 bytes here..\n");
    write(&mut earlier, "an old line of 31 bytes there.\n");
    drop(earlier);
    let mut later = folder_of(directory.path(), 80, 8, 60);
    assert_eq!(write(&mut later, "a line of 30 bytes, no more..\n"), 1);
    fs::remove_dir(directory.path().join("kinesis-folder.jsonl")).unwrap();
    let texts = texts(directory.path());
    assert_eq!(texts.len(), 3, "{texts:?}");
    assert!(texts[0].contains("there") && texts[1].contains("no more") && texts[2].starts_with("nnn"), "{texts:?}");
}

#[test]
fn two_writers_share_a_folder_and_neither_removes_what_the_other_writes_to() {
    let (directory, mut one) = folder(80);
    write(&mut one, "one\n");
    let mut other = folder_of(directory.path(), 80, 8, 60);
    let removed: usize = (10..50).map(|number| write(&mut other, &format!("{number}..\n"))).sum();
    assert!(removed > 0);
    write(&mut one, "two\n");
    let texts = texts(directory.path());
    assert_eq!(texts[0], "one\ntwo\n");
    assert!(texts.iter().map(String::len).sum::<usize>() <= 80, "{texts:?}");
}

#[test]
fn a_file_that_somebody_removes_is_followed_by_another() {
    let (directory, mut folder) = folder(8000);
    write(&mut folder, "one\n");
    let (name, _) = files(directory.path()).remove(0);
    fs::remove_file(directory.path().join(name)).unwrap();
    write(&mut folder, "two\n");
    assert_eq!(texts(directory.path()), ["two\n"]);
}

#[test]
fn many_small_files_are_as_many_as_there_may_be() {
    let (directory, mut folder) = folder(1 << 30);
    for number in 0..MAX_FILES {
        fs::write(directory.path().join(format!("kinesis-20000101-{number:04}.jsonl")), "old\n").unwrap();
    }
    assert_eq!(write(&mut folder, "new\n"), 1);
    let names: Vec<String> = files(directory.path()).into_iter().map(|(name, _)| name).collect();
    assert_eq!((names.len(), &*names[0]), (MAX_FILES, "kinesis-20000101-0001.jsonl"));
}

#[test]
fn a_folder_is_created_and_one_that_cannot_be_used_is_named_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let open = |path: &Path| {
        Folder::open(path.to_owned(), 8000, 7, Arc::new(Clock(UNIX_EPOCH))).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(open(&directory.path().join("new")), Ok(()));
    assert_eq!(files(&directory.path().join("new")), [], "the trial leaves nothing");
    assert_eq!(open(&file), Err(format!("{} is not a folder", file.display())));
    let missing = directory.path().join("no").join("where");
    assert_eq!(
        open(&missing),
        Err(format!("{} cannot be created: No such file or directory (os error 2)", missing.display()))
    );
    let error = open(Path::new("/proc/self")).unwrap_err();
    assert!(error.starts_with("/proc/self cannot be written to: "), "{error}");
}

#[test]
fn lines_that_a_full_disk_does_not_take_are_not_cut_short_and_the_next_file_has_what_follows() {
    let (directory, mut folder) = folder(8000);
    write(&mut folder, "one\n");
    let file = OpenOptions::new().append(true).open("/dev/full").unwrap();
    folder.open = Some(OpenFile { file, bytes: 4 });
    assert_eq!(folder.append(b"two\n").unwrap_err().kind(), ErrorKind::StorageFull);
    assert!(!folder.has_room(4));
    write(&mut folder, "three\n");
    assert_eq!(texts(directory.path()), ["one\n", "three\n"]);
}

proptest! {
    // Each new file waits for the disk.
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn whatever_is_written_by_whom_the_bound_holds_and_the_newest_lines_are_there(
        steps in prop::collection::vec((0..3_usize, 1..60_usize), 1..60),
    ) {
        const MAX: u64 = 800;
        let directory = tempfile::tempdir().unwrap();
        let mut writers: Vec<Folder> = (0..3).map(|id| folder_of(directory.path(), MAX, id, 0)).collect();
        let mut last = BTreeSet::new();
        for (number, (writer, length)) in steps.into_iter().enumerate() {
            let line = format!("{number:05}{}\n", "x".repeat(length));
            write(&mut writers[writer], &line);
            last = BTreeSet::from([line]);
            let total: usize = texts(directory.path()).iter().map(String::len).sum();
            prop_assert!(total as u64 <= MAX, "{}", total);
        }
        let all = texts(directory.path()).concat();
        prop_assert!(last.iter().all(|line| all.contains(line)));
    }
}
