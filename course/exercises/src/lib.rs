//! The exercises of the course.
//!
//! An exercise is a folder beside this one's `src`: its text with hints, its solution as a patch, and for some of them files
//! to begin with. A reader works in a [`copy`], a small Cargo workspace of its own, so that nothing that is tried there can
//! break a test of the course. A [judge](Exercise::judge) builds the copy, runs it, and says done or not yet, and why.

use std::io;
use std::path::{Path, PathBuf};

use check::Failure;

pub mod copy;
mod judges;
pub mod text;
mod work;

pub use judges::exercises;
pub use work::{DOES_NOT_BUILD, Work, solve};

/// An exercise.
#[derive(Clone, Copy)]
pub struct Exercise {
    /// Its name, and that of its folder.
    pub name: &'static str,
    /// What the copy is made of.
    pub base: Base,
    /// The binary or example that the judge runs.
    pub program: Program,
    /// Whether it is the one to do in its chapter, if you do only one.
    pub first: bool,
    /// Tries the program. Whether it is there at all, and can be built, has been found out before.
    judge: fn(&Work) -> Result<(), Failure>,
}

/// What a copy is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// A package of the course: its manifest, its `src` and its `examples`.
    Package(&'static str),
    /// The manifest of a package, and nothing else but the files to begin with.
    Manifest(&'static str),
}

/// What is built and run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `src/main.rs`.
    Main,
    /// A file in `src/bin`.
    Binary(&'static str),
    /// A file in `examples`.
    Example(&'static str),
    /// The tests that the judge brings along: the files in `judge/`, put into `tests/`.
    Tests,
}

impl Exercise {
    /// The exercise of this name.
    ///
    /// # Errors
    /// There is none. The text lists those that the name may have meant.
    pub fn named(name: &str) -> io::Result<&'static Exercise> {
        exercises().iter().find(|exercise| exercise.name == name).ok_or_else(|| {
            let similar: Vec<_> = exercises()
                .iter()
                .map(|exercise| exercise.name)
                .filter(|known| known.contains(name) || name.contains(known))
                .collect();
            let list = match similar[..] {
                [] => "`cargo exercise list` shows all of them".to_owned(),
                _ => format!("there is {}", similar.join(", ")),
            };
            io::Error::other(format!("no exercise is called {name}: {list}"))
        })
    }

    /// Where its text, its solution and its files are.
    pub fn folder(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(self.name)
    }

    /// Builds what is in `copy` and tries it.
    ///
    /// # Errors
    /// It is not done yet: the text says why.
    pub fn judge(&self, copy: &Path) -> Result<(), Failure> {
        (self.judge)(&Work::build(self, copy)?)
    }
}

/// The root of the course's workspace.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}
