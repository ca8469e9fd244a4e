//! The pool's last minute: as JSON, and as a page that refreshes itself.

use std::collections::VecDeque;
use std::fmt::Write;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::http::{Response, Status};
use crate::pool::Figures;

/// How far back the plot goes.
const MINUTE: Duration = Duration::from_secs(60);

/// How often the plot takes a sample of the pool.
pub const SAMPLE: Duration = Duration::from_millis(500);

/// Further numbers about the pool, beside its own figures.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// How many connections there are.
    pub connections: usize,
    /// How many requests wait for room in the queue.
    pub outside: usize,
    /// How many of the pool's jobs have been answered.
    pub answered: u64,
    /// How many requests were turned away with 503.
    pub refused: u64,
}

/// The pool's bounds.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How many jobs the queue holds.
    pub queue_capacity: usize,
    /// How many workers there may be.
    pub max_workers: usize,
}

/// The samples of the last minute.
#[derive(Debug, Default)]
pub struct History {
    samples: VecDeque<(Instant, usize, usize)>,
}

impl History {
    /// Adds a sample.
    pub fn sample(&mut self, now: Instant, figures: Figures) {
        while self.samples.front().is_some_and(|(then, ..)| now - *then > MINUTE) {
            self.samples.pop_front();
        }
        self.samples.push_back((now, figures.workers, figures.queue));
    }
}

/// `/status.json`.
#[derive(Debug, Serialize)]
pub struct Report {
    workers: usize,
    busy: usize,
    max_workers: usize,
    queue: usize,
    queue_capacity: usize,
    outside: usize,
    connections: usize,
    answered: u64,
    refused: u64,
    hired: u32,
    retired: u32,
    history: Vec<Sample>,
}

#[derive(Debug, Serialize)]
struct Sample {
    /// How many seconds ago.
    ago: f64,
    workers: usize,
    queue: usize,
}

impl Report {
    /// Puts everything together.
    pub fn new(
        now: Instant,
        figures: Figures,
        counters: Counters,
        bounds: Bounds,
        history: &History,
    ) -> Self {
        let samples = history.samples.iter().map(|&(then, workers, queue)| {
            let ago = (now - then).as_millis() as f64 / 1000.0;
            Sample { ago, workers, queue }
        });
        let current = Sample { ago: 0.0, workers: figures.workers, queue: figures.queue };
        Report {
            workers: figures.workers,
            busy: figures.busy,
            max_workers: bounds.max_workers,
            queue: figures.queue,
            queue_capacity: bounds.queue_capacity,
            outside: counters.outside,
            connections: counters.connections,
            answered: counters.answered,
            refused: counters.refused,
            hired: figures.hired,
            retired: figures.retired,
            history: samples.chain([current]).collect(),
        }
    }

    /// For programs.
    pub fn json(&self) -> Response {
        match serde_json::to_vec(self) {
            Ok(body) => Response { status: Status::Ok, media_type: "application/json", body },
            Err(_) => Response::error(Status::InternalServerError),
        }
    }

    /// For people.
    pub fn page(&self) -> Response {
        let page = include_str!("status.html")
            .replace("<!--FIGURES-->", &self.figures())
            .replace("<!--PLOT-->", &self.plot());
        Response {
            status: Status::Ok,
            media_type: "text/html; charset=utf-8",
            body: page.into_bytes(),
        }
    }

    fn figures(&self) -> String {
        let workers = format!("{} of {}", self.workers, self.max_workers);
        let queue = format!("{} of {}", self.queue, self.queue_capacity);
        let figures = [
            ("workers", "workers", workers),
            ("busy", "of them busy", self.busy.to_string()),
            ("queue", "queue", queue),
            ("outside", "waiting outside", self.outside.to_string()),
            ("answered", "answered", self.answered.to_string()),
            ("refused", "turned away", self.refused.to_string()),
        ];
        figures.iter().fold(String::new(), |mut html, (id, name, value)| {
            let _ = write!(html, "<div><dt>{name}</dt><dd id=\"{id}\">{value}</dd></div>");
            html
        })
    }

    /// The last minute from left to right: ten units are a second, and a height of one hundred is the maximum. Both
    /// lines are steps, because a number of workers does not change gradually.
    fn plot(&self) -> String {
        let x = |ago: f64| 10.0 * (MINUTE.as_secs_f64() - ago).max(0.0);
        let steps = |value: fn(&Sample) -> usize, most: usize| {
            let mut points = String::new();
            for (i, sample) in self.history.iter().enumerate() {
                let height = 100.0 - 100.0 * value(sample) as f64 / most.max(1) as f64;
                let up = if i == 0 { 'M' } else { 'H' };
                let _ = match up {
                    'M' => write!(points, "M{:.1} {height:.1}", x(sample.ago)),
                    _ => write!(points, "H{:.1}V{height:.1}", x(sample.ago)),
                };
            }
            points
        };
        let workers = steps(|sample| sample.workers, self.max_workers);
        let queue = steps(|sample| sample.queue, self.queue_capacity);
        let start = self.history.first().map_or(600.0, |sample| x(sample.ago));
        format!(
            "<path class=\"queue\" d=\"{queue}V100H{start:.1}Z\"/><path class=\"workers\" d=\"{workers}\"/>"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(history: &History, now: Instant) -> Report {
        let figures = Figures { workers: 3, busy: 3, queue: 4, hired: 3, retired: 0 };
        let bounds = Bounds { queue_capacity: 10, max_workers: 8 };
        Report::new(now, figures, Counters::default(), bounds, history)
    }

    #[test]
    fn the_history_is_the_last_minute() {
        let start = Instant::now();
        let mut history = History::default();
        for second in 0..100 {
            let figures = Figures { workers: second, ..Figures::default() };
            history.sample(start + Duration::from_secs(second as u64), figures);
        }
        let report = report(&history, start + Duration::from_secs(99));
        assert_eq!(report.history.len(), 62, "61 seconds, and now");
        assert_eq!((report.history[0].ago, report.history[0].workers), (60.0, 39));
        let last = report.history.last().unwrap();
        assert_eq!((last.ago, last.workers, last.queue), (0.0, 3, 4));
    }

    #[test]
    fn the_plot_is_steps_from_then_to_now() {
        let start = Instant::now();
        let mut history = History::default();
        history.sample(start, Figures { workers: 1, queue: 10, ..Figures::default() });
        let plot = report(&history, start + Duration::from_secs(30)).plot();
        assert!(plot.contains("class=\"workers\" d=\"M300.0 87.5H600.0V62.5\""), "{plot}");
        assert!(plot.contains("class=\"queue\" d=\"M300.0 0.0H600.0V60.0V100H300.0Z\""), "{plot}");
    }
}
