//! The command line that every server understands.

use std::path::PathBuf;

/// What every stage can be told. A stage flattens it into its own arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The port to listen on; 0 lets the kernel pick a free one
    #[arg(default_value_t = 8080)]
    pub port: u16,

    /// The address to listen on; anything but loopback lets the network in
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,

    /// How many connections may wait, established, for accept (the kernel caps it: net.core.somaxconn)
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(i32).range(1..))]
    pub backlog: i32,

    /// Log every call that can wait
    #[arg(short, long)]
    pub verbose: bool,

    /// Log nothing but warnings
    #[arg(short, long)]
    pub quiet: bool,

    /// Write every call and callback to FILE as Chrome trace events (open it in Perfetto)
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,

    /// Stop, as on SIGTERM, when the first client has left
    #[arg(long)]
    pub once: bool,

    /// Print the summary as one JSON object on stdout at the end
    #[arg(long)]
    pub stats: bool,
}

impl Options {
    /// The same options, with every call that can wait logged, whether or not that was asked for.
    pub fn verbose(&self) -> Self {
        Options { verbose: true, ..self.clone() }
    }
}
