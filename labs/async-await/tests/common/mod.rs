//! Shared by the tests of streams.

use std::net::TcpStream;
use std::time::Duration;

use async_await::{Listener, Stream, timeout};

/// A stream and its peer.
pub(crate) async fn connection() -> (Stream, TcpStream) {
    let listener = server::Listener::bind("127.0.0.1", 0, 16).unwrap();
    let peer = TcpStream::connect(listener.local_address().unwrap()).unwrap();
    let mut listener = Listener::new(listener).unwrap();
    let stream = timeout(Duration::from_secs(10), listener.accept())
        .await
        .expect("it is connected")
        .unwrap();
    (stream.expect("the server was not told to stop"), peer)
}
