//! The session against the protocol's definition, over random bytes and random splits.

use proptest::collection::vec;
use proptest::prelude::*;
use protocol::Session;
use protocol::reference::reply_to;

/// What a session answers when `input` arrives in pieces of the given lengths, again and again, until it is used up.
fn session(mut input: &[u8], lengths: &[usize]) -> Vec<u8> {
    let mut session = Session::new();
    let mut reply = Vec::new();
    for &length in lengths.iter().cycle() {
        if input.is_empty() {
            break;
        }
        let (piece, rest) = input.split_at(length.min(input.len()));
        session.receive(piece, &mut reply);
        input = rest;
    }
    reply
}

/// Bytes in which delimiters are as common as all others together; now and then a long stretch without one.
fn input() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![Just(b'^'), Just(b'$'), any::<u8>()];
    let stretch = vec(any::<u8>(), 0..10_000);
    prop_oneof![4 => vec(byte, 0..200), 1 => stretch, 1 => vec(any::<u8>(), 0..200)]
}

#[test]
fn the_three_transcripts() {
    let transcripts: [(&[u8], &[u8]); 3] =
        [(b"^abc$de^abte$f", b"bcdbcuf"), (b"xyz^123", b"234"), (b"25$^ab0000$abab", b"bc1111")];
    for (input, expected) in transcripts {
        assert_eq!(session(input, &[input.len()]), expected);
        assert_eq!(session(input, &[1]), expected, "byte by byte");
    }
}

#[test]
fn the_transcripts_in_one_connection_share_their_state() {
    let input = b"^abc$de^abte$fxyz^12325$^ab0000$abab";
    assert_eq!(session(input, &[14, 7, 15]), b"bcdbcuf23436bc1111");
}

#[test]
fn every_byte_value_comes_back_plus_one() {
    for byte in (0..=u8::MAX).filter(|&byte| byte != b'$') {
        assert_eq!(session(&[b'^', byte, b'$'], &[3]), [byte.wrapping_add(1)]);
    }
}

proptest! {
    #[test]
    fn any_split_gives_what_the_definition_says(input in input(), lengths in vec(1_usize..5_000, 1..8)) {
        prop_assert_eq!(session(&input, &lengths), reply_to(&input));
    }

    #[test]
    fn byte_by_byte_gives_what_the_definition_says(input in input()) {
        prop_assert_eq!(session(&input, &[1]), reply_to(&input));
    }

    #[test]
    fn a_reply_is_appended_to_what_is_there(input in input(), before in vec(any::<u8>(), 0..20)) {
        let mut reply = before.clone();
        Session::new().receive(&input, &mut reply);
        prop_assert_eq!(reply, [before, reply_to(&input)].concat());
    }
}
