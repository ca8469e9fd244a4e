//! A future can be dropped at any `.await`: `timeout` and `select` do that. Its work then stays half done. `--mode`:
//! a reader loses the received part of a line (`lost`), or keeps it outside of the future (`kept`); a writer leaves
//! half a line in the stream (`half-written`), or hands its lines to a task that is never dropped and writes them
//! (`whole`).
//!
//! `cargo run --release -p async-await --example cancellation -- --mode lost`

use std::time::Duration;
use std::{io, mem};

use async_await::{JoinError, Receiver, Sender, block_on, channel, sleep, spawn, timeout};
use clap::{Parser, ValueEnum};

/// Sends lines through a stream of bytes, one end of which is impatient
#[derive(Parser)]
struct Arguments {
    /// Which end is impatient, and where the begun line is
    #[arg(long, value_enum, default_value_t = Mode::Lost)]
    mode: Mode,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// The reader; in the future that is dropped
    Lost,
    /// The reader; outside of that future
    Kept,
    /// The writer; half in the stream, half in the future that is dropped
    HalfWritten,
    /// The writer; in a task that writes it to its end
    Whole,
}

const LINES: [&str; 3] = ["one two three\n", "four five six\n", "seven eight nine\n"];
const PATIENCE: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_millis(150);

fn main() -> io::Result<()> {
    let mode = Arguments::parse().mode;
    let received = block_on(async move {
        let (output, input) = channel(4); // a stream of bytes: four of them may be in transit
        match mode {
            Mode::Lost | Mode::Kept => Ok(read_impatiently(mode, input, output).await),
            Mode::HalfWritten | Mode::Whole => write_impatiently(mode, input, output).await,
        }
    })??;

    for line in &received {
        let was_sent = LINES.contains(&line.as_str());
        println!("received {line:?}{}", if was_sent { "" } else { ", which nobody has sent" });
    }
    for line in LINES {
        if !received.iter().any(|received| received == line) {
            println!("never received {line:?}");
        }
    }
    Ok(())
}

async fn read_impatiently(mode: Mode, mut input: Receiver<u8>, output: Sender<u8>) -> Vec<String> {
    spawn(async move {
        let text = LINES.concat();
        let (start, rest) = text.split_at("one ".len());
        write_all(&output, start).await;
        sleep(PAUSE).await;
        write_all(&output, rest).await;
    });
    let (mut received, mut begun) = (Vec::new(), Vec::new());
    loop {
        let line = match mode {
            // The vector is in the future.
            Mode::Lost => {
                timeout(PATIENCE, async { read_line(&mut input, &mut vec![]).await }).await
            }
            _ => timeout(PATIENCE, read_line(&mut input, &mut begun)).await,
        };
        match line {
            Some(Some(line)) => received.push(line),
            Some(None) => return received, // the end of the stream
            None => println!("gave up reading after {PATIENCE:?}"),
        }
    }
}

async fn write_impatiently(
    mode: Mode,
    mut input: Receiver<u8>,
    output: Sender<u8>,
) -> Result<Vec<String>, JoinError> {
    let reader = spawn(async move {
        sleep(PAUSE).await;
        let mut received = Vec::new();
        while let Some(line) = read_line(&mut input, &mut Vec::new()).await {
            received.push(line);
        }
        received
    });
    let (queue, mut queued) = channel(1);
    let output_of_task = output.clone();
    spawn(async move {
        while let Some(line) = queued.recv().await {
            write_all(&output_of_task, line).await;
        }
    });
    for line in LINES {
        let sent = match mode {
            Mode::HalfWritten => timeout(PATIENCE, write_all(&output, line)).await.is_some(),
            // Even if the future is dropped, the queue has the whole line or nothing of it.
            _ => timeout(PATIENCE, queue.send(line)).await.is_some(),
        };
        if !sent {
            println!("gave up writing {line:?} after {PATIENCE:?}");
        }
    }
    drop((queue, output)); // the end of the stream
    reader.await
}

/// Sends all of `text`, and waits whenever there is no room. If it is dropped, it is not known how much has been sent.
async fn write_all(output: &Sender<u8>, text: &str) {
    for byte in text.bytes() {
        let _ = output.send(byte).await; // the reader reads to the end
    }
}

/// Returns the next line, none at the end. If it is dropped, the received part stays in `line`, and the next call goes
/// on.
async fn read_line(input: &mut Receiver<u8>, line: &mut Vec<u8>) -> Option<String> {
    while !line.ends_with(b"\n") {
        line.push(input.recv().await?);
    }
    Some(String::from_utf8_lossy(&mem::take(line)).into_owned())
}
