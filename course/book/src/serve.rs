//! A server for the site, for one reader on the same machine: step 2 of the course, with files.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

/// Serves `folder` on the loopback interface until the process is ended. Port 0 means any free one.
pub(crate) fn serve(folder: &Path, port: u16) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port))
        .with_context(|| format!("cannot listen on port {port}"))?;
    println!("http://{}/", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream.context("cannot accept")?;
        let folder = folder.to_owned();
        // A reader who went away is no reason to stop.
        thread::spawn(move || answer(stream, &folder));
    }
    Ok(())
}

/// What is said to a request.
#[derive(Debug, PartialEq)]
enum Answer {
    /// A file, or if it is not there the page that says so.
    File(PathBuf),
    /// A folder has its slash at the end, or its page's links would lead astray.
    Moved(String),
    NotFound,
}

/// Answers one request, and closes: on this machine a new connection costs nothing.
fn answer(mut stream: TcpStream, folder: &Path) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut request = String::new();
    let mut lines = BufReader::new((&stream).take(64 * 1024));
    lines.read_line(&mut request)?;
    // The headers change nothing, but they must be read: closing with unread input is a reset.
    let mut header = String::from("-");
    while !header.trim().is_empty() {
        header.clear();
        lines.read_line(&mut header)?;
    }

    let mut words = request.split(' ');
    let method = words.next().unwrap_or_default();
    let (status, headers, body) = match file_of(folder, words.next().unwrap_or_default()) {
        _ if method != "GET" && method != "HEAD" => {
            ("405 Method Not Allowed", "Allow: GET, HEAD\r\n".to_owned(), Vec::new())
        }
        Answer::Moved(to) => ("301 Moved Permanently", format!("Location: {to}\r\n"), Vec::new()),
        Answer::File(file) if file.is_file() => ("200 OK", media_type(&file), fs::read(&file)?),
        Answer::File(_) | Answer::NotFound => {
            let page = folder.join("404.html");
            ("404 Not Found", media_type(&page), fs::read(&page).unwrap_or_default())
        }
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    if method != "HEAD" {
        stream.write_all(&body)?;
    }
    Ok(())
}

/// The file that an address names, if it is below the folder. The book's own names need no escapes.
fn file_of(folder: &Path, address: &str) -> Answer {
    let path = address.split(['?', '#']).next().unwrap_or_default();
    let Some(below) = path.strip_prefix('/') else { return Answer::NotFound };
    if !Path::new(below).components().all(|part| matches!(part, Component::Normal(_))) {
        return Answer::NotFound;
    }
    let file = folder.join(below);
    match file.is_dir() {
        true if below.is_empty() || below.ends_with('/') => Answer::File(file.join("index.html")),
        true => Answer::Moved(format!("/{below}/")),
        false => Answer::File(file),
    }
}

fn media_type(file: &Path) -> String {
    let media_type = match file.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("woff2") => "font/woff2",
        _ => "application/octet-stream",
    };
    format!("Content-Type: {media_type}\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_does_not_leave_the_folder() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let file = |name: &str| Answer::File(folder.join(name));
        assert_eq!(file_of(folder, "/Cargo.toml?x#y"), file("Cargo.toml"));
        assert_eq!(file_of(folder, "/"), file("index.html"));
        assert_eq!(file_of(folder, "/src/"), file("src/index.html"));
        assert_eq!(file_of(folder, "/src"), Answer::Moved("/src/".to_owned()));
        assert_eq!(file_of(folder, "/../Cargo.toml"), Answer::NotFound);
        assert_eq!(file_of(folder, "//etc/passwd"), Answer::NotFound);
        assert_eq!(file_of(folder, "Cargo.toml"), Answer::NotFound);
    }
}
