//! What a client is told, and what it must be.

use protocol::channels::SlowConsumer;
use protocol::client::client_side::{
    Received, ReceivedConnect, ReceivedError, ReceivedHistory, ReceivedPublication, ReceivedPush,
    ReceivedReply, ReceivedSubscribe,
};

use super::subscription::{State, Subscription};
use super::{Asked, Client, Stage};
use crate::ledger::Fate;

/// So much of what a client hears is told.
const TOLD_BYTES_MAX: usize = 300;
/// Codes of errors and of ended subscriptions.
const INTERNAL: u32 = 100;
const METHOD_NOT_FOUND: u32 = 104;
const EXPIRED: u32 = 110;
const TOO_MANY_REQUESTS: u32 = 111;
const UNSUBSCRIBED_BY_SERVER: u32 = 2000;
const INSUFFICIENT_STATE: u32 = 2500;

impl Client {
    fn violated(&self, what: impl FnOnce() -> String) {
        let index = self.options.index;
        self.ledger.borrow_mut().violated(|| format!("client {index}: {}", what()));
    }

    pub(super) fn hear(&mut self, received: Received) {
        self.tell(|| {
            let mut text = format!("hears {received:?}");
            text.truncate(TOLD_BYTES_MAX);
            text
        });
        match received {
            Received::Ping => self.pong(),
            Received::Reply { id, body } => self.answered(id, body),
            Received::Push { channel, body } => self.pushed(&channel, body),
        }
    }

    fn answered(&mut self, id: u32, body: ReceivedReply) {
        let Some(session) = &mut self.session else { return };
        let Some(asked) = session.pending.remove(&id) else {
            return self.violated(|| format!("an answer to {id}, which waits for none: {body:?}"));
        };
        match (asked, body) {
            (asked, ReceivedReply::Error(error)) => self.refused(id, &asked, &error),
            (Asked::Connect, ReceivedReply::Connect(connect)) => self.connected(connect),
            (Asked::Subscribe { channel, since }, ReceivedReply::Subscribe(answer)) => {
                self.granted(channel, since.as_ref(), &answer);
            }
            (Asked::Unsubscribe { channel }, ReceivedReply::Unsubscribe) => {
                session.subscriptions.remove(&channel);
            }
            (Asked::Publish { number }, ReceivedReply::Publish) => {
                self.ledger.borrow_mut().acknowledged(number);
            }
            (Asked::History { channel }, ReceivedReply::History(history)) => {
                self.check_history(channel, &history);
            }
            (Asked::Presence, ReceivedReply::Presence(_))
            | (Asked::Stats, ReceivedReply::PresenceStats(_))
            | (Asked::Ping, ReceivedReply::Ping) => {}
            (asked, body) => self.violated(|| format!("{asked:?} was answered {body:?}")),
        }
    }

    fn refused(&mut self, id: u32, asked: &Asked, error: &ReceivedError) {
        let is_expected = match asked {
            _ if error.code == INTERNAL => self.not_now(asked),
            Asked::Rpc => matches!(error.code, METHOD_NOT_FOUND | TOO_MANY_REQUESTS),
            Asked::Publish { .. } | Asked::Presence | Asked::Stats | Asked::History { .. } => {
                error.code == TOO_MANY_REQUESTS
            }
            // Its end was asked for before it began, by the client or the API.
            Asked::Subscribe { channel, .. } => self.ended_early(*channel) && error.code == EXPIRED,
            Asked::Connect | Asked::Unsubscribe { .. } | Asked::Ping => false,
        };
        if error.code == TOO_MANY_REQUESTS {
            let mut ledger = self.ledger.borrow_mut();
            ledger.faults.note("lane refused a command to a partition");
            if let Asked::Publish { number } = asked {
                ledger.settle(*number, Fate::Refused);
            }
        }
        if !is_expected {
            self.violated(|| format!("{id} {asked:?} was refused: {error:?}"));
        }
    }

    /// The log or the store does not answer. May that be? What became of a publication is unknown.
    fn not_now(&mut self, asked: &Asked) -> bool {
        let (channel, fault) = match asked {
            Asked::Publish { number } => {
                let channel = self.ledger.borrow().issued(*number).channel;
                (channel, "durable publication not confirmed")
            }
            Asked::Subscribe { channel, .. } => {
                let session = self.session.as_mut();
                let subscriptions = session.map(|session| &mut session.subscriptions);
                if let Some(subscriptions) = subscriptions
                    && subscriptions.get(channel).is_some_and(|one| one.state != State::Leaving)
                {
                    subscriptions.remove(channel);
                }
                (*channel, "durable channel not available")
            }
            Asked::History { channel } => (*channel, "durable channel not available"),
            _ => return false,
        };
        let mut ledger = self.ledger.borrow_mut();
        ledger.faults.note(fault);
        ledger.is_rough() && ledger.channels.at(channel).is_durable()
    }

