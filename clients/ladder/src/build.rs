//! The stages' executables, from cargo.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// Where each target's executable is, by the target's name.
pub type Executables = HashMap<String, PathBuf>;

/// Builds those of `targets` that the workspace has, and returns where their executables are. cargo's own messages
/// go to stderr.
///
/// A target is a package with a binary of its name, or `package/example`.
///
/// # Errors
/// cargo cannot be run. A target that does not build is only missing from what is returned.
pub fn build(targets: &[&str], profile: &str) -> io::Result<Executables> {
    let metadata = cargo(&["metadata", "--no-deps", "--format-version", "1"])
        .stderr(Stdio::inherit())
        .output()?;
    let metadata: Value = serde_json::from_slice(&metadata.stdout)?;
    let empty = Vec::new();
    let packages = metadata["packages"].as_array().unwrap_or(&empty);
    let is_member = |name: &str| packages.iter().any(|package| package["name"] == name);

    let mut command = cargo(&["build", "--keep-going", "--message-format=json-render-diagnostics"]);
    command.args(["--profile", profile]);
    let mut examples = false;
    for target in targets {
        let (package, example) = target.split_once('/').unwrap_or((target, ""));
        if !is_member(package) {
            continue;
        }
        command.args(["-p", package]);
        if !example.is_empty() {
            command.args(["--example", example]);
            examples = true;
        }
    }
    if examples {
        command.arg("--bins"); // which goes without saying only as long as nothing else is said
    }
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut executables = Executables::new();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            // Cargo's documentation, "External tools": one JSON object a line; others may print lines of their own.
            let Ok(message) = serde_json::from_str::<Value>(&line?) else { continue };
            if let (Some(path), Some(name)) =
                (message["executable"].as_str(), message["target"]["name"].as_str())
            {
                executables.insert(name.to_owned(), PathBuf::from(path));
            }
        }
    }
    child.wait()?;
    Ok(executables)
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
