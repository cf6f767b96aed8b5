//! Goal: what is appended reaches the store in order and with all its fields, and questions about
//! it are answered as the link says.
//! Method: real files, both threads, and a comparison with what was appended.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use persistence::{Opened, open};
use protocol::client::PayloadForm;
use protocol::ids::PartitionId;
use protocol::link::{
    ClientId, Content, LogChange, LogEntry, Member, Position, Publication, StoreAnswer,
    StoreQuestion,
};
use support::{NOW_MS, ask, entry_in, newest, options, wait_until, with_key};

fn append(opened: &Opened, entry: &LogEntry) {
    opened.appender.append_awaiting_store(opened.board.term(), entry).expect("room");
    let progress = || opened.board.progress(entry.partition);
    wait_until("stored", || progress().stored >= entry.sequence);
    assert!(progress().synced >= entry.sequence, "stored is never above synced");
}

fn rich(sequence: u64) -> LogEntry {
    let info =
        |text: &str| Some(Content { bytes: text.as_bytes().into(), form: PayloadForm::AsIs });
    let publication = Publication {
        offset: sequence,
        content: Content { bytes: [0, 1, 255][..].into(), form: PayloadForm::Base64 },
        publisher: Some(Arc::new(Member {
            user: "zoë".into(),
            client: ClientId(u128::MAX / 3),
            connection_info: info("{}"),
            channel_info: None,
        })),
        tags: Some(Arc::new(BTreeMap::from([("a".to_owned(), "b".to_owned())]))),
        time_ms: NOW_MS + 7,
    };
    let mut entry = entry_in("room", 1, sequence, sequence, b"");
    entry.change =
        LogChange::Published { publication: Arc::new(publication), idempotency_key: None };
    entry
}

