//! What the loop promises of connections: stale ids, writes, backpressure, and gentle ends.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use step7_event_loop::{HIGH_WATER_MARK, Loop, StreamId};

mod common;
use common::{Log, MS, connect, listen, run, with_one_stream};

/// More than the kernel takes while the peer does not read.
const MUCH: usize = 64 << 20;

/// A limit for what must not wait for the end of the grace period.
const AT_ONCE: Duration = Duration::from_millis(700);

#[test]
fn a_stream_may_be_closed_inside_its_own_read() {
    let mut lp = Loop::new().unwrap();
    let mut client = with_one_stream(&mut lp, |lp, (), stream| {
        lp.read_start(stream, |lp, (), stream, bytes| {
            assert_eq!(bytes.unwrap(), b"bye");
            lp.close(stream);
            assert!(lp.peer_name(stream).is_none(), "from here on the id means nothing");
        });
    });
    client.write_all(b"bye").unwrap();
    run(&mut lp, &mut ());
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
}

#[test]
fn a_stale_id_is_an_error_and_never_another_stream() {
    let mut lp = Loop::new().unwrap();
    let mut first = None;
    let (_, address) = listen(&mut lp, move |lp, _, stream| match first {
        None => {
            first = Some(stream);
            lp.close(stream);
        }
        Some(stale) => {
            // The slot is in use again, and most likely the descriptor too.
            assert_ne!(stale, stream);
            lp.write(stale, b"to the wrong one");
            lp.read_start(stale, |_, _, _, _| panic!("it is closed"));
            lp.close(stale);
            lp.close_gently(stale);
            assert!(lp.peer_name(stream).is_some(), "the wrong one was closed");
            lp.write_then(stale, b"to the wrong one", move |lp, told, result| {
                assert_eq!(result.unwrap_err().kind(), ErrorKind::NotConnected);
                *told = true;
                lp.close(stream);
                lp.stop();
            });
        }
    });
    let _first = connect(address);
    let mut second = connect(address);
    let mut told = false;
    run(&mut lp, &mut told);
    assert!(told);
    assert_eq!(second.read(&mut [0; 64]).unwrap(), 0, "nothing was written to it");
}

#[test]
fn closing_completes_pending_writes_with_an_error() {
    let mut lp = Loop::new().unwrap();
    let _client = with_one_stream(&mut lp, |lp, _: &mut Log, stream| {
        lp.write_then(stream, &vec![0; MUCH], |_, log, result| {
            log.push(format!("{:?}", result.unwrap_err().kind()));
        });
        lp.close(stream);
    });
    let mut log = Log::new();
    run(&mut lp, &mut log);
    assert_eq!(log, ["ConnectionAborted"]);
}

#[test]
fn writes_arrive_whole_and_in_order() {
    let mut lp = Loop::new().unwrap();
    let mut client = with_one_stream(&mut lp, |lp, _, stream| {
        for number in 0..200_u8 {
            lp.write_then(stream, &[number; 50_000], |_, completed, result| {
                result.unwrap();
                *completed += 1;
            });
        }
        lp.write(stream, b"$");
        lp.shutdown(stream);
        // The client closes when it has everything.
        lp.read_start(stream, |lp, _, stream, bytes| {
            assert_eq!(bytes.unwrap(), b"");
            lp.close(stream);
        });
    });
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).map(|_| bytes)
    });
    let mut completed = 0;
    run(&mut lp, &mut completed);
    assert_eq!(completed, 200);
    let expected: Vec<u8> = (0..200).flat_map(|number| vec![number; 50_000]).chain(*b"$").collect();
    assert!(reader.join().unwrap().unwrap() == expected);
}

#[test]
fn a_write_that_fails_is_reported_to_the_reader() {
    let mut lp = Loop::new().unwrap();
    let client = with_one_stream(&mut lp, |lp, _, stream| {
        // Writes until the peer's reset has come.
        lp.timer_start(MS, Some(MS), move |lp, failed, timer| match *failed {
            false => lp.write(stream, b"x"),
            true => drop(lp.timer_stop(timer)),
        });
        lp.read_start(stream, |lp, failed, stream, bytes| {
            assert!(bytes.is_err());
            *failed = true;
            lp.close(stream);
        });
    });
    check::Client { stream: client }.reset().unwrap();
    let mut failed = false;
    run(&mut lp, &mut failed);
    assert!(failed);
}

