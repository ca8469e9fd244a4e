//! What a judge has to do with: the program that was built, and ways to try it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use check::{Case, Failure, Promise, Target};
use serde_json::Value;
use subprocess::Server;

use crate::copy::copy_folder;
use crate::{Exercise, Program, root};

/// What a judge says of a program that cargo refuses.
pub const DOES_NOT_BUILD: &str = "it does not build";

/// The program that a reader has written, built.
pub struct Work {
    folder: PathBuf,
    executable: PathBuf,
}

impl Work {
    /// Builds the copy. All copies share a target directory, so that what they rest on is built once.
    ///
    /// # Errors
    /// It is not there, or does not build. What cargo has to say of that goes to our stderr.
    pub(crate) fn build(exercise: &Exercise, copy: &Path) -> Result<Self, Failure> {
        if !copy.join("Cargo.toml").is_file() {
            let text = format!(
                "there is no copy in {}: `cargo exercise start {}` makes it",
                copy.display(),
                exercise.name
            );
            return Err(Failure(text));
        }
        let mut cargo = Command::new("cargo");
        cargo.arg(if exercise.program == Program::Tests { "test" } else { "build" });
        let (kind, program) = match exercise.program {
            Program::Main => ("--bin", exercise.name),
            Program::Binary(name) => ("--bin", name),
            Program::Example(name) => ("--example", name),
            Program::Tests => {
                // The judge's own, whatever has become of them in the copy.
                copy_folder(&exercise.folder().join("judge"), &copy.join("tests"))?;
                cargo.arg("--no-run");
                ("--test", "judge")
            }
        };
        cargo.args([kind, program]);
        // Until the program is in the copy: the next exercise to be built may have one of the same name.
        static BUILDING: Mutex<()> = Mutex::new(());
        let building = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
        let output = cargo
            .args(["--quiet", "--message-format", "json-render-diagnostics", "--manifest-path"])
            .arg(copy.join("Cargo.toml"))
            .env("CARGO_TARGET_DIR", root().join("target/exercises"))
            .env("CARGO_INCREMENTAL", "0")
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| Failure(format!("cargo cannot be run: {error}")))?;
        if !output.status.success() {
            return Err(Failure(DOES_NOT_BUILD.to_owned()));
        }
        let messages = String::from_utf8_lossy(&output.stdout);
        let executable = messages
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            // Tests have the package's programs built as well.
            .filter(|message| message["target"]["name"] == program)
            .find_map(|message| message["executable"].as_str().map(PathBuf::from))
            .ok_or_else(|| Failure("cargo built no program".to_owned()))?;
        let own = copy.join("target");
        fs::create_dir_all(&own)?;
        let program = own.join(executable.file_name().unwrap_or_default());
        let _ = fs::remove_file(&program);
        fs::copy(&executable, &program)?;
        drop(building);
        Ok(Work { folder: copy.to_owned(), executable: program })
    }

    /// The folder of the copy.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The program.
    pub fn executable(&self) -> &Path {
        &self.executable
    }

    /// Starts it as a server: on a free port, with further arguments.
    ///
    /// # Errors
    /// It does not listen.
    pub fn start(&self, arguments: &[&str]) -> Result<Server, Failure> {
        Ok(Server::start(&self.executable, [&["0"], arguments].concat())?)
    }

    /// It still keeps these promises, started with these arguments.
    ///
    /// # Errors
    /// The first case that fails.
    pub fn keeps(&self, promises: &[Promise], arguments: &[&str]) -> Result<(), Failure> {
        let program = self.executable.display().to_string();
        let target = Target::stage(&program, arguments);
        let is_promised =
            |case: &&Case| promises.contains(&case.promise) && case.obstacle(&target).is_none();
        for case in check::cases().iter().filter(is_promised) {
            case.run(&target).map_err(|failure| {
                Failure(format!("the case `{}` of check fails: {failure}", case.name))
            })?;
        }
        Ok(())
    }

    /// Runs the judge's tests.
    ///
    /// # Errors
    /// One fails. The text has the first lines of its output.
    pub fn passes_its_tests(&self) -> Result<(), Failure> {
        let none: [OsString; 0] = [];
        let output = subprocess::run(&self.executable, none, std::time::Duration::from_secs(60))?;
        if output.status.success() {
            return Ok(());
        }
        let printed = String::from_utf8_lossy(&output.stdout);
        let reason = printed.lines().skip_while(|line| !line.contains("panicked at")).take(4);
        Err(Failure(format!(
            "a test of the judge fails:\n{}",
            reason.collect::<Vec<_>>().join("\n")
        )))
    }
}

/// Applies the solution to a copy.
///
/// # Errors
/// The patch does not fit.
pub fn solve(exercise: &Exercise, copy: &Path) -> io::Result<()> {
    let patch = fs::read_to_string(exercise.folder().join("solution.patch"))?;
    for part in split(&patch) {
        let patch = diffy::Patch::from_str(part).map_err(io::Error::other)?;
        let name = patch.modified().and_then(|name| name.strip_prefix("b/"));
        let path = copy.join(name.ok_or_else(|| io::Error::other("the patch names no file"))?);
        let before = fs::read_to_string(&path).unwrap_or_default();
        let after = diffy::apply(&before, &patch)
            .map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, after)?;
    }
    Ok(())
}

/// The patches of the single files.
fn split(patch: &str) -> Vec<&str> {
    let mut starts: Vec<_> = patch.match_indices("--- ").map(|(at, _)| at).collect();
    starts.retain(|&at| at == 0 || patch[..at].ends_with('\n'));
    starts.push(patch.len());
    starts.windows(2).map(|pair| &patch[pair[0]..pair[1]]).collect()
}
