//! One partition over a log and a store that are lists, moved by hand.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use protocol::channels::{ChannelOptions, Durability, Namespaces};
use protocol::client::ErrorCode;
use protocol::ids::{ConnectionId, PartitionId, ShardId, Slot};
use protocol::link::{
    Answer, Content, FromRouter, GatewayId, HistoryRequest, LogChange, LogEntry, LogProgress,
    Position, Publication, PublishRequest, ReplyTo, Request, StoreAnswer, StoreQuestion,
    SubscribeRequest, Subscribed, ToRouter, Visibility,
};
use protocol::time::{Moment, Now};
use router::engine::{Action, Partition, PartitionOptions, StoreUnavailable};

pub const HERE: GatewayId = GatewayId(0);

pub type Answered = Result<Answer, ErrorCode>;

pub struct Bench {
    pub partition: Partition,
    pub now: Now,
    /// Every entry that is in the log, synced or not.
    pub log: Vec<LogEntry>,
    pub progress: LogProgress,
    /// Room in the log.
    pub has_room: bool,
    /// Questions that the store has not answered.
    pub questions: VecDeque<(u64, Arc<str>, StoreQuestion)>,
    /// Answers to calls, by their numbers.
    pub answers: BTreeMap<u64, Answered>,
    pub told: Vec<FromRouter>,
    next_call: u64,
    without: ChannelOptions,
}

pub fn options(durability: Durability) -> ChannelOptions {
    ChannelOptions {
        history_size: 1000,
        history_ttl: Duration::from_secs(3600),
        history_meta_ttl: Duration::from_secs(36_000),
        durability,
        ..ChannelOptions::default()
    }
}

pub fn connection(slot: u32) -> ConnectionId {
    ConnectionId::new(ShardId(0), 0, Slot(slot), 1)
}

pub fn text(publication: &Publication) -> String {
    String::from_utf8(publication.content.bytes.to_vec()).expect("UTF-8")
}

impl Bench {
    pub fn new(without: ChannelOptions) -> Self {
        let now = Now { moment: Moment::from_millis(1), unix_ms: 1_000_000 };
        let progress = LogProgress::default();
        Self {
            partition: Self::partition(&without, progress, 7),
            now,
            log: Vec::new(),
            progress,
            has_room: true,
            questions: VecDeque::new(),
            answers: BTreeMap::new(),
            told: Vec::new(),
            next_call: 0,
            without,
        }
    }

    fn partition(without: &ChannelOptions, progress: LogProgress, seed: u64) -> Partition {
        let namespaces = Namespaces { without: without.clone(), ..Namespaces::default() };
        let mut options = PartitionOptions::new(PartitionId(0), Arc::new(namespaces), seed);
        options.log = Some(progress);
        options.recovery_publications_max = 10_000;
        options.history_publications_max = 10_000;
        Partition::new(options)
    }

    pub fn set_options(&mut self, without: ChannelOptions) {
        let namespaces = Namespaces { without: without.clone(), ..Namespaces::default() };
        self.without = without;
        self.partition.set_namespaces(Arc::new(namespaces));
    }

    /// The process ends and another one begins; what was not synced is gone.
    pub fn restart(&mut self) {
        self.log.truncate(self.progress.synced as usize);
        self.partition = Self::partition(&self.without, self.progress, 8 + self.now.unix_ms);
        self.questions.clear();
        self.answers.clear();
        self.told.clear();
        for entry in self.log[self.progress.stored as usize..].iter().cloned() {
            self.partition.replay(entry, self.now);
        }
        self.partition.log_progress(self.progress, self.now);
        self.drain();
    }

    pub fn drain(&mut self) {
        while let Some(action) = self.partition.poll_action() {
            match action {
                Action::Tell { message, .. } => self.told.push(message),
                Action::AnswerApi { call, result } => {
                    let earlier = self.answers.insert(call, result);
                    assert!(earlier.is_none(), "one answer to a call");
                }
                Action::Append { entry, .. } if self.has_room => {
                    assert_eq!(entry.sequence, self.log.len() as u64 + 1, "no hole in the log");
                    self.log.push(*entry);
                }
                Action::Append { entry, .. } => self.partition.append_refused(entry.sequence),
                Action::AskStore { read, channel, question } => {
                    self.questions.push_back((read, channel, question));
                }
            }
        }
    }

    /// Asks as the API does, and returns the number of the call.
    pub fn ask(&mut self, request: Request) -> u64 {
        self.next_call += 1;
        let reply_to = ReplyTo::Api(self.next_call);
        let message = ToRouter { channel: "room".into(), reply_to, request };
        self.partition.handle(HERE, message, self.now);
        self.drain();
        self.next_call
    }

    pub fn publish(&mut self, payload: &str, key: Option<&str>) -> u64 {
        self.ask(Request::Publish(Box::new(PublishRequest {
            content: Content::classify(payload.as_bytes()),
            publisher: None,
            tags: None,
            skip_history: false,
            idempotency_key: key.map(Into::into),
        })))
    }

