//! Connections: listen, read, write, half-close, close.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};
use std::mem;

use peer::Interest;
use server::Listener;
use server::sys::PeerName;
use step6_epoll_kqueue::Trigger;
use tracing::trace_span;

use crate::Loop;
use crate::event_loop::{BUFFER, Callback, Handle};
use crate::slab::Key;

/// A listening socket of a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerId(Key);

/// A connection of a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(Key);

type OnConnection = Box<dyn FnMut(&mut Loop, io::Result<StreamId>)>;
type OnRead = Box<dyn FnMut(&mut Loop, StreamId, io::Result<&[u8]>)>;
type AfterWrite = Box<dyn FnOnce(&mut Loop, io::Result<()>)>;

pub(crate) struct Listening {
    listener: Listener,
    /// Empty while the callback runs.
    on_connection: Option<OnConnection>,
}

pub(crate) struct Stream {
    socket: server::Stream,
    /// Empty while the callback runs, and when nobody reads.
    on_read: Option<OnRead>,
    reading: bool,
    requests: VecDeque<Request>,
    /// Bytes that the requests have yet to send.
    owed: usize,
    /// What the poller has been told.
    watched: Interest,
}

/// Something to be done to the sending side, in its turn.
enum Request {
    Write { bytes: Vec<u8>, sent: usize, after: AfterWrite },
    Shutdown { after: AfterWrite },
}

/// A stream that is owed this much, in bytes, is not read until it is owed less.
///
/// Whoever answers what it reads therefore cannot be made to queue more than this and the answer to one more read.
pub const HIGH_WATER_MARK: usize = 64 * 1024;

impl Stream {
    fn interest(&self) -> Interest {
        let read = self.reading && self.owed < HIGH_WATER_MARK;
        Interest { read, write: !self.requests.is_empty() }
    }
}

impl Loop {
    /// Calls `on_connection` for each connection that `listener` accepts. A connection is not read before
    /// [`Loop::read_start`].
    ///
    /// # Errors
    /// What the poller reports. What accept(2) reports goes to the callback, and is the end of the listener.
    pub fn listen(
        &mut self,
        mut listener: Listener,
        on_connection: impl FnMut(&mut Loop, io::Result<StreamId>) + 'static,
    ) -> io::Result<ListenerId> {
        listener.set_nonblocking()?;
        let key = self.handles.insert(Handle::Listener(Listening {
            listener,
            on_connection: Some(Box::new(on_connection)),
        }));
        if let Some(Handle::Listener(Listening { listener, .. })) = self.handles.get(key)
            && let Err(error) =
                self.poller.add(listener, key.to_token(), Interest::READ, Trigger::Level)
        {
            self.handles.remove(key);
            return Err(error);
        }
        Ok(ListenerId(key))
    }

    /// Closes a listener; whether there was one to close.
    pub fn close_listener(&mut self, id: ListenerId) -> bool {
        matches!(self.handles.get(id.0), Some(Handle::Listener(_)))
            && self.handles.remove(id.0).is_some()
    }

    /// Calls `on_read` with whatever arrives, until [`Loop::read_stop`] or [`Loop::close`].
    ///
    /// `Ok(&[])` is the end: the peer sends no more, but may still be written to. After it, or an error, nothing more is
    /// read. The bytes are the loop's, and lent for the call.
    ///
    /// # Errors
    /// `NotConnected` if the stream has been closed; or what the poller reports.
    pub fn read_start(
        &mut self,
        id: StreamId,
        on_read: impl FnMut(&mut Loop, StreamId, io::Result<&[u8]>) + 'static,
    ) -> io::Result<()> {
        let stream = self.stream(id)?;
        stream.reading = true;
        stream.on_read = Some(Box::new(on_read));
        self.update_interest(id.0)
    }

    /// Reads no more for now. What arrives waits in the kernel, and in the end so does the peer.
    ///
    /// # Errors
    /// `NotConnected` if the stream has been closed; or what the poller reports.
    pub fn read_stop(&mut self, id: StreamId) -> io::Result<()> {
        let stream = self.stream(id)?;
        stream.reading = false;
        stream.on_read = None;
        self.update_interest(id.0)
    }

    /// Sends what the socket takes at once of `bytes`; how many it took. None, if others are waiting to be sent.
    ///
    /// This is the path of a server whose answers nearly always fit: no copy, no callback. The rest is for
    /// [`Loop::write`].
    ///
    /// # Errors
    /// `NotConnected` if the stream has been closed; or what send(2) reports, would-block aside.
    pub fn try_write(&mut self, id: StreamId, bytes: &[u8]) -> io::Result<usize> {
        let stream = self.stream(id)?;
        if !stream.requests.is_empty() {
            return Ok(0);
        }
        peer::send(&mut stream.socket, bytes)
    }

