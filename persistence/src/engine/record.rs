//! One entry of the partition log as bytes.
//!
//! ```text
//! ┌─────────┬──────┬───────────┬──────────┬─────────┬───────┬────────┬─────────┐
//! │ version │ kind │ partition │ sequence │ channel │ epoch │ offset │ time_ms │ …
//! │   u8    │  u8  │    u16    │   u64    │  text   │ text  │  u64   │   u64   │
//! └─────────┴──────┴───────────┴──────────┴─────────┴───────┴────────┴─────────┘
//! … of a publication: parts u8, content, then as parts says: key, publisher, tags
//! ```
//!
//! Numbers are little-endian; text and bytes stand behind their length (u32). Lengths only ever
//! take from what is there, so that no bytes make a reader allocate more than they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::client::PayloadForm;
use protocol::ids::PartitionId;
use protocol::link::{ClientId, Content, LogChange, LogEntry, Member, Publication};

use super::bytes::{Reader, put_bytes};

/// The version this build writes.
pub const RECORD_VERSION: u8 = 1;

const PUBLISHED: u8 = 1;
const HISTORY_REMOVED: u8 = 2;

const HAS_KEY: u8 = 1;
const HAS_PUBLISHER: u8 = 2;
const HAS_TAGS: u8 = 4;

const HAS_CONNECTION_INFO: u8 = 1;
const HAS_CHANNEL_INFO: u8 = 2;

/// Why bytes are not an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordViolation {
    /// They end within a field.
    Short,
    /// They go on behind the last field.
    Trailing,
    /// A later build wrote them.
    Version(u8),
    /// A change that this version does not have.
    Kind(u8),
    /// A payload form that this version does not have.
    Form(u8),
    /// Parts that this version does not have.
    Parts(u8),
    /// Text that is not UTF-8.
    Text,
    /// Offset or sequence zero.
    Zero,
}

/// Appends the bytes of an entry.
pub fn encode(entry: &LogEntry, out: &mut Vec<u8>) {
    let (kind, offset, time_ms) = match &entry.change {
        LogChange::Published { publication, .. } => {
            (PUBLISHED, publication.offset, publication.time_ms)
        }
        LogChange::HistoryRemoved { offset, time_ms } => (HISTORY_REMOVED, *offset, *time_ms),
    };
    out.push(RECORD_VERSION);
    out.push(kind);
    out.extend_from_slice(&entry.partition.0.to_le_bytes());
    out.extend_from_slice(&entry.sequence.to_le_bytes());
    put_bytes(out, entry.channel.as_bytes());
    put_bytes(out, entry.epoch.as_bytes());
    out.extend_from_slice(&offset.to_le_bytes());
    out.extend_from_slice(&time_ms.to_le_bytes());
    if let LogChange::Published { publication, idempotency_key } = &entry.change {
        let mut parts = 0;
        parts |= if idempotency_key.is_some() { HAS_KEY } else { 0 };
        parts |= if publication.publisher.is_some() { HAS_PUBLISHER } else { 0 };
        parts |= if publication.tags.is_some() { HAS_TAGS } else { 0 };
        out.push(parts);
        put_content(out, &publication.content);
        if let Some(key) = idempotency_key {
            put_bytes(out, key.as_bytes());
        }
        if let Some(publisher) = &publication.publisher {
            encode_member(publisher, out);
        }
        if let Some(tags) = &publication.tags {
            encode_tags(tags, out);
        }
    }
}

/// Reads the entry that exactly these bytes are.
///
/// # Errors
///
/// The first thing that is not as [`encode`] writes it.
pub fn decode(bytes: &[u8]) -> Result<LogEntry, RecordViolation> {
    let mut reader = Reader::new(bytes);
    let version = reader.u8().ok_or(RecordViolation::Short)?;
    if version != RECORD_VERSION {
        return Err(RecordViolation::Version(version));
    }
    let kind = reader.u8().ok_or(RecordViolation::Short)?;
    let partition = PartitionId(reader.u16().ok_or(RecordViolation::Short)?);
    let sequence = reader.u64().ok_or(RecordViolation::Short)?;
    let channel = text(&mut reader)?.into();
    let epoch = text(&mut reader)?.into();
    let offset = reader.u64().ok_or(RecordViolation::Short)?;
    let time_ms = reader.u64().ok_or(RecordViolation::Short)?;
    if sequence == 0 || (kind == PUBLISHED && offset == 0) {
        return Err(RecordViolation::Zero);
    }
    let change = match kind {
        PUBLISHED => published(&mut reader, offset, time_ms)?,
        HISTORY_REMOVED => LogChange::HistoryRemoved { offset, time_ms },
        unknown => return Err(RecordViolation::Kind(unknown)),
    };
    end(&reader)?;
    Ok(LogEntry { partition, sequence, channel, epoch, change })
}

