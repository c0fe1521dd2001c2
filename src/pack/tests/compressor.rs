//! All packers of an output share one compressor.

use rand::SeedableRng;

use super::group::{compressed, event, lines, noise};
use super::*;
use crate::compress::Kind;

#[test]
fn packers_that_work_in_turns_have_one_compressor_and_make_what_each_makes_alone() {
    let settings = RequestSettings { max_records: 1, ..compressed(lines(4000), Kind::Gzip) };
    let stream = Stream::parse("logs").unwrap();
    let alike = |number: u64| event("", &format!("{number} and the same again{}", " and again".repeat(20)));
    // One shrinks to a tenth, the other hardly at all: what was learned from one would mislead for the other.
    let chunks: [Vec<u8>; 2] =
        [(0..1000).flat_map(alike).collect(), (0..100).flat_map(|seed| event("", &noise(200, seed))).collect()];
    let packer = |chunk| Packer::new(chunk, b"app", &stream, &settings, RecordSet::default());
    let rest_of = |mut packer: Packer<'_>| {
        let mut random = SmallRng::seed_from_u64(1);
        let batches = std::iter::from_fn(|| packer.next_batch(&mut random, &mut |_, _| {}));
        batches.map(|batch| batch.record_count()).collect::<Vec<_>>()
    };
    let alone: Vec<Vec<usize>> = chunks.iter().map(|chunk| rest_of(packer(chunk))).collect();
    assert!(alone.iter().all(|batches| batches.len() > 2), "each waits while the other packs: {alone:?}");

    let shared = SharedCompressor::default();
    let mut packers: Vec<_> = chunks.iter().map(|chunk| packer(chunk).with_compressor(&shared)).collect();
    let (mut random, mut work, mut in_turns) = (SmallRng::seed_from_u64(1), 0, vec![Vec::new(); 2]);
    while in_turns != alone {
        for (packer, made) in packers.iter_mut().zip(&mut in_turns) {
            let Some(batch) = packer.next_batch(&mut random, &mut |_, _| {}) else { continue };
            made.push(batch.record_count());
            let compressor = shared.take().expect("nobody has it while nobody packs");
            assert!(compressor.work() >= work, "it is the same one all the time");
            work = compressor.work();
            shared.give_back(compressor);
        }
        assert!(in_turns.iter().zip(&alone).all(|(made, alone)| alone.starts_with(made)), "{in_turns:?} {alone:?}");
    }
}