    /// Sends `bytes`, now or when those before them have been sent, and calls `after` when the kernel has taken the last
    /// of them, or when it is certain that it never will: the peer is gone, or the stream was closed.
    pub fn write(
        &mut self,
        id: StreamId,
        bytes: impl Into<Vec<u8>>,
        after: impl FnOnce(&mut Loop, io::Result<()>) + 'static,
    ) {
        let bytes = bytes.into();
        let length = bytes.len();
        self.request(id, length, Request::Write { bytes, sent: 0, after: Box::new(after) });
    }

    /// Half-closes: when all that was written before has been sent, the peer learns that no more will come. `after` is
    /// called then. The other direction stays open. See shutdown(2).
    pub fn shutdown(
        &mut self,
        id: StreamId,
        after: impl FnOnce(&mut Loop, io::Result<()>) + 'static,
    ) {
        self.request(id, 0, Request::Shutdown { after: Box::new(after) });
    }

    /// Closes the stream: from here on its id means nothing. Writes that were not completed are called back with an
    /// error, then `after` is called.
    ///
    /// On a stream that has been closed already it does nothing but call `after`.
    pub fn close(&mut self, id: StreamId, after: impl FnOnce(&mut Loop) + 'static) {
        if let Some(Handle::Stream(_)) = self.handles.get(id.0)
            && let Some(Handle::Stream(stream)) = self.handles.remove(id.0)
        {
            // Dropping the socket closes it, and closing takes it off the poller's list.
            let closed = || io::Error::new(ErrorKind::ConnectionAborted, "the stream was closed");
            self.closing.extend(stream.requests.into_iter().map(|r| completion(r, Err(closed()))));
        }
        self.closing.push_back(Box::new(|lp| trace_span!("after_close").in_scope(|| after(lp))));
    }

    /// The peer of a stream, as the log names it; none if the stream has been closed.
    pub fn peer_name(&self, id: StreamId) -> Option<PeerName> {
        match self.handles.get(id.0) {
            Some(Handle::Stream(stream)) => Some(stream.socket.name()),
            _ => None,
        }
    }

    /// Whether something has come from the peer that has not been read. To close the stream then would be a reset, and
    /// would throw away what is still on its way to the peer (RFC 1122, 4.2.2.13).
    pub fn has_input(&self, id: StreamId) -> bool {
        match self.handles.get(id.0) {
            Some(Handle::Stream(stream)) => stream.socket.has_input(),
            _ => false,
        }
    }

    /// Bytes that a stream has been asked to send and has not sent; none are owed to one that has been closed.
    pub fn owed(&self, id: StreamId) -> usize {
        match self.handles.get(id.0) {
            Some(Handle::Stream(stream)) => stream.owed,
            _ => 0,
        }
    }

    /// All streams that are open now.
    pub fn streams(&self) -> Vec<StreamId> {
        let is_stream = |key: &Key| matches!(self.handles.get(*key), Some(Handle::Stream(_)));
        self.handles.keys().filter(is_stream).map(StreamId).collect()
    }

    fn stream(&mut self, id: StreamId) -> io::Result<&mut Stream> {
        match self.handles.get_mut(id.0) {
            Some(Handle::Stream(stream)) => Ok(stream),
            _ => Err(io::Error::new(ErrorKind::NotConnected, "the stream was closed")),
        }
    }

    fn request(&mut self, id: StreamId, length: usize, request: Request) {
        match self.stream(id) {
            Ok(stream) => {
                stream.requests.push_back(request);
                stream.owed += length;
                // If others wait, the socket is full; this one waits too.
                if stream.requests.len() == 1 {
                    self.send_requests(id.0);
                }
            }
            Err(error) => self.pending.push_back(completion(request, Err(error))),
        }
    }

    /// Tells the poller if what the stream waits for has changed.
    fn update_interest(&mut self, key: Key) -> io::Result<()> {
        let Some(Handle::Stream(stream)) = self.handles.get_mut(key) else { return Ok(()) };
        let (before, interest) = (stream.watched, stream.interest());
        if interest == before {
            return Ok(());
        }
        let token = key.to_token();
        // Not even hang-ups are welcome when nobody waits, so a stream without interest is not watched at all.
        match (before, interest) {
            (_, Interest::NONE) => self.poller.delete(&stream.socket)?,
            (Interest::NONE, _) => {
                self.poller.add(&stream.socket, token, interest, Trigger::Level)?
            }
            _ => self.poller.modify(&stream.socket, token, interest, Trigger::Level)?,
        }
        stream.watched = interest;
        Ok(())
    }

