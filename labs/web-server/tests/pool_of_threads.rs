//! The pool alone, with workers hired and retired as fast as possible: every job is done exactly once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

use check::wait_until;
use web_server::pool::Pool;
use web_server::sizing::Sizing;

#[test]
fn every_job_is_done_exactly_once() {
    const PRODUCERS: usize = 4;
    const JOBS: usize = 5000;
    let done: Arc<Vec<AtomicU8>> =
        Arc::new((0..PRODUCERS * JOBS).map(|_| AtomicU8::new(0)).collect());
    let counted = Arc::clone(&done);
    let pool = Pool::new(Sizing::new(4, 8, Duration::ZERO), move |_, job: usize| {
        counted[job].fetch_add(1, Ordering::Relaxed);
        if job.is_multiple_of(7) {
            thread::yield_now();
        }
    })
    .unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|producer| {
                let pool = &pool;
                scope.spawn(move || {
                    for number in 0..JOBS {
                        let mut job = producer * JOBS + number;
                        while let Err(back) = pool.submit(job) {
                            job = back;
                            thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                pool.review();
                thread::yield_now();
            }
        });
        producers.into_iter().for_each(|producer| producer.join().unwrap());
        over.store(true, Ordering::Relaxed);
    });
    wait_until("all are done", || {
        let figures = pool.figures();
        figures.busy == 0 && figures.queue == 0
    })
    .unwrap();
    let wrong = done.iter().filter(|count| count.load(Ordering::Relaxed) != 1).count();
    assert_eq!(wrong, 0, "of {}", PRODUCERS * JOBS);
    let figures = pool.figures();
    assert!(figures.retired > 0, "no worker came and went: {figures:?}");
    assert_eq!(figures.workers, (figures.hired - figures.retired) as usize);
}
