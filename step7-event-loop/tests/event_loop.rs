//! What the loop promises: order, reentrancy, stale handles, timers, work.

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use server::Listener;
use step7_event_loop::{HIGH_WATER_MARK, Loop, StreamId, WorkError};

const MS: Duration = Duration::from_millis(1);

/// What happened, in order. Tests look at it from outside, so it is shared; code on the loop has no need for that.
#[derive(Clone, Default)]
struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    fn add(&self, text: impl Into<String>) {
        self.0.borrow_mut().push(text.into());
    }

    fn take(&self) -> Vec<String> {
        self.0.take()
    }
}

/// Runs a loop that must come to its end. If it does not, nobody can tell it to, so the test's process ends.
fn run(lp: &mut Loop) {
    let (done, is_done) = mpsc::channel::<()>();
    thread::spawn(move || {
        if is_done.recv_timeout(Duration::from_secs(60)) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("the loop does not come to its end");
            std::process::abort();
        }
    });
    lp.run().unwrap();
    drop(done);
}

/// Listens, gives each connection to `on_stream` and stops listening after the first.
fn with_one_stream(
    lp: &mut Loop,
    on_stream: impl FnOnce(&mut Loop, StreamId) + 'static,
) -> TcpStream {
    let listener = Listener::bind("127.0.0.1", 0, 16).unwrap();
    let address = listener.local_address().unwrap();
    let id = Rc::new(RefCell::new(None));
    let own = Rc::clone(&id);
    let mut on_stream = Some(on_stream);
    let listening = lp.listen(listener, move |lp, stream| {
        if let Some(on_stream) = on_stream.take() {
            on_stream(lp, stream.unwrap());
        }
        if let Some(listener) = *own.borrow() {
            lp.close_listener(listener);
        }
    });
    *id.borrow_mut() = Some(listening.unwrap());
    connect(address)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

#[test]
fn a_loop_with_nothing_in_it_ends() {
    Loop::new().unwrap().run().unwrap();
}

#[test]
fn the_phases_of_a_turn_come_in_order() {
    let log = Log::default();
    let mut lp = Loop::new().unwrap();
    let (timers, work, closing, written) = (log.clone(), log.clone(), log.clone(), log.clone());
    let mut client = with_one_stream(&mut lp, move |lp, stream| {
        lp.write(stream, "x", move |_, _| written.add("pending"));
        // Left running until the poll is over: its completion is for the phase after.
        let (sender, receiver) = mpsc::channel();
        lp.queue_work(move || receiver.recv(), move |_, _| work.add("work"));
        lp.timer_start(Duration::ZERO, None, move |lp, _| {
            timers.add("timer");
            sender.send(()).unwrap();
            let closing = closing.clone();
            lp.close(stream, move |_| closing.add("closing"));
        });
    });
    run(&mut lp);
    client.read_exact(&mut [0]).unwrap();
    let log = log.take();
    assert_eq!(&log[..2], ["timer", "pending"]);
    // Work may come back in the same turn, before the closing callback, or in a later one.
    assert!(log[2..] == ["work", "closing"] || log[2..] == ["closing", "work"], "{log:?}");
}

#[test]
fn no_callback_is_called_from_inside_the_call_that_asks_for_it() {
    let log = Log::default();
    let mut lp = Loop::new().unwrap();
    let outer = log.clone();
    let _client = with_one_stream(&mut lp, move |lp, stream| {
        let (write, close, timer) = (outer.clone(), outer.clone(), outer.clone());
        lp.write(stream, "x", move |_, result| write.add(format!("write {}", result.is_ok())));
        lp.close(stream, move |_| close.add("close"));
        lp.timer_start(Duration::ZERO, None, move |_, _| timer.add("timer"));
        outer.add("returned");
    });
    run(&mut lp);
    let log = log.take();
    assert_eq!(log[0], "returned");
    assert_eq!(log.len(), 4, "{log:?}");
}

#[test]
fn timers_come_in_the_order_in_which_they_are_due_and_then_in_which_they_were_started() {
    let log = Log::default();
    let mut lp = Loop::new().unwrap();
    for (name, delay) in [("c", 30), ("a", 10), ("b", 20), ("a2", 10)] {
        let log = log.clone();
        lp.timer_start(delay * MS, None, move |_, _| log.add(name));
    }
    lp.run().unwrap();
    assert_eq!(log.take(), ["a", "a2", "b", "c"]);
}

#[test]
fn no_timer_comes_early() {
    let mut lp = Loop::new().unwrap();
    for microseconds in [0, 1, 999, 1_500, 20_100] {
        let delay = Duration::from_micros(microseconds);
        let due = lp.now() + delay;
        lp.timer_start(delay, None, move |lp, _| assert!(lp.now() >= due && Instant::now() >= due));
    }
    lp.run().unwrap();
}

#[test]
fn ten_thousand_timers() {
    let mut lp = Loop::new().unwrap();
    let last = Rc::new(RefCell::new((0, lp.now())));
    for number in 0..10_000_u32 {
        // All over 50 ms, in no order.
        let delay = MS * (number.wrapping_mul(2_654_435_761) >> 16) / 1311;
        let due = lp.now() + delay;
        let last = Rc::clone(&last);
        lp.timer_start(delay, None, move |_, _| {
            let (count, before) = *last.borrow();
            assert!(before <= due, "out of order");
            *last.borrow_mut() = (count + 1, due);
        });
    }
    lp.run().unwrap();
    assert_eq!(last.borrow().0, 10_000);
}

#[test]
fn a_repeating_timer_may_stop_itself() {
    let log = Log::default();
    let mut lp = Loop::new().unwrap();
    let own = log.clone();
    let mut ticks = 0;
    lp.timer_start(MS, Some(MS), move |lp, timer| {
        ticks += 1;
        own.add("tick");
        if ticks == 3 {
            assert!(lp.timer_stop(timer));
            assert!(!lp.timer_stop(timer), "stopped already");
        }
    });
    lp.run().unwrap();
    assert_eq!(log.take().len(), 3);
}

#[test]
fn a_timer_may_stop_another_that_is_due_in_the_same_turn() {
    let mut lp = Loop::new().unwrap();
    let victim = Rc::new(RefCell::new(None));
    let id = Rc::clone(&victim);
    lp.timer_start(Duration::ZERO, None, move |lp, _| {
        assert!(lp.timer_stop(id.borrow().unwrap()));
    });
    let timer = lp.timer_start(Duration::ZERO, None, |_, _| panic!("it was stopped"));
    *victim.borrow_mut() = Some(timer);
    lp.run().unwrap();
}

#[test]
fn a_timer_that_is_started_by_a_timer_waits_for_the_next_turn() {
    let log = Log::default();
    let mut lp = Loop::new().unwrap();
    let own = log.clone();
    lp.timer_start(Duration::ZERO, None, move |lp, _| {
        own.add("outer");
        let inner = own.clone();
        lp.timer_start(Duration::ZERO, None, move |_, _| inner.add("inner"));
    });
    assert!(lp.run_nowait().unwrap());
    assert_eq!(log.take(), ["outer"]);
    assert!(!lp.run_nowait().unwrap());
    assert_eq!(log.take(), ["inner"]);
}

#[test]
fn lateness_does_not_add_up_and_missed_ticks_are_left_out() {
    let mut lp = Loop::new().unwrap();
    let (started, mut ticks) = (lp.now(), 0_u32);
    lp.timer_start(20 * MS, Some(20 * MS), move |lp, timer| {
        ticks += 1;
        match ticks {
            1 => thread::sleep(50 * MS), // past the ticks due at 40 and 60
            _ => {
                let next = lp.timer_due(timer).unwrap() - started;
                assert_eq!(next.as_millis() % 20, 0, "ticks stay where they were due: {next:?}");
                lp.timer_stop(timer);
            }
        }
    });
    lp.run().unwrap();
}

#[test]
fn stop_inside_a_callback_ends_the_run_and_loses_nothing() {
    let log = Log::default();
    let mut lp = Loop::new().unwrap();
    let (first, second) = (log.clone(), log.clone());
    lp.timer_start(Duration::ZERO, None, move |lp, _| {
        first.add("stop");
        lp.stop();
    });
    lp.timer_start(5 * MS, None, move |_, _| second.add("later"));
    lp.run().unwrap();
    assert_eq!(log.take(), ["stop"]);
    assert!(lp.is_alive());
    lp.run().unwrap();
    assert_eq!(log.take(), ["later"]);
}

#[test]
fn a_stop_ends_one_run_and_no_other() {
    let log = Log::default();
    let mut lp = Loop::new().unwrap();
    // In the last callback of all there is nothing left to stop.
    lp.timer_start(Duration::ZERO, None, |lp, _| lp.stop());
    run(&mut lp);
    let called = log.clone();
    lp.timer_start(MS, None, move |_, _| called.add("called"));
    run(&mut lp);
    assert_eq!(log.take(), ["called"]);

    // A run that is refused does not use it up.
    lp.timer_start(Duration::ZERO, None, |lp, _| {
        lp.stop();
        assert!(lp.run().is_err());
    });
    let later = log.clone();
    lp.timer_start(5 * MS, None, move |_, _| later.add("later"));
    run(&mut lp);
    assert_eq!(log.take(), [""; 0]);

    // Turn by turn it ends a turn's sleep, and not those of all turns to come.
    lp.stop();
    let mut turns = 0;
    while lp.run_once().unwrap() {
        turns += 1;
    }
    assert_eq!(log.take(), ["later"]);
    assert!(turns < 20, "{turns} turns for one timer");
}

#[test]
fn a_single_turn_calls_the_timer_that_it_slept_for() {
    let log = Log::default();
    let mut lp = Loop::new().unwrap();
    let called = log.clone();
    lp.timer_start(5 * MS, None, move |_, _| called.add("called"));
    assert!(!lp.run_once().unwrap());
    assert_eq!(log.take(), ["called"]);
}

#[test]
fn a_callback_cannot_run_the_loop() {
    let mut lp = Loop::new().unwrap();
    lp.timer_start(Duration::ZERO, None, |lp, _| assert!(lp.run_once().is_err()));
    lp.run().unwrap();
}

#[test]
fn a_stream_may_be_closed_inside_its_own_read() {
    let log = Log::default();
    let mut lp = Loop::new().unwrap();
    let own = log.clone();
    let mut client = with_one_stream(&mut lp, move |lp, stream| {
        lp.read_start(stream, move |lp, stream, bytes| {
            assert_eq!(bytes.unwrap(), b"bye");
            let closed = own.clone();
            lp.close(stream, move |_| closed.add("closed"));
            assert!(lp.peer_name(stream).is_none(), "from here on the id means nothing");
        })
        .unwrap();
    });
    client.write_all(b"bye").unwrap();
    run(&mut lp);
    assert_eq!(log.take(), ["closed"]);
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
}

#[test]
fn a_stale_id_is_an_error_and_never_another_stream() {
    let log = Log::default();
    let mut lp = Loop::new().unwrap();
    let listener = Listener::bind("127.0.0.1", 0, 16).unwrap();
    let address = listener.local_address().unwrap();
    let mut first = None;
    let own = log.clone();
    lp.listen(listener, move |lp, stream| {
        let stream = stream.unwrap();
        match first {
            None => {
                first = Some(stream);
                lp.close(stream, |_| ());
            }
            Some(stale) => {
                // The slot is in use again, the descriptor most likely too.
                assert_ne!(stale, stream);
                let error = lp.try_write(stale, b"to the wrong one").unwrap_err();
                assert_eq!(error.kind(), ErrorKind::NotConnected);
                assert!(lp.read_start(stale, |_, _, _| ()).is_err());
                let own = own.clone();
                lp.write(stale, "to the wrong one", move |lp, result| {
                    assert_eq!(result.unwrap_err().kind(), ErrorKind::NotConnected);
                    own.add("told");
                    lp.close(stream, |lp| lp.stop());
                });
            }
        }
    })
    .unwrap();
    let _first = connect(address);
    let mut second = connect(address);
    lp.run().unwrap();
    assert_eq!(log.take(), ["told"]);
    assert_eq!(second.read(&mut [0; 64]).unwrap(), 0, "nothing was written to it");
}

#[test]
fn closing_completes_pending_writes_with_an_error_first() {
    let log = Log::default();
    let mut lp = Loop::new().unwrap();
    let own = log.clone();
    let _client = with_one_stream(&mut lp, move |lp, stream| {
        let (write, close) = (own.clone(), own);
        // More than the kernel takes as long as nobody reads.
        lp.write(stream, vec![0; 64 << 20], move |_, result| {
            write.add(format!("{:?}", result.unwrap_err().kind()));
        });
        lp.close(stream, move |_| close.add("closed"));
    });
    run(&mut lp);
    assert_eq!(log.take(), ["ConnectionAborted", "closed"]);
}

#[test]
fn writes_arrive_whole_and_in_order() {
    let mut lp = Loop::new().unwrap();
    let mut client = with_one_stream(&mut lp, |lp, stream| {
        for number in 0..200_u8 {
            lp.write(stream, vec![number; 50_000], |_, result| result.unwrap());
        }
        lp.shutdown(stream, move |lp, result| {
            result.unwrap();
            lp.close(stream, |_| ());
        });
    });
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).map(|_| bytes)
    });
    run(&mut lp);
    let bytes = reader.join().unwrap().unwrap();
    let expected: Vec<u8> = (0..200).flat_map(|number| vec![number; 50_000]).collect();
    assert!(bytes == expected);
}