    pub(crate) fn on_listener_ready(&mut self, key: Key) {
        // Any of the callbacks may close the listener, so it is looked up anew for each connection.
        loop {
            let Some(Handle::Listener(listening)) = self.handles.get_mut(key) else { return };
            let accepted = match listening.listener.accept() {
                Ok(None) => return,
                Ok(Some(socket)) => Ok(socket),
                Err(error) => Err(error),
            };
            let Some(mut on_connection) = listening.on_connection.take() else { return };
            let is_last = accepted.is_err();
            if is_last {
                self.handles.remove(key);
            }
            let accepted = accepted.map(|socket| {
                StreamId(self.handles.insert(Handle::Stream(Stream {
                    socket,
                    on_read: None,
                    reading: false,
                    requests: VecDeque::new(),
                    owed: 0,
                    watched: Interest::NONE,
                })))
            });
            trace_span!("on_connection").in_scope(|| on_connection(self, accepted));
            if let Some(Handle::Listener(listening)) = self.handles.get_mut(key) {
                listening.on_connection = Some(on_connection);
            }
        }
    }

    pub(crate) fn on_stream_ready(&mut self, key: Key, readable: bool, writable: bool) {
        if writable {
            self.send_requests(key);
        }
        // Sending may have failed the stream; its owner has not been told yet, so it is still there.
        if readable {
            self.read(key);
        }
    }

    fn read(&mut self, key: Key) {
        let Some(Handle::Stream(stream)) = self.handles.get_mut(key) else { return };
        if !stream.interest().read {
            return;
        }
        // Both leave the loop for the call: the callback gets all of it, mutably.
        let mut buffer = mem::take(&mut self.buffer);
        buffer.resize(BUFFER, 0);
        let received = match stream.socket.read(&mut buffer) {
            Ok(received) => Ok(received),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.buffer = buffer;
                return;
            }
            Err(error) => Err(error),
        };
        let Some(mut on_read) = stream.on_read.take() else { return };
        let ended = !matches!(received, Ok(1..));
        if ended {
            stream.reading = false;
        }
        let bytes = received.map(|received| &buffer[..received]);
        trace_span!("on_read").in_scope(|| on_read(self, StreamId(key), bytes));
        self.buffer = buffer;
        // Put back, unless it has ended, stopped, closed or replaced itself.
        if let Some(Handle::Stream(stream)) = self.handles.get_mut(key)
            && stream.reading
            && stream.on_read.is_none()
        {
            stream.on_read = Some(on_read);
        }
        self.update_interest_or_fail(key);
    }

    /// Works the requests off, until the socket takes no more.
    fn send_requests(&mut self, key: Key) {
        let Some(Handle::Stream(stream)) = self.handles.get_mut(key) else { return };
        while let Some(request) = stream.requests.front_mut() {
            let result = match request {
                Request::Write { bytes, sent, .. } => {
                    match peer::send(&mut stream.socket, &bytes[*sent..]) {
                        Ok(taken) => {
                            *sent += taken;
                            stream.owed -= taken;
                            if *sent < bytes.len() {
                                break;
                            }
                            Ok(())
                        }
                        Err(error) => {
                            stream.owed -= bytes.len() - *sent;
                            Err(error)
                        }
                    }
                }
                Request::Shutdown { .. } => stream.socket.shutdown(),
            };
            if let Some(request) = stream.requests.pop_front() {
                self.pending.push_back(completion(request, result));
            }
        }
        self.update_interest_or_fail(key);
    }

    /// The poller has no room for the stream (no memory, or the user's share of watches is used up): nobody would ever
    /// hear of it again, so everything that waits for it is told.
    fn update_interest_or_fail(&mut self, key: Key) {
        let Err(error) = self.update_interest(key) else { return };
        let Some(Handle::Stream(stream)) = self.handles.get_mut(key) else { return };
        stream.owed = 0;
        stream.reading = false;
        let failed = || io::Error::new(error.kind(), error.to_string());
        let requests = mem::take(&mut stream.requests);
        self.pending.extend(requests.into_iter().map(|r| completion(r, Err(failed()))));
        if let Some(mut on_read) = stream.on_read.take() {
            self.pending.push_back(Box::new(move |lp| on_read(lp, StreamId(key), Err(error))));
        }
    }
}

fn completion(request: Request, result: io::Result<()>) -> Callback {
    match request {
        Request::Write { after, .. } => {
            Box::new(|lp| trace_span!("after_write").in_scope(|| after(lp, result)))
        }
        Request::Shutdown { after } => {
            Box::new(|lp| trace_span!("after_shutdown").in_scope(|| after(lp, result)))
        }
    }
}
