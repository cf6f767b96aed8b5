//! The records of users whose home is this shard.
//!
//! Owns: which connections a user has anywhere in the process, and how much of its rate it used.
//! Never: a connection itself; the shard that holds it is told.
//! Invariant: a record is there while its user has at least one connection.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use protocol::ids::ConnectionId;
use protocol::time::Moment;

use super::rate::{Meter, Rate};
use crate::limits::USER_CONNECTIONS_SCANNED_MAX;

/// Connections of one user. Most have one; from [`USER_CONNECTIONS_SCANNED_MAX`] on they are found
/// by hash, so that the end of many does not cost the square of their number.
#[derive(Debug)]
enum Held {
    One(ConnectionId),
    #[expect(clippy::box_collection, reason = "a vector is three words, and most users have none")]
    Few(Box<Vec<ConnectionId>>),
    Many(Box<HashSet<ConnectionId, foldhash::fast::RandomState>>),
}

impl Default for Held {
    fn default() -> Self {
        Self::Few(Box::default())
    }
}

impl Held {
    fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Few(few) => few.len(),
            Self::Many(many) => many.len(),
        }
    }

    fn insert(&mut self, connection: ConnectionId) {
        match self {
            Self::One(one) => *self = Self::Few(Box::new(vec![*one, connection])),
            Self::Few(few) if few.is_empty() => *self = Self::One(connection),
            Self::Few(few) if few.len() >= USER_CONNECTIONS_SCANNED_MAX => {
                let many = few.drain(..).chain([connection]).collect();
                *self = Self::Many(Box::new(many));
            }
            Self::Few(few) => few.push(connection),
            Self::Many(many) => drop(many.insert(connection)),
        }
    }

    fn remove(&mut self, connection: ConnectionId) {
        match self {
            Self::One(one) if *one == connection => *self = Self::default(),
            Self::One(_) => {}
            Self::Few(few) => {
                if let Some(index) = few.iter().position(|&id| id == connection) {
                    few.swap_remove(index);
                }
            }
            Self::Many(many) => drop(many.remove(&connection)),
        }
    }

    /// Bytes of memory beside the record. An empty list is about to become something else.
    fn memory_bytes(&self) -> usize {
        let id = size_of::<ConnectionId>();
        match self {
            Self::One(_) => 0,
            Self::Few(few) if few.is_empty() => 0,
            Self::Few(few) => size_of::<Vec<ConnectionId>>() + few.capacity() * id,
            Self::Many(many) => size_of_val(&**many) + many.allocation_size(),
        }
    }

    fn all(&self) -> Vec<ConnectionId> {
        match self {
            Self::One(one) => vec![*one],
            Self::Few(few) => few.to_vec(),
            Self::Many(many) => many.iter().copied().collect(),
        }
    }
}

/// One user.
#[derive(Debug, Default)]
struct Record {
    connections: Held,
    meter: Meter,
}

/// Bytes of a record of a user with one connection, and of its place in the table.
pub(crate) const RECORD_BYTES: usize = size_of::<(Arc<str>, Record)>() + 1;

type Table = HashMap<Arc<str>, Record, foldhash::fast::RandomState>;

/// All users at home here.
#[derive(Debug, Default)]
pub(crate) struct Users {
    records: Table,
    /// Bytes of the lists of connections that lie beside their records.
    held_bytes: usize,
}

impl Users {
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Bytes of memory that all records take. The names are those of the sessions.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.records.allocation_size() + self.held_bytes
    }

    /// A connection wants to begin a session. False: the user has `connections_max` (zero: no
    /// limit).
    pub(crate) fn join(
        &mut self,
        user: &Arc<str>,
        connection: ConnectionId,
        connections_max: u32,
    ) -> bool {
        let record = self.records.entry(user.clone()).or_default();
        if connections_max > 0 && record.connections.len() >= connections_max as usize {
            return false;
        }
        let before = record.connections.memory_bytes();
        record.connections.insert(connection);
        self.held_bytes = self.held_bytes + record.connections.memory_bytes() - before;
        true
    }

    /// A session ended.
    pub(crate) fn leave(&mut self, user: &str, connection: ConnectionId) {
        let Some(record) = self.records.get_mut(user) else { return };
        let before = record.connections.memory_bytes();
        record.connections.remove(connection);
        let mut after = record.connections.memory_bytes();
        if record.connections.len() == 0 {
            self.records.remove(user);
            after = 0;
        }
        self.held_bytes = self.held_bytes + after - before;
    }

    /// All connections of a user.
    pub(crate) fn connections(&self, user: &str) -> Vec<ConnectionId> {
        self.records.get(user).map(|record| record.connections.all()).unwrap_or_default()
    }

    /// Counts one event against the user's rate. False: the rate is used up.
    pub(crate) fn charge(&mut self, user: &str, rate: Rate, now: Moment) -> bool {
        self.records.get_mut(user).is_none_or(|record| record.meter.admit(rate, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ids::{ShardId, Slot};

    fn connection(slot: u32) -> ConnectionId {
        ConnectionId::new(ShardId(0), 0, Slot(slot), 1)
    }

    #[test]
    fn the_limit_counts_connections_everywhere() {
        let mut users = Users::default();
        let user: Arc<str> = "u".into();
        assert!(users.join(&user, connection(1), 2));
        assert!(users.join(&user, connection(2), 2));
        assert!(!users.join(&user, connection(3), 2));
        users.leave("u", connection(9));
        assert!(!users.join(&user, connection(3), 2), "a stranger's leave frees nothing");
        users.leave("u", connection(1));
        assert!(users.join(&user, connection(3), 2));
        assert_eq!(users.connections("u"), [connection(2), connection(3)]);
        assert!(users.held_bytes > 0);
        users.leave("u", connection(2));
        users.leave("u", connection(3));
        assert_eq!((users.len(), users.held_bytes), (0, 0));
    }

    #[test]
    fn a_user_with_many_connections_is_counted_like_one_with_few() {
        let mut users = Users::default();
        let user: Arc<str> = "u".into();
        let count = 4 * USER_CONNECTIONS_SCANNED_MAX as u32;
        (0..count).for_each(|slot| assert!(users.join(&user, connection(slot), count)));
        assert!(!users.join(&user, connection(count), count));
        let mut all = users.connections("u");
        all.sort();
        assert!(all.into_iter().eq((0..count).map(connection)));
        users.leave("u", connection(count));
        (0..count).for_each(|slot| users.leave("u", connection(slot)));
        assert_eq!((users.len(), users.held_bytes), (0, 0));
    }

    #[test]
    fn a_rate_is_shared_by_all_connections() {
        let mut users = Users::default();
        let user: Arc<str> = "u".into();
        users.join(&user, connection(1), 0);
        let rate = Rate::new(1, 2);
        assert!(users.charge("u", rate, Moment::from_millis(1)));
        assert!(users.charge("u", rate, Moment::from_millis(1)));
        assert!(!users.charge("u", rate, Moment::from_millis(1)));
        assert!(users.charge("nobody", rate, Moment::from_millis(1)));
    }
}