#[test]
fn a_stream_that_is_owed_much_is_not_read() {
    let mut lp = Loop::new().unwrap();
    let most = Rc::new(RefCell::new(0));
    let owed = Rc::clone(&most);
    let mut client = with_one_stream(&mut lp, move |lp, stream| {
        lp.read_start(stream, move |lp, stream, bytes| match bytes {
            Ok([]) | Err(_) => lp.shutdown(stream, move |lp, _| lp.close(stream, |_| ())),
            Ok(bytes) => {
                lp.write(stream, bytes, |_, _| ());
                let now = lp.owed(stream);
                owed.replace_with(|&mut most| most.max(now));
            }
        })
        .unwrap();
    });
    const LENGTH: usize = 32 << 20;
    let echo = thread::spawn(move || -> io::Result<usize> {
        let mut writer = client.try_clone()?;
        let writer = thread::spawn(move || {
            let result = writer.write_all(&vec![7; LENGTH]);
            result.and_then(|()| writer.shutdown(std::net::Shutdown::Write))
        });
        // Not a byte is read before the kernel's buffers are full and the loop has had to stop reading.
        thread::sleep(300 * MS);
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes)?;
        writer.join().unwrap()?;
        Ok(bytes.len())
    });
    run(&mut lp);
    assert_eq!(echo.join().unwrap().unwrap(), LENGTH);
    let most = *most.borrow();
    assert!(most >= HIGH_WATER_MARK / 2, "it was never owed anything much: {most}");
    assert!(most <= HIGH_WATER_MARK + 64 * 1024, "{most} bytes were queued");
}

