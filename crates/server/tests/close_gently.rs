//! The end of one connection that the server itself has ended.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::thread::JoinHandleExt;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::pthread::pthread_kill;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
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

/// When a server with many threads is told to stop, it wakes up all of them, again and again.
#[test]
fn a_signal_is_nothing_that_the_peer_has_said() {
    extern "C" fn on_signal(_: nix::libc::c_int) {}
    let action = SigAction::new(SigHandler::Handler(on_signal), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing.
    #[allow(unsafe_code)]
    unsafe { sigaction(Signal::SIGUSR1, &action) }.unwrap();
    let mut listener = listener();
    let (mut stream, peer) = connection(&mut listener);
    stream.write_all(b"goodbye").unwrap();
    let started = Instant::now();
    let closing = thread::spawn(move || {
        stream.close_gently();
        started.elapsed()
    });
    while !closing.is_finished() {
        let _ = pthread_kill(closing.as_pthread_t() as _, Signal::SIGUSR1);
        thread::sleep(Duration::from_millis(1));
    }
    let took = closing.join().unwrap();
    assert!(took < Duration::from_millis(700), "{took:?}");
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
