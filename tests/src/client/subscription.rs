//! One subscription of one connection, and everything that must hold while it lasts.

use std::collections::BTreeMap;

use protocol::client::client_side::{ReceivedPublication, ReceivedSubscribe};
use protocol::time::Moment;

use crate::ledger::{Ledger, Place};

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Asked for.
    Asked,
    /// Granted.
    Live,
    /// Its end was asked for.
    Leaving,
}

/// A client's ledger of one subscription.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// How far it is.
    pub state: State,
    /// The server answered: publications may come.
    pub is_granted: bool,
    /// When the client asked.
    pub asked_at: Moment,
    /// When the client read the answer.
    pub granted_at: Moment,
    /// The last place, in channels with offsets.
    pub place: Option<Place>,
    /// The server made it.
    pub is_server_side: bool,
    /// The last publication of each connection of each publisher, in channels without offsets.
    last: BTreeMap<u64, usize>,
    /// How many publications came.
    pub publications_count: u64,
    /// Who came (true) and who left (false), of those that it was told about.
    pub members: BTreeMap<String, bool>,
}

impl Subscription {
    /// A subscription that is asked for.
    pub fn asked(now: Moment) -> Self {
        Self {
            state: State::Asked,
            is_granted: false,
            asked_at: now,
            granted_at: Moment::ZERO,
            place: None,
            is_server_side: false,
            last: BTreeMap::new(),
            publications_count: 0,
            members: BTreeMap::new(),
        }
    }

    /// The server granted it. Checks what it says of the gap behind `since`.
    pub fn granted(
        &mut self,
        channel: usize,
        since: Option<&Place>,
        answer: &ReceivedSubscribe,
        now: Moment,
        ledger: &mut Ledger,
    ) {
        let name = ledger.channels.at(channel).name.clone();
        if self.is_granted {
            ledger.violated(|| format!("{name}: granted twice"));
        }
        self.is_granted = true;
        self.granted_at = now;
        if self.state == State::Asked {
            self.state = State::Live;
        }
        if !ledger.channels.at(channel).has_history() {
            if answer.recoverable || answer.offset > 0 || !answer.publications.is_empty() {
                ledger.violated(|| format!("{name}: offsets in a channel without them"));
            }
            return;
        }
        let top = Place { epoch: answer.epoch.clone(), offset: answer.offset };
        if !answer.recoverable || answer.epoch.is_empty() {
            ledger.violated(|| format!("{name}: a channel with history that cannot be recovered"));
        }
        if answer.was_recovering != since.is_some() {
            ledger.violated(|| format!("{name}: was_recovering is wrong"));
        }
        match since {
            Some(since) if answer.recovered => {
                ledger.faults.note("recovered");
                self.place = Some(since.clone());
                for publication in &answer.publications {
                    self.publication(channel, publication, ledger);
                }
                if self.place.as_ref() != Some(&top) {
                    let reached = self.place.clone();
                    ledger.violated(|| {
                        format!("{name}: recovered from {since:?} to {reached:?}, not to {top:?}")
                    });
                }
            }
            since => {
                if answer.recovered || !answer.publications.is_empty() {
                    ledger.violated(|| format!("{name}: publications without a recovery"));
                }
                if let Some(since) = since {
                    ledger.faults.note("recovery impossible");
                    if ledger.must_recover(channel, since, &top) {
                        ledger.violated(|| {
                            format!(
                                "{name}: not recovered from {since:?} to {top:?}, and all is there"
                            )
                        });
                    }
                }
            }
        }
        self.place = Some(top);
    }

    /// A publication came.
    pub fn publication(
        &mut self,
        channel: usize,
        publication: &ReceivedPublication,
        ledger: &mut Ledger,
    ) {
        let name = ledger.channels.at(channel).name.clone();
        self.publications_count += 1;
        if !self.is_granted {
            ledger.violated(|| format!("{name}: a publication before the answer"));
        }
        let offset = publication.offset;
        let epoch = self.place.as_ref().map(|place| place.epoch.clone()).unwrap_or_default();
        let Some(number) = ledger.saw(channel, &epoch, offset, &publication.data) else { return };
        match &mut self.place {
            Some(place) => {
                if offset != place.offset + 1 {
                    let last = place.offset;
                    ledger.violated(|| format!("{name}: {offset} follows {last}"));
                }
                place.offset = offset;
            }
            None => {
                let session = ledger.issued(number).session;
                let last = self.last.insert(session, number);
                if last.is_some_and(|last| last >= number) {
                    ledger.violated(|| format!("{name}: {number} follows {last:?}"));
                }
            }
        }
    }

    /// Somebody came or left.
    pub fn presence(&mut self, channel: usize, client: &str, has_come: bool, ledger: &mut Ledger) {
        let before = self.members.insert(client.to_owned(), has_come);
        // Who was there before the subscription may leave without having come.
        let is_allowed = before.is_none() || before == Some(!has_come);
        if !is_allowed || !self.is_granted {
            let name = ledger.channels.at(channel).name.clone();
            let what = if has_come { "join" } else { "leave" };
            ledger.violated(|| format!("{name}: a second {what} of {client}"));
        }
    }
}
