//! What the ledger knows of durable channels: what the log has, what the store has, and that
//! nobody hears of anything before.

use std::collections::BTreeMap;

use protocol::channels::Durability;
use protocol::link::{LogChange, LogEntry};

use crate::ledger::{Fate, Ledger, Place, number_in};
use crate::sim_store::Rows;

/// Publications in log and store, by their place.
#[derive(Debug, Default)]
pub(crate) struct Durable {
    logged: BTreeMap<(usize, Place), usize>,
    stored: BTreeMap<(usize, Place), usize>,
    /// Where each publication is in the log.
    places: BTreeMap<usize, Place>,
    /// Of each channel, once something of it is in the log.
    epochs: BTreeMap<usize, String>,
}

impl Ledger {
    /// An entry survives from now on whatever happens to the node.
    pub fn logged(&mut self, entry: &LogEntry) {
        let Some((channel, place, number)) = self.read(entry) else { return };
        self.place(channel, place.clone(), number);
        let name = self.channels.at(channel).name.clone();
        let epoch = self.durable.epochs.entry(channel).or_insert_with(|| place.epoch.clone());
        if *epoch != place.epoch {
            let before = epoch.clone();
            self.violated(|| format!("{name}: epoch {before} became {place:?}"));
        }
        self.durable.places.insert(number, place.clone());
        self.durable.logged.insert((channel, place), number);
    }

    /// An entry is among the rows of the store.
    pub fn stored(&mut self, entry: &LogEntry) {
        let Some((channel, place, number)) = self.read(entry) else { return };
        let key = (channel, place);
        if self.durable.logged.get(&key) != Some(&number) {
            self.violated(|| format!("{key:?}: {number} is stored and not in the log"));
        }
        self.durable.stored.insert(key, number);
    }

    fn read(&mut self, entry: &LogEntry) -> Option<(usize, Place, usize)> {
        let LogChange::Published { publication, .. } = &entry.change else { return None };
        let channel = self.channels.find(&entry.channel)?;
        let place = Place { epoch: entry.epoch.to_string(), offset: publication.offset };
        let number = number_in(&publication.content.bytes);
        if number.is_none() {
            self.violated(|| format!("{place:?}: nobody published what the log has"));
        }
        Some((channel, place, number?))
    }

    /// Somebody was shown a publication, or told its place: it must be where its channel promises.
    pub(crate) fn check_shown(&mut self, channel: usize, place: &Place, number: usize) {
        if !self.channels.at(channel).is_durable() {
            return;
        }
        let Reached { name, is_reached, level } = self.level(channel, place);
        if !is_reached {
            self.violated(|| format!("{name}: {number} was shown before it is in the {level}"));
        }
    }

    fn level(&self, channel: usize, place: &Place) -> Reached {
        let one = self.channels.at(channel);
        let key = (channel, place.clone());
        let (is_reached, level) = match one.options.durability {
            Durability::Log => (self.durable.logged.contains_key(&key), "log"),
            Durability::Store => (self.durable.stored.contains_key(&key), "store"),
            _ => (true, "memory"),
        };
        Reached { name: one.name.clone(), is_reached, level }
    }

    /// A publisher was told that a publication is accepted.
    pub fn acknowledged(&mut self, number: usize) {
        self.settle(number, Fate::Accepted);
        let channel = self.issued(number).channel;
        if !self.channels.at(channel).is_durable() {
            return;
        }
        let place = self.durable.places.get(&number).cloned();
        let place = place.unwrap_or_else(|| Place { epoch: String::new(), offset: 0 });
        let Reached { name, is_reached, level } = self.level(channel, &place);
        if !is_reached {
            self.violated(|| {
                format!("{name}: {number} was acknowledged before it is in the {level}")
            });
        }
    }

    /// A node begins with `entries` and rows: everything that was ever synced is there, as it was.
    pub fn check_restart(&mut self, entries: &[LogEntry], rows: &Rows) {
        let mut found: BTreeMap<(usize, Place), usize> = BTreeMap::new();
        for entry in entries {
            found.extend(
                self.read(entry).map(|(channel, place, number)| ((channel, place), number)),
            );
        }
        let logged = std::mem::take(&mut self.durable.logged);
        for (key, number) in &logged {
            let (channel, place) = key;
            let name = self.channels.at(*channel).name.clone();
            let in_log = found.get(key).copied();
            let in_store = || {
                let row = rows.find(&name, &place.epoch, place.offset)?;
                number_in(&row.content.bytes)
            };
            let kept = in_log.or_else(in_store);
            if kept != Some(*number) {
                self.violated(|| format!("{name}: {place:?} held {number} and now holds {kept:?}"));
            }
            let is_stored = self.durable.stored.contains_key(key);
            if is_stored && rows.find(&name, &place.epoch, place.offset).is_none() {
                self.violated(|| format!("{name}: {place:?} was stored and is not"));
            }
        }
        self.durable.logged = logged;
        // What was written and not synced may be there too, and stays from now on.
        entries.iter().for_each(|entry| self.logged(entry));
    }

    /// At the end, the store has what the log has.
    pub fn check_store_follows(&mut self) {
        let (logged, stored) = (self.durable.logged.len(), self.durable.stored.len());
        if logged != stored {
            self.violated(|| format!("the log has {logged} publications, the store {stored}"));
        }
    }
}

struct Reached {
    name: String,
    is_reached: bool,
    level: &'static str,
}
