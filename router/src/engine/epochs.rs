//! Epochs: which counting an offset belongs to, and when a channel begins another one.
//!
//! An epoch is random text. Behind a dot it names the generation in which it was durable, unless
//! that is the first one (`persistence/src/engine/generations.rs`):
//!
//! ```text
//!   hxq3m7ab      of memory, or of generation 0
//!   k2vd5tcy.3    of generation 3
//! ```
//!
//! Invariant: while its namespace is durable, nothing is appended for a channel under an epoch of
//! another generation. So what the store and the log have of other generations is over, and nothing
//! that was acknowledged in this one is among it.

use std::sync::Arc;

use protocol::channels::ChannelOptions;
use protocol::link::{GatewayId, ReplyTo};

use super::durable::{DurableChannel, LoadState};
use super::partition::Partition;

/// Between an epoch and its generation; no digit of an epoch.
const SEPARATOR: char = '.';

/// The generation in which an epoch was durable. `None`: it says so in a way that is not ours, and
/// is of no generation at all.
pub(super) fn generation_of(epoch: &str) -> Option<u64> {
    match epoch.split_once(SEPARATOR) {
        None => Some(0),
        Some((_, generation)) => generation.parse().ok(),
    }
}

impl Partition {
    /// New rules may have made a channel durable, or the other way round. Its positions are not
    /// both, so that it begins a new epoch; offsets go on, because gateways know them.
    pub(super) fn settle_durability(&mut self, index: usize, options: &ChannelOptions) {
        let wants = self.is_durable(options);
        let channel = self.channel_at(index);
        let bytes = channel.window.bytes() as u64;
        match (&channel.durable, wants) {
            (None, true) => {
                let durable = DurableChannel::loaded_at(channel.position.offset);
                channel.durable = Some(Box::new(durable));
                self.begin_generation(index, options.generation);
            }
            (Some(_), true) => self.settle_generation(index, options),
            (Some(durable), false)
                if durable.is_settled() && durable.state == LoadState::Loaded =>
            {
                channel.durable = None;
                channel.window.clear();
                let epoch = self.next_epoch();
                self.channel_at(index).position.epoch = epoch;
                self.counters.window_bytes = self.counters.window_bytes.saturating_sub(bytes);
            }
            _ => {}
        }
    }

    /// A durable channel whose epoch is of another generation begins a new one: before anything is
    /// appended, and whatever is on its way, because a busy channel is never at rest.
    pub(super) fn settle_generation(&mut self, index: usize, options: &ChannelOptions) {
        let wants = self.is_durable(options);
        let Some(durable) = &self.channel_at(index).durable else { return };
        let is_other = durable.generation != Some(options.generation);
        if wants && is_other && durable.state == LoadState::Loaded {
            self.begin_generation(index, options.generation);
        }
    }

    /// Begins an epoch of this generation in a durable channel that is loaded.
    ///
    /// Publications on their way stay what they are: they are shown and acknowledged, at offsets
    /// that go on, but the history from before the epoch is gone with them. What the store has of
    /// it goes with the first entry of the new epoch, in the transaction that writes that.
    pub(super) fn begin_generation(&mut self, index: usize, generation: u64) {
        let epoch = self.next_epoch_in(generation);
        let channel = self.channel_at(index);
        let bytes = channel.window.bytes() as u64;
        channel.window.clear();
        channel.position.epoch = epoch;
        let durable = channel.durable.as_mut().expect("only durable channels have generations");
        durable.generation = Some(generation);
        durable.removed_offset = channel.position.offset;
        self.counters.window_bytes = self.counters.window_bytes.saturating_sub(bytes);
        // Without room for it, or if it is lost, the first publication takes its place; in an epoch
        // that never got to the log, nothing was ever acknowledged.
        if self.log_takes() {
            let reply_to = ReplyTo::Nobody;
            self.remove_durable_history(GatewayId::default(), index, reply_to, self.now);
        }
    }

    /// An epoch for a channel that is durable in this generation.
    pub(super) fn next_epoch_in(&mut self, generation: u64) -> Arc<str> {
        let epoch = self.next_epoch();
        match generation {
            0 => epoch,
            _ => format!("{epoch}{SEPARATOR}{generation}").into(),
        }
    }

    /// An epoch that no channel of this partition has had: SplitMix64, written in base 32.
    pub(super) fn next_epoch(&mut self) -> Arc<str> {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let text: String =
            (0..8).map(|digit| DIGITS[(bits >> (digit * 5) & 31) as usize] as char).collect();
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::PartitionOptions;
    use protocol::ids::PartitionId;

    #[test]
    fn an_epoch_names_its_generation() {
        let options = PartitionOptions::new(PartitionId(0), Arc::default(), 1);
        let mut partition = Partition::new(options);
        for generation in [0, 1, 42, u64::MAX] {
            let epoch = partition.next_epoch_in(generation);
            assert_eq!(generation_of(&epoch), Some(generation), "{epoch}");
        }
        assert_eq!(partition.next_epoch_in(0).len(), 8, "as it was before there were generations");
        // A restored directory has epochs of ten hexadecimal digits.
        assert_eq!(generation_of("00ff00ff00"), Some(0));
        assert_eq!(generation_of("00ff00ff00.7"), Some(7));
        assert_eq!(generation_of("hxq3m7ab.x"), None);
        assert_eq!(generation_of("hxq3m7ab.1.2"), None);
    }
}
