//! `cargo exercise`: lists the exercises, makes a copy to work in, judges it, gives hints.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use clap::{Parser, Subcommand};
use exercises::{Exercise, Program, copy, exercises, root, solve, text};

/// The exercises of the course: makes a copy to work in, says done or not yet and why, gives hints
#[derive(Parser)]
#[command(name = "cargo exercise", bin_name = "cargo exercise")]
struct Arguments {
    #[command(subcommand)]
    command: Command,

    /// Where your copies are; my-exercises in the course's folder if you do not say
    #[arg(long, value_name = "DIR", global = true)]
    folder: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Lists the exercises
    List,
    /// Makes a copy to work in, my-exercises/NAME, and says what is to be done
    Start {
        /// The exercise
        name: String,
    },
    /// Builds the copy, tries it, and says done, or not yet and why
    Check {
        /// The exercise; without a name, all that you have started
        name: Option<String>,
    },
    /// Gives the next hint
    Hint {
        /// The exercise
        name: String,
    },
    /// Shows a solution, as a patch
    Solution {
        /// The exercise
        name: String,
    },
    /// Tests the exercises themselves: what you begin with is not yet done, and the solution is
    Verify {
        /// Only exercises whose name contains TEXT (repeatable)
        #[arg(long, value_name = "TEXT")]
        only: Vec<String>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mine = Mine(arguments.folder.unwrap_or_else(|| root().join("my-exercises")));
    let prepared = client::raise_descriptor_limit();
    let outcome = prepared.and_then(|_| match arguments.command {
        Command::List => list(&mine),
        Command::Start { name } => start(&name, &mine),
        Command::Check { name: Some(name) } => check(&[Exercise::named(&name)?], &mine),
        Command::Check { name: None } => check_all(&mine),
        Command::Hint { name } => hint(&name, &mine),
        Command::Solution { name } => solution(&name),
        Command::Verify { only } => verify(&only),
    });
    client::exit_code(outcome)
}

/// Where a reader's copies are.
struct Mine(PathBuf);

impl Mine {
    fn copy(&self, exercise: &Exercise) -> PathBuf {
        self.0.join(exercise.name)
    }

    /// The copy, if there is one.
    fn started(&self, exercise: &Exercise) -> io::Result<PathBuf> {
        let name = exercise.name;
        let copy = Some(self.copy(exercise)).filter(|copy| copy.is_dir());
        copy.ok_or_else(|| {
            io::Error::other(format!("{name} is not started: `cargo exercise start {name}`"))
        })
    }
}

/// A path as its reader would type it: without the folder that they are in.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    path.strip_prefix(here).unwrap_or(&path).display().to_string()
}

/// Markdown for a terminal: without fences, and each link as its text and its address, as wide as the terminal.
fn plain(text: &str) -> String {
    let width = client::columns().unwrap_or(120).min(120);
    let mut in_code = false;
    let mut paragraphs = Vec::new();
    for paragraph in text.split("\n\n") {
        let is_code = in_code || paragraph.starts_with("```");
        in_code ^= paragraph.matches("```").count() % 2 == 1;
        paragraphs.push(if is_code {
            let lines = paragraph.lines().filter(|line| !line.starts_with("```"));
            lines.map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
        } else {
            let text = paragraph.replace('\n', " ").replace("](", " (").replace('[', "");
            textwrap::fill(&text, width)
        });
    }
    paragraphs.join("\n\n")
}

fn say(text: &str) -> io::Result<()> {
    client::printed(writeln!(io::stdout(), "{text}"))
}

fn list(mine: &Mine) -> io::Result<bool> {
    let mut heading = String::new();
    for exercise in exercises() {
        let text = text::read(exercise)?;
        let museum = exercise.name.starts_with("museum-");
        let its = if museum { "the bug museum" } else { &text.chapter };
        if its != heading {
            heading = its.to_owned();
            say(&heading)?;
        }
        let copy = mine.copy(exercise);
        let state = match (copy.is_dir(), copy.join(DONE).exists()) {
            (true, true) => "done",
            (true, false) => "started",
            (false, _) => "",
        };
        let first = if exercise.first { ">" } else { " " };
        let stars = "*".repeat(text.stars);
        say(&format!("{first} {state:7} {:19} {stars:3} {}", exercise.name, text.title))?;
    }
    say("\n> the one to do, if you do only one; `cargo exercise start NAME` begins")?;
    Ok(true)
}

/// A file in a copy that has been judged to be done.
const DONE: &str = ".done";