/// On a thread: sends all bytes and half-closes; begins to read after a while; returns how many bytes came back.
fn echo_slowly(mut client: TcpStream, length: usize) -> thread::JoinHandle<io::Result<usize>> {
    thread::spawn(move || {
        let mut writer = client.try_clone()?;
        let writer = thread::spawn(move || {
            let result = writer.write_all(&vec![7; length]);
            result.and_then(|()| writer.shutdown(Shutdown::Write))
        });
        // Reads nothing until the kernel's buffers are full and the loop has had to stop reading.
        thread::sleep(300 * MS);
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes)?;
        writer.join().unwrap()?;
        Ok(bytes.len())
    })
}

#[test]
fn a_stream_that_is_owed_much_is_not_read() {
    const LENGTH: usize = 32 << 20;
    let mut lp = Loop::new().unwrap();
    let client = with_one_stream(&mut lp, |lp, _, stream| {
        lp.read_start(stream, |lp, most: &mut usize, stream, bytes| match bytes {
            Ok([]) | Err(_) => lp.close_gently(stream),
            Ok(bytes) => {
                lp.write(stream, bytes);
                *most = lp.owed(stream).max(*most);
            }
        });
    });
    let echo = echo_slowly(client, LENGTH);
    let mut most = 0;
    run(&mut lp, &mut most);
    assert_eq!(echo.join().unwrap().unwrap(), LENGTH);
    assert!(most >= HIGH_WATER_MARK / 2, "it was never owed anything much: {most}");
    assert!(most <= HIGH_WATER_MARK + 64 * 1024, "{most} bytes were queued");
}

#[test]
fn read_stop_and_read_start_inside_a_read() {
    let mut lp = Loop::new().unwrap();
    let (paused, is_paused) = mpsc::channel();
    let mut client = with_one_stream(&mut lp, |lp, _: &mut Log, stream| {
        lp.read_start(stream, move |lp, _, stream, bytes| {
            assert_eq!(bytes.unwrap(), b"one");
            lp.read_stop(stream);
            paused.send(()).unwrap();
            lp.timer_start(20 * MS, None, move |lp, log, _| {
                log.push("paused".to_owned());
                // Another callback takes over.
                lp.read_start(stream, |lp, log, stream, bytes| {
                    log.push(String::from_utf8_lossy(bytes.unwrap()).into_owned());
                    lp.close(stream);
                });
            });
        });
    });
    client.write_all(b"one").unwrap();
    let second = thread::spawn(move || {
        is_paused.recv().unwrap();
        client.write_all(b"two").unwrap();
        client
    });
    let mut log = Log::new();
    run(&mut lp, &mut log);
    drop(second.join());
    assert_eq!(log, ["paused", "two"]);
}

/// A client that goes on sending until it has read everything. A close that is not gentle would reset it.
fn talk_on(mut client: TcpStream) -> thread::JoinHandle<io::Result<usize>> {
    thread::spawn(move || {
        let mut writer = client.try_clone()?;
        let (done, is_done) = mpsc::channel::<()>();
        let writer = thread::spawn(move || -> io::Result<()> {
            while is_done.recv_timeout(MS / 2) == Err(mpsc::RecvTimeoutError::Timeout) {
                writer.write_all(&[b'x'; 1024])?;
            }
            Ok(())
        });
        thread::sleep(100 * MS);
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes)?;
        drop(done);
        writer.join().unwrap()?;
        Ok(bytes.len())
    })
}

#[test]
fn a_gentle_close_delivers_what_was_written_to_a_peer_that_goes_on_sending() {
    const LENGTH: usize = 8 << 20;
    let mut lp = Loop::new().unwrap();
    let client = with_one_stream(&mut lp, |lp, (), stream| {
        lp.write_then(stream, &vec![7; LENGTH], |_, _, result| result.unwrap());
        lp.close_gently(stream);
        assert!(lp.peer_name(stream).is_none(), "from here on the id means nothing");
    });
    let client = talk_on(client);
    run(&mut lp, &mut ());
    assert_eq!(client.join().unwrap().unwrap(), LENGTH);
}

#[test]
fn a_gentle_close_does_not_wait_for_a_peer_that_has_everything() {
    let mut lp = Loop::new().unwrap();
    let mut client = with_one_stream(&mut lp, |lp, (), stream| {
        lp.write(stream, b"hello");
        lp.close_gently(stream);
    });
    let started = Instant::now();
    run(&mut lp, &mut ());
    assert!(started.elapsed() < AT_ONCE, "{:?}", started.elapsed());
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"hello");
}

