//! Goal: no bytes from a client break a decoder, the checked-in corpus and its neighbours first.
//! Method: the fuzz targets over every corpus file, as it is and damaged by a seeded generator.
//!
//! `RINGWAY_FUZZ_ROUNDS` sets the damaged copies of each file, `RINGWAY_FUZZ_SEED` the seed.

#[path = "../fuzz/client_target.rs"]
mod client_target;

use std::path::Path;

#[test]
fn json_corpus() {
    run("client_json", client_target::fuzz_client_json);
}

#[test]
fn protobuf_corpus() {
    run("client_protobuf", client_target::fuzz_client_protobuf);
}

fn run(corpus: &str, target: fn(&[u8])) {
    let rounds = setting("RINGWAY_FUZZ_ROUNDS", ROUNDS_DEFAULT);
    let seed = setting("RINGWAY_FUZZ_SEED", SEED_DEFAULT);
    println!(
        "replay with: RINGWAY_FUZZ_SEED={seed} RINGWAY_FUZZ_ROUNDS={rounds} cargo test {corpus}"
    );
    let files = read_corpus(corpus);
    assert!(!files.is_empty(), "the corpus is checked in");
    let mut random = XorShift(seed | 1);
    for (name, bytes) in &files {
        println!("file {name}");
        target(bytes);
        for _ in 0..rounds {
            let other = &files[random.below(files.len())].1;
            let damaged = damage(bytes, other, &mut random);
            let shown = damaged.escape_ascii().to_string();
            if std::panic::catch_unwind(|| target(&damaged)).is_err() {
                panic!("{name} damaged to b\"{shown}\"");
            }
        }
    }
}

fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")),
        Err(_) => default,
    }
}

/// Files by name, so that a run is the same on every machine.
fn read_corpus(corpus: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(corpus);
    let entries = std::fs::read_dir(&folder).expect("the folder of the corpus");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("a file of the corpus"))
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, std::fs::read(entry.path()).expect("a readable file"))
        })
        .collect();
    files.sort();
    files
}

/// A copy with up to eight changes: a byte set, a bit flipped, a part cut, doubled, or taken from
/// another file.
fn damage(bytes: &[u8], other: &[u8], random: &mut XorShift) -> Vec<u8> {
    let mut damaged = bytes.to_vec();
    for _ in 0..=random.below(8) {
        let at = random.below(damaged.len() + 1);
        let end = at + random.below(damaged.len() - at + 1).min(16);
        match random.below(6) {
            0 if at < damaged.len() => damaged[at] = random.next() as u8,
            1 if at < damaged.len() => damaged[at] ^= 1 << random.below(8),
            2 => drop(damaged.drain(at..end)),
            3 => {
                let part = damaged[at..end].to_vec();
                damaged.splice(at..at, part);
            }
            4 => {
                let from = random.below(other.len() + 1);
                let part = other[from..(from + 32).min(other.len())].to_vec();
                damaged.splice(at..end, part);
            }
            _ => damaged.insert(at, INTERESTING[random.below(INTERESTING.len())]),
        }
    }
    damaged
}

/// Marsaglia's xorshift with 64 bits of state.
struct XorShift(u64);

impl XorShift {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

const ROUNDS_DEFAULT: u64 = 10_000;
const SEED_DEFAULT: u64 = 0x5249_4e47_5741_5931;
/// Bytes that mean something in one of the formats.
const INTERESTING: &[u8] = b"\"\\{}[],:\n\r \x00\x7f\x80\xff0-e\xc3";
