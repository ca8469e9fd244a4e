//! The run queue, the semaphore and the channel under loom: the orders in which a few threads can meet, tried one by
//! one.
//!
//! The files under test are the library's own. Only their mutex, atomics and pipe are loom's.

mod sync {
    pub(crate) use loom::sync::atomic::{AtomicBool, Ordering};
    pub(crate) use loom::sync::{Arc, Mutex, MutexGuard};
    pub(crate) use std::sync::PoisonError;

    pub(crate) use crate::pipe::Pipe;
}

#[path = "../src/channel.rs"]
#[allow(unreachable_pub)] // in the library it is reachable
mod channel;
#[path = "../../../step7-event-loop/tests/model/pipe.rs"]
mod pipe;
#[path = "../src/run_queue.rs"]
mod run_queue;
#[path = "../src/semaphore.rs"]
#[allow(unreachable_pub)]
mod semaphore;

use std::pin::pin;
use std::task::{Context, Wake, Waker};

use channel::channel;
use loom::future::block_on;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;
use pipe::Pipe;
use run_queue::{RunQueue, TaskWaker};
use semaphore::Semaphore;

/// Tries every order in which the threads can meet with at most three preemptions.
fn model(run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(run);
}

/// The executor's loop, with one task: polls it when it is ready until `poll` says that it is done, and sleeps in
/// between. If a wakeup were overlooked, it would sleep for ever, and loom would report that.
fn run(run_queue: &RunQueue<u32>, task: &TaskWaker<u32>, mut poll: impl FnMut() -> bool) {
    loop {
        for _ in run_queue.take() {
            task.begin_poll();
            if poll() {
                return;
            }
        }
        if run_queue.may_sleep() {
            run_queue.pipe.wait();
            run_queue.awake();
            run_queue.pipe.clear();
        }
    }
}

/// Two threads wake the task for two things, perhaps while it is being polled for the first.
#[test]
fn a_task_that_is_woken_is_polled_and_finds_what_it_was_woken_for() {
    model(|| {
        let run_queue = Arc::new(RunQueue::new(Pipe::new()));
        let task = TaskWaker::new(7, Arc::clone(&run_queue));
        let items = Arc::new(AtomicUsize::new(0));
        for _ in 0..2 {
            let (task, items) = (Arc::clone(&task), Arc::clone(&items));
            thread::spawn(move || {
                items.fetch_add(1, Ordering::Relaxed);
                task.schedule();
            });
        }
        run(&run_queue, &task, || items.load(Ordering::Relaxed) == 2);
    });
}

