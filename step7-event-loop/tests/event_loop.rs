//! What the loop promises: the order of a turn, stopping, timers, work, wakeups, signals, files.

use std::fs::OpenOptions;
use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, raise};
use step7_event_loop::{Loop, WorkError};

mod common;
use common::{Log, MS, run, with_one_stream};

#[test]
fn a_loop_with_nothing_in_it_ends() {
    Loop::new().unwrap().run(&mut ()).unwrap();
}

#[test]
fn the_phases_of_a_turn_come_in_order() {
    let mut lp = Loop::new().unwrap();
    lp.set_pool_threads(1);
    let mut client = with_one_stream(&mut lp, |lp, _: &mut Log, stream| {
        // Completes at once, so its callback comes in phase 3 of the next turn.
        lp.write_then(stream, b"x", |_, log, _| log.push("pending".to_owned()));
        // More than the kernel takes while the peer does not read; a close cuts it off. Phase 6.
        lp.write_then(stream, &vec![0; 64 << 20], |_, log, _| log.push("closing".to_owned()));
        let (_, waker) = lp.wakeup_start(|lp, log, wakeup| {
            log.push("poll".to_owned());
            lp.wakeup_stop(wakeup);
        });
        // Phase 2 of that turn causes everything else, in the reverse order.
        lp.timer_start(Duration::ZERO, None, move |lp, log, _| {
            log.push("timer".to_owned());
            lp.close(stream);
            lp.queue_work(|| (), |_, log, _| log.push("work".to_owned()));
            // When the only thread starts this work, the work before it is on the list of what is done.
            let (sender, started) = mpsc::channel();
            lp.queue_work(move || sender.send(()), |_, _, _| ());
            started.recv().unwrap();
            waker.wake();
        });
    });
    let mut log = Log::new();
    run(&mut lp, &mut log);
    assert_eq!(log, ["timer", "pending", "poll", "work", "closing"]);
    client.read_exact(&mut [0]).unwrap();
}

#[test]
fn no_callback_is_called_from_inside_the_call_that_asks_for_it() {
    let mut lp = Loop::new().unwrap();
    let _client = with_one_stream(&mut lp, |lp, log: &mut Log, stream| {
        lp.write_then(stream, b"x", |_, log, result| log.push(format!("{:?}", result.is_ok())));
        lp.close(stream);
        lp.write_then(stream, b"x", |_, log, result| log.push(format!("{:?}", result.is_ok())));
        lp.timer_start(Duration::ZERO, None, |_, log, _| log.push("timer".to_owned()));
        log.push("returned".to_owned());
    });
    let mut log = Log::new();
    run(&mut lp, &mut log);
    assert_eq!(log, ["returned", "timer", "true", "false"]);
}

#[test]
fn timers_come_in_the_order_in_which_they_are_due_and_then_in_which_they_were_started() {
    let mut lp = Loop::new().unwrap();
    for (name, delay) in [("c", 30), ("a", 10), ("b", 20), ("a2", 10)] {
        lp.timer_start(delay * MS, None, |_, log: &mut Log, _| log.push(name.to_owned()));
    }
    let mut log = Log::new();
    run(&mut lp, &mut log);
    assert_eq!(log, ["a", "a2", "b", "c"]);
}

#[test]
fn no_timer_comes_early() {
    let mut lp = Loop::new().unwrap();
    for microseconds in [0, 1, 999, 1_500, 20_100] {
        let delay = Duration::from_micros(microseconds);
        let due = lp.now() + delay;
        lp.timer_start(delay, None, move |lp, (), _| {
            assert!(lp.now() >= due && Instant::now() >= due);
        });
    }
    run(&mut lp, &mut ());
}

