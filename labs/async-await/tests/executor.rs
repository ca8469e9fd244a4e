//! The executor without a socket: tasks, their results and panics, timers, and tasks that wait for tasks.
//!
//! `MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test -p async-await --test executor` runs it under Miri.

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use async_await::{
    Either, JoinError, Semaphore, block_on, channel, join, select, sleep, spawn, spawn_blocking,
    timeout, yield_now,
};

const MANY: usize = if cfg!(miri) { 100 } else { 100_000 };
/// Miri takes much longer for everything.
const SLOWNESS: u32 = if cfg!(miri) { 30 } else { 1 };

const A_MOMENT: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(600);

/// Says when it is dropped.
struct Noted(Rc<Cell<bool>>);

impl Drop for Noted {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

#[test]
fn a_handle_has_the_result() {
    let sum = block_on(async {
        let handle = spawn(async {
            yield_now().await;
            40
        });
        handle.await.unwrap() + 2
    });
    assert_eq!(sum.unwrap(), 42);
}

#[test]
fn many_tasks_all_finish() {
    let finished = Rc::new(Cell::new(0));
    let count = Rc::clone(&finished);
    block_on(async move {
        let spawn_one = |_| {
            let count = Rc::clone(&count);
            spawn(async move {
                yield_now().await;
                count.update(|count| count + 1);
            })
        };
        let handles: Vec<_> = (0..MANY).map(spawn_one).collect();
        for handle in handles {
            handle.await.unwrap();
        }
    })
    .unwrap();
    assert_eq!(finished.get(), MANY);
}

#[test]
fn a_task_goes_on_without_its_handle() {
    let (sender, mut receiver) = channel(1);
    let heard = block_on(async move {
        drop(spawn(async move {
            sleep(A_MOMENT).await;
            sender.send("still there").await.unwrap();
        }));
        receiver.recv().await
    });
    assert_eq!(heard.unwrap(), Some("still there"));
}

#[test]
fn a_panic_is_the_end_of_one_task() {
    let (panicked, other) = block_on(async {
        let panicking = spawn(async {
            yield_now().await;
            if true {
                panic!("on purpose");
            }
        });
        let other = spawn(async {
            sleep(A_MOMENT).await;
            "served"
        });
        join(panicking, other).await
    })
    .unwrap();
    assert_eq!(panicked, Err(JoinError::Panicked("on purpose".to_owned())));
    assert_eq!(other, Ok("served"));
}

#[test]
fn a_panic_of_the_future_itself_is_an_error() {
    let outcome: io::Result<()> = block_on(async { panic!("on purpose") });
    assert!(outcome.unwrap_err().to_string().contains("on purpose"));
    // And the thread can go on.
    assert_eq!(block_on(async { 1 }).unwrap(), 1);
}

#[test]
fn a_block_on_inside_another_has_an_executor_of_its_own() {
    let sum = block_on(async {
        let inner = block_on(async { spawn(async { 1 }).await.unwrap() }).unwrap();
        inner + spawn(async { 2 }).await.unwrap() // the outer one is this thread's again
    });
    assert_eq!(sum.unwrap(), 3);
}

/// Its drop needs an executor.
struct SleepsInDrop(Rc<Cell<bool>>);

impl Drop for SleepsInDrop {
    fn drop(&mut self) {
        drop(sleep(Duration::ZERO));
        self.0.set(true);
    }
}

#[test]
fn tasks_that_are_left_are_dropped_while_there_is_an_executor() {
    let dropped = Rc::new(Cell::new(false));
    let left = SleepsInDrop(Rc::clone(&dropped));
    block_on(async move {
        spawn(async move {
            let _left = left;
            pending::<()>().await;
        });
        yield_now().await;
    })
    .unwrap();
    assert!(dropped.get());
}

struct PanicsInDrop;

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        panic!("on purpose");
    }
}

#[test]
fn a_panic_in_a_drop_is_the_end_of_one_task_too() {
    let served = block_on(async {
        drop(spawn(async { PanicsInDrop })); // the result is dropped
        spawn(async {
            let _left = PanicsInDrop; // dropped at the end of all
            pending::<()>().await;
        });
        sleep(A_MOMENT).await;
        spawn(async { "served" }).await
    });
    assert_eq!(served.unwrap(), Ok("served"));
    assert_eq!(block_on(async { 1 }).unwrap(), 1);
}