    pub fn subscribe(&mut self, slot: u32, recover: Option<Position>) -> u64 {
        self.ask(Request::Subscribe(Box::new(SubscribeRequest {
            connection: connection(slot),
            member: None,
            visibility: Visibility::default(),
            recover,
            bytes_max: 1 << 20,
        })))
    }

    pub fn subscribed(&mut self, call: u64) -> Subscribed {
        match self.answers.remove(&call) {
            Some(Ok(Answer::Subscribed(subscribed))) => *subscribed,
            other => panic!("{other:?}"),
        }
    }

    pub fn history(&mut self, request: HistoryRequest) -> Vec<Arc<Publication>> {
        let call = self.ask(Request::History(Box::new(request)));
        self.answer_store();
        match self.answers.remove(&call) {
            Some(Ok(Answer::History { publications, .. })) => publications,
            other => panic!("{other:?}"),
        }
    }

    pub fn position(&mut self, call: u64) -> Position {
        match self.answers.remove(&call) {
            Some(Ok(Answer::Published(position))) => position,
            other => panic!("{other:?}"),
        }
    }

    pub fn error(&mut self, call: u64) -> ErrorCode {
        match self.answers.remove(&call) {
            Some(Err(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    pub fn sync(&mut self) {
        self.progress.synced = self.log.len() as u64;
        self.tell_progress();
    }

    pub fn store(&mut self) {
        self.progress.stored = self.progress.synced;
        self.tell_progress();
    }

    pub fn tell_progress(&mut self) {
        self.partition.log_progress(self.progress, self.now);
        self.drain();
    }

    /// The log fails: what was not synced is gone.
    pub fn fail(&mut self, is_available: bool) {
        self.log.truncate(self.progress.synced as usize);
        self.partition.log_failed(is_available);
        self.drain();
    }

    /// Publications that were delivered, as text.
    pub fn delivered(&mut self) -> Vec<String> {
        let told = std::mem::take(&mut self.told);
        let publications = told.iter().filter_map(|message| match message {
            FromRouter::Publication { publication, .. } => Some(text(publication)),
            _ => None,
        });
        publications.collect()
    }

    /// What the store has of a channel: its position and publications.
    pub fn stored(&self, channel: &str) -> (Option<Position>, Vec<Arc<Publication>>) {
        let (mut position, mut rows) = (None::<Position>, Vec::new());
        for entry in &self.log[..self.progress.stored as usize] {
            if *entry.channel != *channel {
                continue;
            }
            if position.as_ref().is_some_and(|known| known.epoch != entry.epoch) {
                rows.clear();
                position = None;
            }
            match &entry.change {
                LogChange::Published { publication, .. } => {
                    let offset = publication.offset;
                    position = Some(Position { offset, epoch: entry.epoch.clone() });
                    rows.push(publication.clone());
                }
                LogChange::HistoryRemoved { offset, .. } => {
                    rows.retain(|row| row.offset > *offset);
                    position
                        .get_or_insert(Position { offset: *offset, epoch: entry.epoch.clone() });
                }
            }
        }
        (position, rows)
    }

    fn answer_of(&self, channel: &str, question: &StoreQuestion) -> StoreAnswer {
        let (position, mut rows) = self.stored(channel);
        match question {
            StoreQuestion::Newest { publications_max, .. } => {
                let skip = rows.len().saturating_sub(*publications_max as usize);
                StoreAnswer::Newest { position, publications: rows.split_off(skip) }
            }
            StoreQuestion::Page { epoch, above, below, publications_max, reverse, .. } => {
                rows.retain(|row| row.offset > *above && row.offset < *below);
                if position.is_none_or(|position| position.epoch != *epoch) {
                    rows.clear();
                }
                if *reverse {
                    rows.reverse();
                }
                rows.truncate(*publications_max as usize);
                StoreAnswer::Page(rows)
            }
            StoreQuestion::Key { key } => StoreAnswer::Key(self.stored_key(channel, key)),
        }
    }

    fn stored_key(&self, channel: &str, key: &str) -> Option<Position> {
        let entries = self.log[..self.progress.stored as usize].iter();
        let mut of_channel = entries.filter(|entry| *entry.channel == *channel);
        of_channel.find_map(|entry| match &entry.change {
            LogChange::Published { publication, idempotency_key: Some(found) }
                if **found == *key =>
            {
                let offset = publication.offset;
                Some(Position { offset, epoch: entry.epoch.clone() })
            }
            _ => None,
        })
    }

    /// The store answers everything it was asked.
    pub fn answer_store(&mut self) {
        while let Some((read, channel, question)) = self.questions.pop_front() {
            let answer = self.answer_of(&channel, &question);
            self.partition.store_answered(read, Ok(answer), self.now);
            self.drain();
        }
    }

    /// The store fails to answer.
    pub fn fail_store(&mut self) {
        while let Some((read, ..)) = self.questions.pop_front() {
            self.partition.store_answered(read, Err(StoreUnavailable), self.now);
            self.drain();
        }
    }

    pub fn pass(&mut self, time: Duration) {
        self.now.moment = self.now.moment + time;
        self.now.unix_ms += time.as_millis() as u64;
        self.partition.tick(self.now);
        self.drain();
    }
}
