//! The poller of step 6. Step 7 builds on it.

mod poller;

pub use poller::{Event, Interest, Poller};
