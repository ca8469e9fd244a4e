//! What a program has measured so far: it is printed if the program is stopped before its end.
//!
//! The handler of the signal ends the program, and does not wait until the measuring notices: a measurement may take
//! minutes.

use std::io::{self, IsTerminal, Write};
use std::process;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The exit code of a program that was stopped: 128 and the number of SIGINT, as a shell reports it.
pub const STOPPED: u8 = 130;

static TEXT: Mutex<String> = Mutex::new(String::new());

fn text() -> MutexGuard<'static, String> {
    TEXT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps `so_far`: what is to be printed if the program is stopped now.
pub fn keep(so_far: String) {
    *text() = so_far;
}

/// Prints a result that is whole, in place of what was kept; returns what `print` returns. A signal that comes meanwhile
/// waits until it is printed, and if one came before, this does not return.
pub fn complete<T>(print: impl FnOnce() -> T) -> T {
    let mut text = text();
    text.clear();
    print()
}

/// Ends the program in the handler of a signal: `end` ends all that must not be left running, then what was kept is
/// printed, and "stopped".
pub fn stopped(end: impl FnOnce()) -> ! {
    // From here on the program's own threads can print neither a result nor that what they measured is gone.
    let text = text();
    end();
    clear_line();
    // Whatever comes of the writing: the program ends.
    let mut stdout = io::stdout();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    let _ = writeln!(io::stderr(), "stopped");
    process::exit(STOPPED.into())
}

/// Removes what is on the terminal's current line: a progress bar, and the `^C` of whoever stops us.
fn clear_line() {
    if io::stderr().is_terminal() {
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
}
