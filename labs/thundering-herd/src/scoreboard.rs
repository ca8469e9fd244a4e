//! The *scoreboard*: what each worker does now, where the other processes can see it. (The word is from Apache's httpd,
//! which has one.)
//!
//! It shows what only the worker itself knows for certain: that it is in accept. A worker is in accept while it has
//! begun more accepts than have returned. If that lasts, the worker is asleep there.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use server::{Listener, Stream};

use crate::shared;

/// A row for each worker. It is three words long: accepts begun, accepts returned, connections accepted.
#[derive(Clone, Copy, Debug)]
pub struct Scoreboard {
    words: &'static [AtomicU64],
}

/// A worker's own row. A thread that is a worker has one, too.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    begun: &'static AtomicU64,
    returned: &'static AtomicU64,
    connections: &'static AtomicU64,
}

/// What a row showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// How many accepts the worker has begun.
    pub begun: u64,
    /// How many of them have returned.
    pub returned: u64,
    /// How many connections they have returned.
    pub connections: u64,
}

impl Row {
    /// Whether the worker is in accept. With a non-blocking listener that is over at once.
    pub fn in_accept(self) -> bool {
        self.begun > self.returned
    }
}

impl Scoreboard {
    const ROW: usize = 3;

    /// A scoreboard in memory that forked processes share; with a file also those that map the file. The file is made as long
    /// as it has to be.
    ///
    /// # Errors
    /// What ftruncate(2) and mmap(2) report.
    pub fn new(workers: usize, file: Option<&File>) -> io::Result<Self> {
        let count = workers * Self::ROW;
        if let Some(file) = file {
            file.set_len((count * size_of::<AtomicU64>()) as u64)?;
        }
        Ok(Scoreboard { words: shared::words(count, file)? })
    }

    /// Each worker's slot.
    pub fn slots(self) -> impl Iterator<Item = Slot> {
        self.words.chunks_exact(Self::ROW).map(|row| Slot {
            begun: &row[0],
            returned: &row[1],
            connections: &row[2],
        })
    }

    /// What it shows now.
    pub fn rows(self) -> Vec<Row> {
        self.slots().map(Slot::row).collect()
    }
}

impl Slot {
    /// Accepts, and shows that it is in accept meanwhile.
    ///
    /// # Errors
    /// As [`Listener::accept`].
    pub fn accept(self, listener: &mut Listener) -> io::Result<Option<Stream>> {
        self.begun.fetch_add(1, Ordering::Release);
        let accepted = listener.accept();
        if matches!(accepted, Ok(Some(_))) {
            self.connections.fetch_add(1, Ordering::Release);
        }
        self.returned.fetch_add(1, Ordering::Release);
        accepted
    }

    /// What it shows now.
    pub fn row(self) -> Row {
        // In this order: an accept is seen to have returned only if its connection is seen as well.
        let returned = self.returned.load(Ordering::Acquire);
        let begun = self.begun.load(Ordering::Acquire);
        Row { begun, returned, connections: self.connections.load(Ordering::Acquire) }
    }

    /// Another worker takes the place of one that has died.
    pub fn clear(self) {
        for word in [self.begun, self.returned, self.connections] {
            word.store(0, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::thread;

    use check::wait_until;

    use super::*;

    #[test]
    fn a_worker_that_sleeps_in_accept_is_seen_there() {
        let scoreboard = Scoreboard::new(1, None).unwrap();
        let slot = scoreboard.slots().next().unwrap();
        let mut listener = Listener::bind("127.0.0.1", 0, 16).unwrap();
        let address = listener.local_address().unwrap();
        let worker = thread::spawn(move || slot.accept(&mut listener).unwrap().is_some());
        wait_until("it is in accept", || scoreboard.rows()[0].in_accept()).unwrap();
        let _client = TcpStream::connect(address).unwrap();
        assert!(worker.join().unwrap());
        assert_eq!(scoreboard.rows(), [Row { begun: 1, returned: 1, connections: 1 }]);
        slot.clear();
        assert_eq!(scoreboard.rows(), [Row { begun: 0, returned: 0, connections: 0 }]);
    }

    #[test]
    fn an_accept_that_would_block_has_returned_without_a_connection() {
        let slot = Scoreboard::new(1, None).unwrap().slots().next().unwrap();
        let mut listener = Listener::bind("127.0.0.1", 0, 16).unwrap();
        listener.set_nonblocking().unwrap();
        assert!(slot.accept(&mut listener).unwrap().is_none());
        assert_eq!(slot.row(), Row { begun: 1, returned: 1, connections: 0 });
    }
}
