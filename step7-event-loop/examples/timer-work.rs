//! What to do instead: the same repeating timer, but the sleep runs on the pool. The ticks stay punctual.
//!
//! `cargo run -p step7-event-loop --example timer-work`

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use step7_event_loop::Loop;

const TICK: Duration = Duration::from_secs(1);
const SLEEP: Duration = Duration::from_secs(3);

fn main() -> io::Result<()> {
    let mut lp = Loop::new()?;
    let started = Instant::now();
    let mut due = started + TICK;
    let mut ticks = 0;
    lp.timer_start(TICK, Some(TICK), move |lp, _, timer| {
        ticks += 1;
        let (now, late) = (started.elapsed(), due.elapsed());
        println!(
            "tick {ticks} at {:.3} s, {:.0} ms late",
            now.as_secs_f64(),
            late.as_secs_f64() * 1e3
        );
        due += TICK;
        if ticks % 3 == 0 {
            println!("  sleeping for {SLEEP:?} on the pool");
            lp.queue_work(|| thread::sleep(SLEEP), |_, _, _| println!("  slept"));
        }
        if ticks == 7 {
            lp.timer_stop(timer);
        }
    });
    lp.run(&mut ())
}
