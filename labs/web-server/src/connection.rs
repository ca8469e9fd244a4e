//! One browser, served to the end by a thread that may sleep: in recv, in the page's work, in send.

use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;
use server::{Stream, shutdown};

use crate::http::{self, Response, Status};
use crate::site::Site;

/// How many bytes one read takes at most.
const BUFFER: usize = 16 * 1024;

/// How a connection is served.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// How long a client may take to send a request (counted from its connection or its last answer), and to take its
    /// answer.
    pub read_timeout: Duration,
    /// Whether the connection is kept for a further request, if the client wants that.
    pub keep_alive: bool,
}

/// Answers one request after another, until the client closes, fails or takes too long, or the server is told to stop.
/// `who` names the process or thread that serves, for the page.
pub fn serve_connection(stream: Stream, site: &Site, terms: Terms, who: &str) {
    let _ended_by_the_peer = converse(stream, site, terms, who);
}

fn converse(mut stream: Stream, site: &Site, terms: Terms, who: &str) -> io::Result<()> {
    setsockopt(&stream, sockopt::SendTimeout, &time_value(terms.read_timeout))?;
    let mut input = Vec::new();
    loop {
        let (response, head, keep_alive) = match receive(&mut stream, &mut input, terms)? {
            Received::Nothing => return Ok(()),
            Received::Nonsense(status) => (Response::error(status), http::is_head(&input), false),
            Received::Request(request) => {
                let keep_alive = request.keep_alive && terms.keep_alive;
                let response = site.respond(&request, who);
                (response, request.head, keep_alive && !shutdown::requested())
            }
        };
        stream.write_all(&response.encode(head, keep_alive))?;
        if !keep_alive {
            stream.close_gently();
            return Ok(());
        }
    }
}

enum Received {
    Request(http::Request),
    /// Bytes that are not a request, or only a part of one when the time was over.
    Nonsense(Status),
    /// The client has nothing more to ask.
    Nothing,
}

/// Receives the next request. Bytes that come after it stay in `input`.
fn receive(stream: &mut Stream, input: &mut Vec<u8>, terms: Terms) -> io::Result<Received> {
    let deadline = Instant::now() + terms.read_timeout;
    let mut buffer = [0; BUFFER];
    loop {
        match http::parse(input) {
            Ok(Some((request, length))) => {
                input.drain(..length);
                return Ok(Received::Request(request));
            }
            Ok(None) => {}
            Err(status) => return Ok(Received::Nonsense(status)),
        }
        match read_until(deadline, stream, &mut buffer)? {
            Some(0) => return Ok(Received::Nothing),
            Some(received) => input.extend_from_slice(&buffer[..received]),
            None if input.is_empty() => return Ok(Received::Nothing),
            None => return Ok(Received::Nonsense(Status::RequestTimeout)),
        }
    }
}

/// One recv. Returns `None` if nothing has come by the deadline, or if it is past already. A client may send a byte now
/// and then for ever, so each recv gets only the time that is left.
fn read_until(
    deadline: Instant,
    stream: &mut Stream,
    buffer: &mut [u8],
) -> io::Result<Option<usize>> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Ok(None);
    }
    // A blocking recv that takes longer than this fails with would-block. See socket(7), SO_RCVTIMEO.
    setsockopt(stream, sockopt::ReceiveTimeout, &time_value(left))?;
    match stream.read(buffer) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        result => result.map(Some),
    }
}

fn time_value(duration: Duration) -> TimeVal {
    // Zero would mean no timeout.
    let duration = duration.max(Duration::from_millis(1));
    TimeVal::new(duration.as_secs() as _, duration.subsec_micros() as _)
}
