//! The command line that the four servers share.

use std::time::Duration;

use clap::{CommandFactory, FromArgMatches};

use crate::connection::Terms;
use crate::site::Site;
use crate::work::{self, Work};

/// The options of all four servers. Each flattens them into its own arguments.
#[derive(Clone, Debug, clap::Args)]
#[group(id = "web")] // the default name is `Options`, which the flattened group has already
pub struct Options {
    /// The options of every server of this course.
    #[command(flatten)]
    pub server: server::Options,

    /// How long a request takes: asleep (5s, 200ms), or on a core (cpu:200ms)
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    pub work: Work,

    /// How long a client may take to send a request (from its connection or its last answer on), and to take its answer
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = work::patience)]
    pub read_timeout: Duration,
}

impl Options {
    /// The pages. For `crash_is_fatal` see [`Site`].
    pub fn site(&self, crash_is_fatal: bool) -> Site {
        Site { work: self.work, crash_is_fatal }
    }

    /// How a connection is served.
    pub fn terms(&self, keep_alive: bool) -> Terms {
        Terms { read_timeout: self.read_timeout, keep_alive }
    }
}

/// Reads the command line of a web server. The default port is 8090.
pub fn parse<A: CommandFactory + FromArgMatches>() -> A {
    let command = A::command()
        .mut_arg("port", |port| port.default_value("8090"))
        .mut_arg("max_clients", |limit| limit.hide(true).value_parser(not_here::<u32>))
        .mut_arg("idle_timeout", |limit| limit.hide(true).value_parser(not_here::<Duration>));
    let matches = command.get_matches();
    A::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// A connection may be served by another process here, which the limits of the echo servers know nothing of.
fn not_here<T>(_: &str) -> Result<T, String> {
    Err("web servers have --read-timeout, and the pool --max-connections".to_owned())
}
