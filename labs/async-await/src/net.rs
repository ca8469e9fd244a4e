//! The listener and the streams of `crates/server`, to be awaited.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, ErrorKind, Read, Write};
use std::task::{Context, Poll, ready};

use server::shutdown;
use step6_epoll_kqueue::Interest;

use crate::executor::current;
use crate::reactor::Source;

/// A listener whose [`accept`](Listener::accept) is awaited.
pub struct Listener(Source<server::Listener>);

impl Listener {
    /// Watches `listener`, and makes it non-blocking.
    ///
    /// # Errors
    /// ioctl(2) or the poller fails.
    ///
    /// # Panics
    /// Outside of [`block_on`](crate::block_on).
    pub fn new(mut listener: server::Listener) -> io::Result<Self> {
        listener.set_nonblocking()?;
        Ok(Listener(Source::new(listener, &current().reactor)?))
    }

    /// Waits for the next peer. Returns none when the server has been told to stop.
    ///
    /// # Errors
    /// An error after which the listener is of no use any more.
    pub async fn accept(&mut self) -> io::Result<Option<Stream>> {
        loop {
            let accepted = self.0.io().accept()?;
            match accepted.map(|stream| Source::new(stream, &current().reactor)) {
                Some(Ok(stream)) => return Ok(Some(Stream(stream))),
                Some(Err(error)) => self.0.io().refused(error),
                None if shutdown::requested() => return Ok(None),
                None => poll_fn(|context| self.0.poll_ready(Interest::READ, context)).await?,
            }
        }
    }
}

/// A connected peer whose [`read`](Stream::read) and [`write_all`](Stream::write_all) are awaited: one of them at a
/// time, by one task.
pub struct Stream(Source<server::Stream>);

// Where reads land. In the task it would cost every idle client 64 KiB.
thread_local!(static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; 64 * 1024]));

impl Stream {
    /// Waits until bytes arrive, and returns them, 64 KiB at most. An empty vector is the end: the peer will send no
    /// more, or the server has been told to stop.
    ///
    /// # Errors
    /// recv(2) fails. The stream has logged it.
    pub async fn read(&mut self) -> io::Result<Vec<u8>> {
        poll_fn(|context| self.poll_read(context)).await
    }

    /// Sends all of `bytes`, and waits whenever the socket is full. If it is dropped while it waits, it is not known
    /// how much has been sent.
    ///
    /// # Errors
    /// send(2) fails. The stream has logged it.
    pub async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = poll_fn(|context| self.poll_write(context, bytes)).await?;
            bytes = &bytes[sent..];
        }
        Ok(())
    }

    /// [`Stream::read`], for a future that is written by hand.
    ///
    /// # Errors
    /// As there.
    pub fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Vec<u8>>> {
        loop {
            // First the wait and then the call, as in step 6: before bytes have arrived, recv would be in vain.
            ready!(self.0.poll_ready(Interest::READ, context))?;
            let received = BUFFER.with_borrow_mut(|buffer| {
                self.0.io().read(buffer).map(|received| buffer[..received].to_vec())
            });
            match received {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                received => return Poll::Ready(received),
            }
        }
    }

    /// Sends some of `bytes`, at least one, as soon as the socket takes any. Returns how many.
    ///
    /// # Errors
    /// As [`Stream::write_all`].
    pub fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            // First the call: most of the time there is room.
            let sent = self.0.io().write(bytes);
            match sent {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    ready!(self.0.poll_ready(Interest::WRITE, context))?;
                }
                sent => return Poll::Ready(sent),
            }
        }
    }
}
