//! The lingering close, as web servers call it: the end of a connection on which something may still be on its way.
//!
//! Closing a socket whose input has not all been read resets the connection, and so does a byte that arrives after the
//! close. A reset throws away what is still on its way to the peer (RFC 1122, 4.2.2.13). So a connection is ended in order:
//! send what is left, half-close, and read on, only to have read it, until the peer has closed too.
//!
//! A peer that stays need not be waited for, if the kernel says that nothing is on its way: all of it has been acknowledged.
//! The kernel is asked when nothing has happened on the connection for a moment.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};
use tracing::debug;

use crate::shutdown::{self, GRACE, QUIET};

/// The longest sleep: streams may have been dropped meanwhile, or threads be asleep that should not.
const TICK: Duration = Duration::from_millis(10);

/// The most that is read from one peer before the others have their turn, in buffers of 64 KiB.
const TURN: usize = 16;

/// How many streams there are. Each of them may leave something behind.
static OPEN: AtomicUsize = AtomicUsize::new(0);

static LEFT_BEHIND: LazyLock<Mutex<LeftBehind>> = LazyLock::new(Mutex::default);

/// What streams leave behind once the server has been told to stop.
#[derive(Default)]
struct LeftBehind {
    /// Bytes for the peers of streams that are still in use, by descriptor. They are needed at the end only: in
    /// the stream itself, an empty list would cost every idle peer of step 6 another 40 bytes.
    unsent: HashMap<RawFd, Vec<u8>>,
    /// Streams that have been dropped.
    connections: Vec<Lingering>,
}

fn left_behind() -> MutexGuard<'static, LeftBehind> {
    LEFT_BEHIND.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many streams there are, those that are being ended in order included.
pub(crate) fn open() -> usize {
    OPEN.load(Ordering::Relaxed)
}

pub(crate) fn count_open() {
    OPEN.fetch_add(1, Ordering::Relaxed);
}

/// To be called after [`take_over`]: [`linger`] goes by this count.
pub(crate) fn count_closed() {
    OPEN.fetch_sub(1, Ordering::Release);
}

/// Takes bytes that are to be sent before the end.
pub(crate) fn owe(socket: &TcpStream, bytes: &[u8]) {
    left_behind().unsent.entry(socket.as_raw_fd()).or_default().extend_from_slice(bytes);
}

/// Takes the socket of a stream that is dropped.
pub(crate) fn take_over(socket: TcpStream) {
    let mut left_behind = left_behind();
    let unsent = left_behind.unsent.remove(&socket.as_raw_fd()).unwrap_or_default();
    left_behind.connections.extend(Lingering::new(socket, unsent));
}

/// Ends all connections in order, together, for as long as the grace period: the last thing that a process does which has
/// served peers and was told to stop.
///
/// Threads that serve a peer are woken from the calls in which they sleep, so that they end their conversations.
pub fn linger() {
    if !shutdown::requested() {
        return;
    }
    let mut connections = Connections::new();
    // From now on, and not from the signal on: it may have come just before a call that then slept until the alarm.
    let deadline = Instant::now() + GRACE;
    let mut wake = Instant::now();
    while Instant::now() < deadline {
        let open = OPEN.load(Ordering::Acquire);
        connections.take_over();
        if connections.are_gone() && open == 0 {
            return;
        }
        // Again and again: a thread may have been about to sleep when its signal came.
        if open > 0 && Instant::now() >= wake {
            shutdown::wake_sleepers();
            wake = Instant::now() + TICK;
        }
        connections.wait_and_serve();
    }
    // A thread that has not been done in time may say so to its peer.
    if OPEN.load(Ordering::Acquire) > 0 {
        shutdown::wake_sleepers();
        thread::sleep(TICK);
    }
    connections.take_over();
}

/// Ends one connection in order.
pub(crate) fn alone(socket: TcpStream) {
    let mut connections = Connections::new();
    let deadline = Instant::now() + GRACE;
    connections.add(Lingering::new(socket, Vec::new()));
    while !connections.are_gone() && Instant::now() < deadline {
        connections.wait_and_serve();
    }
}

/// A connection that is being ended.
struct Lingering {
    socket: TcpStream,
    unsent: Vec<u8>,
    half_closed: bool,
    /// Whether the peer has half-closed.
    ended: bool,
    /// When something happened, the last time.
    heard: Instant,
}

