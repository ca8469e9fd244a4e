//! The system calls that are counted, each with its name in the log, the summary and the trace.

use tracing::{Span, trace_span};

/// Lists the calls once: the type, the list of all, their names, and their spans, whose names must be literals.
macro_rules! syscalls {
    ($($(#[$documentation:meta])* $call:ident = $name:literal,)*) => {
        /// The calls that are counted: those that can wait, and those that register interest, whose number is step 6's
        /// point.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs)] // each is the system call of that name
        pub enum Syscall {
            $($(#[$documentation])* $call,)*
        }

        impl Syscall {
            pub(crate) const ALL: [Syscall; [$($name),*].len()] = [$(Syscall::$call),*];

            /// Its name in the log, the summary and the trace.
            pub fn name(self) -> &'static str {
                match self {
                    $(Syscall::$call => $name,)*
                }
            }

            #[inline]
            pub(crate) fn span(self) -> Span {
                match self {
                    $(Syscall::$call => trace_span!($name),)*
                }
            }
        }
    };
}

syscalls! {
    Accept = "accept",
    Recv = "recv",
    Send = "send",
    Select = "select",
    Poll = "poll",
    EpollWait = "epoll_wait",
    EpollCtl = "epoll_ctl",
    Kevent = "kevent",
    /// A kevent that only changes what is watched, as epoll_ctl does.
    KeventChange = "kevent_change",
    Sleep = "sleep",
}
