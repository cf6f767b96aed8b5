//! The recent window of one channel.
//!
//! Owns: publications that can still be recovered, in the order of their offsets.
//! Invariant: offsets in the window are contiguous, and the last is the channel's.

use std::collections::VecDeque;
use std::sync::Arc;

use protocol::channels::ChannelOptions;
use protocol::link::{HistoryRequest, Publication};

use crate::limits::WINDOW_BYTES_MAX;

/// Nothing while nothing was published, or all of it is forgotten.
#[derive(Debug, Default)]
pub(super) struct Window(Option<Box<Publications>>);

#[derive(Debug, Default)]
struct Publications {
    in_order: VecDeque<Arc<Publication>>,
    bytes: usize,
}

/// How much of a channel's past stays in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) publications_max: usize,
    /// The last offset that may leave: what comes behind it is nowhere else yet.
    pub(super) droppable: u64,
}

impl Window {
    pub(super) fn push(&mut self, publication: Arc<Publication>, bounds: Bounds) {
        let window = self.0.get_or_insert_default();
        if let Some(last) = window.in_order.back() {
            assert!(publication.offset == last.offset + 1, "offsets are contiguous");
        }
        window.bytes += publication.content.bytes.len();
        window.in_order.push_back(publication);
        while (window.in_order.len() > bounds.publications_max || window.bytes > WINDOW_BYTES_MAX)
            && window.may_drop(bounds)
        {
            window.pop_oldest();
        }
        self.forget_if_empty();
    }

    /// Forgets what is older than `history_ttl`, and what no longer fits smaller bounds. Returns
    /// the bytes of that.
    pub(super) fn trim(&mut self, options: &ChannelOptions, bounds: Bounds, unix_ms: u64) -> u64 {
        let before = self.bytes();
        let Some(window) = &mut self.0 else { return 0 };
        let ttl_ms = u64::try_from(options.history_ttl.as_millis()).unwrap_or(u64::MAX);
        while let Some(oldest) = window.in_order.front() {
            let too_old = oldest.time_ms.saturating_add(ttl_ms) <= unix_ms;
            let fits = !too_old && window.in_order.len() <= bounds.publications_max;
            if fits || !window.may_drop(bounds) {
                break;
            }
            window.pop_oldest();
        }
        self.forget_if_empty();
        (before - self.bytes()) as u64
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |window| window.bytes)
    }

    /// Forgets everything up to `offset`. Returns the bytes of that.
    pub(super) fn remove_up_to(&mut self, offset: u64) -> u64 {
        let before = self.bytes();
        let Some(window) = &mut self.0 else { return 0 };
        while window.in_order.front().is_some_and(|oldest| oldest.offset <= offset) {
            window.pop_oldest();
        }
        self.forget_if_empty();
        (before - self.bytes()) as u64
    }

    fn forget_if_empty(&mut self) {
        self.0.take_if(|window| window.in_order.is_empty());
    }

    fn publications(&self) -> impl DoubleEndedIterator<Item = &Arc<Publication>> {
        self.0.iter().flat_map(|window| &window.in_order)
    }

    pub(super) fn first_offset(&self) -> Option<u64> {
        self.publications().next().map(|first| first.offset)
    }

    /// Publications with offsets above `offset`, of a channel that is at `current`: all of them, or
    /// `None` if at least one has left the window.
    pub(super) fn since(&self, offset: u64, current: u64) -> Option<Vec<Arc<Publication>>> {
        let missing = current.checked_sub(offset)? as usize;
        let Some(window) = &self.0 else { return (missing == 0).then(Vec::new) };
        let from = window.in_order.len().checked_sub(missing)?;
        let publications: Vec<_> = window.in_order.range(from..).cloned().collect();
        let first = publications.first().map_or(offset + 1, |publication| publication.offset);
        assert!(first == offset + 1, "the window is contiguous up to the channel's offset");
        Some(publications)
    }

    /// A page of the window.
    pub(super) fn page(&self, request: &HistoryRequest, limit: usize) -> Vec<Arc<Publication>> {
        let since = request.since.as_ref().map(|position| position.offset);
        let bytes_max = match request.bytes_max {
            0 => usize::MAX,
            bytes_max => bytes_max as usize,
        };
        if request.reverse {
            let below = since.unwrap_or(u64::MAX);
            let page = self.publications().rev().filter(|entry| entry.offset < below);
            within(page.take(limit), bytes_max)
        } else {
            let above = since.unwrap_or(0);
            let page = self.publications().filter(|entry| entry.offset > above);
            within(page.take(limit), bytes_max)
        }
    }
}

