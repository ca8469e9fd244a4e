//! `.await` gives the thread back only if there is something to wait for. A task that always finds room in a channel to
//! send, and always something to receive, keeps the thread (`--mode starve`). The cure: the task gives the thread back
//! now and then (`yield`); or the awaited future says "pending" once in 128 times, ready or not (`budget`), as Tokio's
//! types do.
//!
//! `cargo run --release -p async-await --example never-yields -- --mode starve`

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use async_await::{JoinError, block_on, channel, spawn, yield_now};
use clap::{Parser, ValueEnum};
use ticker::tick;

#[path = "common/ticker.rs"]
mod ticker;

/// Sends and receives for half a second, and says how late a ticker was meanwhile
#[derive(Parser)]
struct Arguments {
    /// How the busy task gives the thread back
    #[arg(long, value_enum, default_value_t = Mode::Starve)]
    mode: Mode,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// Never: it has nothing to wait for
    Starve,
    /// It calls yield_now after every 128 rounds
    Yield,
    /// The future that it awaits has a budget of 128, and says "pending" when that is spent
    Budget,
}

const BUSY: Duration = Duration::from_millis(500);
const BUDGET: u32 = 128;

fn main() -> io::Result<()> {
    let mode = Arguments::parse().mode;
    Ok(block_on(run(mode))??)
}

async fn run(mode: Mode) -> Result<(), JoinError> {
    let done = Rc::new(Cell::new(false));
    let ticker = spawn(tick(Rc::clone(&done)));
    let started = Instant::now();
    let rounds = spawn(be_busy(mode)).await?;
    let took = started.elapsed();
    done.set(true);
    let late = ticker.await?;

    println!("the busy task took {:.1} ms for {rounds} rounds", took.as_secs_f64() * 1e3);
    println!("the ticker was at most {:.1} ms late", late.as_secs_f64() * 1e3);
    Ok(())
}

/// Sends and receives in turn, so that neither ever has to wait. Returns how many rounds it made.
async fn be_busy(mode: Mode) -> u32 {
    let (sender, mut receiver) = channel(1);
    let (started, mut rounds, mut budget) = (Instant::now(), 0_u32, BUDGET);
    while started.elapsed() < BUSY {
        let _ = sender.send(rounds).await;
        match mode {
            Mode::Budget => within(&mut budget, receiver.recv()).await,
            _ => receiver.recv().await,
        };
        rounds += 1;
        if matches!(mode, Mode::Yield) && rounds.is_multiple_of(BUDGET) {
            yield_now().await;
        }
    }
    rounds
}

/// Awaits `future`, but gives the thread back first if the budget is spent.
async fn within<F: Future>(budget: &mut u32, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|context| {
        if *budget == 0 {
            *budget = BUDGET;
            context.waker().wake_by_ref(); // no event will do it: there is nothing to wait for
            return Poll::Pending;
        }
        let polled = future.as_mut().poll(context);
        // A task that has to wait gives the thread back, and begins again with a full budget.
        *budget = if polled.is_ready() { *budget - 1 } else { BUDGET };
        polled
    })
    .await
}
