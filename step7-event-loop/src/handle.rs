//! What a loop keeps of each thing that can call back, and of each thing that is still to be done.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use step6_epoll_kqueue::Interest;

use crate::slab::Key;
use crate::{HIGH_WATER_MARK, Loop, SignalId, StreamId};

/// A callback that is called once, in a later phase.
pub(crate) type Callback<S> = Box<dyn FnOnce(&mut Loop<S>, &mut S)>;

pub(crate) type OnConnection<S> = Box<dyn FnMut(&mut Loop<S>, &mut S, StreamId)>;
pub(crate) type OnRead<S> = Box<dyn FnMut(&mut Loop<S>, &mut S, StreamId, io::Result<&[u8]>)>;
pub(crate) type OnSignal<S> = Box<dyn FnMut(&mut Loop<S>, &mut S, SignalId)>;
pub(crate) type AfterWrite<S> = Box<dyn FnOnce(&mut Loop<S>, &mut S, io::Result<()>)>;

/// What the poller watches. (A callback is not in its slot while it runs.)
pub(crate) enum Handle<S> {
    Listener(Listening<S>),
    Stream(Stream<S>),
    Signal(Watch<S>),
}

impl<S> AsFd for Handle<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Handle::Listener(listening) => listening.listener.as_fd(),
            Handle::Stream(stream) => stream.socket.as_fd(),
            Handle::Signal(watch) => watch.pipe.as_fd(),
        }
    }
}

pub(crate) struct Listening<S> {
    pub(crate) listener: server::Listener,
    pub(crate) on_connection: Option<OnConnection<S>>,
}

pub(crate) struct Watch<S> {
    pub(crate) pipe: UnixStream,
    pub(crate) on_signal: Option<OnSignal<S>>,
}

pub(crate) struct Stream<S> {
    pub(crate) socket: server::Stream,
    /// The listener that it came from.
    pub(crate) listener: Key,
    pub(crate) on_read: Option<OnRead<S>>,
    pub(crate) reading: bool,
    /// Whether there is no more to read: the peer has closed its side, or the connection has failed.
    pub(crate) ended: bool,
    pub(crate) requests: VecDeque<Request<S>>,
    /// Bytes that the requests have yet to send.
    pub(crate) owed: usize,
    /// What the poller has been told.
    pub(crate) watched: Interest,
    pub(crate) stage: Stage,
}

/// How far a stream is on its way to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Open,
    /// Its listener is being closed: its owner is to read no more, and to close it.
    Over,
    /// It is being closed gently: what arrives is thrown away. `heard` says whether something has arrived of late.
    Closing {
        heard: bool,
    },
}

impl<S> Stream<S> {
    pub(crate) fn new(socket: server::Stream, listener: Key) -> Self {
        Stream {
            socket,
            listener,
            on_read: None,
            reading: false,
            ended: false,
            requests: VecDeque::new(),
            owed: 0,
            watched: Interest::NONE,
            stage: Stage::Open,
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.stage, Stage::Closing { .. })
    }

    /// What the poller is to watch it for.
    pub(crate) fn interest(&self) -> Interest {
        let read = match self.stage {
            Stage::Open => self.reading && self.owed < HIGH_WATER_MARK,
            Stage::Over => false,
            Stage::Closing { .. } => !self.ended,
        };
        Interest { read, write: !self.requests.is_empty() }
    }
}

/// Something to be done to a stream's sending side, in its turn.
pub(crate) enum Request<S> {
    Write { bytes: Vec<u8>, sent: usize, after: Option<AfterWrite<S>> },
    Shutdown,
}

impl<S> Request<S> {
    pub(crate) fn into_after(self) -> Option<AfterWrite<S>> {
        match self {
            Request::Write { after, .. } => after,
            Request::Shutdown => None,
        }
    }
}
