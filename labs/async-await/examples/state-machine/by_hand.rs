//! The same conversation without `async`: a state for each `.await`, with the variables that are alive there, and a
//! `poll` that goes on from where the function slept.

use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use protocol::{GREETING, Session};

use crate::Stream;

pub(crate) enum ServeConnection {
    /// Called, and not polled yet: a future does nothing by itself.
    Unstarted { stream: Stream },
    /// Asleep in the first `write_all`.
    Greeting { stream: Stream, session: Session, reply: Vec<u8> },
    /// Asleep in `read`.
    Reading { stream: Stream, session: Session, reply: Vec<u8> },
    /// Asleep in the second `write_all`, which has sent `sent` bytes. The input is still there: it lives to the end of
    /// the loop's body.
    Replying { stream: Stream, session: Session, reply: Vec<u8>, input: Vec<u8>, sent: usize },
    /// At an end.
    Returned,
}

impl Future for ServeConnection {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        use ServeConnection::*;
        loop {
            // If `poll` returns without putting a state back, the machine is at its end.
            *self = match mem::replace(&mut *self, Returned) {
                Unstarted { stream } => {
                    Greeting { stream, session: Session::new(), reply: Vec::new() }
                }
                Greeting { mut stream, session, reply } => {
                    match stream.poll_write(context, &[GREETING])? {
                        Poll::Ready(_) => Reading { stream, session, reply },
                        Poll::Pending => {
                            *self = Greeting { stream, session, reply };
                            return Poll::Pending;
                        }
                    }
                }
                Reading { mut stream, mut session, mut reply } => {
                    match stream.poll_read(context)? {
                        Poll::Ready(input) if input.is_empty() => return Poll::Ready(Ok(())),
                        Poll::Ready(input) => {
                            session.receive(&input, &mut reply);
                            Replying { stream, session, reply, input, sent: 0 }
                        }
                        Poll::Pending => {
                            *self = Reading { stream, session, reply };
                            return Poll::Pending;
                        }
                    }
                }
                Replying { stream, session, reply, sent, .. } if sent == reply.len() => {
                    Reading { stream, session, reply: Vec::new() }
                }
                Replying { mut stream, session, reply, input, sent } => {
                    match stream.poll_write(context, &reply[sent..])? {
                        Poll::Ready(more) => {
                            Replying { stream, session, reply, input, sent: sent + more }
                        }
                        Poll::Pending => {
                            *self = Replying { stream, session, reply, input, sent };
                            return Poll::Pending;
                        }
                    }
                }
                Returned => panic!("it was polled after its end"),
            };
        }
    }
}
