use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::super::Kind;
use super::super::tests::{HELLO, KINDS, access_log, compressed, inflated, letters, new, noise};
use super::*;

const SUFFIX: &[u8] = b"[Truncated...]";

/// Truncates where a cut is permitted at any byte. Returns the output's size and how many bytes of input it holds.
fn truncated(compressor: &mut Compressor, input: &[u8], limit: usize) -> Result<(usize, usize), CompressError> {
    let mut out = b"before".to_vec();
    let kept = compressor.compress_to_fit(input, limit, &|length| length, SUFFIX, &mut out);
    if kept.is_err() {
        assert_eq!(out, b"before");
    }
    let kept = kept?;
    let data = out.strip_prefix(b"before").unwrap();
    assert!(data.len() <= limit, "{} of {limit}", data.len());
    let suffix = if kept == input.len() { b"" } else { SUFFIX };
    assert!(inflated(compressor.kind, data) == [&input[..kept], suffix].concat());
    Ok((data.len(), kept))
}

/// The C plugin's tests of data that fits (aws_compress.c). Its limit is for base64, 40 characters.
#[test]
fn what_fits_exactly_is_not_truncated() {
    for kind in KINDS {
        let whole = compressed(kind, HELLO).len();
        for limit in [whole, whole + 1, 1000] {
            assert_eq!(truncated(&mut new(kind), HELLO, limit), Ok((whole, HELLO.len())), "{kind}");
        }
    }
    assert!(compressed(Kind::Gzip, HELLO).len().div_ceil(3) * 4 <= 40);
}

/// The Go plugin's own cases (kinesis_test.go): 4000 random letters, and limits that leave no room.
#[test]
fn the_go_plugins_limits_are_met() {
    let input = letters(4000, &mut SmallRng::seed_from_u64(4));
    let (size, kept) = truncated(&mut new(Kind::Gzip), &input, 200).unwrap();
    assert!(size >= 150 && kept > 100, "{size} bytes hold {kept}");
    let error = truncated(&mut new(Kind::Gzip), &input, 20).unwrap_err();
    assert_eq!(error, CompressError::NoRoom { limit: 20, needed: 34 });
    assert_eq!(error.to_string(), "no room for the truncation mark: it needs 34 of 20 bytes");
    assert!(truncated(&mut new(Kind::Gzip), b"", 5).is_err());
    assert_eq!(truncated(&mut new(Kind::Gzip), b"", 20), Ok((20, 0)));
}

#[test]
fn truncated_records_fill_their_limit() {
    let mut random = SmallRng::seed_from_u64(5);
    for kind in KINDS {
        let mut compressor = new(kind);
        for (limit, least) in [(150, 80), (1000, 95), (10_000, 95), (100_000, 95)] {
            for input in [
                access_log(limit * 25, &mut random),
                noise(limit * 3, &mut random),
                letters(limit * 3, &mut random),
                [access_log(limit * 20, &mut random), noise(limit * 3, &mut random)].concat(),
                [noise(limit / 2, &mut random), access_log(limit * 20, &mut random)].concat(),
            ] {
                let before = compressor.work();
                let (size, kept) = truncated(&mut compressor, &input, limit).unwrap();
                let work = compressor.work() - before;
                // Snappy skips ahead in incompressible input, so its output grows in jumps.
                let least = if kind == Kind::Snappy { least.min(90) } else { least };
                assert!(size * 100 >= limit * least, "{kind}: {size} of {limit}, {kept} of {} bytes", input.len());
                assert!(work <= 10 * (input.len() + SUFFIX.len()) as u64);
            }
        }
    }
}

#[test]
fn truncation_cuts_where_it_may() {
    let mut random = SmallRng::seed_from_u64(6);
    let text: String = (0..20_000).map(|_| char::from_u32(random.random_range(0x1f600..0x1f640)).unwrap()).collect();
    for kind in KINDS {
        for step in [1, 7, 1000, 19_999] {
            let cut = |length: usize| {
                let at = text.floor_char_boundary(length);
                at - at % (4 * step)
            };
            let mut out = Vec::new();
            let kept = new(kind).compress_to_fit(text.as_bytes(), 8000, &cut, SUFFIX, &mut out).unwrap();
            assert!(out.len() <= 8000 && kept.is_multiple_of(4 * step), "{kind} {step}");
            assert_eq!(inflated(kind, &out), [&text.as_bytes()[..kept], SUFFIX].concat());
            // 19,999 characters do not fit, only the suffix does.
            assert_eq!(kept == 0, step == 19_999, "{kind}: {kept}");
            // Not one more would have fitted.
            let more = [&text.as_bytes()[..kept + 4 * step], SUFFIX].concat();
            assert!(step < 1000 || compressed(kind, &more).len() > 8000, "{kind} {step}: {kept}");
        }
    }
}

