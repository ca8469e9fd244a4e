//! Receiving and sending, when the poller says that a stream is ready.

use std::io::{self, ErrorKind, Read};
use std::mem;

use step6_epoll_kqueue::{Event, Interest};
use tracing::trace_span;

use crate::handle::{Handle, Request, Stage, Stream};
use crate::slab::Key;
use crate::{Loop, StreamId};

impl<S: 'static> Loop<S> {
    pub(crate) fn on_stream_ready(&mut self, state: &mut S, key: Key, event: &Event) {
        if event.writable {
            self.send_requests(key);
        }
        // Sending may have failed the stream; its owner has not been told yet, so it is still there.
        if event.readable {
            self.receive(state, key);
        }
    }

    fn receive(&mut self, state: &mut S, key: Key) {
        let Some(Handle::Stream(stream)) = self.handles.get_mut(key) else { return };
        if !stream.interest().read {
            return;
        }
        // The buffer leaves the loop for the call: the callback gets all of the loop, mutably.
        let mut buffer = mem::take(&mut self.buffer);
        let result = stream.socket.read(&mut buffer);
        if !matches!(&result, Err(error) if error.kind() == ErrorKind::WouldBlock) {
            stream.ended = !matches!(result, Ok(1..));
            if stream.is_closing() {
                self.discard(key);
            } else {
                self.call_on_read(state, key, result.map(|received| &buffer[..received]));
            }
        }
        self.buffer = buffer;
        self.update_interest(key);
    }

    fn call_on_read(&mut self, state: &mut S, key: Key, received: io::Result<&[u8]>) {
        let Some(Handle::Stream(stream)) = self.handles.get_mut(key) else { return };
        let Some(mut on_read) = stream.on_read.take() else { return };
        if !matches!(received, Ok([_, ..])) {
            stream.reading = false; // there will be no more
        }
        trace_span!("on_read").in_scope(|| on_read(self, state, StreamId(key), received));
        // Put back, unless it has ended, stopped, closed or replaced itself.
        if let Some(Handle::Stream(stream)) = self.handles.get_mut(key)
            && stream.reading
            && stream.on_read.is_none()
        {
            stream.on_read = Some(on_read);
            self.report_end_if_over(key);
        }
    }

    /// A stream whose listener is being closed reports the end to a reader, in phase 3.
    pub(crate) fn report_end_if_over(&mut self, key: Key) {
        let is_over = |stream: &Stream<S>| stream.stage == Stage::Over && stream.reading;
        if matches!(self.handles.get(key), Some(Handle::Stream(stream)) if is_over(stream)) {
            self.pending.push_back(Box::new(move |lp, state| match lp.handles.get(key) {
                Some(Handle::Stream(stream)) if is_over(stream) => {
                    lp.call_on_read(state, key, Ok(&[]));
                }
                _ => {}
            }));
        }
    }

    /// Works the requests off, until the socket takes no more.
    pub(crate) fn send_requests(&mut self, key: Key) {
        let Some(Handle::Stream(stream)) = self.handles.get_mut(key) else { return };
        let mut completed = Vec::new();
        while let Some(request) = stream.requests.front_mut() {
            let result = match request {
                Request::Shutdown => stream.socket.shutdown(),
                Request::Write { bytes, sent, .. } => {
                    let result = peer::send(&mut stream.socket, &bytes[*sent..]);
                    // After a failure nothing is owed any more.
                    let taken = *result.as_ref().unwrap_or(&(bytes.len() - *sent));
                    stream.owed -= taken;
                    *sent += taken;
                    if *sent < bytes.len() {
                        break;
                    }
                    result.map(|_| ())
                }
            };
            completed.extend(stream.requests.pop_front().map(|request| (request, result)));
        }
        for (request, result) in completed {
            self.complete(request.into_after(), result);
        }
        self.remove_if_closed(key);
        self.update_interest(key);
    }

    /// Tells the poller if what the stream waits for has changed.
    pub(crate) fn update_interest(&mut self, key: Key) {
        let Some(Handle::Stream(stream)) = self.handles.get_mut(key) else { return };
        let (before, interest, token) = (stream.watched, stream.interest(), key.to_token());
        if interest == before {
            return;
        }
        // A poller reports hang-ups even without interest, so a stream that nothing waits for is not watched at all.
        let result = match (before, interest) {
            (_, Interest::NONE) => self.poller.delete(&stream.socket),
            (Interest::NONE, _) => self.poller.add(&stream.socket, token, interest),
            _ => self.poller.modify(&stream.socket, token, interest),
        };
        match result {
            Ok(()) => stream.watched = interest,
            Err(error) => self.fail(key, error),
        }
    }

    /// The poller has no room for the stream (no memory, or the user's share of watches is used up): it would never be
    /// reported again, so everything that waits for it is told.
    fn fail(&mut self, key: Key, error: io::Error) {
        let Some(Handle::Stream(stream)) = self.handles.get_mut(key) else { return };
        if stream.is_closing() {
            return self.remove_stream(key);
        }
        stream.owed = 0;
        for request in mem::take(&mut stream.requests) {
            let failed = io::Error::new(error.kind(), error.to_string());
            self.complete(request.into_after(), Err(failed));
        }
        self.pending.push_back(Box::new(move |lp, state| lp.call_on_read(state, key, Err(error))));
    }
}
