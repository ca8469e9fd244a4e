//! The conversation of async-echo, word for word (a test holds it to that). The compiler makes a state machine of it.

use std::io;

use protocol::{GREETING, Session};

use crate::Stream;

/// The conversation with one peer. Every call in here may put the task to sleep: read until the peer speaks, write
/// until the peer reads.
pub(crate) async fn serve_connection(mut stream: Stream) -> io::Result<()> {
    let mut session = Session::new();
    let mut reply = Vec::new();

    stream.write_all(&[GREETING]).await?;
    loop {
        let input = stream.read().await?;
        if input.is_empty() {
            return Ok(()); // the peer will send no more
        }
        session.receive(&input, &mut reply);
        stream.write_all(&reply).await?;
        reply = Vec::new(); // a silent peer must not keep the memory of its last reply
    }
}
