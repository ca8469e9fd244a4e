//! The pictures of the course, as they are drawn from what was recorded.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn ladder(arguments: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ladder")).args(arguments).output().unwrap()
}

fn committed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../course/pictures")
}

/// A folder that is not there yet, and that is gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        Folder(std::env::temp_dir().join(format!("ladder-{name}-{}", std::process::id())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The drawings in a folder, by their names.
fn drawings(folder: &Path) -> BTreeMap<String, String> {
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let svgs = files.filter(|path| path.extension().is_some_and(|end| end == "svg"));
    svgs.map(|path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, fs::read_to_string(&path).unwrap())
    })
    .collect()
}

#[test]
fn the_pictures_are_what_the_recordings_beside_them_say() {
    let drawn = Folder::new("drawn");
    let recorded = committed().join("recorded");
    let output =
        ladder(&["--pictures".as_ref(), &drawn.0, "--recorded".as_ref(), recorded.as_ref()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (drawn, committed) = (drawings(&drawn.0), drawings(&committed()));
    assert_eq!(drawn.keys().collect::<Vec<_>>(), committed.keys().collect::<Vec<_>>());
    for (name, picture) in &drawn {
        assert!(
            *picture == committed[name],
            "{name} is another one now: cargo run -p ladder -- --pictures course/pictures --recorded course/pictures/recorded"
        );
    }
}

#[test]
fn a_picture_needs_nothing_else_and_says_what_it_is() {
    let pictures = drawings(&committed());
    assert_eq!(pictures.len(), ladder::STAGES.len() + 4);
    for (name, picture) in pictures {
        assert!(
            picture.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 800 ")
        );
        for part in ["<title id=", "<desc id=", "role=\"img\"", "(prefers-color-scheme: dark)"] {
            assert!(picture.contains(part), "{name} has no {part}");
        }
        for part in ["<script", "href", "url(", "@import", "NaN", "inf"] {
            assert!(!picture.contains(part), "{name} has {part}");
        }
        assert!(picture.matches("http").count() == 1, "{name}: no address but the namespace's");
        assert!(picture.len() < 64 * 1024, "{name}: {} bytes", picture.len());
        is_balanced(&name, &picture);
    }
}

/// Whether each element ends: what HTML forgives, XML does not.
fn is_balanced(name: &str, picture: &str) {
    let mut open = Vec::new();
    for tag in picture.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').unwrap_or_else(|| panic!("{name}: <{tag}"));
        let element = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(element), "{name}");
        } else if !tag.ends_with('/') {
            open.push(element);
        }
    }
    assert!(open.is_empty(), "{name}: {open:?}");
}

#[test]
fn a_recording_that_is_missing_is_one_line_and_exit_code_1() {
    let (drawn, nothing) = (Folder::new("not-drawn"), Folder::new("nothing"));
    let output = ladder(&["--pictures".as_ref(), &drawn.0, "--recorded".as_ref(), &nothing.0]);
    assert_eq!(output.status.code(), Some(1));
    let file = nothing.0.join("step1-sequential.json");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.starts_with(&format!("error: cannot read {}: ", file.display())), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

#[test]
fn pictures_are_always_of_the_same_run() {
    let folder = Folder::new("never");
    for option in [["-n", "3"], ["--only", "5"], ["--delay", "0"], ["--report", "x"]] {
        let option = option.map(Path::new);
        let output = ladder(&["--pictures".as_ref(), &folder.0, option[0], option[1]]);
        assert_eq!(output.status.code(), Some(2), "{option:?}");
    }
    let output = ladder(&["--recorded".as_ref(), &folder.0]);
    assert_eq!(output.status.code(), Some(2));
    assert!(!folder.0.exists());
}
