//! Gentle ends: of a stream, and of a listener with all its streams.
//!
//! To close a socket with input unread is a reset, and so is a byte that arrives after the close. A reset throws away what
//! is still on its way to the peer (RFC 1122, 4.2.2.13). So a stream is closed gently in this order: send what was written,
//! half-close, read on and throw away what comes, until the peer has closed too. It need not be waited for when it is silent
//! and its kernel has acknowledged everything.

use std::time::{Duration, Instant};

use server::shutdown::{GRACE, QUIET};

use crate::handle::{Handle, Request, Stage};
use crate::listen::ListenerId;
use crate::slab::Key;
use crate::{Loop, StreamId};

/// How often it is looked at whether the last stream of a listener has gone.
const TICK: Duration = Duration::from_millis(10);

impl<S: 'static> Loop<S> {
    /// Closes a stream so that what was written before reaches its peer: from here on its id means nothing, but the loop
    /// keeps the connection until everything has arrived, for a second at most.
    pub fn close_gently(&mut self, id: StreamId) {
        let Ok(stream) = self.stream(id) else { return };
        stream.stage = Stage::Closing { heard: false };
        stream.on_read = None;
        if !stream.ended {
            stream.requests.push_back(Request::Shutdown);
        }
        self.send_requests(id.0);
        if self.handles.get(id.0).is_none() {
            return; // there was nothing to wait for
        }
        let started = Instant::now();
        self.timer_start(QUIET, Some(QUIET), move |lp, _, timer| {
            // Not now but in phase 6: what has arrived by now will have been read then.
            lp.closing.push_back(Box::new(move |lp, _| {
                if lp.has_everything(id.0) || started.elapsed() >= GRACE {
                    lp.remove_stream(id.0);
                    lp.timer_stop(timer);
                }
            }));
        });
    }

    /// Closes a listener, and ends the conversations on its streams: each of them reports the end to its reader, now or when
    /// it is read again, as if the peer had closed. The program closes them as it always does. When the last has gone, or
    /// `grace` is over and those that are left have been closed, `after` is called. (A listener that has been closed already
    /// is left alone.)
    pub fn close_listener_gently(
        &mut self,
        id: ListenerId,
        grace: Duration,
        after: impl FnOnce(&mut Loop<S>, &mut S) + 'static,
    ) {
        if !self.close_listener(id) {
            return;
        }
        for key in self.streams_of(id) {
            if let Some(Handle::Stream(stream)) = self.handles.get_mut(key)
                && stream.stage == Stage::Open
            {
                stream.stage = Stage::Over;
                self.update_interest(key);
                self.report_end_if_over(key);
            }
        }
        let started = Instant::now();
        let mut after = Some(after);
        self.timer_start(Duration::ZERO, Some(TICK), move |lp, state, timer| {
            let left = lp.streams_of(id);
            if !left.is_empty() && started.elapsed() < grace {
                return;
            }
            left.into_iter().for_each(|key| lp.remove_stream(key));
            lp.timer_stop(timer);
            if let Some(after) = after.take() {
                after(lp, state);
            }
        });
    }

    fn streams_of(&self, listener: ListenerId) -> Vec<Key> {
        let is_of = |handle: &Handle<S>| matches!(handle, Handle::Stream(stream) if stream.listener == listener.0);
        self.handles.iter().filter(|(_, handle)| is_of(handle)).map(|(key, _)| key).collect()
    }

    /// Something has come for a stream that is being closed, or its end.
    pub(crate) fn discard(&mut self, key: Key) {
        if let Some(Handle::Stream(stream)) = self.handles.get_mut(key) {
            stream.stage = Stage::Closing { heard: true };
        }
        self.remove_if_closed(key);
    }

    /// The peer has closed its side, and everything has been sent.
    pub(crate) fn remove_if_closed(&mut self, key: Key) {
        if let Some(Handle::Stream(stream)) = self.handles.get(key)
            && stream.is_closing()
            && stream.ended
            && stream.requests.is_empty()
        {
            self.remove_stream(key);
        }
    }

    /// Whether the peer of a stream that is being closed has everything, and has been silent since this was last asked.
    fn has_everything(&mut self, key: Key) -> bool {
        let Some(Handle::Stream(stream)) = self.handles.get_mut(key) else { return true };
        let heard = stream.stage == Stage::Closing { heard: true };
        stream.stage = Stage::Closing { heard: false };
        !heard && stream.requests.is_empty() && !stream.socket.is_on_its_way()
    }
}
