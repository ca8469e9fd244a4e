//! Two threads lock the same two mutexes. If they do it in two orders, each can hold one and wait for the other, for
//! ever (`--mode two-orders`). The cure: all threads lock the account with the smaller number first (`one-order`).
//!
//! `cargo run -p threads --example deadlock -- --mode two-orders --stay`, and then look at its stacks with gdb.

use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Barrier, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{io, process, thread};

use clap::{Parser, ValueEnum};

/// Moves money between two accounts, in both directions at once
#[derive(Parser)]
struct Arguments {
    /// Which account a thread locks first
    #[arg(long, value_enum, default_value_t = Mode::TwoOrders)]
    mode: Mode,

    /// In a deadlock do not exit, so that you can attach a debugger
    #[arg(long)]
    stay: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// The one that it takes the money from
    TwoOrders,
    /// The one with the smaller number
    OneOrder,
}

const PATIENCE: Duration = Duration::from_secs(1);

struct Bank {
    accounts: [Mutex<i64>; 2],
    /// Waits until both threads have locked their first account. Only for two orders: it makes the deadlock sure.
    both: Barrier,
}

fn main() -> io::Result<()> {
    let Arguments { mode, stay } = Arguments::parse();
    let accounts = [Mutex::new(100), Mutex::new(100)];
    let bank = Arc::new(Bank { accounts, both: Barrier::new(2) });
    let (done, ended) = mpsc::channel();
    for (name, from, to) in [("zero-to-one", 0, 1), ("one-to-zero", 1, 0)] {
        let (bank, done) = (Arc::clone(&bank), done.clone());
        let transfer = move || bank.transfer(mode, from, to, &done);
        thread::Builder::new().name(name.to_owned()).spawn(transfer)?;
    }
    for _ in 0..2 {
        if ended.recv_timeout(PATIENCE).is_err() {
            let held = bank.accounts.iter().filter(|account| account.try_lock().is_err()).count();
            println!(
                "nothing has moved for {PATIENCE:?}, and {held} accounts are locked: a deadlock"
            );
            if stay {
                loop {
                    thread::park();
                }
            }
            process::exit(0);
        }
    }
    println!("both transfers are done");
    Ok(())
}

impl Bank {
    fn transfer(&self, mode: Mode, from: usize, to: usize, done: &Sender<()>) {
        let (mut giver, mut taker) = match mode {
            Mode::TwoOrders => {
                let giver = self.lock(from);
                self.both.wait();
                (giver, self.lock(to))
            }
            Mode::OneOrder => {
                let (first, second) = (self.lock(from.min(to)), self.lock(from.max(to)));
                if from < to { (first, second) } else { (second, first) }
            }
        };
        *giver -= 10;
        *taker += 10;
        let _ = done.send(());
    }

    fn lock(&self, account: usize) -> MutexGuard<'_, i64> {
        self.accounts[account].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
