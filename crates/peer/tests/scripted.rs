//! A peer on a stream that does what a script says: would-block here, a short write there, a reset in the middle.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};

use peer::{Buffers, Interest, Peer, on_peer_connected, on_peer_ready_recv, on_peer_ready_send};

/// What the next read or write of the stream comes to.
enum Step {
    /// read: these bytes arrive; none is the end of the stream.
    Receive(&'static [u8]),
    /// write: the socket takes this many bytes at most.
    Take(usize),
    /// Either.
    Fail(ErrorKind),
}

use Step::{Fail, Receive, Take};

/// A stream whose script must be followed: a call that it does not provide for fails the test.
struct Scripted {
    steps: VecDeque<Step>,
    sent: Vec<u8>,
}

impl Scripted {
    fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Scripted { steps: steps.into_iter().collect(), sent: Vec::new() }
    }
}

impl Read for Scripted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.steps.pop_front() {
            Some(Receive(bytes)) => {
                buffer[..bytes.len()].copy_from_slice(bytes);
                Ok(bytes.len())
            }
            Some(Fail(kind)) => Err(kind.into()),
            _ => panic!("a read that the script does not provide for"),
        }
    }
}

impl Write for Scripted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.steps.pop_front() {
            Some(Take(limit)) => {
                let taken = limit.min(bytes.len());
                self.sent.extend_from_slice(&bytes[..taken]);
                Ok(taken)
            }
            Some(Fail(kind)) => Err(kind.into()),
            _ => panic!("a write that the script does not provide for"),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const WOULD_BLOCK: Step = Fail(ErrorKind::WouldBlock);

/// A peer that has been greeted, before the given steps.
fn greeted(steps: impl IntoIterator<Item = Step>) -> Peer<Scripted> {
    let mut peer = on_peer_connected(Scripted::new([Take(1)].into_iter().chain(steps)));
    assert_eq!(on_peer_ready_send(&mut peer).unwrap(), Interest::READ);
    assert_eq!(peer.stream.sent, b"*");
    peer.stream.sent.clear();
    peer
}

#[test]
fn the_greeting_is_owed_before_anything_is_read() {
    let peer = on_peer_connected(Scripted::new([WOULD_BLOCK]));
    assert_eq!(peer.interest(), Interest::WRITE);
}

#[test]
fn a_greeting_that_the_socket_does_not_take_stays_owed() {
    let mut peer = on_peer_connected(Scripted::new([WOULD_BLOCK, Take(1)]));
    assert_eq!(on_peer_ready_send(&mut peer).unwrap(), Interest::WRITE);
    assert_eq!(on_peer_ready_send(&mut peer).unwrap(), Interest::READ);
    assert_eq!(peer.stream.sent, b"*");
}

#[test]
fn an_answer_is_sent_at_once() {
    let mut peer = greeted([Receive(b"^abc$"), Take(usize::MAX)]);
    let interest = on_peer_ready_recv(&mut peer, &mut Buffers::new()).unwrap();
    assert_eq!(interest, Interest::READ);
    assert_eq!(peer.stream.sent, b"bcd");
}

#[test]
fn bytes_outside_a_message_are_answered_with_no_call_at_all() {
    let mut peer = greeted([Receive(b"xyz")]);
    let interest = on_peer_ready_recv(&mut peer, &mut Buffers::new()).unwrap();
    assert_eq!(interest, Interest::READ);
}

#[test]
fn a_message_may_go_on_in_the_next_read() {
    let mut peer = greeted([Receive(b"^ab"), Take(9), Receive(b"c$d"), Take(9)]);
    let mut buffers = Buffers::new();
    on_peer_ready_recv(&mut peer, &mut buffers).unwrap();
    on_peer_ready_recv(&mut peer, &mut buffers).unwrap();
    assert_eq!(peer.stream.sent, b"bcd");
}

#[test]
fn a_short_write_goes_on_where_it_stopped() {
    let mut peer = greeted([Receive(b"^abcdef"), Take(2), Take(1), WOULD_BLOCK]);
    let interest = on_peer_ready_recv(&mut peer, &mut Buffers::new()).unwrap();
    assert_eq!(interest, Interest::WRITE);
    assert_eq!(peer.stream.sent, b"bcd");

    peer.stream.steps.extend([Take(1), WOULD_BLOCK]);
    assert_eq!(on_peer_ready_send(&mut peer).unwrap(), Interest::WRITE);
    assert_eq!(peer.stream.sent, b"bcde");

    peer.stream.steps.extend([Take(9)]);
    assert_eq!(on_peer_ready_send(&mut peer).unwrap(), Interest::READ);
    assert_eq!(peer.stream.sent, b"bcdefg");
}

#[test]
fn nothing_to_receive_is_would_block_and_leaves_the_peer_as_it_was() {
    let mut peer = greeted([WOULD_BLOCK]);
    let error = on_peer_ready_recv(&mut peer, &mut Buffers::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    assert_eq!(peer.interest(), Interest::READ);
}

#[test]
fn the_end_of_the_stream_is_the_end_of_the_peer() {
    let mut peer = greeted([Receive(b"")]);
    let interest = on_peer_ready_recv(&mut peer, &mut Buffers::new()).unwrap();
    assert_eq!(interest, Interest::NONE);
}

#[test]
fn a_reset_while_receiving_is_reported() {
    let mut peer = greeted([Fail(ErrorKind::ConnectionReset)]);
    let error = on_peer_ready_recv(&mut peer, &mut Buffers::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_reset_while_answering_is_reported() {
    let mut peer = greeted([Receive(b"^abc"), Take(1), Fail(ErrorKind::BrokenPipe)]);
    let error = on_peer_ready_recv(&mut peer, &mut Buffers::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
}

#[test]
fn a_socket_that_takes_nothing_without_an_error_is_no_endless_loop() {
    let mut peer = greeted([Receive(b"^abc"), Take(0)]);
    let error = on_peer_ready_recv(&mut peer, &mut Buffers::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WriteZero);
}

#[test]
fn what_a_peer_is_owed_when_it_is_dropped_is_offered_to_its_stream() {
    let mut stream =
        Scripted::new([Take(1), Receive(b"^abc"), Take(1), WOULD_BLOCK, Take(1), Take(9)]);
    let mut peer = on_peer_connected(&mut stream);
    on_peer_ready_send(&mut peer).unwrap();
    on_peer_ready_recv(&mut peer, &mut Buffers::new()).unwrap();
    drop(peer);
    assert_eq!(stream.sent, b"*bcd");
    assert!(stream.steps.is_empty());
}

#[test]
fn a_peer_that_is_owed_nothing_is_dropped_without_a_call() {
    drop(greeted([]));
}

#[test]
fn a_stream_that_takes_nothing_any_more_does_not_hold_up_the_drop() {
    let mut stream = Scripted::new([Fail(ErrorKind::BrokenPipe)]);
    drop(on_peer_connected(&mut stream));
    assert!(stream.steps.is_empty());
}

mod random {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use protocol::{GREETING, Session};

    /// A socket pair in miniature: reads come from `input` in pieces, writes are taken in pieces, and either may find
    /// that it would block first. The lengths are used again and again; 0 stands for would-block.
    struct Reluctant {
        input: VecDeque<u8>,
        sent: Vec<u8>,
        lengths: std::iter::Cycle<std::vec::IntoIter<usize>>,
    }

    impl Reluctant {
        fn next_length(&mut self) -> io::Result<usize> {
            match self.lengths.next() {
                Some(length) if length > 0 => Ok(length),
                _ => Err(ErrorKind::WouldBlock.into()),
            }
        }
    }

    impl Read for Reluctant {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.next_length()?.min(buffer.len());
            self.input.read(&mut buffer[..length])
        }
    }

    impl Write for Reluctant {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = self.next_length()?.min(bytes.len());
            self.sent.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn whatever_the_socket_does_the_answer_arrives_whole(
            input in vec(prop_oneof![Just(b'^'), Just(b'$'), any::<u8>()], 0..300),
            mut lengths in vec(0_usize..40, 1..20),
        ) {
            let mut expected = vec![GREETING];
            Session::new().receive(&input, &mut expected);

            lengths.push(1); // now and then something must move
            let lengths = lengths.into_iter().cycle();
            let stream = Reluctant { input: input.into(), sent: Vec::new(), lengths };
            let mut peer = on_peer_connected(stream);
            let mut buffers = Buffers::new();
            loop {
                let result = match peer.interest() {
                    Interest::WRITE => on_peer_ready_send(&mut peer),
                    _ => on_peer_ready_recv(&mut peer, &mut buffers),
                };
                match result {
                    Ok(Interest::NONE) => break,
                    Ok(interest) => prop_assert_eq!(interest, peer.interest()),
                    Err(error) => prop_assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
            }
            prop_assert_eq!(&peer.stream.sent, &expected);
        }
    }
}
