//! The event loop in front of the pool: step 7's.
//!
//! It accepts, reads requests, and sends answers; a worker sees neither a socket nor a browser. So a browser that is
//! slow, or silent, or only keeps its connection, costs no worker; and `/status` is answered at once, even if all
//! workers are busy.
//!
//! There are three bounds, as in Tomcat (`maxThreads`, `acceptCount`, `maxConnections`): the number of workers, of jobs
//! in the queue, and of connections.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use nix::sys::signal::Signal;
use server::{Listener, shutdown};
use step7_event_loop::{Loop, StreamId, TimerId, WakeupId};

use crate::http::{self, Request, Response, Status};
use crate::pool::Pool;
use crate::site::Site;
use crate::sizing::Sizing;
use crate::status::{Bounds, Counters, History, Report, SAMPLE};

/// What happens to a request when the queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WhenFull {
    /// It waits outside the queue; the first to arrive is the first to go in
    Wait,
    /// The server turns it away at once: 503 Service Unavailable
    #[value(name = "503")]
    TurnAway,
}

/// The settings of the reception and its pool.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The pages.
    pub site: Site,
    /// When workers come and go, and how long the queue may be.
    pub sizing: Sizing,
    /// What happens to a request when the queue is full.
    pub when_full: WhenFull,
    /// How many connections there may be. Further ones are turned away.
    pub max_connections: usize,
    /// How long a client may take to send a request (counted from its connection or its last answer), and to take its
    /// answer.
    pub read_timeout: Duration,
}

/// The loop's state.
struct Reception {
    settings: Settings,
    pool: Pool<Job>,
    answers: mpsc::Receiver<(u64, Response)>,
    last_job: u64,
    browsers: HashMap<StreamId, Browser>,
    /// Where the answer of each job goes, for the jobs in the pool and outside.
    asked: HashMap<u64, Asked>,
    /// Jobs that wait for room in the queue.
    outside: VecDeque<Job>,
    counters: Counters,
    history: History,
    stopping: bool,
}

/// A browser that is connected.
#[derive(Default)]
struct Browser {
    /// The bytes that it has sent and that are not answered yet.
    input: Vec<u8>,
    /// A timer that runs while the server waits for the rest of a request.
    patience: Option<TimerId>,
}

/// A job for the pool.
struct Job {
    number: u64,
    request: Request,
}

/// A request in hand. Until it is answered, the server reads nothing more from its browser.
struct Asked {
    stream: StreamId,
    head: bool,
    keep_alive: bool,
}

/// Serves until SIGINT or SIGTERM.
///
/// # Errors
/// The loop or the first worker cannot be started, or the poller or the listener has failed.
pub fn serve(listener: Listener, settings: Settings) -> io::Result<()> {
    let mut lp = Loop::new()?;
    let (_, waker) = lp.wakeup_start(on_answers);
    let (sender, answers) = mpsc::channel();
    let site = settings.site;
    let pool = Pool::new(settings.sizing, move |worker, job: Job| {
        let respond = || site.respond(&job.request, &format!("worker {worker}"));
        let response = catch_unwind(AssertUnwindSafe(respond));
        let response = response.unwrap_or_else(|_| Response::error(Status::InternalServerError));
        let _ = sender.send((job.number, response)); // the loop has ended, and the process is about to
        waker.wake();
    })?;

    let listener = lp.listen(listener, on_connected)?;
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        lp.signal_start(signal, move |lp, reception: &mut Reception, _| {
            reception.stopping = true;
            lp.close_listener_gently(listener, shutdown::GRACE, |lp, _| lp.stop());
            // Shortly before the end, jobs that are not done are turned away, while there is still time to send a 503.
            lp.timer_start(shutdown::GRACE * 9 / 10, None, |lp, reception, _| {
                for (_, asked) in mem::take(&mut reception.asked) {
                    turn_away(lp, reception, asked);
                }
            });
        })?;
    }
    lp.timer_start(Duration::ZERO, Some(SAMPLE), |lp, reception, _| {
        reception.history.sample(lp.now(), reception.pool.figures());
    });
    let often = settings.sizing.cooldown.clamp(Duration::from_millis(10), SAMPLE);
    lp.timer_start(often, Some(often), |_, reception, _| reception.pool.review());
    lp.run(&mut Reception {
        settings,
        pool,
        answers,
        last_job: 0,
        browsers: HashMap::new(),
        asked: HashMap::new(),
        outside: VecDeque::new(),
        counters: Counters::default(),
        history: History::default(),
        stopping: false,
    })
}

fn on_connected(lp: &mut Loop<Reception>, reception: &mut Reception, stream: StreamId) {
    let most = reception.settings.max_connections;
    if reception.browsers.len() < most {
        reception.browsers.insert(stream, Browser::default());
        next_request(lp, reception, stream);
    } else if lp.streams() <= 2 * most {
        turn_away(lp, reception, Asked { stream, head: false, keep_alive: false });
    } else {
        lp.close(stream); // there are too many even to turn them all away with an answer
    }
}