#[test]
fn a_gentle_close_waits_a_second_for_a_peer_that_does_not_read_and_no_longer() {
    let mut lp = Loop::new().unwrap();
    let _client = with_one_stream(&mut lp, |lp, (), stream| {
        lp.write(stream, &vec![7; MUCH]);
        lp.close_gently(stream);
    });
    let started = Instant::now();
    run(&mut lp, &mut ());
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

/// An echo server that is told to stop as soon as `ready` holds. Returns its address.
fn echo_until(lp: &mut Loop<Log>, ready: fn(&mut Log) -> bool) -> std::net::SocketAddr {
    let (listener, address) = listen(lp, |lp, log: &mut Log, stream| {
        log.push("connected".to_owned());
        lp.read_start(stream, echo);
    });
    lp.timer_start(MS, Some(MS), move |lp, log, timer| {
        if ready(log) {
            lp.timer_stop(timer);
            lp.close_listener_gently(listener, Duration::from_secs(1), |lp, log| {
                log.push("stopped".to_owned());
                lp.stop();
            });
            lp.close_listener_gently(listener, Duration::ZERO, |_, _| panic!("it is closed"));
        }
    });
    address
}

fn echo(lp: &mut Loop<Log>, log: &mut Log, stream: StreamId, bytes: io::Result<&[u8]>) {
    match bytes {
        Ok(bytes @ [_, ..]) => {
            if !log.iter().any(|line| line == "heard") {
                log.push("heard".to_owned());
            }
            lp.write(stream, bytes);
        }
        Ok([]) => {
            log.push("end".to_owned());
            lp.close_gently(stream);
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_listener_that_is_closed_gently_ends_its_conversations_and_loses_nothing() {
    let mut lp = Loop::new().unwrap();
    let address = echo_until(&mut lp, |log| log.len() == 4);
    let silent = [connect(address), connect(address)];
    let talker = connect(address);
    // Its echo is more than its buffer takes. So until it reads, something is on its way to it.
    setsockopt(&talker, sockopt::RcvBuf, &4096).unwrap();
    let talker = talk_on(talker);
    let mut log = Log::new();
    run(&mut lp, &mut log);
    assert_eq!(log.split_off(4), ["end", "end", "end", "stopped"]);
    assert!(talker.join().unwrap().unwrap() > 0);
    for mut silent in silent {
        assert_eq!(silent.read(&mut [0]).unwrap(), 0);
    }
    assert!(TcpStream::connect(address).is_err(), "it still listens");
}

#[test]
fn many_silent_peers_do_not_hold_up_a_gentle_end() {
    let mut lp = Loop::new().unwrap();
    let address = echo_until(&mut lp, |log| log.len() == 300);
    let _silent: Vec<_> = (0..300).map(|_| connect(address)).collect();
    let mut log = Log::new();
    let started = Instant::now();
    run(&mut lp, &mut log);
    assert!(started.elapsed() < AT_ONCE, "{:?}", started.elapsed());
    assert_eq!(log.last().unwrap(), "stopped");
}

#[test]
fn a_stream_that_is_not_being_read_learns_of_the_end_when_it_is_read_again() {
    let mut lp = Loop::new().unwrap();
    let (listener, address) = listen(&mut lp, |lp, _: &mut Log, stream| {
        // Like a server that is at work on a request.
        lp.timer_start(100 * MS, None, move |lp, _, _| {
            lp.write(stream, b"the answer");
            lp.read_start(stream, echo);
        });
    });
    lp.timer_start(20 * MS, None, move |lp, _, _| {
        lp.close_listener_gently(listener, Duration::from_secs(10), |lp, log| {
            log.push("stopped".to_owned());
            lp.stop();
        });
    });
    let mut client = connect(address);
    client.write_all(b"a question, and another").unwrap();
    let mut log = Log::new();
    run(&mut lp, &mut log);
    assert_eq!(log, ["end", "stopped"]);
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"the answer");
}

#[test]
fn what_is_not_closed_within_the_grace_period_is_closed_then() {
    let mut lp = Loop::new().unwrap();
    let (listener, address) = listen(&mut lp, |_, _, _| ());
    lp.timer_start(20 * MS, None, move |lp, _, _| {
        lp.close_listener_gently(listener, 50 * MS, |_, stopped| *stopped = true);
    });
    let mut client = connect(address);
    let mut stopped = false;
    run(&mut lp, &mut stopped);
    assert!(stopped);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}
