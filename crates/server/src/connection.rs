//! One client, served to the end by a thread that may sleep.

use std::io::{self, Read, Write};

use protocol::{GREETING, Session};

use crate::Stream;
use crate::shutdown::{self, ReplyOwed};

/// The most that one recv takes, and with it the longest reply: 64 KiB.
const BUFFER: usize = 64 * 1024;

/// Greets the client and answers it until it closes, fails, or the server is told to stop.
///
/// Every call in here may put the thread to sleep: recv until the client speaks, send until the client reads. A client
/// that fails ends here too; the stream has logged why.
pub fn serve_connection(stream: Stream) {
    let _ended_by_the_peer = converse(stream);
}

fn converse(mut stream: Stream) -> io::Result<()> {
    let mut session = Session::new();
    let mut input = vec![0; BUFFER];
    let mut reply = Vec::new();

    stream.write_all(&[GREETING])?;
    loop {
        let received = stream.read(&mut input)?;
        if received == 0 {
            return Ok(());
        }
        let _reply_owed = ReplyOwed::new();
        reply.clear();
        session.receive(&input[..received], &mut reply);
        stream.write_all(&reply)?;
        if shutdown::requested() {
            drop(stream); // now, while the process still waits for this thread
            return Ok(());
        }
    }
}
