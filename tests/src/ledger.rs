//! What was published, what was promised, and whether what clients see agrees.
//!
//! Owns: every publication that anybody issued, the one content of every place in every channel,
//! who every client id is, and the first violation.
//! Never: looks into the server.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use protocol::time::Moment;

use crate::channels::Channels;
use crate::clock::SimClock;
use crate::durable::Durable;
use crate::faults::Faults;

/// A place in a channel, as a client remembers it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The epoch.
    pub epoch: String,
    /// The offset.
    pub offset: u64,
}

/// What became of a publication, as its publisher knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The publisher was not told.
    Unknown,
    /// It was accepted.
    Accepted,
    /// It was refused: nobody may ever see it.
    Refused,
}

/// One publication.
#[derive(Clone, Debug)]
pub struct Issued {
    /// Where.
    pub channel: usize,
    /// Which connection of which publisher.
    pub session: u64,
    /// When.
    pub at: Moment,
    /// What became of it.
    pub fate: Fate,
    payload: Vec<u8>,
    place: Option<Place>,
}

/// The ledger of one world.
#[derive(Debug)]
pub struct Ledger {
    /// Every channel.
    pub channels: Rc<Channels>,
    /// What happened, for the list of faults.
    pub faults: Faults,
    /// Users whose connections were closed on purpose.
    pub forced: BTreeSet<String>,
    /// Is everything expected to become quiet?
    pub is_calm: bool,
    calm_since: Moment,
    /// Does the node shut down?
    pub is_draining: bool,
    /// Is everything told as it happens?
    pub is_told: bool,
    pub(crate) durable: Durable,
    clock: SimClock,
    issued: Vec<Issued>,
    contents: BTreeMap<(usize, Place), usize>,
    sessions_count: u64,
    violation: Option<String>,
}

impl Ledger {
    /// An empty ledger.
    pub fn new(channels: Rc<Channels>, clock: SimClock) -> Self {
        Self {
            channels,
            faults: Faults::default(),
            forced: BTreeSet::new(),
            is_calm: false,
            calm_since: Moment::ZERO,
            is_draining: false,
            is_told: false,
            durable: Durable::default(),
            clock,
            issued: Vec::new(),
            contents: BTreeMap::new(),
            sessions_count: 0,
            violation: None,
        }
    }

    /// Faults stop.
    pub fn calm_down(&mut self) {
        self.is_calm = true;
        self.calm_since = self.clock.moment();
    }

    /// May clients still be behind?
    pub fn is_rough(&self) -> bool {
        !self.is_calm || self.clock.moment().since(self.calm_since) < CATCHING_UP
    }

    /// A rule was broken. The first one counts: others follow from it.
    pub fn violated(&mut self, what: impl FnOnce() -> String) {
        if self.violation.is_none() {
            let at_ms = self.clock.moment().as_millis();
            self.violation = Some(format!("at {at_ms} ms: {}", what()));
        }
    }

    /// Says what happens, if the plan asks for it.
    pub fn tell(&self, what: impl FnOnce() -> String) {
        if self.is_told {
            println!("{:>10} us  {}", self.clock.moment().as_nanos() / 1000, what());
        }
    }

