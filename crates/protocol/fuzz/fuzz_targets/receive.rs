//! Any bytes, split anywhere, are answered as if they had come in one piece and as the definition says.
//!
//! `cargo +nightly fuzz run receive` in `crates/protocol` (with cargo-fuzz installed).
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::Session;
use protocol::reference::reply_to;

// The first byte is the length of the pieces, the rest is what arrives in them.
fuzz_target!(|data: &[u8]| {
    let Some((&length, input)) = data.split_first() else { return };

    let mut reply = Vec::new();
    let mut session = Session::new();
    for piece in input.chunks(usize::from(length).max(1)) {
        session.receive(piece, &mut reply);
    }

    assert_eq!(reply, reply_to(input));

    let mut whole = Vec::new();
    let mut session_of_one_piece = Session::new();
    session_of_one_piece.receive(input, &mut whole);
    assert_eq!(reply, whole);
    assert_eq!(session, session_of_one_piece);
});
