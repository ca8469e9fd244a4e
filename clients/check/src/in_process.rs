//! Servers inside the test's own process, right ones and wrong ones, for testing clients and cases.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use protocol::{GREETING, Session};

/// A server that does `serve` with each connection, on a thread for each. It ends with the process.
///
/// # Errors
/// No port is free.
pub fn server(serve: impl Fn(TcpStream) + Send + Clone + 'static) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            thread::spawn(move || serve(stream));
        }
    });
    Ok(address)
}

/// A server that greets, and answers each read with what `answer` makes of it, given the connection's session.
///
/// # Errors
/// No port is free.
pub fn answering(
    answer: impl Fn(&mut Session, &[u8]) -> Vec<u8> + Send + Clone + 'static,
) -> io::Result<SocketAddr> {
    server(move |mut stream| {
        let mut session = Session::new();
        let mut buffer = vec![0; 64 * 1024];
        if stream.write_all(&[GREETING]).is_err() {
            return;
        }
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&answer(&mut session, &buffer[..length])).is_err() {
                return;
            }
        }
    })
}

/// The right answer, for [`answering`].
pub fn right(session: &mut Session, input: &[u8]) -> Vec<u8> {
    let mut reply = Vec::new();
    session.receive(input, &mut reply);
    reply
}