    /// The first violation.
    pub fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }

    /// A publisher's connection begins.
    pub fn begin_session(&mut self) -> u64 {
        self.sessions_count += 1;
        self.sessions_count
    }

    /// Makes the next publication: its number and its payload, which names it.
    pub fn issue(&mut self, channel: usize, session: u64, bytes_count: usize) -> (usize, Vec<u8>) {
        let number = self.issued.len();
        let payload = format!("{{\"n\":{number},\"p\":\"{}\"}}", "x".repeat(bytes_count));
        let payload = payload.into_bytes();
        self.issued.push(Issued {
            channel,
            session,
            at: self.clock.moment(),
            fate: Fate::Unknown,
            payload: payload.clone(),
            place: None,
        });
        (number, payload)
    }

    /// A publication by its number.
    pub fn issued(&self, number: usize) -> &Issued {
        &self.issued[number]
    }

    /// The publisher was told what became of it.
    pub fn settle(&mut self, number: usize, fate: Fate) {
        self.issued[number].fate = fate;
    }

    /// A client was given a publication. Returns its number, if it is one.
    pub fn saw(
        &mut self,
        channel: usize,
        epoch: &str,
        offset: u64,
        payload: &[u8],
    ) -> Option<usize> {
        let name = self.channels.at(channel).name.clone();
        let number = number_in(payload).filter(|&number| {
            let issued = self.issued.get(number);
            issued.is_some_and(|one| one.channel == channel && one.payload == payload)
        });
        let Some(number) = number else {
            let text = String::from_utf8_lossy(&payload[..payload.len().min(80)]).into_owned();
            self.violated(|| format!("{name}: nobody published {text}"));
            return None;
        };
        if self.issued[number].fate == Fate::Refused {
            self.violated(|| format!("{name}: {number} was refused and delivered"));
        }
        if offset > 0 {
            let place = Place { epoch: epoch.to_owned(), offset };
            self.check_shown(channel, &place, number);
            self.place(channel, place, number);
        }
        Some(number)
    }

    /// A publication is at a place, for ever.
    pub(crate) fn place(&mut self, channel: usize, place: Place, number: usize) {
        let name = self.channels.at(channel).name.clone();
        let known = *self.contents.entry((channel, place.clone())).or_insert(number);
        if known != number {
            self.violated(|| format!("{name}: {place:?} holds {known} and {number}"));
        }
        let other = self.issued[number].place.get_or_insert_with(|| place.clone()).clone();
        if other != place {
            self.violated(|| format!("{name}: {number} is at {other:?} and at {place:?}"));
        }
    }

    /// Must everything from behind `since` up to `top` still be in the window? False if that is not
    /// known.
    pub fn must_recover(&self, channel: usize, since: &Place, top: &Place) -> bool {
        let options = &self.channels.at(channel).options;
        let missing = top.offset.saturating_sub(since.offset);
        if since.epoch != top.epoch || since.offset > top.offset {
            return false;
        }
        if missing > u64::from(options.history_size).min(RECOVERY_FITS) {
            return false;
        }
        (since.offset + 1..=top.offset).all(|offset| {
            let place = Place { epoch: top.epoch.clone(), offset };
            let number = self.contents.get(&(channel, place));
            number.is_some_and(|&number| self.is_young(number, options.history_ttl))
        })
    }

    fn is_young(&self, number: usize, ttl: Duration) -> bool {
        // It was ordered after it was issued, and a query is answered before the answer is read.
        self.issued[number].at + ttl > self.clock.moment()
    }

    /// In each channel, publications of one connection are in the order in which it issued them.
    pub fn check_order(&mut self) {
        let mut last: BTreeMap<(usize, &str, u64), usize> = BTreeMap::new();
        let mut broken = None;
        for ((channel, place), &number) in &self.contents {
            let key = (*channel, place.epoch.as_str(), self.issued[number].session);
            if let Some(before) = last.insert(key, number)
                && before > number
            {
                broken = Some((*channel, place.clone(), before, number));
            }
        }
        if let Some((channel, place, before, number)) = broken {
            let name = self.channels.at(channel).name.clone();
            self.violated(|| format!("{name}: {number} stands behind {before} at {place:?}"));
        }
    }
}

/// So many publications fit the budget of every client.
const RECOVERY_FITS: u64 = 50;
/// Time in which clients may feel what was before the calm.
const CATCHING_UP: Duration = Duration::from_secs(8);

/// The number of a publication, from its payload.
pub(crate) fn number_in(payload: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(payload).ok()?;
    let digits = text.strip_prefix("{\"n\":")?.split(',').next()?;
    digits.parse().ok()
}
