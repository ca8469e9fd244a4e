//! Signals, as callbacks in the loop rather than interruptions anywhere.

use std::io::{self, Read};

use nix::sys::signal::Signal;
use tracing::trace_span;

use crate::Loop;
use crate::handle::{Handle, Watch};
use crate::slab::Key;

/// A signal that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SignalId(Key);

impl<S: 'static> Loop<S> {
    /// Calls `on_signal` when the process receives `signal`. Several in quick succession may be one call.
    ///
    /// A process has one handler for each signal: watch it in one place. It keeps the loop alive until
    /// [`Loop::signal_stop`]; the signal is then ignored.
    ///
    /// # Errors
    /// What sigaction(2), socketpair(2) and the poller report.
    pub fn signal_start(
        &mut self,
        signal: Signal,
        on_signal: impl FnMut(&mut Loop<S>, &mut S, SignalId) + 'static,
    ) -> io::Result<SignalId> {
        let pipe = server::signals::watch(signal)?;
        let on_signal = Some(Box::new(on_signal) as _);
        let key = self.watch(Handle::Signal(Watch { pipe, on_signal }))?;
        Ok(SignalId(key))
    }

    /// Stops it; whether there was one to stop.
    pub fn signal_stop(&mut self, id: SignalId) -> bool {
        matches!(self.handles.get(id.0), Some(Handle::Signal(_)))
            && self.handles.remove(id.0).is_some()
    }

    pub(crate) fn on_signal_ready(&mut self, state: &mut S, key: Key) {
        let Some(Handle::Signal(watch)) = self.handles.get_mut(key) else { return };
        let _ = watch.pipe.read(&mut [0; 64]);
        let Some(mut on_signal) = watch.on_signal.take() else { return };
        trace_span!("on_signal").in_scope(|| on_signal(self, state, SignalId(key)));
        if let Some(Handle::Signal(watch)) = self.handles.get_mut(key) {
            watch.on_signal = Some(on_signal);
        }
    }
}