/// Partition and sequence of an encoded entry, without a look at the rest.
pub fn place_of(bytes: &[u8]) -> Option<(PartitionId, u64)> {
    let mut reader = Reader::new(bytes);
    reader.take(2)?;
    Some((PartitionId(reader.u16()?), reader.u64()?))
}

fn published(
    reader: &mut Reader<'_>,
    offset: u64,
    time_ms: u64,
) -> Result<LogChange, RecordViolation> {
    let parts = reader.u8().ok_or(RecordViolation::Short)?;
    if parts & !(HAS_KEY | HAS_PUBLISHER | HAS_TAGS) != 0 {
        return Err(RecordViolation::Parts(parts));
    }
    let content = content(reader)?;
    let idempotency_key = if parts & HAS_KEY != 0 { Some(text(reader)?.into()) } else { None };
    let publisher = if parts & HAS_PUBLISHER != 0 { Some(Arc::new(member(reader)?)) } else { None };
    let tags = if parts & HAS_TAGS != 0 { Some(Arc::new(tags(reader)?)) } else { None };
    let publication = Publication { offset, content, publisher, tags, time_ms };
    Ok(LogChange::Published { publication: Arc::new(publication), idempotency_key })
}

/// Appends the bytes of a member, as they are in an entry and in a row of the store.
pub fn encode_member(member: &Member, out: &mut Vec<u8>) {
    put_bytes(out, member.user.as_bytes());
    out.extend_from_slice(&member.client.0.to_le_bytes());
    let mut parts = 0;
    parts |= if member.connection_info.is_some() { HAS_CONNECTION_INFO } else { 0 };
    parts |= if member.channel_info.is_some() { HAS_CHANNEL_INFO } else { 0 };
    out.push(parts);
    for info in [&member.connection_info, &member.channel_info].into_iter().flatten() {
        put_content(out, info);
    }
}

/// Reads the member that exactly these bytes are.
///
/// # Errors
///
/// The first thing that is not as [`encode_member`] writes it.
pub fn decode_member(bytes: &[u8]) -> Result<Member, RecordViolation> {
    let mut reader = Reader::new(bytes);
    let member = member(&mut reader)?;
    end(&reader).map(|()| member)
}

/// Appends the bytes of tags, as they are in an entry and in a row of the store.
pub fn encode_tags(tags: &BTreeMap<String, String>, out: &mut Vec<u8>) {
    let count = u32::try_from(tags.len()).expect("tags come from one API body");
    out.extend_from_slice(&count.to_le_bytes());
    for (name, value) in tags {
        put_bytes(out, name.as_bytes());
        put_bytes(out, value.as_bytes());
    }
}

/// Reads the tags that exactly these bytes are.
///
/// # Errors
///
/// The first thing that is not as [`encode_tags`] writes it.
pub fn decode_tags(bytes: &[u8]) -> Result<BTreeMap<String, String>, RecordViolation> {
    let mut reader = Reader::new(bytes);
    let tags = tags(&mut reader)?;
    end(&reader).map(|()| tags)
}

/// The number that stands for a payload form in bytes and rows.
pub fn form_number(form: PayloadForm) -> u8 {
    match form {
        PayloadForm::AsIs => 0,
        PayloadForm::Compact => 1,
        PayloadForm::Text => 2,
        PayloadForm::Base64 => 3,
    }
}

/// The payload form behind a number.
///
/// # Errors
///
/// A number that this version does not have.
pub fn form_of(number: u8) -> Result<PayloadForm, RecordViolation> {
    match number {
        0 => Ok(PayloadForm::AsIs),
        1 => Ok(PayloadForm::Compact),
        2 => Ok(PayloadForm::Text),
        3 => Ok(PayloadForm::Base64),
        unknown => Err(RecordViolation::Form(unknown)),
    }
}

fn put_content(out: &mut Vec<u8>, content: &Content) {
    out.push(form_number(content.form));
    put_bytes(out, &content.bytes);
}

fn content(reader: &mut Reader<'_>) -> Result<Content, RecordViolation> {
    let form = form_of(reader.u8().ok_or(RecordViolation::Short)?)?;
    let bytes = reader.bytes().ok_or(RecordViolation::Short)?;
    Ok(Content { bytes: bytes.into(), form })
}

fn member(reader: &mut Reader<'_>) -> Result<Member, RecordViolation> {
    let user = text(reader)?.into();
    let client = ClientId(reader.u128().ok_or(RecordViolation::Short)?);
    let parts = reader.u8().ok_or(RecordViolation::Short)?;
    if parts & !(HAS_CONNECTION_INFO | HAS_CHANNEL_INFO) != 0 {
        return Err(RecordViolation::Parts(parts));
    }
    let connection_info =
        if parts & HAS_CONNECTION_INFO != 0 { Some(content(reader)?) } else { None };
    let channel_info = if parts & HAS_CHANNEL_INFO != 0 { Some(content(reader)?) } else { None };
    Ok(Member { user, client, connection_info, channel_info })
}

