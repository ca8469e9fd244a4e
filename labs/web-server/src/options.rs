//! The command line that the four servers share.

use std::time::Duration;

use clap::{CommandFactory, FromArgMatches};

use crate::connection::Terms;
use crate::site::Site;
use crate::work::{self, Work};

/// What all of them can be told. Each flattens it into its own arguments.
#[derive(Clone, Debug, clap::Args)]
#[group(id = "web")] // or it would be `Options`, like the one that is flattened into it
pub struct Options {
    /// As every server of this course.
    #[command(flatten)]
    pub server: server::Options,

    /// How long a request takes: asleep (5s, 200ms), or on a core (cpu:200ms)
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    pub work: Work,

    /// How long a client may take for a request, from its connection or its last answer on, and for its answer
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = work::patience)]
    pub read_timeout: Duration,
}

impl Options {
    /// The pages. `crash_is_fatal`: see [`Site`].
    pub fn site(&self, crash_is_fatal: bool) -> Site {
        Site { work: self.work, crash_is_fatal }
    }

    /// How a connection is served.
    pub fn terms(&self, keep_alive: bool) -> Terms {
        Terms { read_timeout: self.read_timeout, keep_alive }
    }
}

/// The command line of a web server: its port is 8090 unless it says otherwise.
pub fn parse<A: CommandFactory + FromArgMatches>() -> A {
    let command = A::command().mut_arg("port", |port| port.default_value("8090"));
    let matches = command.get_matches();
    A::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}