#[test]
fn random_inputs_and_limits_are_truncated_right() {
    let mut random = SmallRng::seed_from_u64(7);
    let mut compressors = KINDS.map(new);
    for round in 0..2000 {
        let pieces = random.random_range(0..5);
        let mut input = Vec::new();
        for _ in 0..pieces {
            let length = random.random_range(0..3000);
            let piece = match random.random_range(0..4) {
                0 => access_log(length, &mut random),
                1 => noise(length, &mut random),
                2 => letters(length, &mut random),
                _ => vec![b'x'; length * 10],
            };
            input.extend_from_slice(&piece);
        }
        let limit = random.random_range(0..4000);
        let compressor = &mut compressors[round % 4];
        let needed = compressed(compressor.kind, SUFFIX).len();
        match truncated(compressor, &input, limit) {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error, CompressError::NoRoom { limit, needed });
                assert!(limit < needed);
            }
        }
    }
}

/// Joins lines into blocks. Returns the blocks' sizes and the bytes compressed per byte of input.
fn blocks(compressor: &mut Compressor, text: &[u8], limit: usize) -> (Vec<usize>, f64) {
    let ends: Vec<usize> = (1..=text.len()).filter(|&end| text[end - 1] == b'\n').collect();
    let (mut from, mut rest, mut sizes) = (0, ends.as_slice(), Vec::new());
    let work = compressor.work();
    let mut out = Vec::new();
    while !rest.is_empty() {
        out.clear();
        out.extend_from_slice(b"before");
        let ends: Vec<usize> = rest.iter().map(|end| end - from).collect();
        let count = compressor.compress_lines(&text[from..], &ends, limit, &mut out).unwrap();
        assert!(count > 0, "line {} does not fit {limit}", ends.len() - rest.len());
        let data = out.strip_prefix(b"before").unwrap();
        let end = rest[count - 1];
        assert!(data.len() <= limit, "{} of {limit}", data.len());
        assert!(inflated(compressor.kind, data) == text[from..end]);
        sizes.push(data.len());
        (from, rest) = (end, &rest[count..]);
    }
    (sizes, (compressor.work() - work) as f64 / text.len() as f64)
}

#[test]
fn blocks_of_lines_are_full_and_each_byte_is_compressed_about_once() {
    let text = access_log(4_000_000, &mut SmallRng::seed_from_u64(8));
    for kind in KINDS {
        for limit in [10_000, 50_000, 100_000] {
            let (sizes, work) = blocks(&mut new(kind), &text, limit);
            let full = &sizes[..sizes.len() - 1];
            assert!(full.iter().all(|size| size * 100 >= limit * 85), "{kind} {limit}: {sizes:?}");
            assert!(full.iter().sum::<usize>() * 100 >= full.len() * limit * 93, "{kind} {limit}: {sizes:?}");
            // Nothing is known yet for the first block.
            assert!(work < 1.0 + 3.0 / sizes.len() as f64, "{kind} {limit}: {work}");
        }
    }
}

#[test]
fn lines_that_fit_together_are_compressed_once() {
    let text = access_log(100_000, &mut SmallRng::seed_from_u64(9));
    for kind in KINDS {
        let (sizes, work) = blocks(&mut new(kind), &text, 1 << 20);
        assert_eq!((sizes.len(), work), (1, 1.0), "{kind}");
        let mut used = new(kind);
        blocks(&mut used, &access_log(4_000_000, &mut SmallRng::seed_from_u64(10)), 100_000);
        let (sizes, work) = blocks(&mut used, &text, 1 << 20);
        assert_eq!((sizes.len(), work), (1, 1.0), "{kind}");
    }
}

/// Sixteen bytes become 36 in gzip, so nothing more fits.
#[test]
fn a_short_block_does_not_spoil_the_next_guess() {
    let text = access_log(100_000, &mut SmallRng::seed_from_u64(13));
    for kind in KINDS {
        let mut used = new(kind);
        for _ in 0..10 {
            blocks(&mut used, b"one short line!\n", 110_000);
        }
        assert_eq!(blocks(&mut used, &text, 110_000).1, 1.0, "{kind}");
    }
}