#[test]
fn ten_thousand_timers() {
    let mut lp = Loop::new().unwrap();
    let mut last = (0, lp.now());
    for number in 0..10_000_u32 {
        // Spread over 50 ms, in no order.
        let delay = MS * (number.wrapping_mul(2_654_435_761) >> 16) / 1311;
        let due = lp.now() + delay;
        lp.timer_start(delay, None, move |_, (count, before), _| {
            assert!(*before <= due, "out of order");
            (*count, *before) = (*count + 1, due);
        });
    }
    run(&mut lp, &mut last);
    assert_eq!(last.0, 10_000);
}

#[test]
fn a_repeating_timer_may_stop_itself() {
    let mut lp = Loop::new().unwrap();
    lp.timer_start(MS, Some(MS), |lp, ticks, timer| {
        *ticks += 1;
        if *ticks == 3 {
            assert!(lp.timer_stop(timer));
            assert!(!lp.timer_stop(timer), "stopped already");
        }
    });
    let mut ticks = 0;
    run(&mut lp, &mut ticks);
    assert_eq!(ticks, 3);
}

#[test]
fn a_timer_may_stop_another_that_is_due_in_the_same_turn() {
    let mut lp = Loop::new().unwrap();
    lp.timer_start(Duration::ZERO, None, |lp, victim, _| assert!(lp.timer_stop(*victim)));
    let mut victim = lp.timer_start(Duration::ZERO, None, |_, _, _| panic!("it was stopped"));
    run(&mut lp, &mut victim);
}

#[test]
fn a_timer_that_is_started_by_a_timer_waits_for_the_next_turn() {
    let mut lp = Loop::new().unwrap();
    lp.timer_start(Duration::ZERO, None, |lp, log: &mut Log, _| {
        log.push("outer".to_owned());
        lp.timer_start(Duration::ZERO, None, |_, log, _| log.push("inner".to_owned()));
    });
    let mut log = Log::new();
    assert!(lp.run_nowait(&mut log).unwrap());
    assert_eq!(log, ["outer"]);
    assert!(!lp.run_nowait(&mut log).unwrap());
    assert_eq!(log, ["outer", "inner"]);
}

#[test]
fn lateness_does_not_add_up_and_missed_ticks_are_left_out() {
    let mut lp = Loop::new().unwrap();
    let started = lp.now();
    lp.timer_start(20 * MS, Some(20 * MS), move |lp, ticks, timer| {
        *ticks += 1;
        match *ticks {
            1 => thread::sleep(50 * MS), // past the ticks due at 40 and 60
            _ => {
                let next = lp.timer_due(timer).unwrap() - started;
                assert_eq!(next.as_millis() % 20, 0, "ticks stay where they were due: {next:?}");
                lp.timer_stop(timer);
            }
        }
    });
    run(&mut lp, &mut 0);
}

#[test]
fn stop_inside_a_callback_ends_the_run_and_loses_nothing() {
    let mut lp = Loop::new().unwrap();
    lp.timer_start(Duration::ZERO, None, |lp, log: &mut Log, _| {
        log.push("stop".to_owned());
        lp.stop();
    });
    lp.timer_start(5 * MS, None, |_, log, _| log.push("later".to_owned()));
    let mut log = Log::new();
    run(&mut lp, &mut log);
    assert_eq!(log, ["stop"]);
    assert!(lp.is_alive());
    run(&mut lp, &mut log);
    assert_eq!(log, ["stop", "later"]);
}

#[test]
fn a_stop_ends_one_run_and_no_other() {
    let mut log = Log::new();
    let mut lp = Loop::new().unwrap();
    // A stop in the last callback has nothing left to stop. It must not stop the next run.
    lp.timer_start(Duration::ZERO, None, |lp, _, _| lp.stop());
    run(&mut lp, &mut log);
    lp.timer_start(MS, None, |_, log: &mut Log, _| log.push("called".to_owned()));
    run(&mut lp, &mut log);
    assert_eq!(log, ["called"]);

    // A run that is refused does not use up the stop.
    lp.timer_start(Duration::ZERO, None, |lp, log, _| {
        lp.stop();
        assert!(lp.run(log).is_err());
    });
    lp.timer_start(5 * MS, None, |_, log, _| log.push("later".to_owned()));
    run(&mut lp, &mut log);
    assert_eq!(log, ["called"]);

    // With `run_once` a stop ends the sleep of one turn, not of all turns to come.
    lp.stop();
    let mut turns = 0;
    while lp.run_once(&mut log).unwrap() {
        turns += 1;
    }
    assert_eq!(log, ["called", "later"]);
    assert!(turns < 20, "{turns} turns for one timer");
}

