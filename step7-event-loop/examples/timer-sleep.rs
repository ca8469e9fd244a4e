//! What not to do: a repeating timer whose callback now and then sleeps. The loop sleeps with it, so the ticks that are
//! due meanwhile come late or not at all.
//!
//! `cargo run -p step7-event-loop --example timer-sleep`, and then `timer-work`, which differs by four lines.

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
            println!("  sleeping for {SLEEP:?} in the callback");
            thread::sleep(SLEEP);
        }
        if ticks == 7 {
            lp.timer_stop(timer);
        }
    });
    lp.run(&mut ())
}
