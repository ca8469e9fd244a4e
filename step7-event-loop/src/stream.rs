//! Connections: read, write, half-close, close. What is asked for here is carried out in `transfer`.

use std::io::{self, ErrorKind};

use server::stream::PeerName;
use tracing::trace_span;

use crate::Loop;
use crate::handle::{AfterWrite, Callback, Handle, Request, Stream};
use crate::slab::Key;

/// A connection of a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub(crate) Key);

/// A stream that is owed this much, in bytes, is not read until it is owed less.
///
/// A program that answers what it reads can therefore not be made to queue more than this and the answer to one more read.
pub const HIGH_WATER_MARK: usize = 64 * 1024;

impl<S: 'static> Loop<S> {
    /// Calls `on_read` with what arrives, until [`Loop::read_stop`] or [`Loop::close`].
    ///
    /// `Ok(&[])` is the end: the peer sends no more, but may still be written to. After it, or an error, nothing more is
    /// read. The bytes are the loop's, and lent for the call. If the stream has been closed, nothing happens.
    pub fn read_start(
        &mut self,
        id: StreamId,
        on_read: impl FnMut(&mut Loop<S>, &mut S, StreamId, io::Result<&[u8]>) + 'static,
    ) {
        let Ok(stream) = self.stream(id) else { return };
        stream.reading = true;
        stream.on_read = Some(Box::new(on_read));
        self.update_interest(id.0);
        self.report_end_if_over(id.0);
    }

    /// Reads no more for now. What arrives waits in the kernel, and in the end so does the peer.
    pub fn read_stop(&mut self, id: StreamId) {
        let Ok(stream) = self.stream(id) else { return };
        stream.reading = false;
        stream.on_read = None;
        self.update_interest(id.0);
    }

    /// Sends `bytes`, now or when those before them have been sent. What the socket does not take at once is copied, and
    /// sent when it takes more. If that fails, the next read reports it.
    pub fn write(&mut self, id: StreamId, bytes: &[u8]) {
        self.send(id, bytes, None);
    }

    /// The same, and calls `after` when the kernel has taken the last byte, or when it is certain that it never will: the
    /// peer is gone, or the stream was closed.
    pub fn write_then(
        &mut self,
        id: StreamId,
        bytes: &[u8],
        after: impl FnOnce(&mut Loop<S>, &mut S, io::Result<()>) + 'static,
    ) {
        self.send(id, bytes, Some(Box::new(after)));
    }

    /// Half-closes: when all that was written before has been sent, the peer learns that no more will come. The other
    /// direction stays open. See shutdown(2).
    pub fn shutdown(&mut self, id: StreamId) {
        let Ok(stream) = self.stream(id) else { return };
        stream.requests.push_back(Request::Shutdown);
        if stream.requests.len() == 1 {
            self.send_requests(id.0);
        }
    }

    /// Closes the stream at once: from here on its id means nothing. Writes that were not completed are called back with
    /// an error. What the kernel has taken is still delivered, unless the peer has sent something that was not read: then
    /// the close is a reset. [`Loop::close_gently`] takes care of that.
    pub fn close(&mut self, id: StreamId) {
        if self.stream(id).is_ok() {
            self.remove_stream(id.0);
        }
    }

    /// The peer of a stream, as the log names it; `None` if the stream has been closed.
    pub fn peer_name(&self, id: StreamId) -> Option<PeerName> {
        Some(self.open_stream(id)?.socket.name())
    }

    /// Bytes that a stream has been asked to send and has not sent; 0 if it has been closed.
    pub fn owed(&self, id: StreamId) -> usize {
        self.open_stream(id).map_or(0, |stream| stream.owed)
    }

    /// How many connections the loop has, those included that are being closed gently.
    pub fn streams(&self) -> usize {
        self.handles.iter().filter(|(_, handle)| matches!(handle, Handle::Stream(_))).count()
    }

    fn open_stream(&self, id: StreamId) -> Option<&Stream<S>> {
        match self.handles.get(id.0) {
            Some(Handle::Stream(stream)) if !stream.is_closing() => Some(stream),
            _ => None,
        }
    }

    /// A stream that has not been closed, gently or not.
    pub(crate) fn stream(&mut self, id: StreamId) -> io::Result<&mut Stream<S>> {
        match self.handles.get_mut(id.0) {
            Some(Handle::Stream(stream)) if !stream.is_closing() => Ok(stream),
            _ => Err(io::Error::new(ErrorKind::NotConnected, "the stream was closed")),
        }
    }

    fn send(&mut self, id: StreamId, bytes: &[u8], after: Option<AfterWrite<S>>) {
        let stream = match self.stream(id) {
            Ok(stream) => stream,
            Err(error) => return self.complete(after, Err(error)),
        };
        let mut rest = bytes;
        // If others wait, the socket is full; these wait too.
        if stream.requests.is_empty() {
            match peer::send(&mut stream.socket, bytes) {
                Ok(sent) if sent == bytes.len() => return self.complete(after, Ok(())),
                Ok(sent) => rest = &bytes[sent..],
                Err(error) => return self.complete(after, Err(error)),
            }
        }
        stream.owed += rest.len();
        stream.requests.push_back(Request::Write { bytes: rest.to_vec(), sent: 0, after });
        self.update_interest(id.0);
    }

    /// A write has been completed, or it never will be: its callback is called in phase 3.
    pub(crate) fn complete(&mut self, after: Option<AfterWrite<S>>, result: io::Result<()>) {
        self.pending.extend(after.map(|after| completion(after, result)));
    }

    /// Dropping the socket closes it, and closing takes it off the poller's list.
    pub(crate) fn remove_stream(&mut self, key: Key) {
        let Some(Handle::Stream(stream)) = self.handles.remove(key) else { return };
        for after in stream.requests.into_iter().filter_map(Request::into_after) {
            let closed = io::Error::new(ErrorKind::ConnectionAborted, "the stream was closed");
            self.closing.push_back(completion(after, Err(closed)));
        }
    }
}

fn completion<S: 'static>(after: AfterWrite<S>, result: io::Result<()>) -> Callback<S> {
    Box::new(|lp, state| trace_span!("after_write").in_scope(|| after(lp, state, result)))
}
