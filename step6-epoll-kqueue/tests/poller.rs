//! What the poller promises on either system. One test, one behaviour.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::pthread::{pthread_kill, pthread_self};
use nix::sys::signal::Signal;
use step6_epoll_kqueue::{Event, Interest, Poller};

const NOW: Option<Duration> = Some(Duration::ZERO);
const LONG: Option<Duration> = Some(Duration::from_secs(10));

/// A poller, and two ends of a stream: ours, to be watched, and the other one.
fn set_up() -> (Poller, UnixStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    (Poller::new().unwrap(), ours, theirs)
}

fn wait(poller: &mut Poller, timeout: Option<Duration>) -> Vec<Event> {
    let mut events = Vec::new();
    poller.wait(&mut events, timeout).unwrap();
    events
}

fn readable(token: u64) -> Event {
    Event { token, readable: true, writable: false }
}

/// A signal interrupts every wait, whatever its handler asks for (signal(7)).
#[test]
fn a_signal_does_not_have_the_wait_begin_anew() {
    let _pipe = server::signals::watch(Signal::SIGUSR1).unwrap();
    let (mut poller, _ours, _theirs) = set_up();
    let waiting = pthread_self();
    let over = AtomicBool::new(false);
    let interrupted = thread::scope(|scope| {
        let signals = scope.spawn(|| {
            // Four signals fit into the wait. If each of them starts it anew, they go on until `end`.
            let end = Instant::now() + Duration::from_secs(20);
            while !over.load(Ordering::Relaxed) && Instant::now() < end {
                pthread_kill(waiting, Signal::SIGUSR1).unwrap();
                thread::sleep(Duration::from_millis(50));
            }
            Instant::now() < end
        });
        assert_eq!(wait(&mut poller, Some(Duration::from_millis(200))), []);
        over.store(true, Ordering::Relaxed);
        signals.join().unwrap()
    });
    assert!(interrupted, "the wait ended only when nobody interrupted it any more");
}

#[test]
fn nothing_is_ready_before_something_happens() {
    let (mut poller, ours, _theirs) = set_up();
    poller.add(&ours, 7, Interest::READ).unwrap();
    assert_eq!(wait(&mut poller, NOW), []);
}

#[test]
fn what_arrives_makes_readable_under_the_token_it_was_added_with() {
    let (mut poller, ours, mut theirs) = set_up();
    poller.add(&ours, u64::MAX / 2, Interest::READ).unwrap();
    theirs.write_all(b"x").unwrap();
    assert_eq!(wait(&mut poller, LONG), [readable(u64::MAX / 2)]);
}

#[test]
fn level_triggered_readiness_is_repeated_until_it_is_used_up() {
    let (mut poller, mut ours, mut theirs) = set_up();
    poller.add(&ours, 7, Interest::READ).unwrap();
    theirs.write_all(b"xy").unwrap();
    assert_eq!(wait(&mut poller, LONG), [readable(7)]);
    ours.read_exact(&mut [0; 1]).unwrap();
    assert_eq!(wait(&mut poller, LONG), [readable(7)]);
    ours.read_exact(&mut [0; 1]).unwrap();
    assert_eq!(wait(&mut poller, NOW), []);
}

#[test]
fn edge_triggered_readiness_is_reported_once_for_each_arrival() {
    let (mut poller, mut ours, mut theirs) = set_up();
    poller.add_edge_triggered(&ours, 7, Interest::READ).unwrap();
    theirs.write_all(b"xy").unwrap();
    assert_eq!(wait(&mut poller, LONG), [readable(7)]);
    ours.read_exact(&mut [0; 1]).unwrap();
    // One byte is still there and not reported again: the lost wakeup of a server that does not drain.
    assert_eq!(wait(&mut poller, NOW), []);
    theirs.write_all(b"z").unwrap();
    assert_eq!(wait(&mut poller, LONG), [readable(7)]);
}

#[test]
fn reading_and_writing_come_as_one_event() {
    let (mut poller, ours, mut theirs) = set_up();
    poller.add(&ours, 7, Interest::BOTH).unwrap();
    theirs.write_all(b"x").unwrap();
    assert_eq!(wait(&mut poller, LONG), [Event { token: 7, readable: true, writable: true }]);
}

