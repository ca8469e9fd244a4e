//! Processes as their parent sees them.
//!
//! | module | what it is |
//! | --- | --- |
//! | `server` | a server under test: started on a port of its own, watched, stopped |
//! | `figures` | what /proc says of it while it runs |
//! | `usage` | what it has used, when it has ended |
//! | `command` | commands that end by themselves, and pipes that are always read |
//! | [`children`] | processes that were forked: how one ended, an end for all |

pub mod children;
mod command;
mod figures;
mod server;
mod usage;

pub use command::run;
pub use server::{Finished, Server, free_address, kill_all};
pub use usage::Usage;