fn tags(reader: &mut Reader<'_>) -> Result<BTreeMap<String, String>, RecordViolation> {
    let count = reader.u32().ok_or(RecordViolation::Short)?;
    let mut tags = BTreeMap::new();
    for _ in 0..count {
        let name = text(reader)?;
        tags.insert(name.to_owned(), text(reader)?.to_owned());
    }
    Ok(tags)
}

fn text<'a>(reader: &mut Reader<'a>) -> Result<&'a str, RecordViolation> {
    reader.text().ok_or(RecordViolation::Short)?.ok_or(RecordViolation::Text)
}

fn end(reader: &Reader<'_>) -> Result<(), RecordViolation> {
    if reader.rest().is_empty() { Ok(()) } else { Err(RecordViolation::Trailing) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_content() -> impl Strategy<Value = Content> {
        (proptest::collection::vec(any::<u8>(), 0..64), 0..4_u8).prop_map(|(bytes, form)| Content {
            bytes: bytes.into(),
            form: form_of(form).expect("below 4"),
        })
    }

    fn any_member() -> impl Strategy<Value = Member> {
        let infos = (proptest::option::of(any_content()), proptest::option::of(any_content()));
        (".{0,8}", any::<u128>(), infos).prop_map(|(user, client, infos)| Member {
            user: user.into(),
            client: ClientId(client),
            connection_info: infos.0,
            channel_info: infos.1,
        })
    }

    fn any_change() -> impl Strategy<Value = LogChange> {
        let tags = proptest::collection::btree_map(".{0,4}", ".{0,4}", 0..3);
        let published = (
            (1..u64::MAX, any::<u64>(), any_content()),
            proptest::option::of(any_member()),
            proptest::option::of(tags),
            proptest::option::of(".{0,9}"),
        )
            .prop_map(|((offset, time_ms, content), publisher, tags, key)| {
                LogChange::Published {
                    publication: Arc::new(Publication {
                        offset,
                        content,
                        publisher: publisher.map(Arc::new),
                        tags: tags.map(Arc::new),
                        time_ms,
                    }),
                    idempotency_key: key.map(Into::into),
                }
            });
        prop_oneof![
            published,
            (any::<u64>(), any::<u64>())
                .prop_map(|(offset, time_ms)| LogChange::HistoryRemoved { offset, time_ms }),
        ]
    }

    fn any_entry() -> impl Strategy<Value = LogEntry> {
        (any::<u16>(), 1..u64::MAX, ".{0,20}", ".{0,8}", any_change()).prop_map(
            |(partition, sequence, channel, epoch, change)| LogEntry {
                partition: PartitionId(partition),
                sequence,
                channel: channel.into(),
                epoch: epoch.into(),
                change,
            },
        )
    }

    proptest! {
        #[test]
        fn an_entry_survives_its_bytes(entry in any_entry()) {
            let mut bytes = Vec::new();
            encode(&entry, &mut bytes);
            prop_assert_eq!(place_of(&bytes), Some((entry.partition, entry.sequence)));
            prop_assert_eq!(decode(&bytes), Ok(entry));
        }

        #[test]
        fn a_part_of_an_entry_is_short(entry in any_entry(), part in 0.0..1.0_f64) {
            let mut bytes = Vec::new();
            encode(&entry, &mut bytes);
            let count = (bytes.len() as f64 * part) as usize;
            prop_assert_eq!(decode(&bytes[..count]), Err(RecordViolation::Short));
            bytes.push(0);
            prop_assert_eq!(decode(&bytes), Err(RecordViolation::Trailing));
        }

        #[test]
        fn any_bytes_are_an_entry_or_a_violation(
            bytes in proptest::collection::vec(any::<u8>(), 0..256),
            kind in 1..3_u8,
        ) {
            let _ = decode(&bytes);
            let mut likely = vec![RECORD_VERSION, kind];
            likely.extend_from_slice(&bytes);
            let _ = decode(&likely);
        }
    }

    #[test]
    fn what_a_later_build_wrote_is_named() {
        assert_eq!(decode(&[RECORD_VERSION + 1]), Err(RecordViolation::Version(2)));
        let entry = LogEntry {
            partition: PartitionId(1),
            sequence: 1,
            channel: "c".into(),
            epoch: "e".into(),
            change: LogChange::HistoryRemoved { offset: 1, time_ms: 1 },
        };
        let mut bytes = Vec::new();
        encode(&entry, &mut bytes);
        bytes[1] = 9;
        assert_eq!(decode(&bytes), Err(RecordViolation::Kind(9)));
    }
}
