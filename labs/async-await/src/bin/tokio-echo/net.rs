//! The listener and the streams of `crates/server` for Tokio, so that their calls are counted, logged and traced as in
//! every other server here. A program of your own does not need this file: it takes `tokio::net::TcpListener` and
//! `TcpStream`, which do the same.

use std::future::poll_fn;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use server::shutdown;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Asks Tokio's poller to watch `io`.
fn register<T: AsRawFd>(io: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: listeners and streams own their descriptor, and it is the same one until they are dropped.
    #[allow(unsafe_code)]
    Ok(unsafe { AsyncFd::register(io) }?)
}

/// A listener, and the signals that end its work. (Tokio's signal handlers call the ones that were there before.)
pub(crate) struct Listener {
    listener: AsyncFd<server::Listener>,
    signals: [Signal; 2],
}

impl Listener {
    pub(crate) fn new(mut listener: server::Listener) -> io::Result<Self> {
        listener.set_nonblocking()?;
        let signals = [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?];
        Ok(Listener { listener: register(listener)?, signals })
    }

    /// Waits for the next peer, or returns none when the server is told to stop.
    pub(crate) async fn accept(&mut self) -> io::Result<Option<Stream>> {
        poll_fn(|context| {
            let signalled =
                self.signals.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
            // The signal may have come before Tokio's handlers were there.
            if signalled || shutdown::requested() {
                return Poll::Ready(Ok(None));
            }
            loop {
                let mut guard = ready!(self.listener.poll_read_ready_mut(context))?;
                match guard.get_inner_mut().accept()?.map(register) {
                    Some(Ok(stream)) => return Poll::Ready(Ok(Some(Stream(stream)))),
                    Some(Err(error)) => guard.get_inner_mut().refused(error),
                    None => guard.clear_ready(),
                }
            }
        })
        .await
    }
}

/// A connected peer.
pub(crate) struct Stream(AsyncFd<server::Stream>);

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready_mut(context))?;
            let unfilled = buffer.initialize_unfilled();
            match guard.get_inner_mut().read(unfilled) {
                Ok(received) => {
                    // Edge-triggered: fewer bytes than asked for means that there are no more. So the next call, which
                    // would only say would-block, is saved. (Tokio's TcpStream does the same.)
                    if 0 < received && received < unfilled.len() {
                        guard.clear_ready();
                    }
                    buffer.advance(received);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => guard.clear_ready(),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready_mut(context))?;
            match guard.get_inner_mut().write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => guard.clear_ready(),
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.get_ref().shutdown())
    }
}
