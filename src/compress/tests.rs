use std::io::Read;

use super::*;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

pub(super) const KINDS: [Kind; 4] = [Kind::Gzip, Kind::Zlib, Kind::Zstd, Kind::Snappy];
pub(super) const HELLO: &[u8] = b"hello hello hello hello hello hello";

pub(super) fn new(kind: Kind) -> Compressor {
    Compressor::new(kind, None).unwrap()
}

pub(super) fn compressed(kind: Kind, input: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    new(kind).compress(input, &mut out).unwrap();
    out
}

/// Decoders that share no code with the encoders; they check lengths and checksums.
pub(super) fn inflated(kind: Kind, data: &[u8]) -> Vec<u8> {
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

/// About `length` bytes of a web server's log lines.
pub(super) fn access_log(length: usize, random: &mut SmallRng) -> Vec<u8> {
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

pub(super) fn letters(length: usize, random: &mut SmallRng) -> Vec<u8> {
    (0..length).map(|_| random.random_range(b'a'..=b'z')).collect()
}

pub(super) fn noise(length: usize, random: &mut SmallRng) -> Vec<u8> {
    (0..length).map(|_| random.random()).collect()
}

#[test]
fn every_kind_and_level_inflates_to_its_input_after_existing_bytes() {
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

/// zstd's own window at level 22 is 128 MiB, with tables to match: too much for a small node.
#[test]
fn the_highest_levels_of_zstd_look_back_two_mebibytes() {
    for level in 17..=22 {
        let mut out = Vec::new();
        Compressor::new(Kind::Zstd, Some(level)).unwrap().compress(&vec![b'x'; 5 << 20], &mut out).unwrap();
        assert_eq!(hex(&out[..6]), "28b52ffd8058", "level {level}: magic, the size follows, a window of 2^(10 + 11)");
        assert!(inflated(Kind::Zstd, &out) == vec![b'x'; 5 << 20]);
    }
}

#[test]
fn kinds_are_read_in_any_case() {
    for (text, kind) in [("gzip", Kind::Gzip), ("ZLIB", Kind::Zlib), ("Zstd", Kind::Zstd), ("snappy", Kind::Snappy)] {
        assert_eq!(Kind::parse(text), Ok(kind));
        assert_eq!(kind.to_string(), text.to_lowercase());
    }
    for text in ["", "none", "lz4", "gzip ", "zip"] {
        assert_eq!(Kind::parse(text), Err("use none, gzip, zlib, zstd or snappy".into()), "{text}");
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
            assert_eq!(kind.parse_level(text), Err(message.into()), "{kind} {text}");
        }
    }
}

/// The C plugin's own vectors (tests/internal/aws_compress.c), as far as header and trailer go.
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

/// What Fluentd's plugin sends (its test_kinesis.rb). Our gzip has no timestamp, so equal input gives equal output.
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
