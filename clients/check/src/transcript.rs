//! What was said on each connection of the running case, so that a failure can show it.
//!
//! It is kept beside the connections, under their descriptors: a [`Client`](crate::Client) is a stream and nothing else,
//! and its users may make one from a stream of their own. A case runs on one thread, and so does its transcript.

use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::RawFd;

use protocol::Session;

/// So many bytes are kept of what was sent: enough for all but the large messages, where the beginning must do.
const KEPT: usize = 64 * 1024;

/// So many pieces are shown, and of each so many bytes.
const PIECES: usize = 4;
const SHOWN: usize = 40;

#[derive(Default)]
struct Transcript {
    /// The beginning of what was sent.
    sent: Vec<u8>,
    /// Where each piece of it ends: the sends, which the server may receive as they are or not.
    ends: Vec<usize>,
    /// How much was sent in all.
    total: usize,
    /// How much of the right answer has come, the greeting included.
    received: usize,
}

thread_local! {
    static TRANSCRIPTS: RefCell<HashMap<RawFd, Transcript>> = RefCell::default();
}

/// A new connection: the descriptor may have been another one's.
pub(crate) fn begin(connection: RawFd) {
    TRANSCRIPTS.with_borrow_mut(|all| all.insert(connection, Transcript::default()));
}

/// These bytes were sent in one piece.
pub(crate) fn sent(connection: RawFd, bytes: &[u8]) {
    TRANSCRIPTS.with_borrow_mut(|all| {
        let transcript = all.entry(connection).or_default();
        let room = KEPT - transcript.sent.len();
        if room > 0 && !bytes.is_empty() {
            transcript.sent.extend(&bytes[..room.min(bytes.len())]);
            transcript.ends.push(transcript.sent.len());
        }
        transcript.total += bytes.len();
    });
}

/// So many more bytes of the right answer have come.
pub(crate) fn received(connection: RawFd, length: usize) {
    TRANSCRIPTS.with_borrow_mut(|all| all.entry(connection).or_default().received += length);
}

/// What was sent, around the byte whose answer is wrong or missing: the one `further` after all that have come.
pub(crate) fn describe(connection: RawFd, further: usize) -> String {
    TRANSCRIPTS.with_borrow(|all| match all.get(&connection) {
        Some(transcript) => transcript.describe(further),
        None => "nothing".to_owned(),
    })
}

impl Transcript {
    fn describe(&self, further: usize) -> String {
        let Some(last) = self.ends.len().checked_sub(1) else { return "nothing".to_owned() };
        // The greeting answers nothing.
        let position = self.answered_by((self.received + further).saturating_sub(1));
        let piece = self.ends.iter().position(|&end| position < end).unwrap_or(last);
        let (from, to) = (piece.saturating_sub(PIECES - 2), (piece + 1).min(last));
        let mut text = String::new();
        for index in from..=to {
            let start = if index == 0 { 0 } else { self.ends[index - 1] };
            let bytes = &self.sent[start..self.ends[index]];
            text.push_str(&excerpt(bytes, position.saturating_sub(start)));
            text.push(' ');
        }
        let (before, after) =
            (if from > 0 { ".. " } else { "" }, if to < last { ".. " } else { "" });
        let cut = match self.ends.len() {
            1 => "one piece".to_owned(),
            _ if from == 0 && to == last => format!("{} pieces", last + 1),
            number => format!("{number} pieces; these are {} to {}", from + 1, to + 1),
        };
        format!("{before}{text}{after}({} bytes in {cut})", self.total)
    }

    /// Which byte of the input the answer's byte of this number belongs to; the end, if to none that is kept.
    fn answered_by(&self, number: usize) -> usize {
        let (mut session, mut reply) = (Session::new(), Vec::new());
        let answers = |&byte: &u8| {
            session.receive(&[byte], &mut reply);
            reply.len() > number
        };
        self.sent.iter().position(answers).unwrap_or(self.sent.len())
    }
}

/// Bytes for a reader: quoted, and where they are many those around this position.
pub(crate) fn excerpt(bytes: &[u8], position: usize) -> String {
    let start = match bytes.len() <= SHOWN {
        true => 0,
        false => position.saturating_sub(SHOWN / 2).min(bytes.len() - SHOWN),
    };
    let end = bytes.len().min(start + SHOWN);
    let mark = |cut: bool| if cut { ".." } else { "" };
    let shown = bytes[start..end].escape_ascii();
    format!("{}\"{shown}\"{}", mark(start > 0), mark(end < bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_around_the_missing_answer_are_shown() {
        let connection = 1_000_000;
        begin(connection);
        assert_eq!(describe(connection, 0), "nothing");
        sent(connection, b"^12");
        assert_eq!(describe(connection, 0), r#""^12" (3 bytes in one piece)"#);
        sent(connection, b"3$");
        received(connection, 1 + 3);
        assert_eq!(describe(connection, 0), r#""^12" "3$" (5 bytes in 2 pieces)"#);
        for piece in [b"^a$", b"^b$", b"^c$"] {
            sent(connection, piece);
        }
        let text = r#".. "3$" "^a$" "^b$" "^c$" (14 bytes in 5 pieces; these are 2 to 5)"#;
        assert_eq!(describe(connection, 1), text);
    }

    #[test]
    fn a_long_piece_is_shown_where_it_matters() {
        let bytes: Vec<u8> = (0..1000_u32).map(|number| b'a' + (number / 40) as u8).collect();
        let letters = |letter: &str| letter.repeat(SHOWN / 2);
        assert_eq!(excerpt(&bytes, 0), format!("\"{0}{0}\"..", letters("a")));
        assert_eq!(excerpt(&bytes, 80), format!("..\"{}{}\"..", letters("b"), letters("c")));
        assert_eq!(excerpt(&bytes, 999), format!("..\"{0}{0}\"", letters("y")));
        assert_eq!(excerpt(b"^\xff\"$", 2), r#""^\xff\"$""#);
    }
}
