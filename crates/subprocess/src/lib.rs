//! Processes as their parent sees them.
//!
//! | module | what it is |
//! | --- | --- |
//! | `server` | a server under test: started on a port of its own, watched, stopped |
//! | `figures` | what /proc says of it while it runs |
//! | `usage` | what it has used, when it has ended |
//! | `command` | commands that end by themselves, and pipes that are always read |
//! | `terminal` | a terminal for a program under test |
//! | [`children`] | processes that were forked: how one ended, an end for all |

pub mod children;
mod command;
mod figures;
mod server;
mod terminal;
mod usage;

pub use command::run;
pub use server::{Finished, Server, free_address, is_there, kill_all, stop_all};
pub use terminal::{AtTerminal, Terminal};
pub use usage::Usage;
