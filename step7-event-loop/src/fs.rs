//! Files, through the pool.
//!
//! No kernel here says when a file is ready: select, epoll and kqueue call a regular file ready at all times, and a
//! read from it sleeps all the same until the disk has delivered. O_NONBLOCK changes nothing about that (open(2)). So
//! the loop has a thread sleep instead. libuv does the same.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::Loop;
use crate::pool::WorkId;

impl<S: 'static> Loop<S> {
    /// Opens a file: open(2). The file is shared with the pool's thread while a request runs, hence the [`Arc`].
    pub fn fs_open(
        &mut self,
        path: impl Into<PathBuf>,
        options: &OpenOptions,
        after: impl FnOnce(&mut Loop<S>, &mut S, io::Result<Arc<File>>) + 'static,
    ) -> WorkId {
        let (path, options) = (path.into(), options.clone());
        self.fs_work(move || options.open(path).map(Arc::new), after)
    }

    /// Reads at most `length` bytes at `offset`: pread(2). Fewer bytes do not mean the end of the file; 0 bytes do.
    pub fn fs_read_at(
        &mut self,
        file: &Arc<File>,
        offset: u64,
        length: usize,
        after: impl FnOnce(&mut Loop<S>, &mut S, io::Result<Vec<u8>>) + 'static,
    ) -> WorkId {
        let file = Arc::clone(file);
        let read = move || {
            let mut bytes = vec![0; length];
            let received = file.read_at(&mut bytes, offset)?;
            bytes.truncate(received);
            Ok(bytes)
        };
        self.fs_work(read, after)
    }

    /// Writes all of `bytes` at `offset`: pwrite(2), as often as it takes.
    pub fn fs_write_at(
        &mut self,
        file: &Arc<File>,
        offset: u64,
        bytes: impl Into<Vec<u8>>,
        after: impl FnOnce(&mut Loop<S>, &mut S, io::Result<()>) + 'static,
    ) -> WorkId {
        let (file, bytes) = (Arc::clone(file), bytes.into());
        self.fs_work(move || file.write_all_at(&bytes, offset), after)
    }

    /// What the file system knows about a file: stat(2).
    pub fn fs_stat(
        &mut self,
        path: impl Into<PathBuf>,
        after: impl FnOnce(&mut Loop<S>, &mut S, io::Result<Metadata>) + 'static,
    ) -> WorkId {
        let path = path.into();
        self.fs_work(move || std::fs::metadata(path), after)
    }

    /// Reads a whole file. One thread of the pool is busy with it to the end; for a large one, [`Loop::fs_read_at`].
    pub fn fs_read(
        &mut self,
        path: impl Into<PathBuf>,
        after: impl FnOnce(&mut Loop<S>, &mut S, io::Result<Vec<u8>>) + 'static,
    ) -> WorkId {
        let path = path.into();
        self.fs_work(move || std::fs::read(path), after)
    }

    /// Writes a whole file, in place of what it held.
    pub fn fs_write(
        &mut self,
        path: impl Into<PathBuf>,
        bytes: impl Into<Vec<u8>>,
        after: impl FnOnce(&mut Loop<S>, &mut S, io::Result<()>) + 'static,
    ) -> WorkId {
        let (path, bytes) = (path.into(), bytes.into());
        self.fs_work(move || std::fs::write(path, bytes), after)
    }

    fn fs_work<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
        after: impl FnOnce(&mut Loop<S>, &mut S, io::Result<T>) + 'static,
    ) -> WorkId {
        self.queue_work(work, |lp, state, result| {
            after(lp, state, result.unwrap_or_else(|error| Err(error.into())));
        })
    }
}
