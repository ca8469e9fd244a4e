//! Streams: behaviour that the black-box cases of `check` cannot see.

use std::io::{Read, Write};
use std::time::Duration;

use async_await::{block_on, timeout};
use common::connection;

mod common;

const LONG: Duration = Duration::from_secs(10);

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

/// A task waits for input, then for room, then for input again, more than once.
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