/// A future checks a flag and then leaves its waker, or does it the other way round. Meanwhile a thread sets the flag
/// and then wakes it. In the end the future has seen the flag, or it will be polled once more.
fn wait_for_a_flag(registers_first: bool) {
    struct Woken(std::sync::atomic::AtomicBool);
    impl Wake for Woken {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    model(move || {
        let set = Arc::new(AtomicBool::new(false));
        let left = Arc::new(Mutex::new(None::<Waker>));
        let (its_set, its_left) = (Arc::clone(&set), Arc::clone(&left));
        let thread = thread::spawn(move || {
            its_set.store(true, Ordering::SeqCst);
            let waker = its_left.lock().unwrap().take();
            waker.inspect(Waker::wake_by_ref);
        });
        let woken = std::sync::Arc::new(Woken(false.into()));
        let waker = Waker::from(std::sync::Arc::clone(&woken));
        let mut seen = false;
        if registers_first {
            *left.lock().unwrap() = Some(waker);
            seen |= set.load(Ordering::SeqCst);
        } else {
            seen |= set.load(Ordering::SeqCst);
            *left.lock().unwrap() = Some(waker);
        }
        thread.join().unwrap();
        assert!(seen || woken.0.load(Ordering::SeqCst), "it sleeps for ever");
    });
}

/// `examples/lost-wakeup.rs` needs barriers to show the bug; loom finds it by itself.
#[test]
#[should_panic(expected = "it sleeps for ever")]
fn loom_finds_the_wakeup_that_is_lost_between_check_and_register() {
    wait_for_a_flag(false);
}

#[test]
fn no_wakeup_is_lost_if_the_waker_is_left_before_the_check() {
    wait_for_a_flag(true);
}

/// A task that is woken again before it has been polled is polled once for both.
#[test]
fn a_task_is_in_the_run_queue_once() {
    model(|| {
        let run_queue = Arc::new(RunQueue::new(Pipe::new()));
        let task = TaskWaker::new(7, Arc::clone(&run_queue));
        task.schedule();
        assert_eq!(run_queue.take(), [7]);
        task.schedule();
        assert!(run_queue.take().is_empty(), "it is about to be polled");
        task.begin_poll();
        task.schedule();
        assert_eq!(run_queue.take(), [7]);
    });
}

/// The reactor wakes tasks after every wait. If the queue thought that the executor sleeps, each wakeup would cost a
/// write, and the next wait a read.
#[test]
fn an_executor_that_is_awake_is_not_woken() {
    model(|| {
        let run_queue = Arc::new(RunQueue::new(Pipe::new()));
        let task = TaskWaker::new(7, Arc::clone(&run_queue));
        assert_eq!(run_queue.take(), [7]);
        task.begin_poll();
        assert!(run_queue.may_sleep());
        run_queue.awake();
        task.schedule();
        assert!(!run_queue.pipe.is_readable());
        assert!(!run_queue.may_sleep(), "there is a task");
    });
}

#[test]
fn a_semaphore_lets_one_in_at_a_time_and_everybody_in_the_end() {
    model(|| {
        let semaphore = Semaphore::new(1);
        let inside = Arc::new(AtomicUsize::new(0));
        let guest = |semaphore: Semaphore, inside: Arc<AtomicUsize>| {
            block_on(async move {
                let _permit = semaphore.acquire().await;
                assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0);
                inside.fetch_sub(1, Ordering::Relaxed);
            });
        };
        let (other, other_inside) = (semaphore.clone(), Arc::clone(&inside));
        let thread = thread::spawn(move || guest(other, other_inside));
        guest(semaphore, inside);
        thread.join().unwrap();
    });
}

/// A task stops waiting just as it is given the permit. Another task that waits must get it.
#[test]
fn a_permit_does_not_get_lost_with_one_who_stops_waiting() {
    model(|| {
        let semaphore = Semaphore::new(1);
        let permit = block_on(semaphore.acquire());
        let impatient = semaphore.clone();
        let leaves = thread::spawn(move || {
            let mut acquire = pin!(impatient.acquire());
            let _ = acquire.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        });
        let patient = semaphore.clone();
        let stays = thread::spawn(move || drop(block_on(patient.acquire())));
        drop(permit);
        leaves.join().unwrap();
        stays.join().unwrap();
    });
}

#[test]
fn a_channel_delivers_everything_in_order_and_then_its_end() {
    model(|| {
        let (sender, mut receiver) = channel(1);
        let producer = thread::spawn(move || {
            block_on(async move {
                sender.send(1).await.unwrap();
                sender.send(2).await.unwrap();
            });
        });
        let received = block_on(async {
            [receiver.recv().await, receiver.recv().await, receiver.recv().await]
        });
        assert_eq!(received, [Some(1), Some(2), None]);
        producer.join().unwrap();
    });
}

#[test]
fn nobody_waits_for_room_in_a_channel_whose_receiver_has_gone() {
    model(|| {
        let (sender, receiver) = channel(1);
        let producer = thread::spawn(move || {
            block_on(async move {
                let _ = sender.send(1).await;
                sender.send(2).await
            })
        });
        drop(receiver);
        assert_eq!(producer.join().unwrap(), Err(2));
    });
}
