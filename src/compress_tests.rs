use std::io::Read;

use super::*;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

const KINDS: [Kind; 4] = [Kind::Gzip, Kind::Zlib, Kind::Zstd, Kind::Snappy];
const SUFFIX: &[u8] = b"[Truncated...]";
const HELLO: &[u8] = b"hello hello hello hello hello hello";

fn new(kind: Kind) -> Compressor {
    Compressor::new(kind, None).unwrap()
}

fn compressed(kind: Kind, input: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    new(kind).compress(input, &mut out).unwrap();
    out
}

/// By decoders that share nothing with the encoders' side; they check lengths and checksums.
fn inflated(kind: Kind, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match kind {
        Kind::Gzip => drop(flate2::bufread::GzDecoder::new(data).read_to_end(&mut out).unwrap()),
        Kind::Zlib => drop(flate2::bufread::ZlibDecoder::new(data).read_to_end(&mut out).unwrap()),
        Kind::Zstd => out = zstd::decode_all(data).unwrap(),
        Kind::Snappy => out = snap::raw::Decoder::new().decompress_vec(data).unwrap(),
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Lines of a web server's log, `length` bytes or a few more.
fn access_log(length: usize, random: &mut SmallRng) -> Vec<u8> {
    let mut log = Vec::new();
    while log.len() < length {
        let [a, b, c, status, path, size] = std::array::from_fn(|_| random.random_range(0..200_u32));
        let time = log.len() / 1000;
        log.extend_from_slice(
            format!(
                "10.{a}.{b}.{c} - - [10/Oct/2025:13:{:02}:{:02} +0000] \"GET /products/{path}/reviews HTTP/1.1\" {} {} \
                 \"https://www.example.com/\" \"Mozilla/5.0 (X11; Linux x86_64)\"\n",
                time / 60 % 60,
                time % 60,
                if status < 180 { 200 } else { 404 },
                size * size * 7,
            )
            .as_bytes(),
        );
    }
    log
}

fn letters(length: usize, random: &mut SmallRng) -> Vec<u8> {
    (0..length).map(|_| random.random_range(b'a'..=b'z')).collect()
}

fn noise(length: usize, random: &mut SmallRng) -> Vec<u8> {
    (0..length).map(|_| random.random()).collect()
}

#[test]
fn every_kind_and_level_inflates_to_its_input_behind_what_was_there() {
    let mut random = SmallRng::seed_from_u64(1);
    let mut inputs = vec![Vec::new(), vec![0], HELLO.to_vec(), vec![b'x'; 1_000_000]];
    for length in [1, 100, 65_535, 65_536, 200_000] {
        inputs.extend([access_log(length, &mut random), noise(length, &mut random)]);
    }
    for kind in KINDS {
        let levels = kind.levels().map_or(vec![None], |levels| levels.map(Some).collect());
        for level in levels {
            let mut compressor = Compressor::new(kind, level).unwrap();
            for input in inputs.iter().filter(|input| input.len() < 100_000 || level.is_none_or(|level| level < 10)) {
                let mut out = b"before".to_vec();
                compressor.compress(input, &mut out).unwrap();
                let data = out.strip_prefix(b"before").unwrap();
                assert!(inflated(kind, data) == *input, "{kind} {level:?}: {} bytes", input.len());
            }
        }
    }
}

#[test]
fn an_encoder_used_before_writes_what_a_new_one_writes() {
    let mut random = SmallRng::seed_from_u64(2);
    for kind in KINDS {
        let mut used = new(kind);
        used.compress(&noise(300_000, &mut random), &mut Vec::new()).unwrap();
        for length in [0, 10, 10_000, 300_000] {
            let input = access_log(length, &mut random);
            let mut out = Vec::new();
            used.compress(&input, &mut out).unwrap();
            assert!(out == compressed(kind, &input), "{kind}: {length}");
        }
    }
}

#[test]
fn a_higher_level_is_smaller_and_the_default_is_the_librarys() {
    let input = access_log(100_000, &mut SmallRng::seed_from_u64(3));
    let size = |kind, level| {
        let mut out = Vec::new();
        Compressor::new(kind, level).unwrap().compress(&input, &mut out).unwrap();
        out.len()
    };
    for (kind, levels, default) in
        [(Kind::Gzip, [0, 1, 9], 6), (Kind::Zlib, [0, 1, 9], 6), (Kind::Zstd, [-7, 3, 19], 3)]
    {
        let sizes = levels.map(|level| size(kind, Some(level)));
        assert!(sizes.is_sorted_by(|low, high| low > high), "{kind}: {sizes:?}");
        assert_eq!(size(kind, None), size(kind, Some(default)));
    }
}

#[test]
fn kinds_are_read_in_any_case() {
    for (text, kind) in [("gzip", Kind::Gzip), ("ZLIB", Kind::Zlib), ("Zstd", Kind::Zstd), ("snappy", Kind::Snappy)] {
        assert_eq!(Kind::parse(text), Ok(kind));
        assert_eq!(kind.to_string(), text.to_lowercase());
    }
    for text in ["", "none", "lz4", "gzip ", "zip"] {
        assert_eq!(Kind::parse(text), Err("use none, gzip, zlib, zstd or snappy".to_owned()), "{text}");
    }
}

#[test]
fn levels_have_bounds_that_the_message_tells() {
    for (kind, allowed, refused, message) in [
        (Kind::Gzip, vec!["0", "6", "9"], vec!["10", "-1", "", "6.0"], "use a whole number from 0 to 9 with gzip"),
        (Kind::Zlib, vec!["0", "9"], vec!["10", "best"], "use a whole number from 0 to 9 with zlib"),
        (Kind::Zstd, vec!["-7", "0", "1", "22"], vec!["23", "-8"], "use a whole number from -7 to 22 with zstd"),
        (Kind::Snappy, vec![], vec!["1"], "snappy has no levels"),
    ] {
        for text in allowed {
            assert_eq!(kind.parse_level(text), Ok(text.parse().unwrap()), "{kind}");
        }
        for text in refused {
            assert_eq!(kind.parse_level(text), Err(message.to_owned()), "{kind} {text}");
        }
    }
}

/// The C plugin's own vectors (tests/internal/aws_compress.c). What is between header and trailer is the encoder's.
#[test]
fn the_c_plugins_vectors_have_our_headers_and_inflate() {
    let gzip = compressed(Kind::Gzip, HELLO);
    assert_eq!(hex(&gzip[..10]), "1f8b08000000000000ff");
    assert_eq!(hex(&gzip[gzip.len() - 8..]), "5737628523000000", "checksum and size");
    assert_eq!(inflated(Kind::Gzip, &gzip), HELLO);

    let zstd = compressed(Kind::Zstd, HELLO);
    assert_eq!(hex(&zstd[..6]), "28b52ffd2023", "magic, one segment, 35 bytes of content");
    assert_eq!(inflated(Kind::Zstd, &zstd), HELLO);

    let fox = b"The quick brown fox jumps over the lazy dog";
    assert_eq!(compressed(Kind::Snappy, fox), [b"\x2b\xa8", fox.as_slice()].concat());

    for (theirs, kind, input) in [
        ("1f8b08000000000000ffcb48cdc9c957c8c04702005737628523000000", Kind::Gzip, HELLO),
        ("28b52ffd20236500003068656c6c6f200100b94b11", Kind::Zstd, HELLO),
        ("1f8b08000000000000ffcb48cdc9c957c84027b9000088590b18000000", Kind::Gzip, b"hello hello hello hello\n"),
    ] {
        let bytes: Vec<u8> =
            (0..theirs.len() / 2).map(|i| u8::from_str_radix(&theirs[2 * i..2 * i + 2], 16).unwrap()).collect();
        assert_eq!(inflated(kind, &bytes), input, "the vector is what we think it is");
    }
    let line = compressed(Kind::Gzip, b"hello hello hello hello\n");
    assert_eq!(hex(&line[..10]) + &hex(&line[line.len() - 8..]), "1f8b08000000000000ff0088590b18000000");
}

/// What Fluentd's plugin sends (its test_kinesis.rb); gzip has no time here, so the same input is the same output.
#[test]
fn zlib_of_foo_is_rubys_and_gzip_is_reproducible() {
    assert_eq!(hex(&compressed(Kind::Zlib, b"foo")), "789c4bcbcf070002820145");
    assert_eq!(compressed(Kind::Gzip, b"foo2"), compressed(Kind::Gzip, b"foo2"));
    assert_eq!(inflated(Kind::Gzip, &compressed(Kind::Gzip, b"foo2")), b"foo2");
    for level in 0..=9 {
        let mut out = Vec::new();
        Compressor::new(Kind::Gzip, Some(level)).unwrap().compress(b"foo2", &mut out).unwrap();
        assert_eq!(hex(&out[..10]), "1f8b08000000000000ff", "level {level}");
    }
}

/// Truncates where any byte is permitted; the output's size, and how many bytes of the input are in it.
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

/// The C plugin's tests of data that fits (aws_compress.c): its limits are those of base64, 40 characters.
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
    assert_eq!(error.to_string(), "no room for the mark of truncation: it needs 34 bytes of 20");
    assert!(truncated(&mut new(Kind::Gzip), b"", 5).is_err());
    assert_eq!(truncated(&mut new(Kind::Gzip), b"", 20), Ok((20, 0)));
}

#[test]
fn truncated_records_fill_their_limit() {
    let mut random = SmallRng::seed_from_u64(5);
    for kind in KINDS {
        let mut compressor = new(kind);
        for (limit, least) in [(150, 80), (1000, 95), (10_000, 95), (200_000, 95)] {
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
                // Snappy gives up and tries again, so its output grows in jumps.
                let least = if kind == Kind::Snappy { least.min(90) } else { least };
                assert!(size * 100 >= limit * least, "{kind}: {size} of {limit}, {kept} of {} bytes", input.len());
                assert!(work <= 10 * (input.len() + SUFFIX.len()) as u64);
                println!("{kind} {limit}: {}%, work {:.1}", size * 100 / limit, work as f64 / input.len() as f64);
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
            // 19,999 characters do not fit: nothing but the suffix does.
            assert_eq!(kept == 0, step == 19_999, "{kind}: {kept}");
            // No step more would have fitted.
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

/// Joins lines into blocks; the blocks' sizes, and the bytes compressed for each byte of the lines.
fn blocks(compressor: &mut Compressor, text: &[u8], limit: usize) -> (Vec<usize>, f64) {
    let ends: Vec<usize> = (1..=text.len()).filter(|&end| text[end - 1] == b'\n').collect();
    let (mut from, mut rest, mut sizes) = (0, ends.as_slice(), Vec::new());
    let work = compressor.work();
    let mut out = Vec::new();
    while !rest.is_empty() {
        out.clear();
        out.extend_from_slice(b"before");
        let count = compressor.compress_lines(text, from, rest, limit, &mut out).unwrap();
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
    let text = access_log(8_000_000, &mut SmallRng::seed_from_u64(8));
    for kind in KINDS {
        for limit in [10_000, 50_000, 200_000] {
            let (sizes, work) = blocks(&mut new(kind), &text, limit);
            println!("{kind} {limit}: {} blocks, work {work:.2}, least {:?}", sizes.len(), sizes.iter().min());
            let full = &sizes[..sizes.len() - 1];
            assert!(full.iter().all(|size| size * 100 >= limit * 85), "{kind} {limit}: {sizes:?}");
            assert!(full.iter().sum::<usize>() * 100 >= full.len() * limit * 93, "{kind} {limit}: {sizes:?}");
            // Of the first block nothing is known.
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

/// An image in base64 among the lines, a stack trace of blanks: the ratio of the block before says nothing.
#[test]
fn lines_that_change_their_nature_are_compressed_a_few_times() {
    let mut random = SmallRng::seed_from_u64(11);
    let mut text = Vec::new();
    for part in 0..60 {
        match part % 3 {
            0 => text.extend(access_log(60_000, &mut random)),
            1 => (0..60).for_each(|_| text.extend([letters(999, &mut random), vec![b'\n']].concat())),
            _ => (0..600).for_each(|_| text.extend([vec![b' '; 999], vec![b'\n']].concat())),
        }
    }
    for kind in KINDS {
        for limit in [5_000, 20_000, 100_000] {
            let (sizes, work) = blocks(&mut new(kind), &text, limit);
            let fill = sizes.iter().sum::<usize>() * 100 / (sizes.len() * limit);
            println!("{kind} {limit}: {} blocks {fill}% full, work {work:.2}", sizes.len());
            assert!(fill >= 50 && work < 7.0, "{kind} {limit}: {fill}% {work}");
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
        assert_eq!(compressor.compress_lines(&text, 0, &ends, 1000, &mut out), Ok(1), "{kind}");
        assert_eq!(inflated(kind, &out[6..]), b"short\n");
        out.truncate(6);
        assert_eq!(compressor.compress_lines(&text, 6, &ends[1..], 1000, &mut out), Ok(0), "{kind}");
        assert_eq!(out, b"before");
        assert_eq!(compressor.compress_lines(&text, ends[1], &ends[2..], 1000, &mut out), Ok(1), "{kind}");
        assert_eq!(compressor.compress_lines(&text, 0, &[], 1000, &mut out), Ok(0));
        assert_eq!(compressor.compress_lines(&text, 0, &ends, 0, &mut out), Ok(0));
    }
}

/// 20,000 blanks in a line of a few compressed bytes: their raw length says nothing.
#[test]
fn a_long_line_that_shrinks_enough_is_a_block() {
    let text = [vec![b' '; 20_000], b"\nshort\n".to_vec()].concat();
    for kind in [Kind::Gzip, Kind::Zlib, Kind::Zstd] {
        assert_eq!(new(kind).compress_lines(&text, 0, &[20_001, 20_007], 200, &mut Vec::new()), Ok(2), "{kind}");
    }
    assert_eq!(new(Kind::Snappy).compress_lines(&text, 0, &[20_001, 20_007], 1200, &mut Vec::new()), Ok(2));
}