    /// A subscription was refused. Had somebody asked for its end?
    fn ended_early(&mut self, channel: usize) -> bool {
        let user = self.user();
        let Some(session) = &mut self.session else { return false };
        let found = session.subscriptions.get(&channel);
        if found.is_none_or(|found| found.state == State::Leaving) {
            return true;
        }
        session.subscriptions.remove(&channel);
        self.wanted.remove(&channel);
        self.ledger.borrow().forced.contains(&user)
    }

    fn connected(&mut self, connect: ReceivedConnect) {
        let personal = self.personal();
        let name = self.ledger.borrow().channels.at(personal).name.clone();
        let Some(session) = &mut self.session else { return };
        if session.stage == Stage::Connecting {
            session.stage = Stage::Connected;
        }
        session.client_id = connect.client;
        let Some(answer) = connect.subs.get(&name) else {
            return self.violated(|| format!("no subscription to {name}"));
        };
        let mut subscription = Subscription::asked(self.clock.moment());
        subscription.is_server_side = true;
        session.subscriptions.insert(personal, subscription);
        let since = self.places.get(&personal).cloned();
        self.granted(personal, since.as_ref(), answer);
    }

    fn granted(
        &mut self,
        channel: usize,
        since: Option<&crate::ledger::Place>,
        answer: &ReceivedSubscribe,
    ) {
        let now = self.clock.moment();
        let Some(session) = &mut self.session else { return };
        // Its end may have been asked for, and answered, before.
        let Some(subscription) = session.subscriptions.get_mut(&channel) else { return };
        subscription.granted(channel, since, answer, now, &mut self.ledger.borrow_mut());
        if let Some(place) = &subscription.place {
            self.places.insert(channel, place.clone());
        }
    }

    fn pushed(&mut self, name: &str, body: ReceivedPush) {
        let found = self.ledger.borrow().channels.find(name);
        let Some(channel) = found else {
            return self.violated(|| format!("a push to {name:?}: {body:?}"));
        };
        let Some(session) = &mut self.session else { return };
        let Some(subscription) = session.subscriptions.get_mut(&channel) else {
            return self.violated(|| format!("{name}: {body:?} without a subscription"));
        };
        match body {
            ReceivedPush::Publication(publication) => self.publication(channel, &publication),
            ReceivedPush::Join(info) => {
                subscription.presence(channel, &info.client, true, &mut self.ledger.borrow_mut());
            }
            ReceivedPush::Leave(info) => {
                subscription.presence(channel, &info.client, false, &mut self.ledger.borrow_mut());
            }
            ReceivedPush::Unsubscribe(reason) => self.unsubscribed(channel, reason.code),
            other => self.violated(|| format!("{name}: {other:?}")),
        }
    }

    fn publication(&mut self, channel: usize, publication: &ReceivedPublication) {
        let Some(session) = &mut self.session else { return };
        let Some(subscription) = session.subscriptions.get_mut(&channel) else { return };
        subscription.publication(channel, publication, &mut self.ledger.borrow_mut());
        if let Some(place) = &subscription.place {
            self.places.insert(channel, place.clone());
        }
    }

    fn unsubscribed(&mut self, channel: usize, code: u32) {
        let user = self.user();
        let Some(session) = &mut self.session else { return };
        let ended = session.subscriptions.remove(&channel);
        // An end that was asked for meanwhile is answered all the same.
        if let Some(mut ended) = ended
            && ended.state == State::Leaving
        {
            ended.is_granted = false;
            session.subscriptions.insert(channel, ended);
        }
        let mut ledger = self.ledger.borrow_mut();
        let is_expected = match code {
            UNSUBSCRIBED_BY_SERVER => {
                self.wanted.remove(&channel);
                ledger.faults.note("unsubscribed by the API");
                ledger.forced.contains(&user)
            }
            INSUFFICIENT_STATE => {
                ledger.faults.note("subscription ended for lost state");
                if ledger.channels.at(channel).options.slow_consumer == SlowConsumer::Drop {
                    ledger.faults.note("slow reader told of its gap");
                }
                ledger.channels.at(channel).has_history()
            }
            _ => false,
        };
        if !is_expected {
            let name = ledger.channels.at(channel).name.clone();
            ledger.violated(|| format!("{name}: unsubscribed with {code}"));
        }
    }

    /// A page of history is contiguous and says what everybody else says.
    fn check_history(&mut self, channel: usize, history: &ReceivedHistory) {
        let mut ledger = self.ledger.borrow_mut();
        let name = ledger.channels.at(channel).name.clone();
        for pair in history.publications.windows(2) {
            if pair[1].offset != pair[0].offset + 1 {
                ledger.violated(|| format!("{name}: a hole in history"));
            }
        }
        if history.publications.last().is_some_and(|last| last.offset > history.offset) {
            ledger.violated(|| format!("{name}: history beyond its position"));
        }
        for publication in &history.publications {
            ledger.saw(channel, &history.epoch, publication.offset, &publication.data);
        }
    }
}
