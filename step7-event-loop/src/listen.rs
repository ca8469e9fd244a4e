//! Listening sockets: where streams come from.

use std::io;

use server::Listener;
use tracing::trace_span;

use crate::handle::{Handle, Listening, Stream};
use crate::slab::Key;
use crate::{Loop, StreamId};

/// A listening socket of a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerId(pub(crate) Key);

impl<S: 'static> Loop<S> {
    /// Calls `on_connection` for each connection that `listener` accepts. A connection is not read before
    /// [`Loop::read_start`]. If accept(2) fails for good, [`Loop::run`] returns the error.
    ///
    /// # Errors
    /// What the poller reports.
    pub fn listen(
        &mut self,
        mut listener: Listener,
        on_connection: impl FnMut(&mut Loop<S>, &mut S, StreamId) + 'static,
    ) -> io::Result<ListenerId> {
        listener.set_nonblocking()?;
        let on_connection = Some(Box::new(on_connection) as _);
        let key = self.watch(Handle::Listener(Listening { listener, on_connection }))?;
        Ok(ListenerId(key))
    }

    /// Closes a listener; whether there was one to close. Its streams stay.
    pub fn close_listener(&mut self, id: ListenerId) -> bool {
        matches!(self.handles.get(id.0), Some(Handle::Listener(_)))
            && self.handles.remove(id.0).is_some()
    }

    pub(crate) fn on_listener_ready(&mut self, state: &mut S, key: Key) {
        // Any of the callbacks may close the listener, so it is looked up anew for each connection.
        loop {
            let Some(Handle::Listener(listening)) = self.handles.get_mut(key) else { return };
            let socket = match listening.listener.accept() {
                Ok(Some(socket)) => socket,
                Ok(None) => return,
                Err(error) => {
                    self.handles.remove(key);
                    self.failure = Some(error);
                    return;
                }
            };
            let Some(mut on_connection) = listening.on_connection.take() else { return };
            let stream = StreamId(self.handles.insert(Handle::Stream(Stream::new(socket, key))));
            trace_span!("on_connection").in_scope(|| on_connection(self, state, stream));
            if let Some(Handle::Listener(listening)) = self.handles.get_mut(key) {
                listening.on_connection = Some(on_connection);
            }
        }
    }
}