#[test]
fn read_stop_and_read_start_inside_a_read() {
    let log = Log::default();
    let mut lp = Loop::new().unwrap();
    let own = log.clone();
    let (paused, is_paused) = mpsc::channel();
    let mut client = with_one_stream(&mut lp, move |lp, stream| {
        lp.read_start(stream, move |lp, stream, bytes| {
            assert_eq!(bytes.unwrap(), b"one");
            lp.read_stop(stream).unwrap();
            paused.send(()).unwrap();
            let own = own.clone();
            lp.timer_start(20 * MS, None, move |lp, _| {
                own.add("paused");
                let own = own.clone();
                // Another callback takes over.
                lp.read_start(stream, move |lp, stream, bytes| {
                    own.add(String::from_utf8_lossy(bytes.unwrap()));
                    lp.close(stream, |_| ());
                })
                .unwrap();
            });
        })
        .unwrap();
    });
    client.write_all(b"one").unwrap();
    let second = thread::spawn(move || {
        is_paused.recv().unwrap();
        client.write_all(b"two").unwrap();
        client
    });
    run(&mut lp);
    drop(second.join());
    assert_eq!(log.take(), ["paused", "two"]);
}

#[test]
fn work_comes_back_with_its_result_on_the_loops_thread() {
    let log = Log::default();
    let mut lp = Loop::new().unwrap();
    let (own, here) = (log.clone(), thread::current().id());
    lp.queue_work(
        || (6 * 7, thread::current().id()),
        move |_, result| {
            let (product, there) = result.unwrap();
            assert_ne!(there, here);
            assert_eq!(thread::current().id(), here);
            own.add(product.to_string());
        },
    );
    lp.run().unwrap();
    assert_eq!(log.take(), ["42"]);
}

