//! What every client shares and no client teaches: whom to connect to, how many connections it may have, and how an
//! error reads.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// All addresses of `host`.
///
/// # Errors
/// It has none: the text names it.
pub fn resolve(host: &str, port: u16) -> io::Result<impl Iterator<Item = SocketAddr>> {
    (host, port).to_socket_addrs().map_err(|error| {
        let text = describe(&error);
        let reason = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
        io::Error::new(error.kind(), format!("cannot resolve {host}: {reason}"))
    })
}

/// Of the addresses of `host` (`localhost` often has two) the first that somebody listens on. It takes a connection to
/// find out.
///
/// # Errors
/// It has no address, or nobody listens there.
pub fn listening_address(host: &str, port: u16) -> io::Result<SocketAddr> {
    resolve(host, port)?
        .find(|address| TcpStream::connect(address).is_ok())
        .ok_or_else(|| io::Error::other(format!("nobody listens on {host}:{port}")))
}

/// Raises this process's limit of open files as far as it may, and with it that of the processes it starts; what it is
/// then. A descriptor for each connection: the usual limit is 1024.
///
/// # Errors
/// What setrlimit(2) reports.
pub fn raise_descriptor_limit() -> io::Result<usize> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    // macOS has no limit here and means OPEN_MAX (setrlimit(2) there).
    let limit = if cfg!(target_os = "macos") { hard.min(10_240) } else { hard.min(1 << 20) };
    setrlimit(Resource::RLIMIT_NOFILE, limit, hard)?;
    Ok(usize::try_from(limit).unwrap_or(usize::MAX))
}

/// What came of printing, unless nobody reads it: whoever does may leave early (`| head`), and that is no failure of ours.
///
/// # Errors
/// All others: what was to be said is lost.
pub fn printed(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// An error's text without the ` (os error 98)` that std appends.
pub fn describe(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}
