//! A bounded queue, and workers that come and go with it.
//!
//! A job goes to a free worker, each in its turn; if none is free, into the queue; if that is full, back to whoever
//! brought it. There is *one* queue. With one for each worker a job may wait behind a slow one while the worker next to
//! it has nothing to do.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::sizing::Sizing;

/// How long to wait, after there was no thread to be had, before another is asked for.
const PAUSE: Duration = Duration::from_secs(1);

/// The pool. Its workers end with the process.
pub struct Pool<J> {
    shared: Arc<Shared<J>>,
}

struct Shared<J> {
    state: Mutex<State<J>>,
    /// What a worker, known by its number, does with a job. It must not panic.
    perform: Box<dyn Fn(u32, J) + Send + Sync>,
}

struct State<J> {
    queue: VecDeque<J>,
    /// Those who take jobs, in the order in which they were hired.
    workers: Vec<Worker<J>>,
    /// How many do a job now, those who will leave after it included.
    busy: usize,
    /// How many have been retired in the middle of a job. They are no longer above, but they are still at work.
    leaving: usize,
    /// Whose turn it is: the place in `workers` from which the next free one is looked for.
    turn: usize,
    hired: u32,
    retired: u32,
    /// When there was no thread for another worker, the last time.
    no_thread: Option<Instant>,
    sizing: Sizing,
}

struct Worker<J> {
    number: u32,
    desk: Arc<Desk<J>>,
    free: bool,
}

/// Where a free worker waits. It has a condition of its own, so that one job wakes one worker: the one whose turn it is.
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
    /// How many do one now, workers that will leave after it included.
    pub busy: usize,
    /// How many jobs wait in the queue.
    pub queue: usize,
    /// How many workers were hired in all, the first included.
    pub hired: u32,
    /// How many were retired, some of whom may have been hired again before they were gone.
    pub retired: u32,
}

impl<J: Send + 'static> Pool<J> {
    /// A pool with one worker. `perform` is told which worker (counted from 1) does which job, on that worker's thread.
    ///
    /// # Errors
    /// There is no thread for the first worker.
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

    /// Has a worker do `job`, now or in its turn.
    ///
    /// # Errors
    /// The queue is full: the job itself.
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

    /// Retires a worker if it is time to; to be called now and then.
    pub fn review(&self) {
        let mut state = self.shared.lock();
        state.observe();
        let workers = state.workers.len();
        if !state.sizing.retires(Instant::now(), workers) {
            return;
        }
        // The youngest. One that has a job in hand finishes it, and finds out then that it is no longer on the list.
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
        // The oldest job is why it has come. It is dealt before the thread runs, and goes back if there is no thread.
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
                // Without the lock: jobs are done at the same time, and that is what the workers are for.
                (self.perform)(number, job);
                let mut state = self.lock();
                let place = state.workers.iter().position(|worker| worker.number == number);
                let place = match place {
                    Some(place) => place,
                    // Retired meanwhile. If the queue has filled again, there is no better time to be hired again: while
                    // this worker was still about, nobody else was.
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
    /// The next free worker, who is free no longer.
    fn next_free(&mut self) -> Option<Arc<Desk<J>>> {
        let count = self.workers.len();
        let place = (0..count).map(|i| (self.turn + i) % count).find(|&i| self.workers[i].free)?;
        self.turn = place + 1;
        self.workers[place].free = false;
        Some(Arc::clone(&self.workers[place].desk))
    }

    /// Whether another worker is to come. Those who will leave are still at work: they count.
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
