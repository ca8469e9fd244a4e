//! The end of one connection that the server itself has ended.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use server::{Listener, Stream};

/// Both ends of a connection: the server's, and the peer's.
fn connection(listener: &mut Listener) -> (Stream, TcpStream) {
    let peer = TcpStream::connect(listener.local_address().unwrap()).unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    (listener.accept().unwrap().expect("a peer waits"), peer)
}

fn listener() -> Listener {
    Listener::bind("127.0.0.1", 0, 16).unwrap()
}

fn read_all(mut peer: TcpStream) -> io::Result<usize> {
    let mut bytes = Vec::new();
    peer.read_to_end(&mut bytes)
}

/// A grace period of a second each, or even a tick of 10 ms, would add up.
#[test]
fn a_peer_that_has_closed_is_not_waited_for() {
    let mut listener = listener();
    let started = Instant::now();
    for _ in 0..200 {
        let (mut stream, peer) = connection(&mut listener);
        stream.write_all(b"goodbye").unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        stream.close_gently();
        assert_eq!(read_all(peer).unwrap(), 7);
    }
    assert!(started.elapsed() < Duration::from_millis(1500), "{:?}", started.elapsed());
}

#[test]
fn a_silent_peer_that_has_everything_does_not_cost_the_grace_period() {
    let mut listener = listener();
    let started = Instant::now();
    let (mut stream, peer) = connection(&mut listener);
    stream.write_all(b"goodbye").unwrap();
    stream.close_gently();
    assert!(started.elapsed() < Duration::from_millis(700), "{:?}", started.elapsed());
    assert_eq!(read_all(peer).unwrap(), 7);
}

#[test]
fn a_peer_that_reads_nothing_costs_a_second_and_no_more() {
    let mut listener = listener();
    let (mut stream, peer) = connection(&mut listener);
    stream.set_nonblocking(true).unwrap();
    while stream.write(&[7; 65536]).is_ok() {}
    let started = Instant::now();
    stream.close_gently();
    let took = started.elapsed();
    assert!((1..10).contains(&took.as_secs()), "{took:?}");
    drop(peer);
}

#[test]
fn a_peer_that_goes_on_sending_gets_what_was_sent_before() {
    const LENGTH: usize = 1 << 20;
    let mut listener = listener();
    let (mut stream, peer) = connection(&mut listener);
    let talker = {
        let mut peer = peer.try_clone().unwrap();
        thread::spawn(move || while peer.write_all(&[b'x'; 1000]).is_ok() {})
    };
    let reader = thread::spawn(move || {
        thread::sleep(Duration::from_millis(100));
        let received = read_all(peer.try_clone().unwrap());
        peer.shutdown(Shutdown::Both).unwrap();
        received
    });
    stream.write_all(&[7; LENGTH]).unwrap();
    stream.close_gently();
    assert_eq!(reader.join().unwrap().unwrap(), LENGTH);
    talker.join().unwrap();
}