#[test]
fn modify_replaces_what_is_watched_for() {
    let (mut poller, ours, mut theirs) = set_up();
    poller.add(&ours, 7, Interest::READ).unwrap();
    theirs.write_all(b"x").unwrap();
    poller.modify(&ours, 7, Interest::WRITE).unwrap();
    assert_eq!(wait(&mut poller, LONG), [Event { token: 7, readable: false, writable: true }]);
    poller.modify(&ours, 8, Interest::READ).unwrap();
    assert_eq!(wait(&mut poller, LONG), [readable(8)]);
}

#[test]
fn a_full_socket_is_not_writable_until_it_is_read() {
    let (mut poller, mut ours, mut theirs) = set_up();
    while ours.write(&[0; 4096]).is_ok() {}
    poller.add(&ours, 7, Interest::WRITE).unwrap();
    assert_eq!(wait(&mut poller, NOW), []);
    theirs.set_nonblocking(true).unwrap();
    while theirs.read(&mut [0; 4096]).is_ok() {}
    assert_eq!(wait(&mut poller, LONG), [Event { token: 7, readable: false, writable: true }]);
}

#[test]
fn a_hang_up_is_readable_so_that_its_end_can_be_read() {
    let (mut poller, ours, theirs) = set_up();
    poller.add(&ours, 7, Interest::READ).unwrap();
    drop(theirs);
    let events = wait(&mut poller, LONG);
    assert_eq!(events.len(), 1);
    assert!(events[0].readable);
}

#[test]
fn a_hang_up_is_writable_for_those_who_wait_to_write() {
    let (mut poller, mut ours, theirs) = set_up();
    while ours.write(&[0; 4096]).is_ok() {}
    poller.add(&ours, 7, Interest::WRITE).unwrap();
    drop(theirs);
    assert!(wait(&mut poller, LONG)[0].writable);
}

#[test]
fn what_is_deleted_is_not_reported() {
    let (mut poller, ours, mut theirs) = set_up();
    poller.add(&ours, 7, Interest::READ).unwrap();
    theirs.write_all(b"x").unwrap();
    poller.delete(&ours).unwrap();
    assert_eq!(wait(&mut poller, NOW), []);
}

#[test]
fn what_is_closed_is_not_reported_and_its_descriptor_may_be_added_again() {
    let (mut poller, ours, mut theirs) = set_up();
    poller.add(&ours, 7, Interest::READ).unwrap();
    theirs.write_all(b"x").unwrap();
    drop(ours);
    assert_eq!(wait(&mut poller, NOW), []);

    // The new pair takes the lowest free descriptor: the one that was closed.
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    poller.add(&ours, 8, Interest::READ).unwrap();
    theirs.write_all(b"x").unwrap();
    assert_eq!(wait(&mut poller, LONG), [readable(8)]);
}

#[test]
fn a_wait_does_not_end_before_its_time() {
    let (mut poller, ..) = set_up();
    for microseconds in [1, 999, 1_001, 10_500] {
        let timeout = Duration::from_micros(microseconds);
        let started = Instant::now();
        assert_eq!(wait(&mut poller, Some(timeout)), []);
        assert!(started.elapsed() >= timeout, "{timeout:?}: {:?}", started.elapsed());
    }
}

#[test]
fn more_than_one_batch_is_reported_in_the_end() {
    const PAIRS: usize = 1500; // a batch is 1024
    let (mut poller, ..) = set_up();
    check::raise_descriptor_limit().unwrap();
    let mut pairs: Vec<_> = (0..PAIRS).map(|_| UnixStream::pair().unwrap()).collect();
    for (token, (ours, theirs)) in pairs.iter_mut().enumerate() {
        poller.add(&*ours, token as u64, Interest::READ).unwrap();
        theirs.write_all(b"x").unwrap();
    }
    let mut seen = vec![false; PAIRS];
    while seen.contains(&false) {
        let events = wait(&mut poller, LONG);
        assert!(!events.is_empty(), "some are ready and not reported");
        for event in events {
            let token = event.token as usize;
            assert!(!seen[token], "{token} was used up already");
            seen[token] = true;
            pairs[token].0.read_exact(&mut [0; 1]).unwrap();
        }
    }
}
