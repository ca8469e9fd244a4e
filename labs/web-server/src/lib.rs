//! A web server whose pages take five seconds, written in four ways. They differ in who waits.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`http`] | HTTP/1.1, bytes in, requests out: no I/O, no clock |
//! | [`site`] | the pages, and how long they take |
//! | [`work`] | the five seconds, slept or burnt |
//! | [`connection`] | one browser, served by a thread that may sleep (`web-sequential`, `web-fork`, `web-threads`) |
//! | [`pool`] | a bounded queue, and workers that come and go with it |
//! | [`sizing`] | when they come and when they go |
//! | [`reception`] | the event loop in front of the pool (`web-pool`) |
//! | [`status`] | the pool's last minute, as JSON and as a page |
//! | [`options`] | the command line that the four share |

pub mod connection;
pub mod http;
pub mod options;
pub mod pool;
pub mod reception;
pub mod site;
pub mod sizing;
pub mod status;
pub mod work;

pub use options::Options;
pub use site::Site;
