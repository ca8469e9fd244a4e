//! Streams: what the black-box cases of `check` cannot see.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use async_await::{Listener, Stream, block_on, sleep, timeout};
use server::statistics::calls;
use server::sys::Syscall;

const LONG: Duration = Duration::from_secs(10);

/// A stream and its peer.
async fn connection() -> (Stream, TcpStream) {
    let listener = server::Listener::bind("127.0.0.1", 0, 16).unwrap();
    let peer = TcpStream::connect(listener.local_address().unwrap()).unwrap();
    let mut listener = Listener::new(listener).unwrap();
    let stream = timeout(LONG, listener.accept()).await.expect("it is connected").unwrap();
    (stream.expect("nobody has stopped the server"), peer)
}

fn waits() -> u64 {
    [Syscall::EpollWait, Syscall::Kevent].map(|call| calls(call).made).iter().sum()
}

/// The kernel reports input as long as it is there. If nobody waits for it the executor must not spin.
#[test]
fn input_that_nobody_waits_for_is_not_asked_for_again_and_again() {
    block_on(async {
        let (mut stream, mut peer) = connection().await;
        peer.write_all(b"early").unwrap();
        let before = waits();
        for _ in 0..10 {
            sleep(Duration::from_millis(20)).await;
        }
        // One for each sleep, one that reports the input, and a few of the other tests.
        let made = waits() - before;
        assert!(made < 100, "{made} waits");
        assert_eq!(timeout(LONG, stream.read()).await.unwrap().unwrap(), b"early");
    })
    .unwrap();
}

#[test]
fn a_read_that_is_given_up_has_taken_nothing() {
    block_on(async {
        let (mut stream, mut peer) = connection().await;
        for _ in 0..3 {
            assert!(timeout(Duration::from_millis(5), stream.read()).await.is_none());
        }
        peer.write_all(b"late").unwrap();
        assert_eq!(timeout(LONG, stream.read()).await.unwrap().unwrap(), b"late");
        drop(peer);
        assert!(timeout(LONG, stream.read()).await.unwrap().unwrap().is_empty());
    })
    .unwrap();
}

/// From waiting for input to waiting for room and back, more than once.
#[test]
fn a_write_waits_until_the_peer_reads() {
    const SIZE: usize = 16 * 1024 * 1024;
    block_on(async {
        let (mut stream, mut peer) = connection().await;
        for _ in 0..3 {
            let reader = async_await::spawn_blocking(move || {
                peer.write_all(b"go").unwrap();
                let mut received = vec![0; SIZE];
                peer.read_exact(&mut received).unwrap();
                assert!(received.iter().all(|&byte| byte == 7));
                peer
            });
            assert_eq!(timeout(LONG, stream.read()).await.unwrap().unwrap(), b"go");
            timeout(LONG, stream.write_all(&vec![7; SIZE])).await.unwrap().unwrap();
            peer = reader.await.unwrap();
        }
    })
    .unwrap();
}

#[test]
fn a_peer_that_resets_is_an_error() {
    block_on(async {
        let (mut stream, mut peer) = connection().await;
        stream.write_all(b"unread").await.unwrap();
        peer.write_all(b"x").unwrap();
        assert_eq!(timeout(LONG, stream.read()).await.unwrap().unwrap(), b"x");
        drop(peer); // with input unread
        assert!(timeout(LONG, stream.read()).await.unwrap().is_err());
    })
    .unwrap();
}
