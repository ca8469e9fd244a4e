//! What `JoinHandle::abort` must do.

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::io::Read;
use std::net::TcpStream;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use async_await::{
    JoinError, JoinHandle, Listener, Stream, block_on, sleep, spawn, spawn_blocking, timeout,
    yield_now,
};

const LONG: Duration = Duration::from_secs(10);

/// If the handle has a method of its own, that one is called.
#[allow(dead_code)]
trait Missing {
    fn abort(&self) {
        panic!("there is no JoinHandle::abort yet");
    }
}

impl<T> Missing for JoinHandle<T> {}

/// Says when it is dropped.
struct Noted(Rc<Cell<bool>>);

impl Drop for Noted {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

/// A few turns of the executor.
async fn turns() {
    for _ in 0..3 {
        yield_now().await;
    }
}

/// What the handle says, in the end.
async fn end<T>(handle: JoinHandle<T>) -> Result<T, JoinError> {
    timeout(LONG, handle).await.expect("the handle of an aborted task is still pending after 10 s")
}

#[test]
fn a_task_that_sleeps_is_dropped() {
    block_on(async {
        let dropped = Rc::new(Cell::new(false));
        let noted = Noted(Rc::clone(&dropped));
        let handle = spawn(async move {
            let _noted = noted;
            pending::<()>().await;
        });
        turns().await;
        handle.abort();
        turns().await;
        assert!(dropped.get(), "the variables of an aborted task live on");
        assert_eq!(end(handle).await, Err(JoinError::Cancelled));
    })
    .unwrap();
}

#[test]
fn a_task_in_the_run_queue_is_not_polled_any_more() {
    block_on(async {
        let polls = Rc::new(Cell::new(0));
        let count = Rc::clone(&polls);
        let handle = spawn(async move {
            loop {
                count.set(count.get() + 1);
                yield_now().await; // so it is in the run queue whenever others run
            }
        });
        turns().await;
        assert!(polls.get() > 0);
        handle.abort();
        turns().await;
        let before = polls.get();
        turns().await;
        assert_eq!(polls.get(), before, "an aborted task is still polled");
        assert_eq!(end(handle).await, Err::<(), _>(JoinError::Cancelled));
    })
    .unwrap();
}

#[test]
fn a_task_that_was_never_polled_never_begins() {
    block_on(async {
        let (begun, dropped) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(false)));
        let (begin, noted) = (Rc::clone(&begun), Noted(Rc::clone(&dropped)));
        let handle = spawn(async move {
            let _noted = noted;
            begin.set(true);
        });
        handle.abort();
        assert_eq!(end(handle).await, Err(JoinError::Cancelled));
        turns().await;
        assert_eq!((begun.get(), dropped.get()), (false, true), "(begun, dropped)");
    })
    .unwrap();
}

#[test]
fn a_task_that_aborts_itself_goes_on_to_its_next_await() {
    block_on(async {
        let own: Rc<RefCell<Option<JoinHandle<()>>>> = Rc::default();
        let steps = Rc::new(Cell::new(0));
        let (handle, count) = (Rc::clone(&own), Rc::clone(&steps));
        let spawned = spawn(async move {
            handle.borrow().as_ref().expect("it is there").abort();
            count.set(1);
            yield_now().await;
            count.set(2);
        });
        *own.borrow_mut() = Some(spawned);
        turns().await;
        turns().await;
        assert_eq!(steps.get(), 1);
        let handle = own.borrow_mut().take().expect("it is there");
        assert_eq!(end(handle).await, Err(JoinError::Cancelled));
    })
    .unwrap();
}

#[test]
fn a_task_that_has_ended_keeps_its_result_and_its_successor_its_life() {
    block_on(async {
        let handle = spawn(async { 42 });
        turns().await;
        let successor = spawn(async {
            sleep(Duration::from_millis(20)).await;
            43
        });
        handle.abort();
        assert_eq!(end(handle).await, Ok(42));
        assert_eq!(end(successor).await, Ok(43), "another task, which may have the same slot");
    })
    .unwrap();
}

#[test]
fn others_go_on_and_twice_is_once() {
    block_on(async {
        let other = spawn(async {
            sleep(Duration::from_millis(50)).await;
            7
        });
        let handle = spawn(pending::<()>());
        turns().await;
        handle.abort();
        handle.abort();
        turns().await;
        handle.abort();
        assert_eq!(end(handle).await, Err(JoinError::Cancelled));
        assert_eq!(end(other).await, Ok(7));
    })
    .unwrap();
}

#[test]
fn work_on_the_pool_goes_on() {
    block_on(async {
        let handle = spawn_blocking(|| {
            std::thread::sleep(Duration::from_millis(50));
            9
        });
        handle.abort();
        assert_eq!(end(handle).await, Ok(9));
    })
    .unwrap();
}

/// Spawns a task when it is dropped, and aborts another.
struct Busy(Rc<Cell<bool>>, JoinHandle<()>);

impl Drop for Busy {
    fn drop(&mut self) {
        let happened = Rc::clone(&self.0);
        drop(spawn(async move { happened.set(true) }));
        self.1.abort();
    }
}

#[test]
fn a_variable_may_spawn_and_abort_when_it_is_dropped() {
    block_on(async {
        let (happened, dropped) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(false)));
        let noted = Noted(Rc::clone(&dropped));
        let other = spawn(async move {
            let _noted = noted;
            pending::<()>().await;
        });
        let busy = Busy(Rc::clone(&happened), other);
        let handle = spawn(async move {
            let _busy = busy;
            pending::<()>().await;
        });
        turns().await;
        handle.abort();
        assert_eq!(end(handle).await, Err(JoinError::Cancelled));
        turns().await;
        turns().await;
        assert_eq!((happened.get(), dropped.get()), (true, true), "(spawned, aborted)");
    })
    .unwrap();
}

#[test]
fn a_waker_that_is_called_after_the_abort_does_nothing() {
    block_on(async {
        let waker = Rc::new(RefCell::new(None));
        let left = Rc::clone(&waker);
        let handle = spawn(poll_fn(move |context| {
            *left.borrow_mut() = Some(context.waker().clone());
            Poll::<()>::Pending
        }));
        turns().await;
        let waker = waker.borrow_mut().take().expect("it was polled");
        handle.abort();
        turns().await;
        waker.wake();
        turns().await;
        assert_eq!(end(handle).await, Err(JoinError::Cancelled));
    })
    .unwrap();
}

#[test]
fn the_peer_sees_the_end_of_its_connection() {
    block_on(async {
        let (mut stream, mut peer) = connection().await;
        let handle = spawn(async move { stream.read().await.map(|_| ()).is_ok() });
        turns().await;
        handle.abort();
        assert_eq!(end(handle).await, Err(JoinError::Cancelled));
        peer.set_read_timeout(Some(LONG)).unwrap();
        let ended = spawn_blocking(move || peer.read(&mut [0]).is_ok_and(|length| length == 0));
        assert_eq!(ended.await, Ok(true), "the connection of an aborted task is still open");
    })
    .unwrap();
}

/// A stream and its peer.
async fn connection() -> (Stream, TcpStream) {
    let listener = server::Listener::bind("127.0.0.1", 0, 16).unwrap();
    let peer = TcpStream::connect(listener.local_address().unwrap()).unwrap();
    let mut listener = Listener::new(listener).unwrap();
    let stream = timeout(LONG, listener.accept()).await.expect("it is connected").unwrap();
    (stream.expect("the server was not told to stop"), peer)
}
