//! The executor: the tasks, and the loop that polls them.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use server::{logging::Lane, shutdown};
use step7_event_loop::{Key, Pipe, Pool, Slab, WorkError, catch};

use crate::channel::{Receiver, channel};
use crate::reactor::Reactor;
use crate::run_queue::{RunQueue, TaskWaker};

/// Runs `future` to its end, and with it the tasks that it spawns. Tasks that are left when it has ended are dropped.
///
/// A turn has three parts, the three lines of its loop: poll the tasks that have been woken; see whether the future has
/// ended; sleep until the kernel, a timer or another thread wakes a task.
///
/// Inside a task it is a blocking call like any other: the other tasks of its thread wait until it returns. It has an
/// executor of its own, which does not wake a stream or a sleep that was made outside.
///
/// # Errors
/// No descriptor is left for the poller, or it fails; or the future panicked.
pub fn block_on<T: 'static>(future: impl Future<Output = T> + 'static) -> io::Result<T> {
    let run_queue = Arc::new(RunQueue::new(Pipe::new()?));
    let reactor = Rc::new(Reactor::new(Arc::clone(&run_queue))?);
    let (tasks, pool, stopping) = Default::default(); // no task, no thread yet, no
    let executor = Rc::new(Executor { tasks, run_queue, reactor, pool, stopping });
    let outer = CURRENT.replace(Some(Rc::clone(&executor)));
    let mut main = spawn(future);
    // The result needs no waker: the loop asks for it in every turn.
    let mut context = Context::from_waker(Waker::noop());
    let outcome = loop {
        executor.poll_woken_tasks();
        if let Poll::Ready(Some(result)) = main.0.poll_recv(&mut context) {
            break result.map_err(io::Error::from);
        }
        if let Err(error) = executor.reactor.wait(executor.run_queue.may_sleep()) {
            break Err(error);
        }
    };
    // While there is an executor: the tasks' variables may need it when they are dropped.
    let _ = catch(|| drop(executor.tasks.take()));
    CURRENT.set(outer);
    outcome
}

/// Makes a task of `future`: it is polled from the next turn on. It goes on if the handle is dropped.
///
/// # Panics
/// Outside of [`block_on`].
pub fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> JoinHandle<T> {
    let executor = current();
    let (sender, receiver) = channel(1);
    let mut future = Box::pin(future);
    let future = Box::pin(async move {
        let polled = poll_fn(|context| match catch(|| future.as_mut().poll(context)) {
            Ok(polled) => polled.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        });
        let result = polled.await;
        let _ = catch(|| drop((sender.put(result), future))); // the join handle may have been dropped
    });
    executor.tasks.borrow_mut().insert_with(|key| {
        let waker = TaskWaker::new(key, Arc::clone(&executor.run_queue));
        Some(Task { future, waker, lane: Lane::new("task") })
    });
    JoinHandle(receiver)
}

/// Has a thread of the pool run `work`, which may sleep or compute as long as it likes.
///
/// # Panics
/// Outside of [`block_on`].
pub fn spawn_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let (sender, receiver) = channel(1);
    let executor = current();
    let mut pool = executor.pool.borrow_mut();
    pool.submit(move |_| drop(sender.put(catch(work))));
    JoinHandle(receiver)
}

/// The result of a task, or of work on the pool, to be awaited. If the task or the work panicked, that is an error
/// here, and ends nothing else.
pub struct JoinHandle<T>(Receiver<Result<T, WorkError>>);

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, WorkError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_recv(context).map(|result| result.unwrap_or(Err(WorkError::Cancelled)))
    }
}

/// What [`block_on`] runs. Everything in here belongs to one thread, but others may push to the run queue.
pub(crate) struct Executor {
    /// The slot of a task that is being polled is empty.
    tasks: RefCell<Slab<Option<Task>>>,
    run_queue: Arc<RunQueue<Key>>,
    pub(crate) reactor: Rc<Reactor>,
    pool: RefCell<Pool>,
    /// Whether the tasks know that the server was told to stop.
    stopping: Cell<bool>,
}

struct Task {
    future: Pin<Box<dyn Future<Output = ()>>>,
    waker: Arc<TaskWaker<Key>>,
    /// Its line in the trace.
    lane: Lane,
}

impl Executor {
    /// Tasks that are woken meanwhile are polled in the next turn, after the kernel has been asked. So tasks that wake
    /// each other for ever do not keep the others from their I/O.
    fn poll_woken_tasks(&self) {
        for key in self.run_queue.take() {
            // The task is taken out of its slot, so that it can spawn others while it is polled.
            let taken = self.tasks.borrow_mut().get_mut(key).and_then(Option::take);
            let Some(mut task) = taken else { continue }; // it has ended
            task.waker.begin_poll();
            let waker = Waker::from(Arc::clone(&task.waker));
            let mut context = Context::from_waker(&waker);
            let polled = task.lane.poll(|| task.future.as_mut().poll(&mut context));
            let mut tasks = self.tasks.borrow_mut();
            match tasks.get_mut(key) {
                Some(slot) if polled.is_pending() => *slot = Some(task),
                _ => drop(tasks.remove(key)),
            }
        }
        // The server was told to stop. From now on every call reports the end at once, so each task is polled once
        // more.
        if shutdown::requested() && !self.stopping.replace(true) {
            let tasks = self.tasks.borrow();
            tasks.iter().filter_map(|(_, task)| task.as_ref()).for_each(|t| t.waker.schedule());
        }
    }
}

impl Wake for TaskWaker<Key> {
    fn wake(self: Arc<Self>) {
        self.schedule();
    }
}

thread_local!(static CURRENT: RefCell<Option<Rc<Executor>>> = const { RefCell::new(None) });

/// The executor of this thread.
pub(crate) fn current() -> Rc<Executor> {
    CURRENT.with_borrow(Clone::clone).expect("this needs an executor: call it inside block_on")
}
