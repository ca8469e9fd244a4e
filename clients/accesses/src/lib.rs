//! Browsers that come at once, or in a crowd that grows and shrinks: one HTTP GET after the other, each one's time.
//!
//! There is a thread for each: it sleeps nearly all of the time, and the client is not the lesson.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

use serde::{Deserialize, Serialize};
use ureq::{Agent, Error};

/// How often a waiting loop looks whether it is to stop.
const GLANCE: Duration = Duration::from_millis(20);

/// A thread here has a request and a few strings on its stack.
const STACK: usize = 256 * 1024;

/// What is accessed.
#[derive(Clone, Debug)]
pub struct Target {
    /// The page.
    pub url: String,
    /// Where the server says how its pool is doing, if it does.
    pub status_url: String,
    /// How long an access may take.
    pub timeout: Duration,
}

impl Target {
    /// A path of a server. An IPv6 address gets its brackets.
    pub fn new(host: &str, port: u16, path: &str, timeout: Duration) -> Self {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        Target {
            url: format!("http://{host}:{port}{path}"),
            status_url: format!("http://{host}:{port}/status.json"),
            timeout,
        }
    }

    fn agent(&self) -> Agent {
        // An error status is an answer. A redirect would be another page, and a proxy another server.
        let config = Agent::config_builder().http_status_as_error(false).max_redirects(0);
        config.proxy(None).timeout_global(Some(self.timeout)).build().into()
    }

    /// One GET on a connection of its own, its answer read to the end.
    ///
    /// # Errors
    /// No server listens, it takes too long, or the answer is not whole: the text says which.
    fn get(&self) -> Result<u16, String> {
        let answer = self.agent().get(&self.url).header("connection", "close").call();
        let mut answer = answer.map_err(|error| describe(&error))?;
        let body = &mut answer.body_mut().as_reader();
        io::copy(body, &mut io::sink()).map_err(|error| client::describe(&error))?;
        Ok(answer.status().as_u16())
    }
}

fn describe(error: &Error) -> String {
    match error {
        Error::Io(error) => client::describe(error),
        error => error.to_string(),
    }
}

/// One access.
#[derive(Clone, Debug, Serialize)]
pub struct Access {
    /// Which one, from 1.
    pub number: usize,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The answer's status.
    pub status: Option<u16>,
    /// Why there is none.
    pub error: Option<String>,
}

impl Access {
    fn new(number: usize, target: &Target) -> Self {
        let started = Instant::now();
        let outcome = target.get();
        let seconds = started.elapsed().as_secs_f64();
        Access { number, seconds, status: outcome.as_ref().ok().copied(), error: outcome.err() }
    }

    /// Whether the page came.
    pub fn succeeded(&self) -> bool {
        self.status.is_some_and(|status| status < 400)
    }
}

/// Makes `count` accesses at once. Passes each to `on_access` as it ends, and returns all in the order in which they
/// ended.
///
/// Once `stop` is set, those that have not ended are given up.
///
/// # Errors
/// There is no thread for one of them.
pub fn together(
    target: &Target,
    count: usize,
    stop: &AtomicBool,
    mut on_access: impl FnMut(&Access),
) -> io::Result<Vec<Access>> {
    let (sender, ended) = mpsc::channel();
    let start = Arc::new(Barrier::new(count));
    for number in 1..=count {
        let (sender, start, target) = (sender.clone(), Arc::clone(&start), target.clone());
        // Not scoped: an access that is given up must not be waited for.
        thread::Builder::new().stack_size(STACK).spawn(move || {
            start.wait();
            let _ = sender.send(Access::new(number, &target));
        })?;
    }
    let mut accesses = Vec::new();
    while accesses.len() < count && !stop.load(Ordering::Relaxed) {
        if let Ok(access) = ended.recv_timeout(GLANCE) {
            on_access(&access);
            accesses.push(access);
        }
    }
    Ok(accesses)
}

/// A crowd that grows and shrinks.
#[derive(Clone, Copy, Debug)]
pub struct Ramp {
    /// How many users there are at the beginning and at the end.
    pub from: usize,
    /// How many in the middle.
    pub to: usize,
    /// How long it takes, up and down.
    pub over: Duration,
    /// How often a row is made.
    pub every: Duration,
    /// How long to go on looking, without users, until the server's pool has shrunk to one worker.
    pub after: Duration,
}

