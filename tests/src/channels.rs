//! The channels of the world, and what a client may expect of each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use protocol::channels::{ChannelOptions, Durability, Namespaces, SlowConsumer};

/// One channel.
#[derive(Clone, Debug)]
pub struct Channel {
    /// Its name.
    pub name: String,
    /// Its options.
    pub options: ChannelOptions,
}

impl Channel {
    /// Does it count offsets?
    pub fn has_history(&self) -> bool {
        self.options.has_history()
    }

    /// Is it in log or store?
    pub fn is_durable(&self) -> bool {
        self.options.is_durable()
    }

    /// Does it tell who comes and goes?
    pub fn tells_joins(&self) -> bool {
        self.options.join_leave
    }
}

fn open() -> ChannelOptions {
    ChannelOptions {
        allow_subscribe_for_client: true,
        allow_publish_for_client: true,
        allow_presence_for_client: true,
        allow_history_for_client: true,
        allow_user_limited_channels: true,
        ..ChannelOptions::default()
    }
}

fn recoverable(history_size: u32, history_ttl_s: u64) -> ChannelOptions {
    ChannelOptions {
        history_size,
        history_ttl: Duration::from_secs(history_ttl_s),
        force_recovery: true,
        ..open()
    }
}

/// Channels that a client shares with others. Personal ones follow, by user.
const SHARED: [&str; 14] = [
    "room:a", "room:b", "brief:a", "short:a", "plain:a", "plain:b", "newest:a", "skip:a", "skip:b",
    "room:c", "log:a", "log:b", "store:a", "store:b",
];
/// The namespace of personal channels.
pub const PERSONAL: &str = "me";

/// All rules.
pub fn namespaces() -> Arc<Namespaces> {
    let room = ChannelOptions {
        presence: true,
        join_leave: true,
        force_push_join_leave: true,
        ..recoverable(50, 300)
    };
    let with = |slow_consumer, options| ChannelOptions { slow_consumer, ..options };
    let named = [
        ("room", room),
        ("brief", recoverable(2, 300)),
        ("short", recoverable(50, 2)),
        ("plain", open()),
        ("newest", with(SlowConsumer::Conflate, open())),
        ("skip", with(SlowConsumer::Drop, recoverable(50, 300))),
        // More than a durable channel keeps in memory, so that the store is asked.
        ("log", ChannelOptions { durability: Durability::Log, ..recoverable(400, 300) }),
        ("store", ChannelOptions { durability: Durability::Store, ..recoverable(60, 300) }),
        (PERSONAL, recoverable(50, 300)),
    ];
    let named = named.into_iter().map(|(name, options)| (name.to_owned(), options));
    Arc::new(Namespaces { without: open(), named: named.collect() })
}

/// All channels of a world with these users.
#[derive(Debug)]
pub struct Channels {
    all: Vec<Channel>,
    by_name: BTreeMap<String, usize>,
    shared_count: usize,
}

impl Channels {
    /// Shared channels, and one for each user.
    pub fn new(users_count: usize) -> Self {
        let rules = namespaces();
        let shared = SHARED.iter().map(|name| (*name).to_owned());
        let names = shared.chain((0..users_count).map(|user| format!("{PERSONAL}:#u{user}")));
        let all: Vec<_> = names
            .map(|name| {
                let options = rules.resolve(&name).expect("its namespace is there").clone();
                Channel { name, options }
            })
            .collect();
        let by_name = all.iter().enumerate().map(|(index, one)| (one.name.clone(), index));
        Self { by_name: by_name.collect(), all, shared_count: SHARED.len() }
    }

    /// One channel.
    pub fn at(&self, index: usize) -> &Channel {
        &self.all[index]
    }

    /// Its index.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// How many clients may choose from.
    pub fn shared_count(&self) -> usize {
        self.shared_count
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.all.len()
    }
}