#[test]
fn a_task_that_wakes_itself_for_ever_does_not_keep_others_from_their_timers() {
    let started = Instant::now();
    block_on(async {
        spawn(async {
            loop {
                yield_now().await;
            }
        });
        sleep(A_MOMENT).await;
    })
    .unwrap();
    assert!(started.elapsed() >= A_MOMENT);
}

#[test]
fn wakers_may_be_called_from_any_thread_and_more_often_than_needed() {
    let threads = 4;
    let calls = if cfg!(miri) { 20 } else { 2_000 };
    let called = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&called);
    block_on(async move {
        let waker: Arc<Mutex<Option<Waker>>> = Arc::default();
        for _ in 0..threads {
            let (waker, called) = (Arc::clone(&waker), Arc::clone(&called));
            thread::spawn(move || {
                for _ in 0..calls {
                    called.fetch_add(1, Ordering::Release);
                    waker.lock().unwrap().as_ref().inspect(|waker| waker.wake_by_ref());
                }
            });
        }
        poll_fn(|context| {
            *waker.lock().unwrap() = Some(context.waker().clone());
            // It looks after it has left the waker: a later event wakes it.
            match called.load(Ordering::Acquire) == threads * calls {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    })
    .unwrap();
    assert_eq!(counted.load(Ordering::Acquire), threads * calls);
}

#[test]
fn a_waker_outlives_its_task_and_its_executor() {
    let kept = Rc::new(RefCell::new(None));
    let waker = Rc::clone(&kept);
    block_on(poll_fn(move |context| {
        *waker.borrow_mut() = Some(context.waker().clone());
        Poll::Ready(())
    }))
    .unwrap();
    kept.take().inspect(Waker::wake_by_ref).expect("it was kept");
}

#[test]
fn sleepers_wake_in_the_order_of_their_times() {
    let order = Rc::new(RefCell::new(Vec::new()));
    let noted = Rc::clone(&order);
    block_on(async move {
        let sleeper = |milliseconds| {
            let noted = Rc::clone(&noted);
            spawn(async move {
                let started = Instant::now();
                let duration = Duration::from_millis(milliseconds) * SLOWNESS;
                sleep(duration).await;
                assert!(started.elapsed() >= duration);
                noted.borrow_mut().push(milliseconds);
            })
        };
        for handle in [sleeper(60), sleeper(0), sleeper(30)] {
            handle.await.unwrap();
        }
    })
    .unwrap();
    assert_eq!(*order.borrow(), [0, 30, 60]);
}

#[test]
fn a_time_beyond_the_clock_is_never() {
    let outcome = block_on(async { timeout(A_MOMENT, sleep(Duration::MAX)).await });
    assert_eq!(outcome.unwrap(), None);
}

#[test]
fn timeout_drops_what_takes_too_long() {
    let dropped = Rc::new(Cell::new(false));
    let noted = Noted(Rc::clone(&dropped));
    let outcome = block_on(async move {
        let too_long = async move {
            let _noted = noted;
            pending::<()>().await;
        };
        (timeout(A_MOMENT, too_long).await, timeout(LONG, async { 7 }).await)
    });
    assert_eq!(outcome.unwrap(), (None, Some(7)));
    assert!(dropped.get());
}

#[test]
fn select_takes_the_first_and_drops_the_other() {
    let dropped = Rc::new(Cell::new(false));
    let noted = Noted(Rc::clone(&dropped));
    let first = block_on(async move {
        let loser = async move {
            let _noted = noted;
            sleep(LONG).await;
        };
        let winner = async {
            sleep(A_MOMENT).await;
            "winner"
        };
        let first = select(loser, winner).await;
        assert_eq!(select(async { 1 }, async { 2 }).await, Either::First(1), "both are ready");
        first
    });
    assert_eq!(first.unwrap(), Either::Second("winner"));
    assert!(dropped.get());
}

#[test]
fn join_waits_for_both_at_once() {
    let started = Instant::now();
    let outputs = block_on(join(
        async {
            sleep(Duration::from_millis(300)).await;
            1
        },
        async {
            sleep(Duration::from_millis(300)).await;
            2
        },
    ));
    assert_eq!(outputs.unwrap(), (1, 2));
    let elapsed = started.elapsed();
    assert!(elapsed < Duration::from_millis(600) || cfg!(miri), "one after the other: {elapsed:?}");
}

#[test]
fn work_on_the_pool_does_not_hold_up_tasks() {
    let ticks = Rc::new(Cell::new(0));
    let ticked = Rc::clone(&ticks);
    let result = block_on(async move {
        // It ends when the task has ticked. If the task were held up, it would never end.
        let (tick, wait) = std::sync::mpsc::channel();
        let work = spawn_blocking(move || (0..3).map(|_| wait.recv().unwrap()).sum::<i32>());
        let ticker = async {
            for _ in 0..3 {
                sleep(Duration::from_millis(1)).await;
                ticked.update(|ticks| ticks + 1);
                tick.send(10).unwrap();
            }
        };
        join(work, ticker).await.0
    });
    assert_eq!(result.unwrap(), Ok(30));
    assert_eq!(ticks.get(), 3);
}

#[test]
fn work_on_the_pool_may_panic() {
    let result = block_on(async { spawn_blocking(|| panic!("on purpose")).await });
    assert_eq!(result.unwrap(), Err::<(), _>(JoinError::Panicked("on purpose".to_owned())));
}

#[test]
fn the_pool_loses_no_thread_to_a_panic_in_a_drop() {
    let served = block_on(async {
        for _ in 0..10 {
            // Its result must find nobody to take it, so that it is dropped on the pool and not here.
            let (handle_is_dropped, wait) = std::sync::mpsc::channel::<()>();
            drop(spawn_blocking(move || {
                let _ = wait.recv();
                PanicsInDrop
            }));
            drop(handle_is_dropped);
        }
        timeout(Duration::from_secs(60), spawn_blocking(|| "served")).await
    });
    assert_eq!(served.unwrap(), Some(Ok("served")));
}

/// Counts how often it is called.
#[derive(Default)]
struct Counted(AtomicUsize);

impl Wake for Counted {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Polls with a waker of its own.
fn poll_with<F: Future>(future: Pin<&mut F>, counted: &Arc<Counted>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(&Waker::from(Arc::clone(counted))))
}

#[test]
fn a_timer_that_is_dropped_wakes_nobody() {
    let counted = Arc::<Counted>::default();
    let its = Arc::clone(&counted);
    block_on(async move {
        let mut nap = Box::pin(sleep(Duration::from_millis(5)));
        assert!(poll_with(nap.as_mut(), &its).is_pending());
        drop(nap);
        sleep(A_MOMENT).await;
    })
    .unwrap();
    assert_eq!(counted.0.load(Ordering::Relaxed), 0);
}

#[test]
fn of_the_wakers_of_one_who_waits_the_last_is_called() {
    let [first, last] = [Arc::<Counted>::default(), Arc::default()];
    let semaphore = Semaphore::new(1);
    let Poll::Ready(permit) = poll_with(pin!(semaphore.acquire()), &first) else {
        panic!("there is a permit");
    };
    let mut waiting = pin!(semaphore.acquire());
    assert!(poll_with(waiting.as_mut(), &first).is_pending());
    assert!(poll_with(waiting.as_mut(), &last).is_pending());
    drop(permit);
    assert_eq!([first, last].map(|counted| counted.0.load(Ordering::Relaxed)), [0, 1]);
}

#[test]
fn a_semaphore_lets_so_many_in_and_in_their_order() {
    let order = Rc::new(RefCell::new(Vec::new()));
    let noted = Rc::clone(&order);
    block_on(async move {
        let (semaphore, inside) = (Semaphore::new(3), Rc::new(Cell::new(0)));
        let guest = |number: usize| {
            let (semaphore, inside, noted) =
                (semaphore.clone(), Rc::clone(&inside), Rc::clone(&noted));
            spawn(async move {
                let _permit = semaphore.acquire().await;
                noted.borrow_mut().push(number);
                inside.set(inside.get() + 1);
                assert!(inside.get() <= 3);
                yield_now().await;
                inside.set(inside.get() - 1);
            })
        };
        let guests: Vec<_> = (0..20).map(guest).collect();
        for guest in guests {
            guest.await.unwrap();
        }
    })
    .unwrap();
    assert_eq!(*order.borrow(), (0..20).collect::<Vec<_>>());
}

/// Polls once, and returns the result.
async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(Pin::new(&mut *future).poll(context))).await
}

