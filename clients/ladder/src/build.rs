//! The stages' executables, from cargo.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use serde_json::Value;

use crate::servers;

/// Where each target's executable is, by the target's name.
pub type Executables = HashMap<String, PathBuf>;

/// Builds those of `targets` that the workspace has, and returns where their executables are. cargo's own messages
/// go to stderr.
///
/// A target is `package/binary`, or `package/example`.
///
/// # Errors
/// cargo cannot be run, or does not know what to do. A target that does not build is only missing from what is returned.
pub fn build(targets: &[String], profile: &str) -> io::Result<Executables> {
    let metadata = cargo(&["metadata", "--no-deps", "--format-version", "1"])
        .stderr(Stdio::inherit())
        .output()?;
    if !metadata.status.success() {
        return Err(io::Error::other("cargo cannot read the workspace; its message is above"));
    }
    let metadata: Value = serde_json::from_slice(&metadata.stdout)?;

    // Always all packages, whatever is built of them. A dependency gets the features that the named packages want from
    // it, all together: with other packages it would be another build of nix, and of everything on top of it. The
    // ladder itself is one of them: what was built for it need not be built again for a server.
    let mut binaries = Vec::new();
    let mut executables = Executables::new();
    for target in targets {
        let Some((package, name)) = target.split_once('/') else { continue };
        match kind(&metadata, package, name) {
            Some("bin") => binaries.extend(["--bin", name]),
            // Alone: an example is built with all that its package's tests need, and that wants other features again.
            Some("example") => {
                executables.extend(run(profile, &["-p", package, "--example", name])?);
            }
            _ => {}
        }
    }
    if !binaries.is_empty() {
        let present = packages().filter(|package| is_in(&metadata, package));
        let packages = present.flat_map(|package| ["-p", package]);
        executables.extend(run(profile, &packages.chain(binaries).collect::<Vec<_>>())?);
    }
    Ok(executables)
}

/// Runs cargo build with these arguments.
fn run(profile: &str, arguments: &[&str]) -> io::Result<Executables> {
    let mut command = cargo(&["build", "--keep-going", "--message-format=json-render-diagnostics"]);
    command.args(["--profile", profile]).args(arguments).stdout(Stdio::piped());
    let mut child = start(&mut command)?;
    let (mut executables, mut has_begun) = (Executables::new(), false);
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            // Cargo's documentation, "External tools": one JSON object a line; others may print lines of their own.
            let Ok(message) = serde_json::from_str::<Value>(&line?) else { continue };
            has_begun = true;
            if let (Some(path), Some(name)) =
                (message["executable"].as_str(), message["target"]["name"].as_str())
            {
                executables.insert(name.to_owned(), PathBuf::from(path));
            }
        }
    }
    let status = child.wait()?;
    *building() = None;
    // If the compiler finds an error, cargo says at least that in its messages.
    if !status.success() && !has_begun {
        return Err(io::Error::other("cargo cannot build; its message is above"));
    }
    Ok(executables)
}

/// The packages that the ladder builds from, and its own.
fn packages() -> impl Iterator<Item = &'static str> {
    let mut packages: Vec<_> = servers().map(|stage| stage.package).collect();
    packages.extend(["web-server", env!("CARGO_PKG_NAME")]);
    packages.dedup(); // async-await has two servers
    packages.into_iter()
}

fn is_in(metadata: &Value, package: &str) -> bool {
    let packages = metadata["packages"].as_array();
    packages.is_some_and(|packages| packages.iter().any(|found| found["name"] == package))
}

/// The cargo that is building now. It leads a process group, in which its compilers are too.
static BUILDING: Mutex<Option<Pid>> = Mutex::new(None);

fn building() -> MutexGuard<'static, Option<Pid>> {
    BUILDING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start(command: &mut Command) -> io::Result<Child> {
    let mut building = building();
    let child = command.process_group(0).spawn()?;
    *building = Some(Pid::from_raw(child.id() as i32));
    Ok(child)
}

/// Ends a build. The program must end at once: no other build can be started, and this one does not return.
pub(crate) fn abandon_build() {
    let building = building();
    if let Some(cargo) = *building {
        let _ = signal::killpg(cargo, Signal::SIGTERM);
    }
    std::mem::forget(building);
}

/// What it is: "bin" or "example"; `None` if the workspace has no such thing.
fn kind<'a>(metadata: &'a Value, package: &str, name: &str) -> Option<&'a str> {
    let packages = metadata["packages"].as_array()?;
    let targets = packages.iter().find(|found| found["name"] == package)?["targets"].as_array()?;
    // A library may have the name of its package's binary.
    let named = targets.iter().filter(|target| target["name"] == name);
    named
        .filter_map(|target| target["kind"][0].as_str())
        .find(|kind| ["bin", "example"].contains(kind))
}

/// The cargo that runs us, on the workspace that we are part of.
fn cargo(arguments: &[&str]) -> Command {
    let mut command =
        Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.args(arguments).stdin(Stdio::null());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    if root.is_dir() {
        command.current_dir(root);
    }
    command
}
