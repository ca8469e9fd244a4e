//! The two state machines, the compiler's and the one by hand, on a stream that follows a script.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

#[path = "../examples/state-machine/by_hand.rs"]
mod by_hand;
#[path = "../examples/state-machine/by_the_compiler.rs"]
mod by_the_compiler;

use by_hand::ServeConnection;
use by_the_compiler::serve_connection;

/// The result of the stream's next call.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// read: these bytes arrive; no bytes are the end.
    Receive(&'static [u8]),
    /// write: the socket takes this many bytes at most.
    Take(usize),
    /// Either: not now.
    WouldBlock,
    /// Either.
    Fail,
}

use Step::{Fail, Receive, Take, WouldBlock};

/// What can be seen of a machine from outside.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Read(usize),
    Wrote(Vec<u8>),
    ReadPending,
    WritePending,
    Failed,
    /// A poll returned: pending, or whether the machine ended without an error.
    Polled(Option<bool>),
    /// The stream was dropped.
    Closed,
}

/// The stream in place of the lab's.
struct Stream {
    script: VecDeque<Step>,
    seen: Rc<RefCell<Vec<Seen>>>,
}

impl Stream {
    fn see(&self, seen: Seen) {
        self.seen.borrow_mut().push(seen);
    }

    fn poll_read(&mut self, _: &mut Context<'_>) -> Poll<io::Result<Vec<u8>>> {
        let (seen, result) = match self.script.pop_front() {
            Some(Receive(bytes)) => (Seen::Read(bytes.len()), Poll::Ready(Ok(bytes.to_vec()))),
            Some(WouldBlock) => (Seen::ReadPending, Poll::Pending),
            Some(Fail) => (Seen::Failed, Poll::Ready(Err(ErrorKind::ConnectionReset.into()))),
            step => panic!("a read, but the script says {step:?}"),
        };
        self.see(seen);
        result
    }

    fn poll_write(&mut self, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let (seen, result) = match self.script.pop_front() {
            Some(Take(limit)) => {
                let taken = limit.min(bytes.len());
                (Seen::Wrote(bytes[..taken].to_vec()), Poll::Ready(Ok(taken)))
            }
            Some(WouldBlock) => (Seen::WritePending, Poll::Pending),
            Some(Fail) => (Seen::Failed, Poll::Ready(Err(ErrorKind::BrokenPipe.into()))),
            step => panic!("a write, but the script says {step:?}"),
        };
        self.see(seen);
        result
    }

    async fn read(&mut self) -> io::Result<Vec<u8>> {
        poll_fn(|context| self.poll_read(context)).await
    }

    async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = poll_fn(|context| self.poll_write(context, bytes)).await?;
            bytes = &bytes[sent..];
        }
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.see(Seen::Closed);
    }
}

/// Polls until the end of the machine, or `polls` times, and returns everything that was seen.
fn drive<F: Future<Output = io::Result<()>>>(
    machine: impl FnOnce(Stream) -> F,
    script: &[Step],
    polls: usize,
) -> Vec<Seen> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let stream = Stream { script: script.iter().copied().collect(), seen: Rc::clone(&seen) };
    {
        let mut machine = pin!(machine(stream));
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..polls {
            let polled = machine.as_mut().poll(&mut context);
            let outcome = match &polled {
                Poll::Pending => None,
                Poll::Ready(result) => Some(result.is_ok()),
            };
            seen.borrow_mut().push(Seen::Polled(outcome));
            if polled.is_ready() {
                break;
            }
        }
    }
    seen.take()
}

fn both_do_the_same(script: &[Step], polls: usize) -> Vec<Seen> {
    let by_hand = drive(|stream| ServeConnection::Unstarted { stream }, script, polls);
    let by_the_compiler = drive(serve_connection, script, polls);
    assert_eq!(by_hand, by_the_compiler, "{script:?}, {polls} polls");
    by_hand
}

/// A conversation with ignored bytes, short writes and a reply that needs two of them.
const CONVERSATION: [Step; 9] = [
    Take(1),
    Receive(b"^abc"),
    Take(2),
    Take(1),
    Receive(b"$ignored"),
    Receive(b"^z$"),
    Take(64),
    Receive(b"^"),
    Receive(b""),
];

#[test]
fn both_say_the_same_wherever_they_are_put_to_sleep() {
    // Each number is one choice of steps before which the stream says would-block.
    for sleeps in 0_u32..1 << CONVERSATION.len() {
        let mut script = Vec::new();
        for (index, step) in CONVERSATION.into_iter().enumerate() {
            if sleeps & 1 << index != 0 {
                script.push(WouldBlock);
            }
            script.push(step);
        }
        let seen = both_do_the_same(&script, usize::MAX);
        let written: Vec<u8> = seen
            .iter()
            .flat_map(|seen| if let Seen::Wrote(bytes) = seen { &bytes[..] } else { &[] })
            .copied()
            .collect();
        assert_eq!(written, b"*bcd{");
        let polls = seen.iter().filter(|seen| matches!(seen, Seen::Polled(_))).count();
        assert_eq!(polls, 1 + sleeps.count_ones() as usize);
    }
}

#[test]
fn both_end_with_the_first_error() {
    for length in 0..CONVERSATION.len() {
        let script = [&CONVERSATION[..length], &[WouldBlock, Fail]].concat();
        let seen = both_do_the_same(&script, usize::MAX);
        assert!(seen.contains(&Seen::Polled(Some(false))));
        assert_eq!(seen.iter().filter(|&seen| *seen == Seen::Closed).count(), 1);
    }
}

/// A future can be dropped wherever it sleeps, or before it has begun. It owns the stream, so the stream is closed.
#[test]
fn both_close_their_stream_when_they_are_dropped() {
    for length in 0..CONVERSATION.len() {
        let script = [&CONVERSATION[..length], &[WouldBlock]].concat();
        for polls in [0, 1] {
            let seen = both_do_the_same(&script, polls);
            assert_eq!(seen.last(), Some(&Seen::Closed));
        }
    }
}