impl Ramp {
    /// How many users there are to be after so much time: 0 when it is over.
    pub fn users(&self, elapsed: Duration) -> usize {
        if elapsed >= self.over {
            return 0;
        }
        let part = elapsed.as_secs_f64() / self.over.as_secs_f64();
        let height = 1.0 - (2.0 * part - 1.0).abs();
        self.from + (height * (self.to - self.from) as f64).round() as usize
    }
}

/// The figures of one interval.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// How long since the beginning, in seconds.
    pub seconds: f64,
    /// How many users there are.
    pub users: usize,
    /// How many accesses have ended well since the last row.
    pub answered: usize,
    /// How many have been turned away (503).
    pub refused: usize,
    /// How many have failed otherwise.
    pub failed: usize,
    /// The median of what those that ended well took, in seconds.
    pub median: Option<f64>,
    /// What the server says of its pool, if it has one.
    pub pool: Option<Pool>,
    /// Why the first of the failed ones failed, if it was not the answer's status.
    pub error: Option<String>,
}

/// What `/status.json` says that is of interest here.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Pool {
    /// How many workers there are.
    pub workers: usize,
    /// How many requests wait in the queue.
    pub queue: usize,
    /// How many wait for room in it.
    #[serde(default)]
    pub outside: usize,
}

/// What the watcher of the pool has found.
#[derive(Clone, Copy, Debug)]
enum Seen {
    /// It has found nothing yet, or not now.
    Nothing,
    /// There is no pool to watch.
    NoPool,
    /// The pool was like this a moment ago.
    Pool(Pool),
}