#[test]
fn a_permit_is_not_lost_with_one_who_stops_waiting() {
    let outcome = block_on(async {
        let semaphore = Semaphore::new(1);
        let permit = semaphore.acquire().await;
        let mut first = Box::pin(semaphore.acquire());
        assert!(poll_once(&mut first).await.is_pending());
        let waiting = semaphore.clone();
        let second = spawn(async move { drop(waiting.acquire().await) });
        yield_now().await;
        drop(permit); // wakes the first
        drop(first); // which does not take it
        timeout(Duration::from_secs(10), second).await
    });
    assert_eq!(outcome.unwrap(), Some(Ok(())));
}

#[test]
fn a_newcomer_does_not_take_the_permit_of_one_who_waits() {
    block_on(async {
        let semaphore = Semaphore::new(1);
        let permit = semaphore.acquire().await;
        let (mut first, mut newcomer) =
            (Box::pin(semaphore.acquire()), Box::pin(semaphore.acquire()));
        assert!(poll_once(&mut first).await.is_pending());
        drop(permit);
        assert!(poll_once(&mut newcomer).await.is_pending());
        let permit = poll_once(&mut first).await;
        assert!(permit.is_ready());
        drop(permit);
        assert!(poll_once(&mut newcomer).await.is_ready());
    })
    .unwrap();
}

