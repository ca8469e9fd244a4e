//! The pool's queue under loom: every order in which a few threads can meet, tried one by one.
//!
//! The file under test is the library's own; only what it waits with is loom's.

mod sync {
    pub(crate) use loom::sync::{Condvar, Mutex};
    pub(crate) use std::sync::PoisonError;
}

#[path = "../src/queue.rs"]
mod queue;

use std::sync::atomic::{AtomicUsize, Ordering};

use loom::sync::Arc;
use loom::thread;
use queue::Queue;

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
        // Whoever has nothing to take any more is sent home.
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