impl Lingering {
    fn new(socket: TcpStream, unsent: Vec<u8>) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Lingering { socket, unsent, half_closed: false, ended: false, heard: Instant::now() })
    }

    /// Sends and receives what can be sent and received now. Whether it stays: an error is the end, as is a peer that has
    /// closed and is owed nothing. (What is still in the kernel's hands then will be delivered after the close.)
    fn take_turn(&mut self, buffer: &mut [u8]) -> bool {
        self.heard = Instant::now();
        self.send().is_ok() && self.receive(buffer).is_ok() && !(self.half_closed && self.ended)
    }

    fn send(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.socket.write(&self.unsent) {
                Ok(sent) => {
                    debug!("send returned {sent} bytes");
                    self.unsent.drain(..sent);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        if !self.half_closed {
            self.socket.shutdown(Shutdown::Write)?;
            self.half_closed = true;
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        for _ in 0..TURN {
            match self.socket.read(buffer) {
                Ok(0) => self.ended = true,
                Ok(_) => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            break;
        }
        Ok(())
    }

    /// What poll waits for: input until the peer's end, and room as long as there is something to send.
    fn awaited(&self) -> PollFd<'_> {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::POLLIN, !self.ended);
        flags.set(PollFlags::POLLOUT, !self.unsent.is_empty());
        PollFd::new(self.socket.as_fd(), flags)
    }

    /// Whether its peer is waited for although nothing happens: it has been silent for a short time only, or something is
    /// on its way. (poll(2) has no event for "all of it has been acknowledged".)
    fn is_waited_for(&self) -> bool {
        self.heard.elapsed() < QUIET || !self.unsent.is_empty() || is_on_its_way(&self.socket)
    }
}

/// All connections that are being ended.
struct Connections {
    connections: Vec<Lingering>,
    buffer: Vec<u8>,
}

impl Connections {
    fn new() -> Self {
        Connections { connections: Vec::new(), buffer: vec![0; 64 * 1024] }
    }

    fn are_gone(&self) -> bool {
        self.connections.is_empty()
    }

    /// Serves each of them once, and keeps those that stay.
    fn add(&mut self, connections: impl IntoIterator<Item = Lingering>) {
        for mut connection in connections {
            if connection.take_turn(&mut self.buffer) {
                self.connections.push(connection);
            }
        }
    }

    /// Takes over what streams have left behind.
    fn take_over(&mut self) {
        let left_behind = mem::take(&mut left_behind().connections);
        self.add(left_behind);
    }

    /// Sleeps until some are ready, for a tick at most, and serves those.
    fn wait_and_serve(&mut self) {
        let mut awaited: Vec<_> = self.connections.iter().map(Lingering::awaited).collect();
        // Interrupted, it reports nothing as ready.
        let _ = poll(&mut awaited, TICK.subsec_millis() as u16);
        let ready: Vec<_> = awaited.iter().map(|one| one.any() != Some(false)).collect();
        let mut ready = ready.into_iter();
        self.connections.retain_mut(|connection| match ready.next() {
            Some(true) => connection.take_turn(&mut self.buffer),
            _ => connection.is_waited_for(),
        });
    }
}

/// Whether something that was sent (on Linux the half-close too) has not been acknowledged by the peer's kernel. See tcp(7),
/// SIOCOUTQ, and the FIONWRITE of the BSDs.
#[cfg(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "netbsd"
))]
#[allow(unsafe_code)]
pub(crate) fn is_on_its_way(socket: &TcpStream) -> bool {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const REQUEST: libc::Ioctl = libc::TIOCOUTQ; // the same number as SIOCOUTQ
    #[cfg(any(target_os = "freebsd", target_os = "netbsd"))]
    const REQUEST: libc::c_ulong = libc::FIONWRITE;

    let mut unacknowledged: libc::c_int = 0;
    // SAFETY: the request writes one int, and there is one.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), REQUEST, &mut unacknowledged) };
    result == 0 && unacknowledged > 0
}

/// The same of macOS: SO_NWRITE.
#[cfg(target_vendor = "apple")]
#[allow(unsafe_code)]
pub(crate) fn is_on_its_way(socket: &TcpStream) -> bool {
    let mut unacknowledged: libc::c_int = 0;
    let mut length = size_of_val(&unacknowledged) as libc::socklen_t;
    let (level, option) = (libc::SOL_SOCKET, libc::SO_NWRITE);
    let value = (&raw mut unacknowledged).cast();
    // SAFETY: the option is one int, and `value` and `length` are those of one.
    let result = unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, value, &mut length) };
    result == 0 && unacknowledged > 0
}

/// Systems that do not say: each peer is waited for until it has closed too, or the time is over.
#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "netbsd",
    target_vendor = "apple"
)))]
pub(crate) fn is_on_its_way(_socket: &TcpStream) -> bool {
    true
}