#[test]
fn a_single_turn_calls_the_timer_that_it_slept_for() {
    let mut lp = Loop::new().unwrap();
    lp.timer_start(5 * MS, None, |_, called, _| *called = true);
    let mut called = false;
    assert!(!lp.run_once(&mut called).unwrap());
    assert!(called);
}

#[test]
fn a_callback_cannot_run_the_loop() {
    let mut lp = Loop::new().unwrap();
    lp.timer_start(Duration::ZERO, None, |lp, (), _| assert!(lp.run_once(&mut ()).is_err()));
    run(&mut lp, &mut ());
}

#[test]
fn work_comes_back_with_its_result_on_the_loops_thread() {
    let mut lp = Loop::new().unwrap();
    let here = thread::current().id();
    lp.queue_work(
        || (6 * 7, thread::current().id()),
        move |_, answer, result| {
            let (product, there) = result.unwrap();
            assert_ne!(there, here);
            assert_eq!(thread::current().id(), here);
            *answer = product;
        },
    );
    let mut answer = 0;
    run(&mut lp, &mut answer);
    assert_eq!(answer, 42);
}

#[test]
fn a_panic_is_delivered_and_the_thread_goes_on() {
    let mut lp = Loop::new().unwrap();
    lp.set_pool_threads(1);
    lp.queue_work(
        || panic!("no {}", 7),
        |_, log: &mut Log, result: Result<(), _>| log.push(result.unwrap_err().to_string()),
    );
    lp.queue_work(|| 1, |_, log, result| log.push(format!("{result:?}")));
    let mut log = Log::new();
    run(&mut lp, &mut log);
    assert_eq!(log, ["the work panicked: no 7", "Ok(1)"]);
}

#[test]
fn what_has_not_started_can_be_cancelled_and_what_has_cannot() {
    let mut lp = Loop::new().unwrap();
    lp.set_pool_threads(1);
    let (started, is_started) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let running = lp.queue_work(
        move || {
            started.send(()).unwrap();
            released.recv()
        },
        |_, log: &mut Log, result| log.push(format!("ran {}", result.is_ok())),
    );
    let waiting = lp.queue_work(
        || panic!("it was cancelled"),
        |_, log, result: Result<(), _>| log.push(format!("{:?}", result.unwrap_err())),
    );
    is_started.recv().unwrap();
    assert!(!lp.cancel(running));
    assert!(lp.cancel(waiting));
    assert!(!lp.cancel(waiting), "once is enough");
    release.send(()).unwrap();
    let mut log = Log::new();
    run(&mut lp, &mut log);
    log.sort();
    assert_eq!(log, ["Cancelled", "ran true"]);
    assert_eq!(WorkError::Cancelled.to_string(), "the work was cancelled");
}

#[test]
fn work_may_be_queued_from_work_that_comes_back() {
    fn count(lp: &mut Loop<Vec<u32>>, left: u32) {
        lp.queue_work(
            move || left,
            move |lp, counted, result| {
                counted.push(result.unwrap());
                if left > 1 {
                    count(lp, left - 1);
                }
            },
        );
    }
    let mut lp = Loop::new().unwrap();
    count(&mut lp, 3);
    let mut counted = Vec::new();
    run(&mut lp, &mut counted);
    assert_eq!(counted, [3, 2, 1]);
}

