//! From what tiers exchange to what clients read.
//!
//! Link messages own counted bytes, replies borrow; here the one is shown as the other, for as long
//! as it takes to encode it.

use protocol::client as wire;
use protocol::client::{Format, Payload};
use protocol::link::{ClientId, Content, Member, Publication};
use std::sync::Arc;

/// The text of a client id, without a heap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientText([u8; 36]);

impl ClientText {
    pub(crate) fn new(client: ClientId) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'-'; 36];
        let mut at = 0;
        for digit in 0..32 {
            if matches!(digit, 8 | 12 | 16 | 20) {
                at += 1;
            }
            text[at] = DIGITS[(client.0 >> (124 - digit * 4)) as usize & 15];
            at += 1;
        }
        Self(text)
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hexadecimal digits and dashes")
    }
}

fn payload(content: &Option<Content>) -> Payload<'_> {
    content.as_ref().map_or(Payload::EMPTY, Content::payload)
}

pub(crate) fn client_info<'a>(member: &'a Member, client: &'a ClientText) -> wire::ClientInfo<'a> {
    wire::ClientInfo {
        user: &member.user,
        client: client.as_str(),
        conn_info: payload(&member.connection_info),
        chan_info: payload(&member.channel_info),
    }
}

/// What borrowed views of several publications borrow from beside the publications themselves.
#[derive(Debug, Default)]
pub(crate) struct PublicationParts<'a> {
    clients: Vec<Option<ClientText>>,
    tags: Vec<Vec<(&'a str, &'a str)>>,
}

impl<'a> PublicationParts<'a> {
    pub(crate) fn new(publications: &'a [Arc<Publication>]) -> Self {
        let clients = publications
            .iter()
            .map(|entry| entry.publisher.as_ref().map(|member| ClientText::new(member.client)));
        let tags = publications.iter().map(|entry| tags_of(entry));
        Self { clients: clients.collect(), tags: tags.collect() }
    }

    pub(crate) fn views(&'a self, from: &'a [Arc<Publication>]) -> Vec<wire::Publication<'a>> {
        let parts = self.clients.iter().zip(&self.tags);
        from.iter()
            .zip(parts)
            .map(|(publication, (client, tags))| view(publication, client.as_ref(), tags))
            .collect()
    }
}

fn tags_of(publication: &Publication) -> Vec<(&str, &str)> {
    let tags = publication.tags.iter().flat_map(|tags| tags.iter());
    tags.map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

fn view<'a>(
    publication: &'a Publication,
    client: Option<&'a ClientText>,
    tags: &'a [(&'a str, &'a str)],
) -> wire::Publication<'a> {
    let info = publication.publisher.as_ref().zip(client);
    wire::Publication {
        data: publication.content.payload(),
        info: info.map(|(member, client)| client_info(member, client)),
        offset: publication.offset,
        tags,
        delta: false,
        time: 0,
    }
}

/// Appends the push of one publication.
pub(crate) fn encode_publication(
    format: Format,
    channel: &str,
    publication: &Publication,
    out: &mut Vec<u8>,
) {
    let client = publication.publisher.as_ref().map(|member| ClientText::new(member.client));
    let tags = tags_of(publication);
    let body = wire::PushBody::Publication(view(publication, client.as_ref(), &tags));
    wire::encode_push(format, &wire::Push { channel, body }, out);
}

/// Appends the push of a join or a leave.
pub(crate) fn encode_presence(
    format: Format,
    channel: &str,
    member: &Member,
    has_joined: bool,
    out: &mut Vec<u8>,
) {
    let client = ClientText::new(member.client);
    let info = client_info(member, &client);
    let body = if has_joined { wire::PushBody::Join(info) } else { wire::PushBody::Leave(info) };
    wire::encode_push(format, &wire::Push { channel, body }, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_text_is_the_uuid() {
        let client = ClientId::from_random(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        assert_eq!(ClientText::new(client).as_str(), client.to_string());
    }
}
