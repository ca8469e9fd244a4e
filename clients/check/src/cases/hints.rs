//! What usually causes a failure, a sentence for each case.

/// A case, and what to look for first when it fails.
const HINTS: &[(&str, &str)] = &[
    (
        "greeting",
        "the server waits for the client to speak first, or does not flush what it writes",
    ),
    (
        "transcripts",
        "after ^ each byte comes back plus one, until $; ^ and $ are not answered themselves",
    ),
    ("state", "the state is kept for each read instead of for each connection"),
    (
        "byte-by-byte",
        "the state is kept for each read; or the server waits for a whole line or a full buffer",
    ),
    (
        "all-bytes",
        "signed or saturating arithmetic, bytes taken for text, or a zero byte for the end of a string",
    ),
    (
        "random",
        "a delimiter at the edge of a read: the state is lost or a byte is skipped where the next one begins",
    ),
    (
        "long-message",
        "a buffer of fixed size for the whole message; or a send that took less than it was given",
    ),
    (
        "16-MiB",
        "a send that took less than it was given: send the rest later; or answers begin only after the last byte",
    ),
    (
        "pipelined",
        "one message for each read is expected: a read may bring many, and parts of them",
    ),
    (
        "half-close",
        "the end of the input is taken for the end of the connection: send what is owed, then close",
    ),
    (
        "silent-leave",
        "a recv of 0 bytes, or an error of recv, ends the server instead of the connection",
    ),
    ("open-message", "the state belongs to the server (a global) instead of to the connection"),
    ("reset-idle", "an error of recv (connection reset) ends more than its own connection"),
    (
        "reset-unread",
        "an error of send (connection reset, broken pipe) ends more than its own connection",
    ),
    ("reset-at-once", "an error of accept or of the first send (the greeting) ends the server"),
    (
        "no-descriptor-left-behind",
        "a connection is not closed after an error, or after the end of its input",
    ),
    (
        "silent-peer",
        "the server waits in one client's recv while others speak; or closes whoever is silent",
    ),
    ("open-message-peer", "the server stays with one client until its message has ended"),
    (
        "peer-that-does-not-read",
        "the thread that serves all peers sleeps in the send to one of them",
    ),
    (
        "interleaved",
        "the state or the buffer belongs to the server (a global) instead of to the connection",
    ),
    (
        "500-at-once",
        "a short backlog (listen), few descriptors (ulimit -n), or a table of fixed size",
    ),
    (
        "bounded-output",
        "answers are queued without a limit: read no more from a peer that is owed much",
    ),
    (
        "idle",
        "a loop asks sockets that have nothing to say: wait in poll, epoll or a blocking call",
    ),
    (
        "urgent-byte",
        "the server asks for POLLPRI or an exception set, and does not fetch what it is told of",
    ),
    (
        "2000-connections",
        "something of each connection is kept after its end; or there is a sleep in the accept loop",
    ),
    ("broken-pipe", "SIGPIPE kills the process: ignore it, or send with MSG_NOSIGNAL"),
    ("stopped", "EINTR from recv, accept or epoll_wait is taken for an error: call again"),
    (
        "output-closed",
        "an error of print (broken pipe) ends the server: print once, or ignore the error",
    ),
    (
        "no-zombies",
        "nobody waits for the children that have ended: waitpid in the loop, or ignore SIGCHLD",
    ),
    (
        "no-panic",
        "an error of accept, recv or send is not handled: each of them may fail at any time",
    ),
    ("sigterm", "the handler sets a flag that nobody looks at in a call that blocks"),
    ("sigint", "there is a handler for SIGTERM only; or a runtime has one of its own for SIGINT"),
    (
        "sigterm-with-peers",
        "the server waits until its peers leave, and these do not: end their connections",
    ),
    (
        "sigterm-unread",
        "the server waits in a send for a peer that does not read: give it a second at most",
    ),
    (
        "sigterm-owed",
        "close with unread input is a reset, and the kernel throws away what was not delivered yet",
    ),
    (
        "sigterm-talking",
        "close with unread input is a reset: shut the sending side down, and read until the end first",
    ),
    ("sigterm-deaf", "one peer that does not read holds up the end of the others"),
    ("sigterm-silent", "the server waits out its second although no peer is owed anything"),
    ("sigterm-restart", "SO_REUSEADDR is missing: connections in TIME_WAIT hold the port"),
    (
        "out-of-descriptors",
        "EMFILE from accept ends the server; or the connection stays ready, and accept is called over and over",
    ),
    ("max-clients", "those that have left are still counted"),
    (
        "idle-timeout",
        "the clock is not set back when bytes come; or it is looked at only when bytes come",
    ),
    ("port-taken", "the error of bind or listen is not handled"),
    ("unknown-option", "arguments are not checked"),
    ("port-out-of-range", "a number is cut to 16 bits, or taken for 0"),
    ("unresolvable-host", "the error of getaddrinfo is not handled"),
    ("foreign-address", "the error of bind is not handled"),
    ("privileged-port", "the error of bind is not handled"),
    ("help", "--help is not an option, or says too little"),
    ("ipv6", "the socket is made for IPv4, whatever the address is"),
    ("once", "the listener goes on after the first client"),
    ("quiet", "what -q and -v mean is not the same for all that is logged"),
    ("stats", "a call is counted where it is made, not where it returns; or counted twice"),
    ("sigterm-counted", "close with unread input is a reset: what was sent is lost"),
    ("trace", "an early return skips the end of a call"),
    ("trace-unwritable", "the file is opened too late, or its error is not handled"),
];

/// This comes before what the case is about.
const KILLED: &str = "there is no handler for the signal: its default action kills the process";

pub(crate) fn hint(case: &str, failure: &str) -> &'static str {
    let signals = ["ended with signal: 15 (SIGTERM)", "ended with signal: 2 (SIGINT)"];
    if signals.iter().any(|signal| failure.contains(signal)) {
        return KILLED;
    }
    HINTS.iter().find(|(name, _)| *name == case).map_or("", |(_, hint)| hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_case_has_a_hint_and_each_hint_a_case() {
        let cases: Vec<_> = crate::cases().iter().map(|case| case.name).collect();
        let hints: Vec<_> = HINTS.iter().map(|&(name, _)| name).collect();
        assert_eq!(cases, hints);
        assert!(HINTS.iter().all(|(_, hint)| !hint.is_empty()));
        assert_eq!(hint("state", "byte 0 is wrong"), HINTS[2].1);
        assert_eq!(hint("sigterm-silent", "it ended with signal: 15 (SIGTERM)"), KILLED);
    }
}
