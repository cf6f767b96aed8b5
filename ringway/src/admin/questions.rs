//! Questions about connections and channels: from JSON to what shards are asked, and back.

use std::sync::Arc;

use gateway::engine::{
    ConnectionFilter, ConnectionRow, Listing, ListingOrder, Phase, Purpose, Rank,
};
use protocol::channels::check_name;
use protocol::client::Format;
use protocol::ids::{ConnectionId, SLOT_BITS, ShardId, Slot};
use protocol::limits::{CONTROL_PAYLOAD_BYTES_MAX, USER_BYTES_MAX};
use protocol::link::ClientId;
use protocol::proxies::{PrefixFault, Prefixes};
use router::engine::TrafficOrder;
use tokio::sync::OwnedSemaphorePermit;

use super::model::{
    Channel, Channels, ChannelsQuestion, CloseQuestion, Closed, Connection, ConnectionQuestion,
    Connections, ConnectionsQuestion, Filter, SlowestQuestion,
};
use super::{Admin, Refusal, asking};
use crate::limits::{ADMIN_CLOSES_DEFAULT, ADMIN_CLOSES_MAX, ADMIN_ROWS_DEFAULT, ADMIN_ROWS_MAX};
use crate::node::ShardHandle;

/// Code of a close, unless the question names another one (force disconnect).
const CLOSE_CODE: u16 = 3503;
/// Text of a close, unless the question gives another one.
const CLOSE_REASON: &str = "force disconnect";
/// A close frame carries the code in two bytes (RFC 6455, 5.5.1).
const CLOSE_REASON_BYTES_MAX: usize = CONTROL_PAYLOAD_BYTES_MAX - 2;

impl Admin {
    pub(super) async fn connections(
        &self,
        question: ConnectionsQuestion,
    ) -> Result<Connections, Refusal> {
        let filter = filter(&question.filter)?;
        let order = order(question.order.as_deref())?;
        let limit = rows(question.limit)?;
        let after = question.after.as_deref().map(rank).transpose()?;
        self.list(filter, Page { order, limit, after, shows_channels: false }).await
    }

    pub(super) async fn connection(
        &self,
        question: &ConnectionQuestion,
    ) -> Result<Connections, Refusal> {
        let mut filter = ConnectionFilter::default();
        match (&question.id, &question.client) {
            (Some(id), None) => filter.connection = Some(connection_id(id)?),
            (None, Some(client)) => filter.client = Some(client_id(client)?),
            _ => return Err(Refusal::bad("give either `id` or `client`")),
        }
        let page = Page { order: ListingOrder::Id, limit: 1, after: None, shows_channels: true };
        self.list(filter, page).await
    }

    pub(super) async fn slowest(&self, question: SlowestQuestion) -> Result<Connections, Refusal> {
        let limit = rows(question.limit)?;
        let mut filter = ConnectionFilter { outbox_bytes_min: 1, ..ConnectionFilter::default() };
        let order = match question.by.as_deref() {
            None | Some("outbox") => ListingOrder::Outbox,
            Some("stalled") => {
                filter.stalled_min = core::time::Duration::from_millis(1);
                ListingOrder::Stalled
            }
            Some(other) => {
                let sentence = format!("`by` is \"outbox\" or \"stalled\", not {other:?}");
                return Err(Refusal::bad(sentence));
            }
        };
        self.list(filter, Page { order, limit, after: None, shows_channels: false }).await
    }

    async fn list(&self, filter: ConnectionFilter, page: Page) -> Result<Connections, Refusal> {
        let Page { order, limit, after, shows_channels } = page;
        let purpose = Purpose::List { order, limit, after, shows_channels };
        let told = asking::list(self.backend.shards(), &Listing { filter, purpose }).await?;
        let mut answer = Connections { silent_shards: told.silent, ..Connections::default() };
        let (mut all, mut has_more) = (Vec::new(), false);
        for (_, listed) in told.answers {
            answer.matched += listed.matched;
            has_more |= listed.has_more;
            all.extend(listed.rows);
        }
        all.sort_by_key(|(rank, _)| *rank);
        has_more |= all.len() > limit;
        all.truncate(limit);
        // Whoever goes on behind this page would never see what a silent shard has before it.
        has_more &= answer.silent_shards.is_empty();
        let last = all.last().map(|(rank, _)| format!("{:x}.{:x}", rank.key, rank.id));
        answer.next = last.filter(|_| has_more);
        answer.connections =
            all.into_iter().map(|(_, row)| connection(row, shows_channels)).collect();
        Ok(answer)
    }

