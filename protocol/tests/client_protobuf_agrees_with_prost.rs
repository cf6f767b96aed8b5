//! Goal: our hand-written Protobuf means the same as that of an independent implementation.
//! Method: the messages of client.proto, declared again for prost; random values cross in both
//! directions, and damaged bytes that we accept must mean the same to prost.

#[path = "client_support/oracle.rs"]
mod oracle;

mod client_support;

use client_support::borrowed::encode_entry;
use client_support::{BINARY_PAYLOADS, commands, entries};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use prost::Message;
use protocol::client::client_side::{decode_replies, encode_command};
use protocol::client::{Format, ProtobufCommands};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn commands_of_prost_are_understood(command in commands(BINARY_PAYLOADS)) {
        let bytes = oracle::Command::from(&command).encode_length_delimited_to_vec();
        let decoded: Vec<_> = ProtobufCommands::new(&bytes).collect();
        prop_assert_eq!(decoded, [Ok(command)]);
    }

    #[test]
    fn commands_of_ours_are_understood_by_prost(command in commands(BINARY_PAYLOADS)) {
        let mut bytes = Vec::new();
        encode_command(Format::Protobuf, &command, &mut bytes);
        let read = oracle::Command::decode_length_delimited(&*bytes).expect("well-formed");
        prop_assert_eq!(read, oracle::Command::from(&command));
    }

    #[test]
    fn damaged_bytes_that_we_accept_mean_the_same_to_prost(
        command in commands(BINARY_PAYLOADS),
        changes in vec((any::<Index>(), any::<u8>()), 1..4),
    ) {
        let mut body = oracle::Command::from(&command).encode_to_vec();
        for (index, byte) in changes.into_iter().filter(|_| !body.is_empty()).collect::<Vec<_>>() {
            let at = index.index(body.len());
            body[at] = byte;
        }
        let mut bytes = Vec::new();
        prost::encoding::encode_varint(body.len() as u64, &mut bytes);
        bytes.extend_from_slice(&body);
        if let Some(Ok(ours)) = ProtobufCommands::new(&bytes).next() {
            let theirs = oracle::Command::decode(&*body).expect("what we accept is well-formed");
            prop_assert_eq!(oracle::Command::from(&ours), theirs.without_filter_contents());
        }
    }

    #[test]
    fn entries_of_ours_are_understood_by_prost(entry in entries(BINARY_PAYLOADS)) {
        let mut bytes = Vec::new();
        encode_entry(Format::Protobuf, &entry, &mut bytes);
        let read = oracle::Reply::decode_length_delimited(&*bytes).expect("well-formed");
        prop_assert_eq!(read, oracle::Reply::from(&entry));
    }

    #[test]
    fn entries_of_prost_are_understood_by_our_client_side(entry in entries(BINARY_PAYLOADS)) {
        let bytes = oracle::Reply::from(&entry).encode_length_delimited_to_vec();
        prop_assert_eq!(decode_replies(Format::Protobuf, &bytes), Ok(vec![entry]));
    }
}
