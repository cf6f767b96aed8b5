//! Asking every shard at once, and waiting for no one longer than
//! [`limits::ADMIN_ANSWER_TIMEOUT`].

use std::sync::Arc;
use std::time::Duration;

use gateway::driver::{Control, Inspection};
use gateway::engine::{Listed, Listing};
use router::engine::{BusiestChannels, ChannelTraffic, Counters, TrafficOrder};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Refusal;
use crate::limits::ADMIN_ANSWER_TIMEOUT;
use crate::node::ShardHandle;
use crate::node::bus::RouterCall;

/// What shards said.
pub(super) struct Told<T> {
    /// By their numbers.
    pub(super) answers: Vec<(usize, T)>,
    /// Those whose inbox was full, or that did not answer in time.
    pub(super) silent: Vec<u64>,
}

/// Asks every shard; `ask` is false if an inbox has no room.
async fn ask_all<T>(
    shards: &[ShardHandle],
    ask: impl Fn(&ShardHandle, oneshot::Sender<T>) -> bool,
) -> Told<T> {
    ask_within(ADMIN_ANSWER_TIMEOUT, shards, ask).await
}

async fn ask_within<T>(
    patience: Duration,
    shards: &[ShardHandle],
    ask: impl Fn(&ShardHandle, oneshot::Sender<T>) -> bool,
) -> Told<T> {
    let deadline = Instant::now() + patience;
    let asked: Vec<_> = shards
        .iter()
        .map(|shard| {
            let (sender, receiver) = oneshot::channel();
            ask(shard, sender).then_some(receiver)
        })
        .collect();
    let mut told = Told { answers: Vec::new(), silent: Vec::new() };
    for (index, receiver) in asked.into_iter().enumerate() {
        let answer = match receiver {
            Some(receiver) => tokio::time::timeout_at(deadline, receiver).await.ok(),
            None => None,
        };
        match answer {
            Some(Ok(answer)) => told.answers.push((index, answer)),
            _ => told.silent.push(index as u64),
        }
    }
    told
}

/// What every shard has counted.
pub(super) async fn inspect(shards: &[ShardHandle]) -> Told<(Inspection, Vec<Counters>)> {
    let gateways = ask_all(shards, |shard, sender| {
        let tell = Box::new(move |inspection| drop(sender.send(inspection)));
        shard.gateway.send(Control::Inspect(tell)).is_ok()
    });
    let routers = ask_all(shards, |shard, sender| {
        let tell = Box::new(move |counters| drop(sender.send(counters)));
        shard.router.send(RouterCall::Inspect(tell)).is_ok()
    });
    let (gateways, routers) = tokio::join!(gateways, routers);
    let mut silent = gateways.silent;
    silent.extend(routers.silent);
    silent.sort_unstable();
    silent.dedup();
    let answers = gateways.answers.into_iter().zip_by_number(routers.answers);
    Told { answers, silent }
}

/// Both halves of what one shard said.
trait ZipByNumber<T> {
    fn zip_by_number<U>(self, others: Vec<(usize, U)>) -> Vec<(usize, (T, U))>;
}

impl<T, I: Iterator<Item = (usize, T)>> ZipByNumber<T> for I {
    fn zip_by_number<U>(self, mut others: Vec<(usize, U)>) -> Vec<(usize, (T, U))> {
        let pair = |(number, one)| {
            let place = others.iter().position(|(other, _)| *other == number)?;
            Some((number, (one, others.swap_remove(place).1)))
        };
        self.filter_map(pair).collect()
    }
}

/// Asks every shard about its connections.
///
/// # Errors
///
/// A shard has too many such questions.
pub(super) async fn list(
    shards: &[ShardHandle],
    listing: &Listing,
) -> Result<Told<Listed>, Refusal> {
    let told = ask_all(shards, |shard, sender| {
        let answer = Box::new(move |listed| drop(sender.send(listed)));
        shard.gateway.send(Control::List(Box::new(listing.clone()), answer)).is_ok()
    })
    .await;
    all_of(told)
}

/// Asks every shard for the channels into which most is published.
///
/// # Errors
///
/// A shard has too many such questions.
pub(super) async fn busiest(
    shards: &[ShardHandle],
    order: TrafficOrder,
    limit: usize,
) -> Result<Told<Vec<ChannelTraffic>>, Refusal> {
    let told = ask_all(shards, |shard, sender| {
        let answer = Box::new(move |rows| drop(sender.send(rows)));
        let busiest = BusiestChannels::new(order, limit);
        shard.router.send(RouterCall::Busiest(busiest, answer)).is_ok()
    })
    .await;
    all_of(told)
}

/// How many listen on all shards together to each of these channels, and who did not say.
pub(super) async fn subscribers(
    shards: &[ShardHandle],
    channels: &[Arc<str>],
) -> (Vec<u64>, Vec<u64>) {
    let told = ask_all(shards, |shard, sender| {
        let answer = Box::new(move |counts| drop(sender.send(counts)));
        shard.gateway.send(Control::CountSubscribers(channels.to_vec(), answer)).is_ok()
    })
    .await;
    let mut sums = vec![0; channels.len()];
    for (_, counts) in &told.answers {
        let counts: &Vec<u32> = counts;
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += u64::from(*count));
    }
    (sums, told.silent)
}

fn all_of<T>(told: Told<Option<T>>) -> Result<Told<T>, Refusal> {
    let answers: Option<Vec<_>> =
        told.answers.into_iter().map(|(number, answer)| Some((number, answer?))).collect();
    let answers = answers.ok_or_else(Refusal::busy)?;
    Ok(Told { answers, silent: told.silent })
}

#[cfg(test)]
mod tests {
    use super::*;
    use shard::lanes::{Bell, Inbox};

    fn shards(count: usize) -> Vec<ShardHandle> {
        let bell = Bell::new().expect("an eventfd");
        let shard =
            |_| ShardHandle { gateway: Inbox::new(bell.clone()), router: Inbox::new(bell.clone()) };
        (0..count).map(shard).collect()
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime").block_on(future)
    }

    fn count(shard: &ShardHandle, sender: oneshot::Sender<Vec<u32>>) -> bool {
        let answer = Box::new(move |counts| drop(sender.send(counts)));
        shard.gateway.send(Control::CountSubscribers(Vec::new(), answer)).is_ok()
    }

    #[test]
    fn who_does_not_answer_in_time_is_named() {
        let shards = shards(4);
        // The last one takes nothing any more.
        while shards[3].gateway.send(Control::Drain(Duration::ZERO)).is_ok() {}
        let answering = async {
            tokio::task::yield_now().await;
            for (number, shard) in shards[..2].iter().enumerate() {
                let Some(Control::CountSubscribers(_, answer)) = shard.gateway.receive() else {
                    panic!("it was asked")
                };
                answer(vec![number as u32]);
            }
        };
        let patience = Duration::from_millis(20);
        let (told, ()) =
            run(async { tokio::join!(ask_within(patience, &shards, count), answering) });
        assert_eq!(told.answers, [(0, vec![0]), (1, vec![1])]);
        assert_eq!(told.silent, [2, 3]);
    }

    #[test]
    fn both_halves_of_a_shard_belong_together() {
        let gateways = vec![(0, 'a'), (1, 'b'), (3, 'd')];
        let routers = vec![(3, 4), (0, 1), (2, 3)];
        assert_eq!(gateways.into_iter().zip_by_number(routers), [(0, ('a', 1)), (3, ('d', 4))]);
    }
}
