//! The poller of step 6, for whoever builds on it: step 7 does.

mod poller;

pub use poller::{Event, Interest, Poller};