    /// Closes who is meant, also if the caller goes away meanwhile; `served` is held until then.
    pub(super) async fn close(
        &self,
        question: CloseQuestion,
        served: OwnedSemaphorePermit,
    ) -> Result<Closed, Refusal> {
        let closing = closing(&question)?;
        let filter = serde_json::to_string(&question.filter).unwrap_or_default();
        let (code, limit, dry_run) = (closing.code, closing.limit, closing.dry_run);
        let backend = self.backend.clone();
        let done = tokio::spawn(async move {
            let _served = served;
            if !dry_run {
                tracing::info!(code, limit, filter, "the admin API was asked to close");
            }
            let answer = closing.close(backend.shards()).await;
            if !dry_run {
                let Closed { matched, closed, silent_shards, .. } = &answer;
                tracing::info!(
                    closed,
                    matched,
                    code,
                    filter,
                    ?silent_shards,
                    "closed by the admin API"
                );
            }
            answer
        });
        done.await.map_err(|_| Refusal::broken("the close failed; see the log of the server"))
    }

    pub(super) async fn channels(&self, question: &ChannelsQuestion) -> Result<Channels, Refusal> {
        let order = match question.by.as_deref() {
            None | Some("publications") => TrafficOrder::Publications,
            Some("bytes") => TrafficOrder::Bytes,
            Some(other) => {
                let sentence = format!("`by` is \"publications\" or \"bytes\", not {other:?}");
                return Err(Refusal::bad(sentence));
            }
        };
        let most = router::limits::BUSIEST_MAX as u64;
        let limit = limit(question.limit, ADMIN_ROWS_DEFAULT, most)?;
        let told = asking::busiest(self.backend.shards(), order, limit).await?;
        let mut rows: Vec<_> = told.answers.into_iter().flat_map(|(_, rows)| rows).collect();
        rows.sort_by(|one, other| {
            let key = |row: &router::engine::ChannelTraffic| match order {
                TrafficOrder::Publications => row.publications_per_second,
                TrafficOrder::Bytes => row.bytes_per_second,
            };
            key(other).total_cmp(&key(one)).then_with(|| one.channel.cmp(&other.channel))
        });
        rows.truncate(limit);
        let names: Vec<Arc<str>> = rows.iter().map(|row| row.channel.clone()).collect();
        let (subscribers, silent) = asking::subscribers(self.backend.shards(), &names).await;
        let mut silent_shards = told.silent;
        silent_shards.extend(silent);
        silent_shards.sort_unstable();
        silent_shards.dedup();
        let channels = rows.iter().zip(subscribers).map(|(row, subscribers)| Channel {
            channel: row.channel.to_string(),
            publications_per_second: rounded(row.publications_per_second),
            bytes_per_second: rounded(row.bytes_per_second),
            subscribers,
        });
        Ok(Channels { channels: channels.collect(), silent_shards })
    }
}

/// A close that was found to be right.
struct Closing {
    filter: ConnectionFilter,
    code: u16,
    reason: Arc<str>,
    limit: usize,
    dry_run: bool,
}

impl Closing {
    /// Closes on one shard behind the other, so that all of them together close no more than the
    /// limit. Shards that are too busy to be asked are named like those that do not answer.
    async fn close(self, shards: &[ShardHandle]) -> Closed {
        let mut answer = Closed { dry_run: self.dry_run, ..Closed::default() };
        let mut left = if self.dry_run { 0 } else { self.limit };
        for (number, shard) in shards.iter().enumerate() {
            let reason = self.reason.clone();
            let purpose = Purpose::Close { code: self.code, reason, limit: left };
            let listing = Listing { filter: self.filter.clone(), purpose };
            let told = asking::list(std::slice::from_ref(shard), &listing).await;
            let Ok(told) = told else {
                // It refused, and closes nobody.
                answer.silent_shards.push(number as u64);
                continue;
            };
            let Some((_, listed)) = told.answers.first() else {
                answer.silent_shards.push(number as u64);
                // It may close as many when it comes to it.
                left = 0;
                continue;
            };
            answer.matched += listed.matched;
            answer.closed += listed.closed;
            left = left.saturating_sub(usize::try_from(listed.closed).unwrap_or(usize::MAX));
        }
        answer
    }
}

