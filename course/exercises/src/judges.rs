//! The exercises, and how each is judged.

use std::sync::OnceLock;

use crate::Exercise;

mod labs;
mod museum;
mod steps;

/// All of them, in the order of the chapters.
pub fn exercises() -> &'static [Exercise] {
    const ALL: [&[Exercise]; 3] = [steps::EXERCISES, labs::EXERCISES, museum::EXERCISES];
    static EXERCISES: OnceLock<Vec<Exercise>> = OnceLock::new();
    EXERCISES.get_or_init(|| ALL.concat())
}
