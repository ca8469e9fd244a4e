//! The event loop in front of the pool: step 7's.
//!
//! It accepts, reads requests, and sends answers; a worker sees neither a socket nor a browser. So a browser that is slow,
//! or silent, or only keeps its connection, costs no worker; and `/status` is answered at once, however much the workers
//! have to do.
//!
//! There are three bounds, as in Tomcat (`maxThreads`, `acceptCount`, `maxConnections`): so many workers at work, so many
//! jobs in the queue, so many connections.

use std::cell::{OnceCell, RefCell};
use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use nix::sys::signal::Signal;
use server::{Listener, shutdown};
use step7_event_loop::{ListenerId, Loop, StreamId};

use crate::http::{self, Request, Response, Status};
use crate::pool::Pool;
use crate::site::Site;
use crate::sizing::Sizing;
use crate::status::{Bounds, Counters, History, Report, SAMPLE};

/// How long a connection that is to be closed is read on, so that what was said last arrives; and how long requests in
/// hand get when the server is told to stop.
const LINGER: Duration = Duration::from_secs(1);

/// What becomes of a request when the queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WhenFull {
    /// It waits outside, in the order of arrival
    Wait,
    /// It is turned away at once: 503 Service Unavailable
    #[value(name = "503")]
    TurnAway,
}

/// What the reception and its pool are told.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The pages.
    pub site: Site,
    /// When workers come and go, and how long the queue may be.
    pub sizing: Sizing,
    /// What becomes of a request when it is full.
    pub when_full: WhenFull,
    /// How many connections there may be. Who comes then is turned away.
    pub max_connections: usize,
    /// How long a client may take for a request, from its connection or from its last answer on; and for its answer.
    pub read_timeout: Duration,
}

struct Reception {
    settings: Settings,
    pool: Pool<Job>,
    answers: mpsc::Receiver<(u64, Response)>,
    desk: RefCell<Desk>,
}

/// What changes. It is borrowed for a moment at a time, never while something else is called that may borrow it.
#[derive(Default)]
struct Desk {
    last_job: u64,
    /// Whose jobs the pool has, or will have.
    asked: HashMap<u64, Asked>,
    /// Jobs that wait for room in the queue.
    outside: VecDeque<Job>,
    /// Connections beyond the most there may be, until they are gone.
    seen_off: HashSet<StreamId>,
    counters: Counters,
    history: History,
    stopping: bool,
    /// Why the listener is of no use any more.
    failure: Option<io::Error>,
}

/// What goes to the pool.
struct Job {
    number: u64,
    request: Request,
}

/// Where the answer goes, and what has come after the request.
struct Asked {
    stream: StreamId,
    head: bool,
    keep_alive: bool,
    rest: Vec<u8>,
}

impl Asked {
    /// What is no request, or not yet, is answered too. It is the connection's end.
    fn nothing(stream: StreamId) -> Self {
        Asked { stream, head: false, keep_alive: false, rest: Vec::new() }
    }
}

/// Serves until SIGINT or SIGTERM.
///
/// # Errors
/// There is no loop or no first worker to be had, or the poller or the listener is of no use any more.
pub fn serve(listener: Listener, settings: Settings) -> io::Result<()> {
    let mut lp = Loop::new()?;
    // The pool needs to wake the loop, whose callback needs the pool.
    let reception: Rc<OnceCell<Rc<Reception>>> = Rc::default();
    let known = Rc::clone(&reception);
    let (_, waker) =
        lp.wakeup_start(move |lp, _| known.get().into_iter().for_each(|r| on_answers(lp, r)));
    let (sender, answers) = mpsc::channel();
    let site = settings.site;
    let pool = Pool::new(settings.sizing, move |worker, job: Job| {
        let respond = || site.respond(&job.request, &format!("worker {worker}"));
        let response = catch_unwind(AssertUnwindSafe(respond));
        let response = response.unwrap_or_else(|_| Response::error(Status::InternalServerError));
        let _ = sender.send((job.number, response)); // the loop has ended, and the process is about to
        waker.wake();
    })?;
    let desk = RefCell::default();
    let reception = reception.get_or_init(|| Rc::new(Reception { settings, pool, answers, desk }));

    let here = Rc::clone(reception);
    let listener = lp.listen(listener, move |lp, accepted| match accepted {
        Ok(stream) => on_connected(lp, &here, stream),
        Err(error) => {
            here.desk.borrow_mut().failure = Some(error);
            lp.stop();
        }
    })?;
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let here = Rc::clone(reception);
        lp.signal_start(signal, move |lp, _| on_stop(lp, &here, listener))?;
    }
    let here = Rc::clone(reception);
    lp.timer_start(Duration::ZERO, Some(SAMPLE), move |lp, _| {
        here.desk.borrow_mut().history.sample(lp.now(), here.pool.figures());
    });
    let here = Rc::clone(reception);
    let often = settings.sizing.cooldown.clamp(Duration::from_millis(10), SAMPLE);
    lp.timer_start(often, Some(often), move |_, _| here.pool.review());
    if shutdown::requested() {
        return Ok(());
    }
    lp.run()?;
    reception.desk.borrow_mut().failure.take().map_or(Ok(()), Err)
}

