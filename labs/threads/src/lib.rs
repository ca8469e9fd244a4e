//! Four bugs that C programs with threads have, and what rustc says when you translate them word for word. The first
//! three do not compile; the documentation's tests check that. The C programs are in `labs/threads/c`.
//!
//! # A size that is read without the lock
//! The size is beside the mutex and not inside it. Two threads may not share a `Cell`:
//!
//! ```compile_fail,E0277
//! use std::cell::Cell;
//! use std::sync::Mutex;
//!
//! let (lock, size) = (Mutex::new(()), Cell::new(1));
//! let consume = || {
//!     if size.get() > 0 {
//!         let _guard = lock.lock();
//!         size.set(size.get() - 1);
//!     }
//! };
//! std::thread::scope(|scope| {
//!     scope.spawn(&consume);
//!     scope.spawn(&consume);
//! });
//! ```
//!
//! `Mutex<Vec<Item>>` compiles: the data is inside the mutex, and cannot be read without locking it.
//!
//! # A thread's argument on the stack
//! The thread may live longer than the variable that it borrows:
//!
//! ```compile_fail,E0373
//! let mut threads = Vec::new();
//! for client in 1..=3 {
//!     threads.push(std::thread::spawn(|| println!("serving client {client}")));
//! }
//! ```
//!
//! `move ||` compiles: the thread gets a client of its own.
//!
//! # A descriptor that is closed twice
//! A descriptor has one owner, which closes it. Here the owner is the thread, since the `move`:
//!
//! ```compile_fail,E0382
//! # fn main() -> std::io::Result<()> {
//! let client = std::fs::File::open("/dev/null")?;
//! let thread = std::thread::spawn(move || drop(client));
//! drop(client);
//! # Ok(())
//! # }
//! ```
//!
//! # A thread that is neither joined nor detached
//! rustc accepts this, because nothing is wrong: a `JoinHandle` that is dropped detaches its thread.
//!
//! ```
//! drop(std::thread::spawn(|| println!("serving")));
//! ```
#![forbid(unsafe_code)]
