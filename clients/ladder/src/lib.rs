//! Every stage under the same clients, and what each of them cost.
//!
//! [`build`] builds the stages through cargo, [`measure`] runs one of them under N clients, [`table`] sets what was
//! measured side by side, [`report`] draws it, and [`claims`] re-measures what the course says, on a [`Bench`].
//! [`attack`] shows what hostile clients do to them; [`pictures`] makes the drawings that the chapters show.

use std::{env, fs, thread};

pub mod attack;
mod bench;
mod build;
pub mod claims;
mod measure;
mod picture;
pub mod pictures;
pub mod report;
mod runs;
mod stages;
mod table;
pub mod timeline;
mod trace;

pub use bench::Bench;
pub use build::{Executables, build};
use measure::stop;
pub use measure::{Measurement, Settings, abandon, measure};
pub use picture::Picture;
pub use stages::{LAB_SERVERS, STAGES, Stage, select, servers};
use table::note;
pub use table::{notes, table};

/// What the figures were measured on.
pub fn machine() -> String {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{} {}, {cores} cores", env::consts::OS, kernel.trim())
}