#[test]
fn a_panic_is_delivered_and_the_thread_goes_on() {
    let log = Log::default();
    let mut lp = Loop::new().unwrap();
    lp.set_pool_threads(1);
    let (first, second) = (log.clone(), log.clone());
    lp.queue_work(
        || panic!("no {}", 7),
        move |_, result: Result<(), _>| first.add(result.unwrap_err().to_string()),
    );
    lp.queue_work(|| 1, move |_, result| second.add(format!("{result:?}")));
    lp.run().unwrap();
    assert_eq!(log.take(), ["the work panicked: no 7", "Ok(1)"]);
}

#[test]
fn what_has_not_started_can_be_cancelled_and_what_has_cannot() {
    let log = Log::default();
    let mut lp = Loop::new().unwrap();
    lp.set_pool_threads(1);
    let (started, is_started) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let (first, second) = (log.clone(), log.clone());
    let running = lp.queue_work(
        move || {
            started.send(()).unwrap();
            released.recv()
        },
        move |_, result| first.add(format!("ran {}", result.is_ok())),
    );
    let waiting = lp.queue_work(
        || panic!("it was cancelled"),
        move |_, result: Result<(), _>| {
            second.add(format!("{:?}", result.unwrap_err()));
        },
    );
    is_started.recv().unwrap();
    assert!(!lp.cancel(running));
    assert!(lp.cancel(waiting));
    assert!(!lp.cancel(waiting), "once is enough");
    assert_eq!(log.take(), [""; 0], "not called from inside cancel");
    release.send(()).unwrap();
    lp.run().unwrap();
    let mut log = log.take();
    log.sort();
    assert_eq!(log, ["Cancelled", "ran true"]);
    assert_eq!(WorkError::Cancelled.to_string(), "the work was cancelled");
}