fn on_connected(lp: &mut Loop, reception: &Rc<Reception>, stream: StreamId) {
    let most = reception.settings.max_connections;
    let (present, seen_off) = {
        let desk = &mut *reception.desk.borrow_mut();
        desk.counters.connections += 1;
        let present = desk.counters.connections - desk.seen_off.len();
        if present > most {
            desk.seen_off.insert(stream);
        }
        (present, desk.seen_off.len())
    };
    if present <= most {
        next_request(lp, reception, stream, Vec::new());
    } else if seen_off <= most {
        turn_away(lp, reception, Asked::nothing(stream));
    } else {
        close(lp, reception, stream); // politeness has a bound too
    }
}

/// Answers the next request of `input`, or reads until there is one.
fn next_request(lp: &mut Loop, reception: &Rc<Reception>, stream: StreamId, mut input: Vec<u8>) {
    match http::parse(&input) {
        Ok(Some((request, length))) => {
            let rest = input.split_off(length);
            return on_request(lp, reception, stream, request, rest);
        }
        Err(status) => {
            let asked = Asked { head: http::is_head(&input), ..Asked::nothing(stream) };
            return respond(lp, reception, asked, &Response::error(status));
        }
        Ok(None) => {}
    }
    // Both callbacks want to know what has come so far: one adds to it, one only looks.
    let input = Rc::new(RefCell::new(input));
    let (here, seen) = (Rc::clone(reception), Rc::clone(&input));
    let patience = lp.timer_start(reception.settings.read_timeout, None, move |lp, _| {
        let _ = lp.read_stop(stream);
        if seen.borrow().is_empty() {
            close(lp, &here, stream);
        } else {
            let asked = Asked { head: http::is_head(&seen.borrow()), ..Asked::nothing(stream) };
            respond(lp, &here, asked, &Response::error(Status::RequestTimeout));
        }
    });
    let here = Rc::clone(reception);
    let reading = lp.read_start(stream, move |lp, stream, received| {
        match received {
            Ok(bytes @ [_, ..]) => input.borrow_mut().extend_from_slice(bytes),
            _ => {
                lp.timer_stop(patience);
                return close(lp, &here, stream);
            }
        }
        if !matches!(http::parse(&input.borrow()), Ok(None)) {
            lp.timer_stop(patience);
            let _ = lp.read_stop(stream);
            let input = input.take();
            next_request(lp, &here, stream, input);
        }
    });
    if reading.is_err() {
        lp.timer_stop(patience);
        close(lp, reception, stream);
    }
}

fn on_request(
    lp: &mut Loop,
    reception: &Rc<Reception>,
    stream: StreamId,
    request: Request,
    rest: Vec<u8>,
) {
    let asked = Asked { stream, head: request.head, keep_alive: request.keep_alive, rest };
    match request.path.as_str() {
        "/status" => respond(lp, reception, asked, &reception.report(lp.now()).page()),
        "/status.json" => respond(lp, reception, asked, &reception.report(lp.now()).json()),
        path if Site::is_quick(path) => {
            let response = reception.settings.site.respond(&request, "the reception");
            respond(lp, reception, asked, &response);
        }
        _ => {
            let desk = &mut *reception.desk.borrow_mut();
            desk.last_job += 1;
            desk.asked.insert(desk.last_job, asked);
            desk.outside.push_back(Job { number: desk.last_job, request });
        }
    }
    admit(lp, reception);
}

/// Gives the pool what it takes of what waits outside, in the order of arrival.
fn admit(lp: &mut Loop, reception: &Rc<Reception>) {
    loop {
        let Some(job) = reception.desk.borrow_mut().outside.pop_front() else { return };
        let Err(job) = reception.pool.submit(job) else { continue };
        if reception.settings.when_full == WhenFull::Wait {
            return reception.desk.borrow_mut().outside.push_front(job);
        }
        let asked = reception.desk.borrow_mut().asked.remove(&job.number);
        asked.into_iter().for_each(|asked| turn_away(lp, reception, asked));
    }
}

