//! What a worker does with a connection once it is accepted. The lab's question ends there, but a server must do more.

use std::io::{self, Read, Write};
use std::process;

use clap::ValueEnum;
use peer::Outbox;
use protocol::{GREETING, Session};
use server::Stream;
use step6_epoll_kqueue::{Event, Interest};
use tracing::info;

use crate::lines::Lines;

/// What the workers do for their clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum App {
    /// Print each line that a client sends: `PID received: msg001`
    Print,
    /// Tell the client which process serves it, and close
    Pid,
    /// The course's echo protocol
    Echo,
    /// Send each line that a client sends to the other clients of the same worker
    Chat,
}

impl App {
    /// Its name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Serves one client to the end; every call may sleep. The stream has logged what went wrong.
    pub fn serve(self, stream: Stream) {
        let mut input = vec![0; INPUT];
        let Ok(mut client) = Client::new(self, stream) else { return };
        while client.interest() != Interest::NONE {
            if client.receive(&mut input, |_| ()).is_err() {
                return;
            }
        }
    }
}

/// The most that one recv takes: 64 KiB.
pub(crate) const INPUT: usize = 64 * 1024;

/// One client of an app, blocking or not.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: Stream,
    app: App,
    session: Session,
    lines: Lines,
    outbox: Outbox,
    /// It will send no more, and stays only until it has what it is owed.
    pub(crate) leaving: bool,
}

impl Client {
    /// How much may wait for a client that does not read. A client that is owed more is disconnected, as by IRC
    /// servers.
    const HIGH_WATER_MARK: usize = 64 * 1024;

    /// A client has connected: sends it the app's first words, if there are any.
    ///
    /// # Errors
    /// It is gone already.
    pub(crate) fn new(app: App, stream: Stream) -> io::Result<Self> {
        let mut client = Client {
            stream,
            app,
            session: Session::new(),
            lines: Lines::default(),
            outbox: Outbox::default(),
            leaving: app == App::Pid,
        };
        match app {
            App::Echo => client.send(&[GREETING])?,
            App::Pid => client.send(format!("{}\n", process::id()).as_bytes())?,
            App::Print | App::Chat => {}
        }
        Ok(client)
    }

    /// What it waits for. It is read while it is owed nothing; in a chat always, since others decide what it is owed.
    pub(crate) fn interest(&self) -> Interest {
        let read = !self.leaving && (self.app == App::Chat || self.outbox.is_empty());
        Interest { read, write: !self.outbox.is_empty() }
    }

    /// The client may have sent something, or may take more of what it is owed.
    ///
    /// # Errors
    /// Would-block, or its end.
    pub(crate) fn on_ready(
        &mut self,
        event: Event,
        input: &mut [u8],
        tell: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        if event.writable {
            self.flush()?;
        }
        if event.readable && self.interest().read {
            self.receive(input, tell)?;
        }
        Ok(())
    }

    /// What it waits for, after an attempt with this outcome. Would-block is not an error.
    ///
    /// # Errors
    /// The attempt has failed; or the client waits for nothing any more, and is over.
    pub(crate) fn then(&self, outcome: io::Result<()>) -> io::Result<Interest> {
        match outcome {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ if self.interest() == Interest::NONE => Err(io::ErrorKind::NotConnected.into()),
            _ => Ok(self.interest()),
        }
    }

    /// The client may have sent something: receives once, and does what the app does. `tell` gets the lines for the
    /// others.
    ///
    /// # Errors
    /// Would-block, or its end.
    pub(crate) fn receive(&mut self, input: &mut [u8], tell: impl FnMut(&[u8])) -> io::Result<()> {
        let received = self.stream.read(input)?;
        self.leaving = received == 0;
        match self.app {
            App::Echo => {
                let mut reply = Vec::new();
                self.session.receive(&input[..received], &mut reply);
                self.send(&reply)?;
            }
            App::Print => self.hear(&input[..received], print),
            App::Chat => self.hear(&input[..received], tell),
            App::Pid => {}
        }
        Ok(())
    }

    fn hear(&mut self, said: &[u8], mut on_line: impl FnMut(&[u8])) {
        self.lines.split(said, &mut on_line);
        if self.leaving {
            self.lines.finish(on_line);
        }
    }

    /// Sends `bytes`, now or after what the client is owed already.
    ///
    /// # Errors
    /// Its end; or it is owed too much.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.outbox.send(&mut self.stream, bytes)?;
        if self.app == App::Chat && self.outbox.len() > Self::HIGH_WATER_MARK {
            info!("peer {} does not read what it is owed", self.stream.name());
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    /// Sends what it is owed.
    ///
    /// # Errors
    /// Its end.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.outbox.flush(&mut self.stream)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.flush();
    }
}

fn print(line: &[u8]) {
    let line = String::from_utf8_lossy(line.trim_ascii_end());
    // One write for the whole line: a pipe keeps short writes of several processes apart (pipe(7), PIPE_BUF).
    let _ = io::stdout().write_all(format!("{} received: {line}\n", process::id()).as_bytes());
}
