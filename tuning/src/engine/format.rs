//! How values look in /proc and /sys, and when two texts are the same value.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::limits::CORES_MAX;

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Words or numbers, with any space between.
    Words,
    /// One of several words, the chosen one in brackets: `always [madvise] never`.
    Chosen,
    /// A set of cores as hexadecimal groups of 32 bits: `00000000,00000003`.
    Mask,
    /// A set of cores as ranges: `0-3,8`.
    List,
}

impl Format {
    /// The value without what does not matter.
    pub fn normal(self, text: &str) -> String {
        let cores = match self {
            Self::Words => return words(text),
            Self::Chosen => return chosen(text).to_owned(),
            Self::Mask => parse_mask(text),
            Self::List => parse_list(text),
        };
        match cores {
            Some(cores) if cores.is_empty() => "none".to_owned(),
            Some(cores) => list(&cores),
            None => words(text),
        }
    }

    /// Do both texts say the same?
    pub fn is_same(self, one: &str, other: &str) -> bool {
        self.normal(one) == self.normal(other)
    }

    /// What has to be written to have this value again. The kernel does not take back brackets;
    /// of everything else it takes what it gave.
    pub fn written(self, text: &str) -> &str {
        match self {
            Self::Chosen => chosen(text),
            Self::Words | Self::Mask | Self::List => text,
        }
    }
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The word in brackets, or all of a text without any.
fn chosen(text: &str) -> &str {
    let between = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    between.map_or(text.trim(), |(word, _)| word)
}

/// Cores of a mask; none if it is not one, or names cores beyond [`CORES_MAX`].
pub fn parse_mask(text: &str) -> Option<BTreeSet<usize>> {
    let mut cores = BTreeSet::new();
    let groups: Vec<&str> = text.trim().split(',').collect();
    for (group, digits) in groups.iter().rev().enumerate() {
        let is_group = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_hexdigit());
        // A mask without commas may be one long number, as some programs write it.
        if !is_group || (groups.len() > 1 && digits.len() > 8) {
            return None;
        }
        for (place, digit) in digits.chars().rev().enumerate() {
            let bits = digit.to_digit(16)?;
            let set = (0..4).filter(|bit| bits & (1 << bit) != 0);
            cores.extend(set.map(|bit| group * 32 + place * 4 + bit));
        }
    }
    cores.iter().all(|core| *core < CORES_MAX).then_some(cores)
}

/// A mask of these cores, in groups of 32 bits.
pub fn mask(cores: &BTreeSet<usize>) -> String {
    let last = cores.last().map_or(0, |core| core / 32);
    let group = |group: usize| {
        let bits = (0..32).filter(|bit| cores.contains(&(group * 32 + bit)));
        bits.fold(0_u32, |all, bit| all | 1 << bit)
    };
    let rest = (0..last).rev().map(|at| format!(",{:08x}", group(at)));
    format!("{:x}{}", group(last), rest.collect::<String>())
}

/// Cores of a list; none if it is not one, or names cores beyond [`CORES_MAX`].
pub fn parse_list(text: &str) -> Option<BTreeSet<usize>> {
    let mut cores = BTreeSet::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if last >= CORES_MAX || first > last {
            return None;
        }
        cores.extend(first..=last);
    }
    Some(cores)
}

/// A list of these cores.
pub fn list(cores: &BTreeSet<usize>) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for &core in cores {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == core => *last = core,
            _ => ranges.push((core, core)),
        }
    }
    let parts = ranges.iter().map(|(first, last)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    });
    parts.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_compared_as_the_kernel_means_them() {
        assert!(Format::Words.is_same("4096\t131072\t33554432\n", "4096 131072 33554432"));
        assert!(Format::Chosen.is_same("always [madvise] never\n", "madvise"));
        assert!(!Format::Chosen.is_same("[always] madvise never\n", "madvise"));
        assert!(Format::Mask.is_same("00000000,00000003\n", "3"));
        assert!(Format::List.is_same("0-1\n", "0,1"));
        assert!(Format::Mask.is_same("00,00000000\n", "0"));
        assert_eq!(Format::Mask.normal("0\n"), "none");
        assert_eq!(Format::Chosen.written("[always] madvise\n"), "always");
    }

    #[test]
    fn sets_of_cores_survive_both_ways() {
        for cores in [vec![], vec![0], vec![1, 2, 3, 5], vec![31, 32, 64], (0..130).collect()] {
            let cores: BTreeSet<usize> = cores.into_iter().collect();
            assert_eq!(parse_mask(&mask(&cores)), Some(cores.clone()), "{}", mask(&cores));
            assert_eq!(parse_list(&list(&cores)), Some(cores.clone()), "{}", list(&cores));
        }
        assert_eq!(mask(&[0, 33].into()), "2,00000001");
        assert_eq!(parse_mask("x"), None);
        assert_eq!(parse_mask("123456789,0"), None);
        assert_eq!(parse_list("3-1"), None);
        assert_eq!(parse_list("0-99999999"), None);
    }
}