fn turn_away(lp: &mut Loop, reception: &Rc<Reception>, asked: Asked) {
    reception.desk.borrow_mut().counters.refused += 1;
    respond(lp, reception, asked, &Response::error(Status::ServiceUnavailable));
}

/// Workers have answered.
fn on_answers(lp: &mut Loop, reception: &Rc<Reception>) {
    for (number, response) in reception.answers.try_iter() {
        let asked = {
            let desk = &mut *reception.desk.borrow_mut();
            desk.counters.answered += 1;
            desk.asked.remove(&number)
        };
        // The browser may have left meanwhile: then the write says so, and nothing worse happens.
        asked.into_iter().for_each(|asked| respond(lp, reception, asked, &response));
    }
    admit(lp, reception);
}

fn respond(lp: &mut Loop, reception: &Rc<Reception>, asked: Asked, response: &Response) {
    let Asked { stream, head, keep_alive, rest } = asked;
    let keep_alive = keep_alive && !reception.desk.borrow().stopping;
    // The socket takes a page at once, unless the client asks on and on and never reads.
    let here = Rc::clone(reception);
    let limit = reception.settings.read_timeout;
    let patience = lp.timer_start(limit, None, move |lp, _| close(lp, &here, stream));
    let here = Rc::clone(reception);
    lp.write(stream, response.encode(head, keep_alive), move |lp, result| {
        lp.timer_stop(patience);
        match result {
            Ok(()) if keep_alive => next_request(lp, &here, stream, rest),
            Ok(()) => hang_up(lp, &here, stream),
            Err(_) => close(lp, &here, stream), // the stream has logged why
        }
    });
}

/// Half-closes and reads on for a while: closing with input unread would reset the connection, and the client might
/// never see what was said last.
fn hang_up(lp: &mut Loop, reception: &Rc<Reception>, stream: StreamId) {
    lp.shutdown(stream, |_, _| ());
    let here = Rc::clone(reception);
    let patience = lp.timer_start(LINGER, None, move |lp, _| close(lp, &here, stream));
    let here = Rc::clone(reception);
    let discarding = lp.read_start(stream, move |lp, stream, received| {
        if !matches!(received, Ok([_, ..])) {
            lp.timer_stop(patience);
            close(lp, &here, stream);
        }
    });
    if discarding.is_err() {
        lp.timer_stop(patience);
        close(lp, reception, stream);
    }
}

fn close(lp: &mut Loop, reception: &Rc<Reception>, stream: StreamId) {
    if lp.peer_name(stream).is_none() {
        return; // somebody was faster
    }
    {
        let desk = &mut *reception.desk.borrow_mut();
        desk.counters.connections -= 1;
        desk.seen_off.remove(&stream);
    }
    let here = Rc::clone(reception);
    lp.close(stream, move |lp| stop_after_the_last(lp, &here));
}

/// No more browsers; those whose request is in hand have a second.
fn on_stop(lp: &mut Loop, reception: &Rc<Reception>, listener: ListenerId) {
    lp.close_listener(listener);
    let waiting: HashSet<_> = {
        let desk = &mut *reception.desk.borrow_mut();
        desk.stopping = true;
        desk.asked.values().map(|asked| asked.stream).collect()
    };
    for stream in lp.streams() {
        if !waiting.contains(&stream) && lp.owed(stream) == 0 {
            close(lp, reception, stream);
        }
    }
    lp.timer_start(LINGER, None, |lp, _| lp.stop());
    stop_after_the_last(lp, reception);
}

/// The timers and the watched signals would keep the loop alive for ever.
fn stop_after_the_last(lp: &mut Loop, reception: &Rc<Reception>) {
    let desk = reception.desk.borrow();
    if desk.stopping && desk.counters.connections == 0 {
        lp.stop();
    }
}

impl Reception {
    fn report(&self, now: Instant) -> Report {
        let desk = self.desk.borrow();
        let counters = Counters { outside: desk.outside.len(), ..desk.counters };
        let Sizing { capacity, max_workers, .. } = self.settings.sizing;
        let bounds = Bounds { queue_capacity: capacity, max_workers };
        Report::new(now, self.pool.figures(), counters, bounds, &desk.history)
    }
}
