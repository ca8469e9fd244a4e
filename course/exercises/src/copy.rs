//! The copy that a reader works in.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::{Base, Exercise, root};

/// What a solution may need of nix, so that nobody has to look for a feature.
const NIX_FEATURES: [&str; 13] = [
    "event", "feature", "fs", "mman", "net", "poll", "process", "resource", "sched", "signal",
    "socket", "time", "uio",
];

/// Makes a copy in `folder`, which must not exist yet.
///
/// # Errors
/// It exists, or cannot be written.
pub fn make(exercise: &Exercise, folder: &Path) -> io::Result<()> {
    if folder.exists() {
        let text = format!("{} is there already: delete it to begin anew", folder.display());
        return Err(io::Error::other(text));
    }
    let made = fs::create_dir_all(folder).and_then(|()| fill(exercise, folder));
    made.map_err(|error| {
        // Half a copy would be in the way of the next attempt.
        let _ = fs::remove_dir_all(folder);
        io::Error::other(format!("cannot make {}: {error}", folder.display()))
    })
}

fn fill(exercise: &Exercise, folder: &Path) -> io::Result<()> {
    let root = root().canonicalize()?;
    let (Base::Package(package) | Base::Manifest(package)) = exercise.base;
    let package = root.join(package);
    fs::write(folder.join("Cargo.toml"), manifest(exercise, &root, &package, folder)?)?;
    fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock"))?;
    fs::copy(root.join("rustfmt.toml"), folder.join("rustfmt.toml"))?;
    if matches!(exercise.base, Base::Package(_)) {
        for part in ["src", "examples"] {
            copy_folder(&package.join(part), &folder.join(part))?;
        }
    }
    copy_folder(&exercise.folder().join("begin"), folder)
}

/// Copies what is in a folder, if there is one.
pub(crate) fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    if !from.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// The package's manifest, made the root of a workspace: what it inherited from the course's workspace it inherits from itself.
fn manifest(exercise: &Exercise, root: &Path, package: &Path, folder: &Path) -> io::Result<String> {
    let workspace = table(&root.join("Cargo.toml"))?.remove("workspace");
    let mut workspace: Table =
        workspace.and_then(|value| value.try_into().ok()).unwrap_or_default();
    for unwanted in ["members", "exclude"] {
        workspace.remove(unwanted);
    }
    make_absolute(&mut workspace, root);

    let mut manifest = table(&package.join("Cargo.toml"))?;
    let has_library =
        matches!(exercise.base, Base::Package(_)) && package.join("src/lib.rs").is_file();
    let own = manifest.get_mut("package").and_then(Value::as_table_mut);
    let own = own.ok_or_else(|| io::Error::other("the manifest has no package"))?;
    own.remove("default-run"); // it has another name now, and the judge names what is to be run
    let original = own.insert("name".into(), exercise.name.into());
    // To cargo, packages of the same name and version in two places are the same package, if each place is a workspace. All
    // copies share a target directory, so one would be given the other's program.
    let mut place = DefaultHasher::new();
    folder.canonicalize()?.hash(&mut place);
    own.insert("version".into(), format!("0.1.0+{:016x}", place.finish()).into());
    if let (true, Some(Value::String(original))) = (has_library, original) {
        // The programs name the library, and go on naming it so.
        let mut library = Table::new();
        library.insert("name".into(), original.replace('-', "_").into());
        manifest.insert("lib".into(), library.into());
    }
    let absent: &[&str] = match exercise.base {
        Base::Package(_) => &["test", "bench"],
        Base::Manifest(_) => &["test", "bench", "bin", "example", "lib"],
    };
    for absent in absent {
        manifest.remove(*absent);
    }
    make_absolute(&mut manifest, package);
    let dependencies = manifest.entry("dependencies").or_insert_with(|| Table::new().into());
    if let Some(dependencies) = dependencies.as_table_mut() {
        let inherited = |features: &[&str]| {
            let mut table = Table::new();
            table.insert("workspace".into(), true.into());
            if !features.is_empty() {
                table.insert("features".into(), features.to_vec().into());
            }
            Value::from(table)
        };
        dependencies.insert("nix".into(), inherited(&NIX_FEATURES));
        for other in ["libc", "tracing"] {
            dependencies.entry(other).or_insert_with(|| inherited(&[]));
        }
    }
    manifest.insert("workspace".into(), workspace.into());
    toml::to_string_pretty(&manifest).map_err(io::Error::other)
}

fn table(path: &PathBuf) -> io::Result<Table> {
    fs::read_to_string(path)?.parse().map_err(io::Error::other)
}

/// Makes each `path = ` of a manifest absolute: the copy may be anywhere.
fn make_absolute(table: &mut Table, folder: &Path) {
    for (key, value) in table.iter_mut() {
        match value {
            Value::Table(inner) => make_absolute(inner, folder),
            Value::String(path) if key == "path" => {
                let absolute = folder.join(&*path);
                if absolute.is_dir() {
                    *path = absolute.canonicalize().unwrap_or(absolute).display().to_string();
                }
            }
            _ => {}
        }
    }
}
