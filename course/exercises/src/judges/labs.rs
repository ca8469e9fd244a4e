//! The exercises of the labs.

use crate::Exercise;

pub(super) const EXERCISES: &[Exercise] = &[];