fn closing(question: &CloseQuestion) -> Result<Closing, Refusal> {
    let is_everybody = question.filter == Filter::default();
    if is_everybody != question.all {
        return Err(Refusal::bad(
            "give a filter of those that are to be closed, or `all` to close every connection, and \
             not both",
        ));
    }
    let least = &question.filter;
    for (name, least) in [
        ("min_outbox_bytes", least.min_outbox_bytes),
        ("min_memory_bytes", least.min_memory_bytes),
        ("min_stalled_ms", least.min_stalled_ms),
    ] {
        if least == Some(0) {
            return Err(Refusal::bad(format!(
                "`filter.{name}` of 0 restricts nothing; give 1 at least, or leave it out"
            )));
        }
    }
    let filter = filter(&question.filter)?;
    let code = question.code.unwrap_or(CLOSE_CODE);
    if !(3000..5000).contains(&code) {
        return Err(Refusal::bad("`code` is from 3000 to 4999"));
    }
    let reason = question.reason.as_deref().unwrap_or(CLOSE_REASON);
    if reason.len() > CLOSE_REASON_BYTES_MAX {
        let sentence = format!("`reason` has at most {CLOSE_REASON_BYTES_MAX} bytes");
        return Err(Refusal::bad(sentence));
    }
    let limit = limit(question.limit, ADMIN_CLOSES_DEFAULT, ADMIN_CLOSES_MAX)?;
    Ok(Closing { filter, code, reason: Arc::from(reason), limit, dry_run: question.dry_run })
}

/// Which part of a listing is asked for.
struct Page {
    order: ListingOrder,
    limit: usize,
    after: Option<Rank>,
    shows_channels: bool,
}

fn rounded(rate: f32) -> f64 {
    (f64::from(rate) * 100.0).round() / 100.0
}

fn limit(asked: Option<u64>, default: u64, most: u64) -> Result<usize, Refusal> {
    match asked.unwrap_or(default) {
        limit if (1..=most).contains(&limit) => Ok(limit as usize),
        _ => Err(Refusal::bad(format!("`limit` is from 1 to {most}"))),
    }
}

fn rows(asked: Option<u64>) -> Result<usize, Refusal> {
    limit(asked, ADMIN_ROWS_DEFAULT, ADMIN_ROWS_MAX)
}

fn order(name: Option<&str>) -> Result<ListingOrder, Refusal> {
    Ok(match name {
        None | Some("id") => ListingOrder::Id,
        Some("outbox") => ListingOrder::Outbox,
        Some("memory") => ListingOrder::Memory,
        Some("stalled") => ListingOrder::Stalled,
        Some("oldest") => ListingOrder::Oldest,
        Some("newest") => ListingOrder::Newest,
        Some(_) => {
            let sentence = "`order` is id, outbox, memory, stalled, oldest or newest";
            return Err(Refusal::bad(sentence));
        }
    })
}

fn filter(asked: &Filter) -> Result<ConnectionFilter, Refusal> {
    let mut filter = ConnectionFilter {
        outbox_bytes_min: asked.min_outbox_bytes.unwrap_or(0),
        memory_bytes_min: asked.min_memory_bytes.unwrap_or(0),
        stalled_min: core::time::Duration::from_millis(asked.min_stalled_ms.unwrap_or(0).into()),
        client: asked.client.as_deref().map(client_id).transpose()?,
        ..ConnectionFilter::default()
    };
    if let Some(user) = &asked.user {
        if user.len() > USER_BYTES_MAX {
            let sentence = format!("`filter.user` has at most {USER_BYTES_MAX} bytes");
            return Err(Refusal::bad(sentence));
        }
        filter.user = Some(user.as_str().into());
    }
    if let Some(address) = &asked.address {
        let prefix = Prefixes::parse(address).map_err(|fault| {
            let why = match fault {
                PrefixFault::Everything => "is every address; leave it out".to_owned(),
                other => other.to_string(),
            };
            Refusal::bad(format!("`filter.address` {why}"))
        })?;
        filter.addresses = Prefixes::new([prefix]);
    }
    if let Some(channel) = &asked.channel {
        if check_name(channel).is_err() {
            return Err(Refusal::bad("`filter.channel` is no name of a channel"));
        }
        filter.channel = Some(channel.as_str().into());
    }
    if let Some(state) = &asked.state {
        let phase = Phase::ALL.into_iter().find(|phase| phase.label() == state);
        let Some(phase) = phase else {
            let states = Phase::ALL.map(Phase::label).join(", ");
            return Err(Refusal::bad(format!("`filter.state` is one of {states}")));
        };
        filter.phases.push(phase);
    }
    Ok(filter)
}

fn client_id(text: &str) -> Result<ClientId, Refusal> {
    ClientId::parse(text).ok_or_else(|| {
        Refusal::bad("a client id is a UUID, such as 0a1b2c3d-0000-4000-8000-000000000000")
    })
}

