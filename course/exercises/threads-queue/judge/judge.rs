//! What the queue must do.

use std::collections::BTreeSet;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use queue::Queue;

#[allow(missing_docs, unreachable_pub)]
#[path = "../src/queue.rs"]
mod queue;

/// One test at a time: one of them counts what the process does.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does something on a thread of its own.
fn start<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> mpsc::Receiver<T> {
    let (sender, result) = mpsc::channel();
    thread::spawn(move || sender.send(work()));
    result
}

/// What comes of it.
fn end<T>(what: &str, result: &mpsc::Receiver<T>) -> T {
    let waited = result.recv_timeout(Duration::from_secs(5));
    waited.unwrap_or_else(|_| panic!("{what}: it has not returned after 5 s"))
}

/// It waits.
fn waits<T>(what: &str, result: &mpsc::Receiver<T>) {
    let waited = result.recv_timeout(Duration::from_millis(200));
    assert!(matches!(waited, Err(RecvTimeoutError::Timeout)), "{what}: it did not wait");
}

#[test]
fn a_thread_that_waits_is_asleep() {
    let _alone = alone();
    let (full, empty) = (Arc::new(Queue::new(1)), Arc::new(Queue::<u32>::new(1)));
    full.push(0).unwrap();
    let mut waiting = Vec::new();
    for number in 1..=2 {
        let (full, empty) = (Arc::clone(&full), Arc::clone(&empty));
        waiting.push(start(move || full.push(number).is_ok()));
        waiting.push(start(move || empty.pop().is_some()));
    }
    thread::sleep(Duration::from_millis(200)); // until all of them wait
    let before = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    thread::sleep(Duration::from_millis(500));
    let after = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let cpu = |usage: nix::sys::resource::Usage| {
        let time = usage.user_time();
        time.tv_sec() as i64 * 1000 + time.tv_usec() as i64 / 1000
    };
    let used = cpu(after) - cpu(before);
    assert!(used < 100, "four threads that wait used {used} ms of CPU time in half a second");
    let woken = after.voluntary_context_switches() - before.voluntary_context_switches();
    assert!(woken < 50, "four threads that wait woke up {woken} times in half a second");
    let release = start(move || {
        for _ in 0..2 {
            full.pop();
            let _ = empty.push(0);
        }
    });
    end("two pops and two pushes that others wait for", &release);
    assert!(waiting.iter().all(|waiting| end("a thread that waited", waiting)));
}

#[test]
fn items_come_out_in_the_order_in_which_they_went_in() {
    let _alone = alone();
    let queue = Queue::new(100);
    (0..100).for_each(|number| queue.push(number).unwrap());
    (0..100).for_each(|number| assert_eq!(queue.pop(), Some(number)));
}

#[test]
fn a_push_waits_for_room() {
    let _alone = alone();
    let queue = Arc::new(Queue::new(2));
    queue.push(1).unwrap();
    queue.push(2).unwrap();
    let pushing = Arc::clone(&queue);
    let third = start(move || pushing.push(3));
    waits("a third item, into a queue with room for two", &third);
    assert_eq!(queue.pop(), Some(1));
    assert_eq!(end("there is room for the third item", &third), Ok(()));
    assert_eq!((queue.pop(), queue.pop()), (Some(2), Some(3)));
}

#[test]
fn a_pop_waits_for_an_item() {
    let _alone = alone();
    let queue = Arc::new(Queue::new(1));
    let popping = Arc::clone(&queue);
    let first = start(move || popping.pop());
    waits("pop, from an empty queue", &first);
    queue.push("it").unwrap();
    assert_eq!(end("there is an item for pop", &first), Some("it"));
}

#[test]
fn each_item_arrives_once_through_a_queue_for_one() {
    const EACH: u32 = 2000;
    let _alone = alone();
    let queue = Arc::new(Queue::new(1));
    let mut producers = Vec::new();
    let mut consumers = Vec::new();
    for producer in 0..4 {
        let (pushing, popping) = (Arc::clone(&queue), Arc::clone(&queue));
        producers.push(start(move || {
            (0..EACH).for_each(|number| pushing.push(producer * EACH + number).unwrap());
        }));
        consumers
            .push(start(move || (0..EACH).map(|_| popping.pop().unwrap()).collect::<Vec<_>>()));
    }
    let what = "four threads push 2,000 items each, and four pop as many";
    producers.iter().for_each(|producer| end(what, producer));
    let arrived: Vec<_> = consumers.iter().flat_map(|consumer| end(what, consumer)).collect();
    let different: BTreeSet<_> = arrived.iter().collect();
    assert_eq!((arrived.len(), different.len()), (4 * EACH as usize, 4 * EACH as usize));
}

#[test]
fn what_is_in_a_closed_queue_comes_out_and_then_nothing() {
    let _alone = alone();
    let queue = Arc::new(Queue::new(2));
    queue.push(1).unwrap();
    queue.close();
    let pushing = Arc::clone(&queue);
    assert_eq!(end("push, after close", &start(move || pushing.push(2))), Err(2));
    for left in [Some(1), None, None] {
        let popping = Arc::clone(&queue);
        assert_eq!(end("pop, after close", &start(move || popping.pop())), left);
    }
}

#[test]
fn close_wakes_all_that_wait() {
    let _alone = alone();
    let (full, empty) = (Arc::new(Queue::new(1)), Arc::new(Queue::<u32>::new(1)));
    full.push(0).unwrap();
    let (mut pushes, mut pops) = (Vec::new(), Vec::new());
    for number in 1..=3 {
        let (full, empty) = (Arc::clone(&full), Arc::clone(&empty));
        pushes.push((number, start(move || full.push(number))));
        pops.push(start(move || empty.pop()));
    }
    thread::sleep(Duration::from_millis(200));
    full.close();
    empty.close();
    for (number, push) in &pushes {
        assert_eq!(end("a push that waited when the queue was closed", push), Err(*number));
    }
    for pop in &pops {
        assert_eq!(end("a pop that waited when the queue was closed", pop), None);
    }
}
