//! Four bugs that C programs with threads have, and what rustc says when you translate them word for word. None of the first
//! three compiles; the documentation's tests hold rustc to that. The C programs are in `labs/threads/c`.
//!
//! # A size that is read without the lock
//! The size beside the mutex, and not inside. Two threads may not share a `Cell`:
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
//! What compiles is `Mutex<Vec<Item>>`: the data is inside the mutex, and cannot be read without locking it.
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
//! What compiles is `move ||`: the thread gets a client of its own.
//!
//! # A descriptor that is closed twice
//! A stream has one owner, who closes it. It was given to the thread:
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
//! Here rustc has nothing to say, because nothing is wrong: a `JoinHandle` that is dropped detaches its thread.
//!
//! ```
//! drop(std::thread::spawn(|| println!("serving")));
//! ```
#![forbid(unsafe_code)]