fn start(name: &str, mine: &Mine) -> io::Result<bool> {
    let exercise = Exercise::named(name)?;
    let folder = mine.copy(exercise);
    copy::make(exercise, &folder)?;
    let text = text::read(exercise)?;
    say(&format!("{}\n\n{}\n", text.title, plain(&text.task)))?;
    say(&format!("Your copy: {}. Then `cargo exercise check {name}`.", shown(&folder)))?;
    Ok(true)
}

fn check_all(mine: &Mine) -> io::Result<bool> {
    let started: Vec<_> =
        exercises().iter().filter(|exercise| mine.copy(exercise).is_dir()).collect();
    if started.is_empty() {
        return Err(io::Error::other("you have started none: `cargo exercise list` shows them"));
    }
    check(&started, mine)
}

fn check(exercises: &[&Exercise], mine: &Mine) -> io::Result<bool> {
    let mut all_done = true;
    for exercise in exercises {
        let copy = mine.started(exercise)?;
        let spinner = client::progress::spinner(&format!("{}: built and tried", exercise.name));
        let judged = exercise.judge(&copy);
        spinner.finish_and_clear();
        let line = match judged {
            Ok(()) => {
                fs::write(copy.join(DONE), "")?;
                format!("done     {}", exercise.name)
            }
            Err(reason) => {
                all_done = false;
                let _ = fs::remove_file(copy.join(DONE));
                let reason = reason.to_string().replace('\n', "\n         ");
                format!("not yet  {}: {reason}", exercise.name)
            }
        };
        say(&line)?;
    }
    Ok(all_done)
}

fn hint(name: &str, mine: &Mine) -> io::Result<bool> {
    let exercise = Exercise::named(name)?;
    let hints = text::read(exercise)?.hints;
    let seen = mine.started(exercise)?.join(".hints");
    let count = fs::read_to_string(&seen).map_or(0, |text| text.lines().count());
    let Some(hint) = hints.get(count) else {
        say(&format!("That was the last. `cargo exercise solution {name}` shows a solution."))?;
        say("The hints begin again with the first.")?;
        fs::remove_file(seen)?;
        return Ok(true);
    };
    say(&format!("Hint {} of {}\n\n{}", count + 1, hints.len(), plain(hint)))?;
    fs::write(seen, "seen\n".repeat(count + 1))?;
    Ok(true)
}

fn solution(name: &str) -> io::Result<bool> {
    let exercise = Exercise::named(name)?;
    say(&fs::read_to_string(exercise.folder().join("solution.patch"))?)?;
    Ok(true)
}

/// Whether each exercise is undone as it begins, and done when it is solved.
fn verify(only: &[String]) -> io::Result<bool> {
    let is_meant = |exercise: &&Exercise| {
        only.is_empty() || only.iter().any(|text| exercise.name.contains(text.as_str()))
    };
    let selected: Vec<_> = exercises().iter().filter(is_meant).collect();
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    // cargo builds one at a time, and the judges mostly wait.
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(exercise) = selected.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let verdict = verify_one(exercise);
                    let line = match &verdict {
                        Ok(reason) => {
                            let reason = reason.lines().next().unwrap_or_default();
                            format!("ok      {}: at first {reason}", exercise.name)
                        }
                        Err(error) => format!("WRONG   {}: {error}", exercise.name),
                    };
                    let _ = say(&line);
                    if verdict.is_err() {
                        wrong
                            .lock()
                            .unwrap_or_else(|poisoned| poisoned.into_inner())
                            .push(exercise.name);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap_or_default();
    say(&format!("{} exercises, {} wrong", selected.len(), wrong.len()))?;
    Ok(wrong.is_empty())
}

/// Why it is not yet done as it begins.
fn verify_one(exercise: &Exercise) -> io::Result<String> {
    // Always in the same place, so that what cargo keeps of it does not pile up.
    let copy = root().join("target/exercises-to-verify").join(exercise.name);
    match fs::remove_dir_all(&copy) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    copy::make(exercise, &copy)?;
    let reason = match exercise.judge(&copy) {
        Ok(()) => return Err(io::Error::other("it is done before it has begun")),
        Err(reason) => reason.to_string(),
    };
    // The judge's tests may be about something that is not there yet.
    if reason == exercises::DOES_NOT_BUILD && exercise.program != Program::Tests {
        return Err(io::Error::other("what one begins with does not build"));
    }
    solve(exercise, &copy)?;
    let judged = exercise.judge(&copy);
    judged.map_err(|reason| io::Error::other(format!("the solution is not yet done: {reason}")))?;
    Ok(reason)
}
