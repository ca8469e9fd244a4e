//! The exercises of the museum.

use crate::Exercise;

pub(super) const EXERCISES: &[Exercise] = &[];
