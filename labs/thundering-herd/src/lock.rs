//! A lock in memory that several processes share.
//!
//! A semaphore (sem_init(3) with `pshared`) would do, except that it does not know which process holds it: a worker
//! that is killed inside would lock out all others for ever. Here the shared word is the holder's process id. The
//! master learns of every death, so it can free the lock. nginx's `ngx_shmtx` works like this.

use std::io;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::unistd::Pid;

use crate::shared;

/// The lock. A process that is forked shares it.
#[derive(Debug)]
pub struct Lock {
    /// The process id of its holder, or 0 if it is free.
    holder: &'static AtomicU64,
    /// How often this process tried in vain.
    in_vain: AtomicU64,
}

/// Held; dropping it releases the lock.
#[derive(Debug)]
pub struct Held<'a>(&'a Lock);

impl Lock {
    /// A free lock, in a page of its own that stays mapped until the process ends.
    ///
    /// # Errors
    /// What mmap(2) reports.
    pub fn new() -> io::Result<Self> {
        let word = shared::words(1, None)?;
        Ok(Lock { holder: &word[0], in_vain: AtomicU64::new(0) })
    }

    /// Takes the lock if it is free, and does not wait.
    pub fn try_lock(&self) -> Option<Held<'_>> {
        let us = u64::from(process::id());
        match self.holder.compare_exchange(0, us, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => Some(Held(self)),
            Err(_) => {
                self.in_vain.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }

    /// How often this process has tried to take it in vain.
    pub fn in_vain(&self) -> u64 {
        self.in_vain.load(Ordering::Relaxed)
    }

    /// Frees the lock if `dead`, a process that has ended, held it.
    pub fn release_for(&self, dead: Pid) {
        let dead = dead.as_raw() as u64;
        let _ = self.holder.compare_exchange(dead, 0, Ordering::Release, Ordering::Relaxed);
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.holder.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_it_at_a_time() {
        let lock = Lock::new().unwrap();
        let held = lock.try_lock();
        assert!(held.is_some());
        assert!(lock.try_lock().is_none());
        drop(held);
        assert!(lock.try_lock().is_some());
        assert_eq!(lock.in_vain(), 1);
    }

    #[test]
    fn what_the_dead_held_is_freed_and_what_the_living_hold_is_not() {
        let lock = Lock::new().unwrap();
        std::mem::forget(lock.try_lock());
        lock.release_for(Pid::from_raw(1));
        assert!(lock.try_lock().is_none(), "process 1 did not hold it");
        lock.release_for(Pid::this());
        assert!(lock.try_lock().is_some());
    }
}
