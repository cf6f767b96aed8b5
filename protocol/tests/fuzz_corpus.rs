//! No bytes break a decoder.
//!
//! Method: every file of `protocol/fuzz/corpus/<target>` as it is, then `RINGWAY_FUZZ_ROUNDS`
//! mutations of each, from a seed that is printed when one fails. A file that once broke a decoder
//! stays in the corpus, under the name of what it broke.

#[path = "../fuzz/targets.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

#[test]
fn every_target_survives_its_corpus_and_its_mutations() {
    let rounds = std::env::var("RINGWAY_FUZZ_ROUNDS")
        .map_or(ROUNDS_DEFAULT, |rounds| rounds.parse().expect("RINGWAY_FUZZ_ROUNDS is a number"));
    for (name, target) in targets::TARGETS {
        let corpus = corpus_of(name);
        assert!(!corpus.is_empty(), "the corpus of {name} is empty");
        for (path, bytes) in &corpus {
            for round in 0..=rounds {
                let mut input = bytes.clone();
                // Round 0 is the file itself.
                if round > 0 {
                    mutate(&mut input, &mut Random::of(path, round), &corpus);
                }
                let survived = catch_unwind(AssertUnwindSafe(|| target(&input))).is_ok();
                let input = input.escape_ascii();
                assert!(survived, "{name}: round {round} of {}: b\"{input}\"", path.display());
            }
        }
    }
}

/// All files of a corpus, in the order of their names.
fn corpus_of(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let files = std::fs::read_dir(&folder).expect("each target has a corpus folder");
    let mut paths: Vec<_> = files.map(|file| file.expect("readable").path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let bytes = std::fs::read(&path).expect("a corpus file is readable");
        (path, bytes)
    };
    paths.into_iter().map(read).collect()
}

/// Changes `input` in one to four places.
fn mutate(input: &mut Vec<u8>, random: &mut Random, corpus: &[(PathBuf, Vec<u8>)]) {
    for _ in 0..=random.below(3) {
        let place = random.below(input.len());
        let end = place + random.below(input.len() - place);
        match random.below(7) {
            0 if place < input.len() => input[place] ^= 1 << random.below(7),
            1 if place < input.len() => input[place] = random.next() as u8,
            2 if place < input.len() => input[place] = NOTABLE[random.below(NOTABLE.len() - 1)],
            3 => input.insert(place, NOTABLE[random.below(NOTABLE.len() - 1)]),
            4 => drop(input.drain(place..end)),
            5 => input.extend_from_within(place..end),
            6 => {
                let (_, other) = &corpus[random.below(corpus.len() - 1)];
                input.truncate(place);
                input.extend_from_slice(&other[random.below(other.len())..]);
            }
            _ => input.truncate(place),
        }
        input.truncate(INPUT_BYTES_MAX);
    }
}

/// Xorshift with 64 bits of state.
struct Random(u64);

impl Random {
    /// The same numbers for the same file name and round, on every machine.
    fn of(path: &Path, round: u64) -> Self {
        let name = path.file_name().expect("a corpus file has a name").as_encoded_bytes();
        let seed = name
            .iter()
            .fold(round + 1, |seed, byte| (seed ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number from 0 to `last`.
    fn below(&mut self, last: usize) -> usize {
        ((self.next() >> 11) % (last as u64 + 1)) as usize
    }
}

/// Bytes at which formats change their mind.
const NOTABLE: &[u8] = &[
    0x00, 0x01, 0x09, 0x0a, 0x0d, 0x20, 0x2c, 0x30, 0x3a, 0x3b, 0x7e, 0x7f, 0x80, 0x81, 0x82, 0x88,
    0x89, 0xc0, 0xed, 0xf4, 0xfd, 0xfe, 0xff,
];
const ROUNDS_DEFAULT: u64 = 400;
const INPUT_BYTES_MAX: usize = 64 * 1024;