#[test]
fn a_pool_full_of_slow_work_does_not_hold_up_an_echo() {
    use std::io::Write;
    let mut lp = Loop::new().unwrap();
    let (release, released) = mpsc::channel::<()>();
    let released = Arc::new(Mutex::new(released));
    for _ in 0..16 {
        let released = Arc::clone(&released);
        lp.queue_work(move || released.lock().unwrap().recv(), |_, _, _| ());
    }
    let mut client = with_one_stream(&mut lp, |lp, _, stream| {
        lp.read_start(stream, |lp, _, stream, bytes| match bytes.unwrap() {
            [] => lp.close(stream),
            bytes => lp.write(stream, bytes),
        });
    });
    let echo = thread::spawn(move || {
        client.write_all(b"hello").unwrap();
        let mut bytes = [0; 5];
        client.read_exact(&mut bytes).unwrap();
        // The work may end only now: the answer came while all of it was under way.
        drop(release);
        bytes
    });
    run(&mut lp, &mut ());
    assert_eq!(&echo.join().unwrap(), b"hello");
}

#[test]
fn a_wakeup_comes_from_any_thread_and_coalesces() {
    let mut lp = Loop::new().unwrap();
    let (_, waker) = lp.wakeup_start(|lp, woken, wakeup| {
        *woken += 1;
        lp.wakeup_stop(wakeup);
    });
    let other = waker.clone();
    thread::spawn(move || (0..1000).for_each(|_| other.wake())).join().unwrap();
    let mut woken = 0;
    run(&mut lp, &mut woken);
    assert_eq!(woken, 1);
    waker.wake(); // the loop no longer listens: nothing happens
}

#[test]
fn wakeups_from_many_threads_lose_no_news() {
    const THREADS: u64 = 4;
    const EACH: u64 = 5000;
    let mut lp = Loop::new().unwrap();
    let news = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&news);
    let (_, waker) = lp.wakeup_start(move |lp, (), wakeup| {
        if seen.load(Ordering::SeqCst) == THREADS * EACH {
            lp.wakeup_stop(wakeup);
        }
    });
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (news, waker) = (Arc::clone(&news), waker.clone());
            thread::spawn(move || {
                for _ in 0..EACH {
                    news.fetch_add(1, Ordering::SeqCst);
                    waker.wake();
                }
            })
        })
        .collect();
    // The run ends only if the wakeup after the last piece of news is not lost.
    run(&mut lp, &mut ());
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_signal_is_a_callback() {
    let mut lp = Loop::new().unwrap();
    lp.signal_start(Signal::SIGUSR1, |lp, called, signal| {
        *called = true;
        assert!(lp.signal_stop(signal));
    })
    .unwrap();
    lp.timer_start(MS, None, |_, _, _| raise(Signal::SIGUSR1).unwrap());
    let mut called = false;
    run(&mut lp, &mut called);
    assert!(called);
}

#[test]
fn files_are_written_and_read_through_the_pool() {
    let path = std::env::temp_dir().join(format!("event-loop-test-{}", std::process::id()));
    let mut lp = Loop::new().unwrap();
    let read = path.clone();
    lp.fs_write(&path, "hello, world", move |lp, _, result| {
        result.unwrap();
        let stat = read.clone();
        lp.fs_stat(&stat, move |lp, log: &mut Log, metadata| {
            log.push(metadata.unwrap().len().to_string());
            lp.fs_open(&read, OpenOptions::new().read(true), |lp, _, file| {
                lp.fs_read_at(&file.unwrap(), 7, 100, |_, log, bytes| {
                    log.push(String::from_utf8(bytes.unwrap()).unwrap());
                });
            });
        });
    });
    let mut log = Log::new();
    run(&mut lp, &mut log);
    lp.fs_read("/no/such/file", |_, log, result| {
        log.push(format!("{:?}", result.unwrap_err().kind()));
    });
    run(&mut lp, &mut log);
    std::fs::remove_file(path).unwrap();
    assert_eq!(log, ["12", "world", "NotFound"]);
}