#[test]
fn newest_and_pages() {
    let folder = tempfile::tempdir().expect("a directory");
    let opened = open(options(&folder.path().join("data"))).expect("it opens");
    let none = StoreAnswer::Newest { position: None, publications: vec![] };
    let question = StoreQuestion::Newest { publications_max: 10, bytes_max: 1000 };
    assert_eq!(ask(&opened.reader, "room", question.clone()), none);
    let mut appended = Vec::new();
    for sequence in 1..=9 {
        let entry = match sequence {
            9 => rich(9),
            _ => entry_in("room", 1, sequence, sequence, b"0123456789"),
        };
        append(&opened, &entry);
        let LogChange::Published { publication, .. } = &entry.change else { panic!() };
        appended.push(publication.clone());
    }
    let position = Some(Position { offset: 9, epoch: "epoch".into() });
    let all = StoreAnswer::Newest { position: position.clone(), publications: appended.clone() };
    assert_eq!(ask(&opened.reader, "room", question), all);
    let narrow = StoreQuestion::Newest { publications_max: 10, bytes_max: 25 };
    let two = StoreAnswer::Newest { position, publications: appended[6..].to_vec() };
    assert_eq!(ask(&opened.reader, "room", narrow), two, "3 and twice 10 bytes");
    let page = |above, below, publications_max, reverse| StoreQuestion::Page {
        epoch: "epoch".into(),
        above,
        below,
        publications_max,
        bytes_max: 1,
        reverse,
    };
    let offsets = |question| match ask(&opened.reader, "room", question) {
        StoreAnswer::Page(page) => page.iter().map(|one| one.offset).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(offsets(page(3, 6, 9, false)), [4], "one is always within");
    let wide = |reverse| StoreQuestion::Page {
        epoch: "epoch".into(),
        above: 3,
        below: u64::MAX,
        publications_max: 3,
        bytes_max: u32::MAX,
        reverse,
    };
    assert_eq!(offsets(wide(false)), [4, 5, 6]);
    assert_eq!(offsets(wide(true)), [9, 8, 7]);
    let other_epoch = StoreQuestion::Page {
        epoch: "another".into(),
        above: 0,
        below: 100,
        publications_max: 10,
        bytes_max: 1000,
        reverse: false,
    };
    assert_eq!(offsets(other_epoch), Vec::<u64>::new());
    opened.persistence.shutdown();
}

#[test]
fn removals_and_epochs() {
    let folder = tempfile::tempdir().expect("a directory");
    let opened = open(options(folder.path())).expect("it opens");
    for sequence in 1..=5 {
        append(&opened, &entry_in("room", 1, sequence, sequence, b"x"));
    }
    let mut removal = entry_in("room", 1, 6, 1, b"");
    removal.change = LogChange::HistoryRemoved { offset: 3, time_ms: NOW_MS };
    append(&opened, &removal);
    assert_eq!(newest(&opened.reader, "room"), [4, 5]);
    removal.sequence = 7;
    removal.change = LogChange::HistoryRemoved { offset: 5, time_ms: NOW_MS };
    append(&opened, &removal);
    let question = StoreQuestion::Newest { publications_max: 10, bytes_max: 1000 };
    let position = Some(Position { offset: 5, epoch: "epoch".into() });
    let empty = StoreAnswer::Newest { position, publications: vec![] };
    assert_eq!(ask(&opened.reader, "room", question.clone()), empty, "the position stays");
    append(&opened, &entry_in("room", 1, 8, 6, b"x"));
    let mut next_epoch = entry_in("room", 1, 9, 1, b"y");
    next_epoch.epoch = "next".into();
    append(&opened, &next_epoch);
    let StoreAnswer::Newest { position, publications } = ask(&opened.reader, "room", question)
    else {
        panic!("an answer to another question");
    };
    assert_eq!(position, Some(Position { offset: 1, epoch: "next".into() }));
    assert_eq!(publications.len(), 1, "nothing of the epoch before");
    opened.persistence.shutdown();
}

#[test]
fn removals_within_one_commit() {
    let folder = tempfile::tempdir().expect("a directory");
    let opened = open(options(folder.path())).expect("it opens");
    let term = opened.board.term();
    let mut sequence = 0;
    for round in 0..200 {
        for at in 0..3 {
            sequence += 1;
            let entry = entry_in("room", 1, sequence, round * 3 + at + 1, b"x");
            opened.appender.append(term, &entry).expect("room");
        }
        sequence += 1;
        let mut removal = entry_in("room", 1, sequence, 1, b"");
        removal.change = LogChange::HistoryRemoved { offset: round * 3 + 2, time_ms: NOW_MS };
        opened.appender.append(term, &removal).expect("room");
    }
    wait_until("stored", || opened.board.progress(PartitionId(1)).stored == sequence);
    assert_eq!(newest(&opened.reader, "room"), [600]);
    opened.persistence.shutdown();
}

#[test]
fn keys_for_15_minutes_across_restarts() {
    let folder = tempfile::tempdir().expect("a directory");
    let opened = open(options(folder.path())).expect("it opens");
    append(&opened, &with_key(entry_in("room", 1, 1, 1, b"x"), "once"));
    let question = || StoreQuestion::Key { key: "once".into() };
    let there = StoreAnswer::Key(Some(Position { offset: 1, epoch: "epoch".into() }));
    assert_eq!(ask(&opened.reader, "room", question()), there);
    assert_eq!(ask(&opened.reader, "other", question()), StoreAnswer::Key(None));
    opened.persistence.shutdown();
    // The entry's time is NOW_MS + 1.
    for (passed_ms, is_there) in [(900_000, true), (900_001, false)] {
        let mut later = options(folder.path());
        later.clock = Arc::new(move || NOW_MS + passed_ms);
        let opened = open(later).expect("it opens");
        let expected = if is_there { there.clone() } else { StoreAnswer::Key(None) };
        assert_eq!(ask(&opened.reader, "room", question()), expected, "after {passed_ms} ms");
        opened.persistence.shutdown();
    }
}
