//! The cases.

mod arguments;
mod backpressure;
mod concurrency;
mod descriptors;
mod endurance;
pub(crate) mod hints;
mod isolation;
mod lifecycle;
mod limits;
mod protocol;

mod statistics;

use crate::Case;

/// All cases, in the order in which they are run.
pub fn cases() -> &'static [Case] {
    const ALL: &[&[Case]] = &[
        protocol::CASES,
        isolation::CASES,
        concurrency::CASES,
        backpressure::CASES,
        endurance::CASES,
        lifecycle::CASES,
        descriptors::CASES,
        limits::CASES,
        arguments::CASES,
        statistics::CASES,
    ];
    static CASES: std::sync::OnceLock<Vec<Case>> = std::sync::OnceLock::new();
    CASES.get_or_init(|| ALL.iter().flat_map(|cases| cases.iter().copied()).collect())
}
