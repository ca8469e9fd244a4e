//! A bounded queue, and workers that come and go with it.
//!
//! A job goes to a free worker; free workers take turns. If no worker is free, the job goes into the queue. If the
//! queue is full, the job goes back to the caller. There is *one* queue. If each worker had its own, a job might wait
//! behind a slow one while another worker has nothing to do.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::sizing::Sizing;

/// How long to wait, after a thread could not be started, before the pool tries again.
const PAUSE: Duration = Duration::from_secs(1);

/// The pool. Its workers end with the process.
pub struct Pool<J> {
    shared: Arc<Shared<J>>,
}

struct Shared<J> {
    state: Mutex<State<J>>,
    /// Does a job. It gets the worker's number and the job, and must not panic.
    perform: Box<dyn Fn(u32, J) + Send + Sync>,
}

struct State<J> {
    queue: VecDeque<J>,
    /// The workers that take jobs, in the order in which they were hired.
    workers: Vec<Worker<J>>,
    /// How many workers do a job now, including those that will leave after it.
    busy: usize,
    /// How many were retired in the middle of a job. They are no longer in `workers`, but they are still at work.
    leaving: usize,
    /// The place in `workers` where the search for the next free worker begins.
    turn: usize,
    hired: u32,
    retired: u32,
    /// When the pool last failed to start a thread.
    no_thread: Option<Instant>,
    sizing: Sizing,
}

struct Worker<J> {
    number: u32,
    desk: Arc<Desk<J>>,
    free: bool,
}

/// Where a free worker waits. Each worker has its own condition, so that one job wakes one worker: the one whose turn
/// it is.
struct Desk<J> {
    dealt: Condvar,
    order: Mutex<Option<Order<J>>>,
}

enum Order<J> {
    Perform(J),
    Leave,
}

/// How the pool is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// How many workers take jobs.
    pub workers: usize,
    /// How many do a job now, including workers that will leave after it.
    pub busy: usize,
    /// How many jobs wait in the queue.
    pub queue: usize,
    /// How many workers were hired in all, including the first.
    pub hired: u32,
    /// How many were retired. Some of them may have been hired again before they ended.
    pub retired: u32,
}

impl<J: Send + 'static> Pool<J> {
    /// Makes a pool with one worker. The worker's thread calls `perform` with its number (counted from 1) and the job.
    ///
    /// # Errors
    /// The thread of the first worker cannot be started.
    pub fn new(
        sizing: Sizing,
        perform: impl Fn(u32, J) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let state = State {
            queue: VecDeque::new(),
            workers: Vec::new(),
            busy: 0,
            leaving: 0,
            turn: 0,
            hired: 0,
            retired: 0,
            no_thread: None,
            sizing,
        };
        let shared = Shared { state: Mutex::new(state), perform: Box::new(perform) };
        let pool = Pool { shared: Arc::new(shared) };
        pool.hire(&mut pool.shared.lock())?;
        Ok(pool)
    }

    /// Gives `job` to a worker, now or after the jobs that wait.
    ///
    /// # Errors
    /// The queue is full. The job comes back.
    pub fn submit(&self, job: J) -> Result<(), J> {
        let mut state = self.shared.lock();
        let outcome = match state.next_free() {
            Some(desk) => {
                state.busy += 1;
                desk.give(Order::Perform(job));
                Ok(())
            }
            None if state.queue.len() < state.sizing.capacity => {
                state.queue.push_back(job);
                Ok(())
            }
            None => Err(job),
        };
        state.observe();
        let just_tried = state.no_thread.is_some_and(|tried| tried.elapsed() < PAUSE);
        if state.hires()
            && !just_tried
            && let Err(no_thread) = self.hire(&mut state)
        {
            warn!("no thread for another worker: {}", server::describe(&no_thread));
            state.no_thread = Some(Instant::now());
        }
        outcome
    }

    /// Retires a worker if it is time to. Call it regularly.
    pub fn review(&self) {
        let mut state = self.shared.lock();
        state.observe();
        let workers = state.workers.len();
        if !state.sizing.retires(Instant::now(), workers) {
            return;
        }
        // The youngest worker. If it has a job in hand, it finishes the job and then finds that it is no longer on the
        // list.
        let Some(worker) = state.workers.pop() else { return };
        state.retired += 1;
        info!(
            "queue {} of {} for {:?}: worker {} retires, {} left",
            state.queue.len(),
            state.sizing.capacity,
            state.sizing.cooldown,
            worker.number,
            state.workers.len()
        );
        if worker.free {
            worker.desk.give(Order::Leave);
        } else {
            state.leaving += 1;
        }
    }

    /// How the pool is doing.
    pub fn figures(&self) -> Figures {
        let state = self.shared.lock();
        Figures {
            workers: state.workers.len(),
            busy: state.busy,
            queue: state.queue.len(),
            hired: state.hired,
            retired: state.retired,
        }
    }

    fn hire(&self, state: &mut State<J>) -> io::Result<()> {
        let number = state.hired + 1;
        let desk = Arc::new(Desk { dealt: Condvar::new(), order: Mutex::new(None) });
        // The new worker begins with the oldest job. The job is dealt before the thread runs, and goes back if the
        // thread cannot be started.
        let first = state.queue.pop_front();
        let free = first.is_none();
        if let Some(job) = first {
            desk.give(Order::Perform(job));
        }
        let (shared, at) = (Arc::clone(&self.shared), Arc::clone(&desk));
        let spawned = thread::Builder::new()
            .name(format!("worker {number}"))
            .spawn(move || shared.work(number, &at));
        if let Err(no_thread) = spawned {
            if let Some(Order::Perform(job)) = desk.order().take() {
                state.queue.push_front(job);
            }
            return Err(no_thread);
        }
        state.busy += usize::from(!free);
        state.hired = number;
        state.workers.push(Worker { number, desk, free });
        info!(
            "queue {} of {}: worker {number} hired, {} now",
            state.queue.len() + usize::from(!free),
            state.sizing.capacity,
            state.workers.len()
        );
        Ok(())
    }
}

