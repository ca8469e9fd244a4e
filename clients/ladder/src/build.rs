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
/// A target is `package/binary`, or `package/example`.
///
/// # Errors
/// cargo cannot be run. A target that does not build is only missing from what is returned.
pub fn build(targets: &[String], profile: &str) -> io::Result<Executables> {
    let metadata = cargo(&["metadata", "--no-deps", "--format-version", "1"])
        .stderr(Stdio::inherit())
        .output()?;
    let metadata: Value = serde_json::from_slice(&metadata.stdout)?;

    let mut command = cargo(&["build", "--keep-going", "--message-format=json-render-diagnostics"]);
    command.args(["--profile", profile]);
    for target in targets {
        if let Some((package, name)) = target.split_once('/')
            && let Some(option) = option_for(&metadata, package, name)
        {
            command.args(["-p", package, option, name]);
        }
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

/// The option that makes cargo build it; `None` if the workspace has no such thing.
fn option_for(metadata: &Value, package: &str, name: &str) -> Option<&'static str> {
    let packages = metadata["packages"].as_array()?;
    let targets = packages.iter().find(|found| found["name"] == package)?["targets"].as_array()?;
    // A library may have the name of its package's binary.
    targets.iter().filter(|target| target["name"] == name).find_map(|target| {
        match target["kind"][0].as_str()? {
            "bin" => Some("--bin"),
            "example" => Some("--example"),
            _ => None,
        }
    })
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