/// Answers the browser's next request if it is complete. Otherwise reads on, until the time limit.
fn next_request(lp: &mut Loop<Reception>, reception: &mut Reception, stream: StreamId) {
    let Some(browser) = reception.browsers.get_mut(&stream) else { return };
    let parsed = http::parse(&browser.input).transpose();
    let Some(parsed) = parsed else {
        if browser.patience.is_none() {
            let limit = reception.settings.read_timeout;
            browser.patience = Some(lp.timer_start(limit, None, move |lp, reception, _| {
                on_impatience(lp, reception, stream);
            }));
            lp.read_start(stream, on_received);
        }
        return;
    };
    lp.read_stop(stream);
    if let Some(patience) = browser.patience.take() {
        lp.timer_stop(patience);
    }
    match parsed {
        Ok((request, length)) => {
            browser.input.drain(..length);
            on_request(lp, reception, stream, request);
        }
        Err(status) => {
            let asked = Asked { stream, head: http::is_head(&browser.input), keep_alive: false };
            respond(lp, reception, asked, &Response::error(status));
        }
    }
}

fn on_received(
    lp: &mut Loop<Reception>,
    reception: &mut Reception,
    stream: StreamId,
    received: io::Result<&[u8]>,
) {
    match (received, reception.browsers.get_mut(&stream)) {
        (Ok(bytes @ [_, ..]), Some(browser)) => {
            browser.input.extend_from_slice(bytes);
            next_request(lp, reception, stream);
        }
        // The end, or an error that the stream has logged.
        _ => close(lp, reception, stream),
    }
}

/// The time limit is over, and no complete request has come.
fn on_impatience(lp: &mut Loop<Reception>, reception: &mut Reception, stream: StreamId) {
    lp.read_stop(stream);
    match reception.browsers.get(&stream) {
        Some(Browser { input, .. }) if !input.is_empty() => {
            let asked = Asked { stream, head: http::is_head(input), keep_alive: false };
            respond(lp, reception, asked, &Response::error(Status::RequestTimeout));
        }
        _ => close(lp, reception, stream),
    }
}

fn on_request(
    lp: &mut Loop<Reception>,
    reception: &mut Reception,
    stream: StreamId,
    request: Request,
) {
    let asked = Asked { stream, head: request.head, keep_alive: request.keep_alive };
    match request.path.as_str() {
        "/status" => respond(lp, reception, asked, &reception.report(lp.now()).page()),
        "/status.json" => respond(lp, reception, asked, &reception.report(lp.now()).json()),
        path if Site::is_quick(path) => {
            let response = reception.settings.site.respond(&request, "the reception");
            respond(lp, reception, asked, &response);
        }
        _ => {
            reception.last_job += 1;
            reception.asked.insert(reception.last_job, asked);
            reception.outside.push_back(Job { number: reception.last_job, request });
        }
    }
    admit(lp, reception);
}

/// Gives the pool jobs that wait outside, in the order of arrival, until it takes no more.
fn admit(lp: &mut Loop<Reception>, reception: &mut Reception) {
    while let Some(job) = reception.outside.pop_front() {
        let Err(job) = reception.pool.submit(job) else { continue };
        if reception.settings.when_full == WhenFull::Wait {
            return reception.outside.push_front(job);
        }
        if let Some(asked) = reception.asked.remove(&job.number) {
            turn_away(lp, reception, asked);
        }
    }
}

fn turn_away(lp: &mut Loop<Reception>, reception: &mut Reception, asked: Asked) {
    reception.counters.refused += 1;
    respond(lp, reception, asked, &Response::error(Status::ServiceUnavailable));
}

/// Workers have answered.
fn on_answers(lp: &mut Loop<Reception>, reception: &mut Reception, _: WakeupId) {
    while let Ok((number, response)) = reception.answers.try_recv() {
        reception.counters.answered += 1;
        // The browser may have left meanwhile. Then the write fails, and that is all.
        if let Some(asked) = reception.asked.remove(&number) {
            respond(lp, reception, asked, &response);
        }
    }
    admit(lp, reception);
}

fn respond(lp: &mut Loop<Reception>, reception: &mut Reception, asked: Asked, response: &Response) {
    let Asked { stream, head, keep_alive } = asked;
    let keep_alive = keep_alive && !reception.stopping;
    // The socket takes a page at once, unless the client sends request after request and never reads an answer.
    let limit = reception.settings.read_timeout;
    let patience = lp.timer_start(limit, None, move |lp, reception, _| {
        reception.browsers.remove(&stream);
        lp.close(stream);
    });
    lp.write_then(stream, &response.encode(head, keep_alive), move |lp, reception, result| {
        lp.timer_stop(patience);
        if keep_alive && result.is_ok() {
            next_request(lp, reception, stream);
        } else {
            close(lp, reception, stream);
        }
    });
}

fn close(lp: &mut Loop<Reception>, reception: &mut Reception, stream: StreamId) {
    if let Some(Browser { patience: Some(patience), .. }) = reception.browsers.remove(&stream) {
        lp.timer_stop(patience);
    }
    lp.close_gently(stream);
}

impl Reception {
    fn report(&self, now: Instant) -> Report {
        let connections = self.browsers.len();
        let counters = Counters { connections, outside: self.outside.len(), ..self.counters };
        let Sizing { capacity, max_workers, .. } = self.settings.sizing;
        let bounds = Bounds { queue_capacity: capacity, max_workers };
        Report::new(now, self.pool.figures(), counters, bounds, &self.history)
    }
}