#[test]
fn a_channel_keeps_the_order_and_holds_up_who_is_too_fast() {
    let received = block_on(async {
        let (sender, mut receiver) = channel(2);
        let sent = Rc::new(Cell::new(0));
        let count = Rc::clone(&sent);
        spawn(async move {
            for number in 0..10 {
                sender.send(number).await.unwrap();
                count.set(number + 1);
            }
        });
        for _ in 0..10 {
            yield_now().await;
        }
        assert_eq!(sent.get(), 2, "there is room for two");
        let mut received = Vec::new();
        while let Some(number) = receiver.recv().await {
            received.push(number);
            assert!(sent.get() <= received.len() + 2);
        }
        received
    });
    assert_eq!(received.unwrap(), (0..10).collect::<Vec<_>>());
}

#[test]
fn a_channel_ends_with_its_last_sender_and_what_is_in_it_comes_out_first() {
    let received = block_on(async {
        let (sender, mut receiver) = channel(4);
        let second = sender.clone();
        sender.send(1).await.unwrap();
        drop(sender);
        second.send(2).await.unwrap();
        drop(second);
        [receiver.recv().await, receiver.recv().await, receiver.recv().await, receiver.recv().await]
    });
    assert_eq!(received.unwrap(), [Some(1), Some(2), None, None]);
}

#[test]
fn whoever_sends_learns_that_the_receiver_has_gone() {
    let outcome = block_on(async {
        let (sender, receiver) = channel(1);
        sender.send(1).await.unwrap();
        let waiting = sender.clone();
        let second = spawn(async move { waiting.send(2).await });
        let third = spawn(async move { sender.send(3).await });
        yield_now().await;
        drop(receiver);
        (second.await, third.await)
    });
    assert_eq!(outcome.unwrap(), (Ok(Err(2)), Ok(Err(3))));
}

#[test]
fn a_channel_connects_two_executors() {
    const ITEMS: usize = if cfg!(miri) { 20 } else { 10_000 };
    let (sender, mut receiver) = channel(3);
    let producer = thread::spawn(move || {
        block_on(async move {
            for number in 0..ITEMS {
                sender.send(number).await.unwrap();
            }
        })
    });
    let received = block_on(async move {
        let mut received = Vec::new();
        while let Some(number) = receiver.recv().await {
            received.push(number);
        }
        received
    });
    assert_eq!(received.unwrap(), (0..ITEMS).collect::<Vec<_>>());
    producer.join().unwrap().unwrap();
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no clock of a thread's CPU time")]
fn an_executor_with_nothing_to_do_sleeps() {
    let time_of_this_thread = || {
        let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
        Duration::from(time)
    };
    let used = block_on(async move {
        let before = time_of_this_thread();
        sleep(Duration::from_millis(300)).await;
        time_of_this_thread() - before
    });
    assert!(used.unwrap() < Duration::from_millis(100));
}