/// Noise that does not fit, followed by blanks that cost almost nothing: any guess among the blanks is too long.
#[test]
fn a_block_is_found_where_every_guess_is_misled() {
    let mut random = SmallRng::seed_from_u64(14);
    let blanks = [vec![b' '; 999], vec![b'\n']].concat();
    let mut text = Vec::new();
    (0..15).for_each(|_| text.extend([letters(999, &mut random), vec![b'\n']].concat()));
    (0..5000).for_each(|_| text.extend(&blanks));
    for kind in KINDS {
        let mut compressor = new(kind);
        // Until it expects only blanks.
        (0..10).for_each(|_| drop(blocks(&mut compressor, &blanks.repeat(1000), 1000)));
        let ends: Vec<usize> = (1..=text.len() / 1000).map(|line| line * 1000).collect();
        let mut out = Vec::new();
        let count = compressor.compress_lines(&text, &ends, 6000, &mut out).unwrap();
        assert!((5..15).contains(&count), "{kind}: {count} lines");
        assert!(inflated(kind, &out) == text[..count * 1000]);
    }
}

/// As above, with a long first line that fits although its length suggests otherwise.
#[test]
fn a_long_first_line_is_a_block_where_every_guess_is_misled() {
    let mut random = SmallRng::seed_from_u64(15);
    let line = |text: Vec<u8>| [text, vec![b'\n']].concat();
    let mut text = line([vec![b' '; 4200], letters(1000, &mut random)].concat());
    (0..100).for_each(|_| text.extend(line(letters(99, &mut random))));
    (0..5000).for_each(|_| text.extend(line(vec![b' '; 999])));
    for kind in KINDS {
        let mut compressor = new(kind);
        (0..10).for_each(|_| drop(blocks(&mut compressor, &line(vec![b' '; 999]).repeat(1000), 1000)));
        let ends: Vec<usize> = (1..=text.len()).filter(|&end| text[end - 1] == b'\n').collect();
        let mut out = Vec::new();
        let count = compressor.compress_lines(&text, &ends, 1300, &mut out).unwrap();
        assert!((1..10).contains(&count), "{kind}: {count} lines");
        assert!(inflated(kind, &out) == text[..ends[count - 1]]);
    }
}

/// Base64 images and one repeated complaint among the lines of an access log.
#[test]
fn lines_that_change_their_nature_fill_their_blocks_too() {
    let mut random = SmallRng::seed_from_u64(11);
    let mut text = Vec::new();
    for part in 0..90 {
        match part % 3 {
            0 => text.extend(access_log(60_000, &mut random)),
            1 => (0..60).for_each(|_| text.extend([letters(999, &mut random), vec![b'\n']].concat())),
            _ => (0..1000)
                .for_each(|line| text.extend(format!("ERROR {line} connection refused, trying again later\n").bytes())),
        }
    }
    for kind in KINDS {
        for limit in [5_000, 20_000, 100_000] {
            let (sizes, work) = blocks(&mut new(kind), &text, limit);
            let fill = sizes.iter().sum::<usize>() * 100 / (sizes.len() * limit);
            assert!(fill >= 80 && work < 4.5, "{kind} {limit}: {fill}% {work}");
        }
    }
}

#[test]
fn a_line_that_does_not_fit_alone_is_nobodys_block() {
    let mut random = SmallRng::seed_from_u64(12);
    let long = [letters(5000, &mut random), vec![b'\n']].concat();
    let text = [b"short\n".as_slice(), &long, b"short\n"].concat();
    let ends = [6, 6 + long.len(), text.len()];
    for kind in KINDS {
        let (mut compressor, mut out) = (new(kind), b"before".to_vec());
        assert_eq!(compressor.compress_lines(&text, &ends, 1000, &mut out), Ok(1), "{kind}");
        assert_eq!(inflated(kind, &out[6..]), b"short\n");
        out.truncate(6);
        assert_eq!(
            compressor.compress_lines(&text[6..], &[long.len(), long.len() + 6], 1000, &mut out),
            Ok(0),
            "{kind}"
        );
        assert_eq!(out, b"before");
        assert_eq!(compressor.compress_lines(&text[ends[1]..], &[6], 1000, &mut out), Ok(1), "{kind}");
        assert_eq!(compressor.compress_lines(&text, &[], 1000, &mut out), Ok(0));
        assert_eq!(compressor.compress_lines(&text, &ends, 0, &mut out), Ok(0));
    }
}

/// 20,000 blanks in a line that compresses to a few bytes: the raw length says nothing.
#[test]
fn a_long_line_that_shrinks_enough_is_a_block() {
    let text = [vec![b' '; 20_000], b"\nshort\n".to_vec()].concat();
    for kind in [Kind::Gzip, Kind::Zlib, Kind::Zstd] {
        assert_eq!(new(kind).compress_lines(&text, &[20_001, 20_007], 200, &mut Vec::new()), Ok(2), "{kind}");
    }
    assert_eq!(new(Kind::Snappy).compress_lines(&text, &[20_001, 20_007], 1200, &mut Vec::new()), Ok(2));
}
