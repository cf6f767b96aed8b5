//! Who is in one channel.
//!
//! Owns: one member per connection.
//! Invariant: a leave is told exactly once for each join, because it is told only by the removal
//! that removed.

use std::sync::Arc;

use hashbrown::HashMap;
use protocol::ids::ConnectionId;
use protocol::link::{GatewayId, Member};

use crate::limits::PRESENCE_ANSWER_MAX;

/// Connection ids are unique within their gateway's process; the gateway makes them unique beyond.
type Key = (GatewayId, ConnectionId);

#[derive(Debug, Default)]
pub(super) struct Presence {
    members: HashMap<Key, Arc<Member>, foldhash::fast::RandomState>,
}

impl Presence {
    /// True if the connection was not there before.
    pub(super) fn join(&mut self, key: Key, member: Arc<Member>) -> bool {
        self.members.insert(key, member).is_none()
    }

    /// The member that was removed, if there was one.
    pub(super) fn leave(&mut self, key: Key) -> Option<Arc<Member>> {
        let member = self.members.remove(&key);
        if self.members.is_empty() {
            self.members = HashMap::default();
        }
        member
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Everybody, or `None` if that is more than one answer may hold: a part would look like all.
    pub(super) fn members(&self) -> Option<Vec<Arc<Member>>> {
        let fits = self.members.len() <= PRESENCE_ANSWER_MAX;
        fits.then(|| self.members.values().cloned().collect())
    }

    pub(super) fn clients_count(&self) -> u32 {
        self.members.len() as u32
    }

    pub(super) fn users_count(&self) -> u32 {
        let users: hashbrown::HashSet<&str> =
            self.members.values().map(|member| &*member.user).collect();
        users.len() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ids::{ShardId, Slot};
    use protocol::link::ClientId;

    #[test]
    fn one_leave_per_join() {
        let mut presence = Presence::default();
        let connection = ConnectionId::new(ShardId(0), 0, Slot(1), 1);
        let key = (GatewayId(0), connection);
        let member = Arc::new(Member {
            user: "u".into(),
            client: ClientId(1),
            connection_info: None,
            channel_info: None,
        });
        assert!(presence.join(key, member.clone()));
        assert!(!presence.join(key, member), "the second join is none");
        assert!(presence.leave((GatewayId(1), connection)).is_none(), "another gateway's");
        assert!(presence.leave(key).is_some());
        assert!(presence.leave(key).is_none(), "the second leave is none");
        assert!(presence.is_empty());
    }
}