#[test]
fn work_may_be_queued_from_work_that_comes_back() {
    fn count(lp: &mut Loop, left: u32, log: Log) {
        lp.queue_work(
            move || left,
            move |lp, result| {
                log.add(result.unwrap().to_string());
                if left > 1 {
                    count(lp, left - 1, log);
                }
            },
        );
    }
    let log = Log::default();
    let mut lp = Loop::new().unwrap();
    count(&mut lp, 3, log.clone());
    lp.run().unwrap();
    assert_eq!(log.take(), ["3", "2", "1"]);
}

#[test]
fn a_pool_full_of_slow_work_does_not_hold_up_an_echo() {
    let mut lp = Loop::new().unwrap();
    let (release, released) = mpsc::channel::<()>();
    let released = std::sync::Arc::new(std::sync::Mutex::new(released));
    for _ in 0..16 {
        let released = std::sync::Arc::clone(&released);
        lp.queue_work(move || released.lock().unwrap().recv(), |_, _| ());
    }
    let mut client = with_one_stream(&mut lp, |lp, stream| {
        lp.read_start(stream, |lp, stream, bytes| match bytes.unwrap() {
            [] => lp.close(stream, |_| ()),
            bytes => lp.write(stream, bytes, |_, result| result.unwrap()),
        })
        .unwrap();
    });
    let echo = thread::spawn(move || {
        client.write_all(b"hello").unwrap();
        let mut bytes = [0; 5];
        client.read_exact(&mut bytes).unwrap();
        // Only now may the work end: the answer came while all of it was under way.
        drop(release);
        bytes
    });
    run(&mut lp);
    assert_eq!(&echo.join().unwrap(), b"hello");
}

