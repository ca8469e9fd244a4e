//! The lingering close (as web servers call it), of a server that is told to stop.
//!
//! Closing a socket whose input has not all been read resets the connection, and a reset throws away what is still on its
//! way to the peer (RFC 1122, 4.2.2.13). A server that stops stops in the middle of things. So it half-closes such a
//! connection, and reads on for no other purpose than to have read it, until the peer closes or the grace period ends:
//! all of them together, so that nobody has to wait for another's end.

use std::io::{ErrorKind, Read};
use std::mem;
use std::net::{Shutdown, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::shutdown;

static LINGERING: Mutex<Vec<TcpStream>> = Mutex::new(Vec::new());

/// The most that is read of one before the others have their turn.
const TURN: usize = 1 << 20;

/// Whether something has come that has not been read. It makes the socket non-blocking.
pub(crate) fn has_input(socket: &TcpStream) -> bool {
    socket.set_nonblocking(true).is_ok() && matches!(socket.peek(&mut [0]), Ok(1..))
}

/// Half-closes a connection that is about to be closed, and keeps it for [`linger`], if input of it is unread.
pub(crate) fn keep_if_unread(socket: &TcpStream) {
    if has_input(socket)
        && let Ok(kept) = socket.try_clone()
        && kept.shutdown(Shutdown::Write).is_ok()
    {
        LINGERING.lock().unwrap_or_else(PoisonError::into_inner).push(kept);
    }
}

/// Reads to their ends all connections that were closed with input unread, until the grace period is over.
///
/// The last thing that a process does which has served peers and was told to stop.
pub fn linger() {
    let mut kept = mem::take(&mut *LINGERING.lock().unwrap_or_else(PoisonError::into_inner));
    let mut input = vec![0; 64 * 1024];
    loop {
        kept.retain_mut(|socket| {
            for _ in 0..TURN / input.len() {
                match socket.read(&mut input) {
                    Ok(1..) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                    _ => return false,
                }
            }
            true
        });
        if kept.is_empty() || shutdown::expired() {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
}