impl<J> Shared<J> {
    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker's life.
    fn work(&self, number: u32, desk: &Arc<Desk<J>>) {
        while let Order::Perform(mut job) = desk.wait() {
            loop {
                // Without the lock, so that several workers do their jobs at the same time.
                (self.perform)(number, job);
                let mut state = self.lock();
                let place = state.workers.iter().position(|worker| worker.number == number);
                let place = match place {
                    Some(place) => place,
                    // It was retired meanwhile. If the queue has filled again, it is hired again: it counted as a
                    // worker until now, so no other was hired in its place.
                    None => {
                        state.leaving -= 1;
                        if !state.hires() {
                            state.busy -= 1;
                            return;
                        }
                        state.hired += 1;
                        state.workers.push(Worker { number, desk: Arc::clone(desk), free: false });
                        let (queue, workers) = (state.queue.len(), state.workers.len());
                        let capacity = state.sizing.capacity;
                        info!("queue {queue} of {capacity}: worker {number} stays, {workers} now");
                        workers - 1
                    }
                };
                match state.queue.pop_front() {
                    Some(next) => {
                        job = next;
                        state.observe();
                    }
                    None => {
                        state.workers[place].free = true;
                        state.busy -= 1;
                        break;
                    }
                }
            }
        }
    }
}

impl<J> State<J> {
    /// Takes the next free worker. It is busy from now on.
    fn next_free(&mut self) -> Option<Arc<Desk<J>>> {
        let count = self.workers.len();
        let place = (0..count).map(|i| (self.turn + i) % count).find(|&i| self.workers[i].free)?;
        self.turn = place + 1;
        self.workers[place].free = false;
        Some(Arc::clone(&self.workers[place].desk))
    }

    /// Whether to hire another worker. Workers that will leave are still at work, so they count.
    fn hires(&self) -> bool {
        self.sizing.hires(self.queue.len(), self.workers.len() + self.leaving)
    }

    fn observe(&mut self) {
        self.sizing.observe(Instant::now(), self.queue.len());
    }
}

impl<J> Desk<J> {
    fn order(&self) -> MutexGuard<'_, Option<Order<J>>> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give(&self, order: Order<J>) {
        *self.order() = Some(order);
        self.dealt.notify_one();
    }

    fn wait(&self) -> Order<J> {
        let mut order = self.order();
        loop {
            match order.take() {
                Some(order) => return order,
                None => order = self.dealt.wait(order).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}