#[test]
fn a_wakeup_comes_from_any_thread_and_coalesces() {
    let log = Log::default();
    let mut lp = Loop::new().unwrap();
    let own = log.clone();
    let (_, waker) = lp.wakeup_start(move |lp, wakeup| {
        own.add("woken");
        lp.wakeup_stop(wakeup);
    });
    let other = waker.clone();
    thread::spawn(move || (0..1000).for_each(|_| other.wake())).join().unwrap();
    run(&mut lp);
    assert_eq!(log.take(), ["woken"]);
    waker.wake(); // of a loop that no longer listens: nothing happens
}

#[test]
fn wakeups_from_many_threads_lose_no_news() {
    const THREADS: u64 = 4;
    const EACH: u64 = 5000;
    let mut lp = Loop::new().unwrap();
    let news = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let seen = std::sync::Arc::clone(&news);
    let (_, waker) = lp.wakeup_start(move |lp, wakeup| {
        if seen.load(std::sync::atomic::Ordering::SeqCst) == THREADS * EACH {
            lp.wakeup_stop(wakeup);
        }
    });
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (news, waker) = (std::sync::Arc::clone(&news), waker.clone());
            thread::spawn(move || {
                for _ in 0..EACH {
                    news.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    waker.wake();
                }
            })
        })
        .collect();
    // Ends only if the wakeup after the last piece of news was not lost.
    run(&mut lp);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_signal_is_a_callback() {
    use nix::sys::signal::{Signal, raise};
    let log = Log::default();
    let mut lp = Loop::new().unwrap();
    let own = log.clone();
    lp.signal_start(Signal::SIGUSR1, move |lp, signal| {
        own.add("signal");
        assert!(lp.signal_stop(signal));
    })
    .unwrap();
    lp.timer_start(MS, None, |_, _| raise(Signal::SIGUSR1).unwrap());
    run(&mut lp);
    assert_eq!(log.take(), ["signal"]);
}

#[test]
fn files_are_written_and_read_through_the_pool() {
    let path = std::env::temp_dir().join(format!("event-loop-test-{}", std::process::id()));
    let log = Log::default();
    let mut lp = Loop::new().unwrap();
    let (own, read) = (log.clone(), path.clone());
    lp.fs_write(&path, "hello, world", move |lp, result| {
        result.unwrap();
        let (own, stat) = (own.clone(), read.clone());
        lp.fs_stat(&stat, move |lp, metadata| {
            own.add(metadata.unwrap().len().to_string());
            lp.fs_open(&read, std::fs::OpenOptions::new().read(true), move |lp, file| {
                lp.fs_read_at(&file.unwrap(), 7, 100, move |_, bytes| {
                    own.add(String::from_utf8(bytes.unwrap()).unwrap());
                });
            });
        });
    });
    lp.run().unwrap();
    let own = log.clone();
    lp.fs_read("/no/such/file", move |_, result| {
        own.add(format!("{:?}", result.unwrap_err().kind()))
    });
    lp.run().unwrap();
    std::fs::remove_file(path).unwrap();
    assert_eq!(log.take(), ["12", "world", "NotFound"]);
}
