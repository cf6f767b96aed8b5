//! Who is in one channel.
//!
//! Owns: one member per connection.
//! Invariant: a leave is told exactly once for each join, because it is told only by the removal
//! that removed.

use std::sync::Arc;

use hashbrown::HashMap;
use protocol::ids::ConnectionId;
use protocol::link::{Content, GatewayId, Member, Visibility};

use crate::limits::{PRESENCE_ANSWER_BYTES_MAX, PRESENCE_ANSWER_MAX};

/// Connection ids are unique within their gateway's process; the gateway makes them unique beyond.
type Key = (GatewayId, ConnectionId);

/// One connection in the channel.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) member: Arc<Member>,
    /// As it came: a leave is told exactly if the join was, whatever changed meanwhile.
    pub(super) visibility: Visibility,
}

/// Nothing while nobody is there.
#[derive(Debug, Default)]
pub(super) struct Presence(Option<Box<Members>>);

#[derive(Debug, Default)]
struct Members {
    entries: HashMap<Key, Entry, foldhash::fast::RandomState>,
    /// Connections of each user among those present.
    users: HashMap<Arc<str>, u32, foldhash::fast::RandomState>,
    /// Those present.
    clients_count: u32,
    /// About how many bytes naming all of them takes.
    bytes: usize,
}

impl Presence {
    /// True if the connection was not there before.
    pub(super) fn join(&mut self, key: Key, member: Arc<Member>, visibility: Visibility) -> bool {
        let before = self.leave(key);
        let members = self.0.get_or_insert_default();
        if visibility.presence {
            members.clients_count += 1;
            members.bytes += bytes_of(&member);
            *members.users.entry(member.user.clone()).or_default() += 1;
        }
        members.entries.insert(key, Entry { member, visibility });
        before.is_none()
    }

    /// What was removed, if there was something.
    pub(super) fn leave(&mut self, key: Key) -> Option<Entry> {
        let members = self.0.as_mut()?;
        let entry = members.entries.remove(&key)?;
        if entry.visibility.presence {
            members.clients_count -= 1;
            members.bytes -= bytes_of(&entry.member);
            let count = members.users.get_mut(&entry.member.user).expect("counted when it came");
            *count -= 1;
            if *count == 0 {
                members.users.remove(&entry.member.user);
            }
        }
        if members.entries.is_empty() {
            self.0 = None;
        }
        Some(entry)
    }

    /// Bytes of memory of its tables. Members themselves are their sessions'.
    pub(super) fn memory_bytes(&self) -> usize {
        let Some(members) = &self.0 else { return 0 };
        let tables = members.entries.allocation_size() + members.users.allocation_size();
        size_of::<Members>() + tables
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Everybody, or `None` if that is more than one answer may hold: a part would look like all.
    pub(super) fn members(&self) -> Option<Vec<Arc<Member>>> {
        let Some(members) = &self.0 else { return Some(Vec::new()) };
        let fits = members.clients_count as usize <= PRESENCE_ANSWER_MAX
            && members.bytes <= PRESENCE_ANSWER_BYTES_MAX;
        let present = members.entries.values().filter(|entry| entry.visibility.presence);
        fits.then(|| present.map(|entry| entry.member.clone()).collect())
    }

    pub(super) fn clients_count(&self) -> u32 {
        self.0.as_ref().map_or(0, |members| members.clients_count)
    }

    pub(super) fn users_count(&self) -> u32 {
        self.0.as_ref().map_or(0, |members| members.users.len() as u32)
    }
}

/// About how many bytes a member takes in an answer.
fn bytes_of(member: &Member) -> usize {
    const FIELDS_AROUND: usize = 128;
    let length = |info: &Option<Content>| info.as_ref().map_or(0, |info| info.bytes.len());
    FIELDS_AROUND
        + member.user.len()
        + length(&member.connection_info)
        + length(&member.channel_info)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ids::{ShardId, Slot};
    use protocol::link::ClientId;

    const SEEN: Visibility = Visibility { presence: true, join_leave: true };

    fn member(user: &str, info: &[u8]) -> Arc<Member> {
        let connection_info = Some(Content::classify(info));
        Arc::new(Member {
            user: user.into(),
            client: ClientId(1),
            connection_info,
            channel_info: None,
        })
    }

    fn key(gateway: u16, slot: u32) -> Key {
        (GatewayId(gateway), ConnectionId::new(ShardId(0), 0, Slot(slot), 1))
    }

    #[test]
    fn one_leave_per_join() {
        let mut presence = Presence::default();
        let member = member("u", b"1");
        assert!(presence.join(key(0, 1), member.clone(), SEEN));
        assert!(!presence.join(key(0, 1), member, SEEN), "the second join is none");
        assert_eq!(presence.clients_count(), 1);
        assert!(presence.leave(key(1, 1)).is_none(), "another gateway's");
        assert!(presence.leave(key(0, 1)).is_some());
        assert!(presence.leave(key(0, 1)).is_none(), "the second leave is none");
        assert!(presence.is_empty());
    }

    #[test]
    fn users_are_counted_once_and_who_hides_is_not() {
        let mut presence = Presence::default();
        let hidden = Visibility { presence: false, join_leave: true };
        presence.join(key(0, 1), member("a", b"1"), SEEN);
        presence.join(key(0, 2), member("a", b"1"), SEEN);
        presence.join(key(0, 3), member("b", b"1"), hidden);
        assert_eq!((presence.clients_count(), presence.users_count()), (2, 1));
        assert_eq!(presence.members().map(|members| members.len()), Some(2));
        presence.leave(key(0, 1));
        assert_eq!((presence.clients_count(), presence.users_count()), (1, 1));
        presence.leave(key(0, 2));
        assert_eq!((presence.clients_count(), presence.users_count()), (0, 0));
        assert!(!presence.is_empty(), "its leave is still to be told");
    }

    #[test]
    fn an_answer_is_bounded_by_bytes_too() {
        let mut presence = Presence::default();
        let large = vec![b'1'; PRESENCE_ANSWER_BYTES_MAX / 4];
        (0..3).for_each(|slot| assert!(presence.join(key(0, slot), member("a", &large), SEEN)));
        assert!(presence.members().is_some());
        presence.join(key(0, 3), member("a", &large), SEEN);
        assert!(presence.members().is_none());
        presence.leave(key(0, 0));
        assert!(presence.members().is_some());
    }
}