impl Publications {
    fn may_drop(&self, bounds: Bounds) -> bool {
        self.in_order.front().is_some_and(|oldest| oldest.offset <= bounds.droppable)
    }

    fn pop_oldest(&mut self) {
        if let Some(oldest) = self.in_order.pop_front() {
            self.bytes -= oldest.content.bytes.len();
        }
    }
}

/// Publications up to the first that would exceed `bytes_max`; the first of all is always taken.
pub(super) fn within<'a>(
    page: impl Iterator<Item = &'a Arc<Publication>>,
    bytes_max: usize,
) -> Vec<Arc<Publication>> {
    let mut bytes = 0;
    let mut taken = Vec::new();
    for publication in page {
        bytes += publication.content.bytes.len();
        if bytes > bytes_max && !taken.is_empty() {
            break;
        }
        taken.push(publication.clone());
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    use protocol::link::Content;

    fn options(size: u32, ttl_ms: u64) -> ChannelOptions {
        ChannelOptions {
            history_size: size,
            history_ttl: Duration::from_millis(ttl_ms),
            ..ChannelOptions::default()
        }
    }

    fn publication(offset: u64, time_ms: u64) -> Arc<Publication> {
        let content = Content::classify(b"1");
        Arc::new(Publication { offset, content, publisher: None, tags: None, time_ms })
    }

    fn bounds(options: &ChannelOptions) -> Bounds {
        Bounds { publications_max: options.history_size as usize, droppable: u64::MAX }
    }

    fn window(offsets: std::ops::RangeInclusive<u64>, options: &ChannelOptions) -> Window {
        let mut window = Window::default();
        for offset in offsets {
            window.push(publication(offset, offset * 10), bounds(options));
        }
        window
    }

    fn trim(window: &mut Window, options: &ChannelOptions, unix_ms: u64) {
        window.trim(options, bounds(options), unix_ms);
    }

    fn offsets(publications: &[Arc<Publication>]) -> Vec<u64> {
        publications.iter().map(|publication| publication.offset).collect()
    }

    #[test]
    fn recovery_is_complete_or_refused() {
        let options = options(3, 60_000);
        let window = window(1..=5, &options);
        assert_eq!(window.since(5, 5), Some(vec![]));
        let Some(found) = window.since(2, 5) else { panic!("3, 4 and 5 are there") };
        assert_eq!(offsets(&found), [3, 4, 5]);
        assert_eq!(window.since(1, 5), None, "2 has left");
        assert_eq!(window.since(6, 5), None, "a position from nowhere");
    }

    #[test]
    fn age_and_size_both_trim() {
        let mut window = window(1..=5, &options(10, 25));
        trim(&mut window, &options(10, 25), 50);
        assert_eq!(offsets(&window.page(&HistoryRequest::default(), 10)), [3, 4, 5]);
        trim(&mut window, &options(1, 25), 50);
        assert_eq!(offsets(&window.page(&HistoryRequest::default(), 10)), [5]);
        trim(&mut window, &options(1, 25), 1000);
        assert!(window.is_empty());
        assert_eq!(window.bytes(), 0);
        assert_eq!(window.since(5, 5), Some(vec![]));
        assert_eq!(window.since(4, 5), None);
    }

    #[test]
    fn what_is_nowhere_else_does_not_leave() {
        let options = options(2, 25);
        let bounds = Bounds { publications_max: 2, droppable: 1 };
        let mut window = Window::default();
        (1..=5).for_each(|offset| window.push(publication(offset, 0), bounds));
        window.trim(&options, bounds, 1000);
        assert_eq!(window.first_offset(), Some(2), "only 1 is in the store");
        window.trim(&options, Bounds { droppable: 4, ..bounds }, 1000);
        assert_eq!(window.first_offset(), Some(5));
    }

    #[test]
    fn pages_go_both_ways() {
        let window = window(1..=5, &options(10, 60_000));
        let mut request = HistoryRequest {
            since: Some(protocol::link::Position { offset: 2, epoch: "e".into() }),
            ..HistoryRequest::default()
        };
        assert_eq!(offsets(&window.page(&request, 2)), [3, 4]);
        request.reverse = true;
        assert_eq!(offsets(&window.page(&request, 2)), [1]);
        request.since = None;
        assert_eq!(offsets(&window.page(&request, 2)), [5, 4]);
    }
}