/// Each user gets the page again and again, as long as the ramp needs so many users. Returns a row for each interval,
/// and one for the accesses that end after the ramp.
///
/// Once `stop` is set, those that have not ended are given up.
pub fn ramp(
    target: &Target,
    ramp: &Ramp,
    stop: &AtomicBool,
    mut on_row: impl FnMut(&Row),
) -> Vec<Row> {
    let started = Instant::now();
    let seen = Arc::new(Mutex::new(Seen::Nothing));
    let over = Arc::new(AtomicBool::new(false));
    watch_pool(target, ramp.every, Arc::clone(&seen), Arc::clone(&over));
    let (sender, ended) = mpsc::channel();
    let mut sender = Some(sender);
    let mut accesses = Vec::new();
    let mut threads = 0;
    let mut rows = Vec::new();
    let mut next_row = ramp.every;
    loop {
        let elapsed = started.elapsed();
        let users = ramp.users(elapsed);
        while let Some(sender) = sender.as_ref().filter(|_| threads < users) {
            if !spawn_user(threads, target, ramp, started, sender.clone()) {
                break; // then there are fewer users, as the rows show
            }
            threads += 1;
        }
        if elapsed >= ramp.over {
            sender = None; // the accesses under way still come through the channel
        }
        let patience = next_row.saturating_sub(elapsed).min(GLANCE);
        let all_ended = match ended.recv_timeout(patience) {
            Ok(access) => {
                accesses.push(access);
                false
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => {
                thread::sleep(patience);
                true
            }
        };
        let stopped = stop.load(Ordering::Relaxed);
        if elapsed < next_row && !stopped {
            continue;
        }
        next_row += ramp.every;
        let (pool, shrunk) = match *seen.lock().unwrap_or_else(PoisonError::into_inner) {
            Seen::Nothing => (None, false),
            Seen::NoPool => (None, true),
            Seen::Pool(pool) => (Some(pool), pool.workers <= 1),
        };
        let row = row(started, users, accesses.drain(..), pool);
        on_row(&row);
        rows.push(row);
        if stopped || (all_ended && (shrunk || elapsed >= ramp.over + ramp.after)) {
            over.store(true, Ordering::Relaxed);
            return rows;
        }
    }
}

/// Starts one user, until the ramp is over; false if there is no thread for it. Not scoped: an access that is given up
/// must not be waited for.
fn spawn_user(
    number: usize,
    target: &Target,
    ramp: &Ramp,
    started: Instant,
    sender: mpsc::Sender<Access>,
) -> bool {
    let (target, ramp) = (target.clone(), *ramp);
    let user = move || {
        while started.elapsed() < ramp.over {
            if number >= ramp.users(started.elapsed()) {
                thread::sleep(GLANCE);
                continue;
            }
            let access = Access::new(number, &target);
            let failed = access.error.is_some();
            if sender.send(access).is_err() {
                return;
            }
            if failed {
                thread::sleep(GLANCE); // without a server each access fails at once
            }
        }
    };
    thread::Builder::new().stack_size(STACK).spawn(user).is_ok()
}

/// Asks again and again what the server says of its pool, on a thread of its own: a server without a pool may let us
/// wait behind all the others. Gives up when there is no such page.
fn watch_pool(target: &Target, every: Duration, seen: Arc<Mutex<Seen>>, over: Arc<AtomicBool>) {
    let (agent, url) = (target.agent(), target.status_url.clone());
    let _without_it = thread::Builder::new().stack_size(STACK).spawn(move || {
        while !over.load(Ordering::Relaxed) {
            let now = pool(&agent, &url);
            *seen.lock().unwrap_or_else(PoisonError::into_inner) = now;
            if matches!(now, Seen::NoPool) {
                return;
            }
            thread::sleep(every.min(Duration::from_secs(1)) / 2);
        }
    });
}

fn pool(agent: &Agent, url: &str) -> Seen {
    // No server, or too many clients: the next time may be different.
    let Ok(mut answer) = agent.get(url).call() else { return Seen::Nothing };
    if answer.status() == 503 {
        return Seen::Nothing;
    }
    let Ok(text) = answer.body_mut().read_to_string() else { return Seen::Nothing };
    serde_json::from_str(&text).map_or(Seen::NoPool, Seen::Pool)
}

fn row(
    started: Instant,
    users: usize,
    ended: impl Iterator<Item = Access>,
    pool: Option<Pool>,
) -> Row {
    let (mut times, mut refused, mut failed) = (Vec::new(), 0, 0);
    let mut error = None;
    for access in ended {
        match access.status {
            _ if access.succeeded() => times.push(access.seconds),
            Some(503) => refused += 1,
            _ => failed += 1,
        }
        error = error.or(access.error);
    }
    let seconds = started.elapsed().as_secs_f64();
    Row {
        seconds,
        users,
        answered: times.len(),
        refused,
        failed,
        median: median(&mut times),
        pool,
        error,
    }
}

/// The middle one, if there is one.
pub fn median(times: &mut [f64]) -> Option<f64> {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied()
}

/// How many fall into each tenth of the time from zero to the longest, with the end of each.
pub fn histogram(times: &[f64]) -> Vec<(f64, usize)> {
    const BARS: usize = 10;
    let longest = times.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let mut bars: Vec<_> = (1..=BARS).map(|i| (longest * i as f64 / BARS as f64, 0)).collect();
    for time in times {
        let bar = (time / longest * BARS as f64) as usize; // the longest itself would be one too far
        bars[bar.min(BARS - 1)].1 += 1;
    }
    bars
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ramp_goes_up_and_down_and_ends() {
        let second = Duration::from_secs(1);
        let ramp =
            Ramp { from: 1, to: 11, over: 10 * second, every: second, after: Duration::ZERO };
        let users: Vec<_> = (0..=10).map(|s| ramp.users(s * second)).collect();
        assert_eq!(users, [1, 3, 5, 7, 9, 11, 9, 7, 5, 3, 0]);
    }

    #[test]
    fn a_histogram_has_a_place_for_everybody() {
        let bars = histogram(&[0.0, 0.1, 1.95, 2.0]);
        assert_eq!(bars.len(), 10);
        assert_eq!((bars[0].1, bars[9].1), (2, 2));
        assert!((bars[0].0 - 0.2).abs() < 1e-9 && (bars[9].0 - 2.0).abs() < 1e-9);
        assert_eq!(histogram(&[3.0, 3.0])[9].1, 2);
        assert_eq!(histogram(&[0.0])[0].1, 1);
    }

    #[test]
    fn an_ipv6_address_gets_its_brackets() {
        let target = Target::new("::1", 80, "/x", Duration::ZERO);
        assert_eq!(target.url, "http://[::1]:80/x");
    }
}