/// A connection as listings have it: shard, ring, slot and generation.
fn connection_id(text: &str) -> Result<ConnectionId, Refusal> {
    let mut numbers = text.split('.').map(|part| part.parse::<u32>().ok());
    let mut next = |below: u32| numbers.next().flatten().filter(|number| *number < below);
    let parts = (|| Some((next(255)?, next(256)?, next(1 << SLOT_BITS)?, next(1 << SLOT_BITS)?)))();
    match (parts, numbers.next()) {
        (Some((shard, ring, slot, generation)), None) => {
            Ok(ConnectionId::new(ShardId(shard as u8), ring as u8, Slot(slot), generation))
        }
        _ => Err(Refusal::bad("`id` has four numbers, as in 0.0.12.3")),
    }
}

fn rank(text: &str) -> Result<Rank, Refusal> {
    let parts = text.split_once('.').and_then(|(key, id)| {
        let number = |hex: &str| u64::from_str_radix(hex, 16).ok();
        Some(Rank { key: number(key)?, id: number(id)? })
    });
    parts.ok_or_else(|| Refusal::bad("`after` is the `next` of the page before"))
}

fn connection(row: ConnectionRow, shows_channels: bool) -> Connection {
    let channels = || row.channels.iter().map(ToString::to_string).collect();
    Connection {
        id: row.id.to_string(),
        state: row.phase.label().to_owned(),
        client: row.client.map(|client| client.to_string()),
        user: row.user.to_string(),
        address: row.peer.map(|peer| peer.to_string()),
        tls: row.is_secure,
        hot: row.is_hot,
        format: row.format.map(|format| match format {
            Format::Json => "json".to_owned(),
            Format::Protobuf => "protobuf".to_owned(),
        }),
        age_seconds: row.age.map(|age| age.as_secs()),
        outbox_bytes: row.outbox_bytes.into(),
        memory_bytes: row.memory_bytes.into(),
        stalled_ms: u64::try_from(row.stalled.as_millis()).unwrap_or(u64::MAX),
        subscriptions: row.subscriptions_count.into(),
        expires_at: Some(row.expires_at).filter(|at| *at > 0),
        channels: shows_channels.then(channels),
    }
}

#[cfg(test)]
mod tests {
    use gateway::driver::Control;
    use gateway::engine::Listed;
    use shard::lanes::{Bell, Inbox};

    use super::*;

    #[test]
    fn a_connection_is_named_by_four_numbers() {
        let id = connection_id("1.2.30.400").expect("it is one");
        assert_eq!(id.to_string(), "1.2.30.400");
        let wrong = ["", "1", "1.2.3", "1.2.3.4.5", "255.0.0.0", "0.256.0.0", "0.0.16777216.0"];
        for text in wrong.into_iter().chain(["0.0.0.16777216", "-1.0.0.0", "a.b.c.d"]) {
            assert!(connection_id(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_page_begins_where_the_one_before_ended() {
        assert_eq!(rank("ff.10").expect("it is one"), Rank { key: 255, id: 16 });
        for text in ["", ".", "ff", "ff.", "x.1", "10000000000000000.0"] {
            assert!(rank(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_busy_shard_does_not_hide_what_others_closed() {
        let bell = Bell::new().expect("an eventfd");
        let shard =
            |_| ShardHandle { gateway: Inbox::new(bell.clone()), router: Inbox::new(bell.clone()) };
        let shards: Vec<ShardHandle> = (0..3).map(shard).collect();
        let question = CloseQuestion { all: true, limit: Some(10), ..CloseQuestion::default() };
        let closing = closing(&question).expect("it is right");
        let answering = async {
            let mut limits = Vec::new();
            for (shard, closed) in shards.iter().zip([Some(4), None, Some(6)]) {
                let (listing, answer) = loop {
                    match shard.gateway.receive() {
                        Some(Control::List(listing, answer)) => break (listing, answer),
                        _ => tokio::task::yield_now().await,
                    }
                };
                let Purpose::Close { limit, .. } = listing.purpose else { panic!("a close") };
                limits.push(limit);
                answer(closed.map(|closed| Listed { matched: 7, closed, ..Listed::default() }));
            }
            limits
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let both = async { tokio::join!(closing.close(&shards), answering) };
        let (answer, limits) = runtime.expect("a runtime").block_on(both);
        assert_eq!((answer.matched, answer.closed, answer.silent_shards), (14, 10, vec![1]));
        assert_eq!(limits, [10, 6, 6], "a shard that refuses closes nobody");
    }

    #[test]
    fn limits_have_bounds() {
        assert_eq!(rows(None).expect("a default") as u64, ADMIN_ROWS_DEFAULT);
        assert_eq!(rows(Some(ADMIN_ROWS_MAX)).expect("the largest") as u64, ADMIN_ROWS_MAX);
        assert!(rows(Some(0)).is_err() && rows(Some(ADMIN_ROWS_MAX + 1)).is_err());
    }
}
