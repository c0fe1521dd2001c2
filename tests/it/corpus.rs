//! Runs the fuzzer's corpus through the fuzzer's own checks, so that what was found once stays fixed without a
//! fuzzer.

// The fuzz crate has its own workspace and needs libfuzzer, so its file is included rather than the crate.
#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::fs;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use targets::{chunk, json, reply};

/// The deepest record, and serde_json's reading of it, need more than a test thread's stack without optimization.
const STACK_BYTES: usize = 16 << 20;

const LONGEST: Duration = Duration::from_secs(20);

fn play(target: &str, check: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut inputs: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    assert!(inputs.len() >= 12, "{} inputs in {}", inputs.len(), directory.display());
    for input in inputs {
        let bytes = fs::read(&input).unwrap();
        let (sender, receiver) = mpsc::channel();
        let play = move || {
            check(&bytes);
            sender.send(()).unwrap();
        };
        thread::Builder::new().stack_size(STACK_BYTES).spawn(play).unwrap();
        let ended = receiver.recv_timeout(LONGEST);
        assert_eq!(ended, Ok(()), "the claims do not hold of {}, or it does not end", input.display());
    }
}

#[test]
fn the_claims_hold_of_every_chunk_of_the_corpus() {
    play("chunk", chunk::check);
}

#[test]
fn the_claims_hold_of_every_record_of_the_corpus() {
    play("json", json::check);
}

#[test]
fn the_claims_hold_of_every_reply_of_the_corpus() {
    play("reply", reply::check);
}
