//! Which namespaces have been durable without a break, and since when.
//!
//! Offsets that a channel gave out while it was not durable are written down nowhere. Were its
//! stored epoch taken up again afterwards, a client that was away all the time would be told that
//! it missed nothing. So a namespace gets a new *generation* whenever its channels become durable,
//! and an epoch of another generation is over (`router/src/engine/epochs.rs`).
//!
//! ```text
//!   configured   log ──────► memory ──────► log       deleted ──► log, again
//!   row          chat: 0     none           chat: 1   none        chat: 2
//! ```
//!
//! Owns: one row for each namespace that is durable now; those that are not need none, because a
//! generation is never given twice. So there are never more rows than namespaces.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::channels::{ChannelOptions, Namespaces};

/// Generations of the namespaces that are durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Generations {
    /// The highest that was ever given; `None`: none was.
    pub newest: Option<u64>,
    /// By name; the empty name stands for channels without a namespace.
    pub durable: BTreeMap<String, u64>,
}

impl Generations {
    /// What follows when these namespaces are served from now on.
    ///
    /// All that become durable at once share a generation, which the first ones of a directory find
    /// to be 0: what an earlier version stored stays.
    #[must_use]
    pub fn followed_by(&self, namespaces: &Namespaces) -> Self {
        let next = self.newest.map_or(0, |newest| newest + 1);
        let mut durable = BTreeMap::new();
        for (name, options) in all(namespaces) {
            if options.is_durable() {
                let generation = self.durable.get(name).copied().unwrap_or(next);
                durable.insert(name.to_owned(), generation);
            }
        }
        let is_given = durable.values().any(|generation| *generation == next);
        let newest = if is_given || self.newest.is_none() { Some(next) } else { self.newest };
        Self { newest, durable }
    }

    /// Namespaces with the generations of those that are durable.
    pub fn stamped(&self, namespaces: &Namespaces) -> Arc<Namespaces> {
        let mut stamped = namespaces.clone();
        let stamp = |name: &str, options: &mut ChannelOptions| {
            options.generation = self.durable.get(name).copied().unwrap_or(0);
        };
        stamp(WITHOUT, &mut stamped.without);
        stamped.named.iter_mut().for_each(|(name, options)| stamp(name, options));
        Arc::new(stamped)
    }
}

/// What a change of generations means for channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn<'a> {
    /// They are durable from now on. What was stored for them before is not served.
    Begins(&'a str),
    /// They are not durable any more. What was stored for them will not be served again.
    Ends(&'a str),
}

impl Generations {
    /// What changes for the channels of which namespaces when these follow. The empty name stands
    /// for channels without a namespace. The first generation of a directory begins in silence.
    pub fn turns<'a>(&'a self, after: &'a Self) -> impl Iterator<Item = Turn<'a>> {
        let is_new =
            |(name, at): &(&String, &u64)| **at > 0 && self.durable.get(*name) != Some(*at);
        let begun = after.durable.iter().filter(is_new).map(|(name, _)| Turn::Begins(name));
        let is_over = |name: &&String| !after.durable.contains_key(*name);
        begun.chain(self.durable.keys().filter(is_over).map(|name| Turn::Ends(name)))
    }
}

/// Where channels without a namespace are found: no namespace can be called so.
const WITHOUT: &str = "";

fn all(namespaces: &Namespaces) -> impl Iterator<Item = (&str, &ChannelOptions)> {
    let named = namespaces.named.iter().map(|(name, options)| (name.as_str(), options));
    std::iter::once((WITHOUT, &namespaces.without)).chain(named)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    use protocol::channels::Durability;

    fn namespaces(named: &[(&str, Durability)]) -> Namespaces {
        let options = |durability| ChannelOptions {
            durability,
            history_size: 1,
            history_ttl: Duration::from_secs(1),
            ..ChannelOptions::default()
        };
        let named =
            named.iter().map(|(name, durability)| ((*name).to_owned(), options(*durability)));
        Namespaces { named: named.collect(), ..Namespaces::default() }
    }

    #[test]
    fn a_generation_begins_whenever_a_namespace_becomes_durable() {
        let (log, memory) = (Durability::Log, Durability::Memory);
        let mut now = Generations::default();
        let mut serve = |named: &[(&str, Durability)]| {
            now = now.followed_by(&namespaces(named));
            let durable = now.durable.iter().map(|(name, at)| (name.clone(), *at));
            (durable.collect::<Vec<_>>(), now.newest)
        };
        let one = |name: &str, generation| vec![(name.to_owned(), generation)];
        assert_eq!(serve(&[("chat", log), ("news", memory)]), (one("chat", 0), Some(0)));
        assert_eq!(serve(&[("chat", Durability::Store)]), (one("chat", 0), Some(0)), "no break");
        assert_eq!(serve(&[("chat", memory)]), (vec![], Some(0)));
        assert_eq!(serve(&[("chat", log)]), (one("chat", 1), Some(1)));
        assert_eq!(serve(&[]), (vec![], Some(1)), "it was deleted");
        let both = vec![("chat".to_owned(), 2), ("news".to_owned(), 2)];
        assert_eq!(serve(&[("chat", log), ("news", log)]), (both, Some(2)));
    }

    #[test]
    fn generation_zero_is_given_once() {
        let first = Generations::default().followed_by(&namespaces(&[]));
        assert_eq!(first.newest, Some(0), "somebody may have stored there before");
        let second = first.followed_by(&namespaces(&[("chat", Durability::Log)]));
        assert_eq!(second.durable["chat"], 1);
    }

    #[test]
    fn what_changes_is_said() {
        let generations = |durable: &[(&str, u64)]| {
            let durable = durable.iter().map(|(name, at)| ((*name).to_owned(), *at)).collect();
            Generations { newest: Some(9), durable }
        };
        let before = generations(&[("chat", 1), ("news", 2)]);
        let after = generations(&[("chat", 1), ("room", 3)]);
        let turns: Vec<_> = before.turns(&after).collect();
        assert_eq!(turns, [Turn::Begins("room"), Turn::Ends("news")]);
        assert_eq!(Generations::default().turns(&generations(&[("chat", 0)])).count(), 0);
    }

    #[test]
    fn options_carry_their_generation() {
        let mut wanted = namespaces(&[("chat", Durability::Log), ("news", Durability::Memory)]);
        wanted.without = wanted.named["chat"].clone();
        let durable = [("chat".to_owned(), 3), (String::new(), 4)].into();
        let stamped = Generations { newest: Some(4), durable }.stamped(&wanted);
        let generation = |channel| stamped.resolve(channel).expect("it is there").generation;
        assert_eq!([generation("chat:a"), generation("a"), generation("news:a")], [3, 4, 0]);
    }
}
