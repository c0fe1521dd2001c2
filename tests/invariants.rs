//! Facts of absence, as ARCHITECTURE.md lists them: what stands nowhere in the sources, or in one place alone.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

#[path = "support/sources.rs"]
mod sources;

use sources::{File, code};

/// The files that hold one of `words`.
fn files_with(words: &[&str]) -> Vec<String> {
    let holds = |file: &File| words.iter().any(|word| file.text.contains(word));
    code().into_iter().filter(holds).map(|file| file.path).collect()
}

/// Where the host calls us, and where we call it.
fn at_the_boundary(path: &str) -> bool {
    ["src/abi/", "src/host/"].iter().any(|folder| path.starts_with(folder))
}

fn file(path: &str) -> File {
    code().into_iter().find(|file| file.path == path).unwrap_or_else(|| panic!("there is no {path}"))
}

#[test]
fn unsafe_code_is_in_the_c_boundary_alone() {
    let found = files_with(&["unsafe ", "unsafe(", "unsafe_code"]);
    assert!(!found.is_empty());
    assert!(found.iter().all(|path| at_the_boundary(path) || path == "src/system.rs"), "{found:?}");
}

/// That each of them is one guard, the file tests itself.
#[test]
fn functions_are_exported_from_one_file() {
    assert_eq!(files_with(&["no_mangle", "export_name", "link_section"]), ["src/abi/exports.rs"]);
}

#[test]
fn nothing_formats_on_the_callers_stack_but_the_panic_hook() {
    let formats = files_with(&["format!(", "write!(", "writeln!(", "format_args!("]);
    let formats: Vec<_> = formats.iter().filter(|path| at_the_boundary(path)).collect();
    assert_eq!(formats, ["src/host/guard.rs"]);
    assert_eq!(file("src/host/guard.rs").text.matches("format!(").count(), 1);
    let plugin = file("src/plugin/mod.rs").text;
    let (_, flush) = plugin.split_once("pub fn flush(").unwrap();
    let (flush, _) = flush.split_once("\n    }\n").unwrap();
    assert!(!flush.contains("format!") && !flush.contains("to_string"), "{flush}");
}

#[test]
fn threads_are_started_for_deliveries_and_for_calls_that_block_alone() {
    let starting = ["src/aws/blocking.rs", "src/plugin/thread.rs"];
    assert_eq!(files_with(&["thread::Builder", "thread::spawn", "thread::scope"]), starting);
    for path in starting {
        assert_eq!(file(path).text.matches("thread::Builder").count(), 1, "{path}");
    }
    // tokio's own, which panics where there is no thread to be had, and what starts some of those.
    let of_tokio = ["spawn_blocking", "new_multi_thread", "tokio::fs", "tokio::process", "lookup_host", "GaiResolver"];
    assert_eq!(files_with(&of_tokio), [""; 0]);
    assert_eq!(files_with(&["HttpConnector::new()"]), [""; 0]);
}

#[test]
fn the_time_of_day_is_asked_for_in_one_place() {
    assert_eq!(files_with(&["SystemTime::now", "Utc::now", "Local::now"]), ["src/clock.rs"]);
}

/// What AWS's library and rustls-native-certs read there is theirs.
#[test]
fn sockets_are_not_touched_and_the_environment_files_and_processes_in_few_places() {
    assert_eq!(files_with(&["std::env", "env::var", "option_env!"]), ["src/environment.rs"]);
    assert_eq!(
        files_with(&["std::fs", "fs::", "OpenOptions"]),
        ["src/aws/connect/resolver.rs", "src/aws/connect/tls.rs", "src/aws/files.rs", "src/ledger/journal/mod.rs"]
    );
    // They would read as long as a file lasts.
    assert_eq!(files_with(&["pem_file_iter", "from_pem_file"]), [""; 0]);
    assert_eq!(files_with(&["net::Tcp", "net::Udp", "net::Unix", "UnixStream"]), [""; 0]);
    assert_eq!(
        files_with(&["process::Command", "process::{Child", "Command::new"]),
        ["src/aws/credentials/process.rs", "src/system.rs"]
    );
    assert_eq!(files_with(&["process::exit", "process::abort", "libc::fork"]), [""; 0]);
}

#[test]
fn nothing_is_printed_where_the_host_has_a_log() {
    assert_eq!(files_with(&["io::stdout", "println!(", "print!(", "eprint", "dbg!("]), [""; 0]);
    // That of a program that prints credentials, which is read.
    let of_a_child = "src/aws/credentials/process.rs";
    assert_eq!(files_with(&["stderr"]), [of_a_child, "src/host/log.rs"]);
    assert!(!file(of_a_child).text.contains("io::stderr"));
    assert_eq!(file("src/host/log.rs").text.matches("stderr").count(), 1);
}

#[test]
fn statics_that_change_are_at_the_c_boundary_alone() {
    let mut found = files_with(&[" static ", "\nstatic ", "thread_local!", "LazyLock", "OnceLock", "OnceCell"]);
    found.retain(|path| !at_the_boundary(path));
    assert_eq!(found, ["src/config/options.rs"], "its table, which does not change");
    let options = file("src/config/options.rs").text;
    assert!(!options.contains("Mutex") && !options.contains("Cell") && !options.contains("Atomic"));
    assert_eq!(files_with(&["static mut"]), [""; 0]);
}

#[test]
fn reading_writing_packing_and_judging_is_pure() {
    let pure = [
        "chunk",
        "msgpack",
        "record/",
        "compress/",
        "pack",
        "backoff",
        "kinesis/kpl/",
        "kinesis/random_key",
        "kinesis/reply/",
        "kinesis/request/",
        "kinesis/shards",
        "kinesis/verdict",
        "outcome",
        "error",
    ];
    let impure = files_with(&["tokio", "async ", ".await", "sleep", "std::thread", "std::sync", "hyper::"]);
    for path in impure {
        let name = path.trim_start_matches("src/");
        assert!(!pure.iter().any(|pure| name.starts_with(pure)), "{path} is not pure");
    }
    for name in pure {
        assert!(code().iter().any(|file| file.path.starts_with(&format!("src/{name}"))), "there is no src/{name}");
    }
}

#[test]
fn a_chunk_is_read_without_an_allocation() {
    for path in ["src/chunk/mod.rs", "src/msgpack.rs"] {
        let text = file(path).text;
        for word in
            ["Vec", "Box", "String::", "Rc", "Arc", "vec!", "format!", "to_owned", "to_vec", "to_string", "collect"]
        {
            assert!(!text.contains(word), "{path} holds {word}");
        }
    }
}
