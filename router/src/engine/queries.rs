//! Questions to a partition that change nothing: who is there, what was published, what exists.

use std::sync::Arc;

use protocol::channels::ChannelOptions;
use protocol::client::ErrorCode;
use protocol::link::{Answer, GatewayId, HistoryRequest, Position, ReplyTo, Request};
use protocol::time::Now;

use super::durable::bounds;
use super::partition::Partition;
use super::pattern;
use super::reads::{Missing, missing};
use crate::limits;

/// Who asks about which channel, and how the answer finds the way back.
type Question = (GatewayId, Arc<str>, ReplyTo);

impl Partition {
    /// Answers what can be answered at once; the rest asks the store.
    pub(super) fn query(&mut self, question: Question, request: Request, now: Now) {
        let name = &question.1;
        let result = match request {
            Request::Presence => {
                let channel = self.find(name);
                let members =
                    channel.map_or(Some(Vec::new()), |channel| channel.presence.members());
                members.map(Answer::Presence).ok_or(ErrorCode::LimitExceeded)
            }
            Request::PresenceStats => {
                let presence = self.find(name).map(|channel| &channel.presence);
                let clients = presence.map_or(0, |presence| presence.clients_count());
                let users = presence.map_or(0, |presence| presence.users_count());
                Ok(Answer::PresenceStats { clients, users })
            }
            Request::History(request) => return self.history(question, *request, now),
            Request::Fetch { since } => return self.fetch(question, since),
            Request::HistoryRemove => {
                if let Some(channel) = self.find(name) {
                    let bytes = channel.window.bytes() as u64;
                    channel.window.clear();
                    self.counters.window_bytes = self.counters.window_bytes.saturating_sub(bytes);
                }
                Ok(Answer::Done)
            }
            Request::Rpc(call) => self.options.methods.call(&call, now).map(Answer::Rpc),
            Request::Channels { from } => Ok(self.list(name, from)),
            Request::Publish(_) | Request::Subscribe(_) | Request::Unsubscribe { .. } => {
                unreachable!("`serve` keeps these for itself")
            }
        };
        let (gateway, name, reply_to) = question;
        self.reply(gateway, name, reply_to, result);
    }

    /// Channels that match, of a part of the table.
    fn list(&self, pattern: &str, from: u32) -> Answer {
        let from = from as usize;
        let end = from.saturating_add(limits::CHANNELS_SCANNED_MAX);
        let listened = self.channels.between(from, end);
        let found = listened
            .filter(|channel| !channel.interest.is_empty())
            .filter(|channel| pattern::matches(pattern, &channel.name))
            .map(|channel| (channel.name.clone(), channel.interest.subscriptions_count()))
            .collect();
        let next = (end < self.channels.places_count()).then_some(end as u32);
        Answer::Channels { found, next }
    }

    pub(super) fn history(&mut self, question: Question, request: HistoryRequest, now: Now) {
        let (gateway, name, reply_to) = question;
        let limit_max = self.options.history_publications_max as usize;
        let namespaces = self.options.namespaces.clone();
        let options = namespaces.resolve(&name).ok_or(ErrorCode::UnknownChannel);
        let result = options.and_then(|options| self.window_for(&name, options, &request, now));
        if let Err(error) = result {
            return self.reply(gateway, name, reply_to, Err(error));
        }
        let limit = usize::try_from(request.limit).unwrap_or(limit_max).min(limit_max);
        if let Some(index) = self.durable_index(&name) {
            let size = options.map_or(0, |options| options.history_size);
            return self.history_durable(index, (gateway, reply_to), request, (limit, size));
        }
        let channel = self.find(&name).expect("it was just made");
        let publications = channel.window.page(&request, limit);
        let position = channel.position.clone();
        let answer = Answer::History { publications, position };
        self.reply(gateway, name, reply_to, Ok(answer));
    }

    /// Makes the channel ready to be read from.
    fn window_for(
        &mut self,
        name: &Arc<str>,
        options: &ChannelOptions,
        request: &HistoryRequest,
        now: Now,
    ) -> Result<(), ErrorCode> {
        if !options.has_history() {
            return Err(ErrorCode::NotAvailable);
        }
        let channel = self.find_or_make(name, true, now)?;
        let bounds = bounds(options, channel.durable.as_deref());
        let trimmed = channel.window.trim(options, bounds, now.unix_ms);
        let is_of_another_epoch = request
            .since
            .as_ref()
            .is_some_and(|since| !since.epoch.is_empty() && since.epoch != channel.position.epoch);
        self.counters.window_bytes = self.counters.window_bytes.saturating_sub(trimmed);
        if is_of_another_epoch { Err(ErrorCode::UnrecoverablePosition) } else { Ok(()) }
    }

    fn fetch(&mut self, question: Question, since: Position) {
        let (gateway, name, reply_to) = question;
        let publications_max = usize::MAX;
        let index = self.channels.find(&name);
        let found = index.map(|index| {
            let channel = self.channel_at(index);
            let same_epoch = since.epoch == channel.position.epoch;
            let position = channel.position.clone();
            let found = same_epoch.then(|| missing(channel, &since, publications_max));
            (index, found.unwrap_or(Missing::Gone), position)
        });
        let result = match found {
            Some((_, Missing::Complete(publications), position)) => {
                Ok(Answer::History { publications, position })
            }
            Some((index, Missing::Stored, _)) => {
                return self.fetch_stored(index, gateway, reply_to, since);
            }
            _ => Err(ErrorCode::UnrecoverablePosition),
        };
        self.reply(gateway, name, reply_to, result);
    }
}
