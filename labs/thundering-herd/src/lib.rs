//! A prefork server: several processes that wait for the same connections. Who wakes up when one arrives?
//!
//! | module | what it is |
//! | --- | --- |
//! | [`mode`] | nine ways to wait, a file each: read them side by side |
//! | [`app`], `lines` | what is done with a connection once it is accepted |
//! | [`clients`] | all connections of a worker that waits for many |
//! | [`worker`] | one of the processes, from fork to exit, and its account of itself |
//! | [`master`] | the process that forks them, replaces those that die, and ends them |
//! | [`lock`] | a lock in memory that processes share, for the modes that need one |
//! | [`scoreboard`] | what each worker does now, for other processes to see |
//! | `shared` | the memory of both |
//! | `shared_poller` | a poller for several threads, for the mode that needs one |
//! | [`command`] | the server's command line |
//! | [`experiment`] | all modes under the same connections, compared: the `herd` binary |

pub mod app;
pub mod clients;
pub mod command;
pub mod experiment;
mod lines;
pub mod lock;
pub mod master;
pub mod mode;
pub mod scoreboard;
mod shared;
mod shared_poller;
pub mod worker;

pub use app::App;
pub use mode::Mode;
