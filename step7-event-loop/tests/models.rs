//! The pool's queue and the loop's bell under loom: every order in which a few threads can meet, tried one by one.
//!
//! The files under test are the library's own; only the primitives below them are loom's.

mod sync {
    pub(crate) use loom::sync::atomic::{AtomicBool, Ordering};
    pub(crate) use loom::sync::{Arc, Condvar, Mutex};
    pub(crate) use std::sync::PoisonError;

    pub(crate) use crate::pipe::Pipe;
}

#[allow(unreachable_pub)] // in the library it is reachable
#[path = "../src/bell.rs"]
mod bell;
#[path = "model/pipe.rs"]
mod pipe;
#[path = "../src/queue.rs"]
mod queue;

use std::sync::atomic::{AtomicUsize, Ordering};

use bell::{Bell, Done, Waker};
use loom::sync::Arc;
use loom::thread;
use queue::Queue;
use sync::Pipe;

/// Tries every order in which the threads can meet with at most three preemptions: more have hardly ever been needed to
/// show a bug (Musuvathi and Qadeer 2007), and trying all would take hours.
fn model(run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(run);
}

#[test]
fn two_who_push_and_two_who_take() {
    model(|| {
        let queue = Arc::new(Queue::new());
        let takers = [(); 2].map(|()| {
            let queue = Arc::clone(&queue);
            thread::spawn(move || queue.pop())
        });
        let pusher = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || queue.push(1))
        };
        queue.push(10);
        pusher.join().unwrap();
        let taken = takers.map(|taker| taker.join().unwrap().expect("there is a job for each"));
        assert_eq!(taken.iter().sum::<i32>(), 11, "each job is taken once");
    });
}

#[test]
fn first_come_first_served() {
    model(|| {
        let queue = Arc::new(Queue::new());
        let taker = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || [queue.pop(), queue.pop()])
        };
        queue.push(1);
        queue.push(2);
        assert_eq!(taker.join().unwrap(), [Some(1), Some(2)]);
    });
}

#[test]
fn a_job_is_either_cancelled_or_taken() {
    static CANCELLED: AtomicUsize = AtomicUsize::new(0);
    static TAKEN: AtomicUsize = AtomicUsize::new(0);
    model(|| {
        let queue = Arc::new(Queue::new());
        let taker = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || queue.pop())
        };
        queue.push(1);
        let cancelled = queue.remove(|&job| job == 1);
        // If there is no job for the taker any more, end it.
        if cancelled.is_some() {
            queue.close();
        }
        let taken = taker.join().unwrap();
        assert!(cancelled.is_some() != taken.is_some(), "{cancelled:?} and {taken:?}");
        CANCELLED.fetch_add(cancelled.is_some().into(), Ordering::Relaxed);
        TAKEN.fetch_add(taken.is_some().into(), Ordering::Relaxed);
    });
    // The model is worth something only if it has tried both.
    assert!(CANCELLED.load(Ordering::Relaxed) > 0 && TAKEN.load(Ordering::Relaxed) > 0);
}

#[test]
fn close_wakes_those_who_sleep_and_those_about_to() {
    model(|| {
        let queue = Arc::new(Queue::<()>::new());
        let takers = [(); 2].map(|()| {
            let queue = Arc::clone(&queue);
            thread::spawn(move || queue.pop())
        });
        queue.close();
        for taker in takers {
            assert_eq!(taker.join().unwrap(), None);
        }
    });
}

/// The loop sleeps until the bell rings, hears it, and looks, until it has found everything. If an announcement is
/// lost, the loop sleeps for ever, and loom reports a deadlock.
#[test]
fn what_is_done_is_found_however_many_announce_it_at_once() {
    model(|| {
        let bell = Bell::new(Pipe::new());
        let done = Arc::new(Done::new(bell.clone()));
        let workers = [1, 10].map(|item| {
            let done = Arc::clone(&done);
            thread::spawn(move || done.add(item))
        });
        let mut found = Vec::new();
        while found.len() < 2 {
            bell.pipe().wait();
            bell.hear();
            found.extend(done.take());
        }
        assert_eq!(found.iter().sum::<i32>(), 11, "each is found once");
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
}

#[test]
fn one_thread_may_announce_twice_while_the_loop_looks() {
    model(|| {
        let bell = Bell::new(Pipe::new());
        let done = Arc::new(Done::new(bell.clone()));
        let there = Arc::clone(&done);
        let worker = thread::spawn(move || (1..=3).for_each(|item| there.add(item)));
        let mut found = Vec::new();
        while found.len() < 3 {
            bell.pipe().wait();
            bell.hear();
            found.extend(done.take());
        }
        assert_eq!(found, [1, 2, 3]);
        worker.join().unwrap();
    });
}

#[test]
fn a_wakeup_is_a_call_after_the_news_it_announces() {
    static COALESCED: AtomicUsize = AtomicUsize::new(0);
    model(|| {
        let bell = Bell::new(Pipe::new());
        let waker = Waker::new(bell.clone());
        let news = Arc::new(loom::sync::atomic::AtomicUsize::new(0));
        let announcers = [(); 2].map(|()| {
            let (waker, news) = (waker.clone(), Arc::clone(&news));
            thread::spawn(move || {
                // Relaxed: the wakeup must make sure that the callback sees it.
                news.fetch_add(1, Ordering::Relaxed);
                waker.wake();
            })
        });
        let mut calls = 0;
        let mut seen = 0;
        while seen < 2 {
            bell.pipe().wait();
            bell.hear();
            if waker.take() {
                calls += 1;
                seen = news.load(Ordering::Relaxed);
            }
        }
        COALESCED.fetch_add(usize::from(calls == 1), Ordering::Relaxed);
        announcers.into_iter().for_each(|announcer| announcer.join().unwrap());
    });
    assert!(COALESCED.load(Ordering::Relaxed) > 0, "two wakeups may be one call");
}
