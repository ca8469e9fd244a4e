//! The right bytes come back.

use std::net::SocketAddr;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use protocol::reference::reply_to;

use crate::client::{Client, Failure, Outcome};
use crate::{Case, Promise, Target};

pub(super) const CASES: &[Case] = &[
    case("greeting", "the server sends `*` without being asked", greeting),
    case("transcripts", "the three transcripts of the protocol's definition", transcripts),
    case("state", "a message stays open from one read to the next", state),
    case("byte-by-byte", "bytes may arrive one at a time", byte_by_byte),
    case("all-bytes", "each of the 256 byte values, in a message and out of one", all_bytes),
    case("random", "random bytes in random pieces are answered as the definition says", random),
    case("long-message", "a message of 300,000 bytes, which takes many reads", long_message),
    case("16-MiB", "a message of 16 MiB, sent and received at the same time", sixteen_mebibytes),
    case("pipelined", "20,000 small messages, sent without waiting for answers", pipelined),
    case(
        "half-close",
        "a client that will send no more gets all it is owed, then the end",
        half_close,
    ),
    case("silent-leave", "a client may leave without a word", silent_leave),
    case("open-message", "a client may leave in the middle of a message", open_message),
];

const fn case(name: &'static str, about: &'static str, run: fn(&Target) -> Outcome) -> Case {
    Case { name, promise: Promise::Protocol, about, needs_process: false, obstacle: || None, run }
}

fn greeting(target: &Target) -> Outcome {
    let server = target.server()?;
    let mut client = Client::connect(server.address)?;
    client.expect_greeting()?;
    client.half_close()?;
    client.expect_end(false)
}

fn transcripts(target: &Target) -> Outcome {
    let transcripts: [(&[u8], &[u8]); 3] =
        [(b"^abc$de^abte$f", b"bcdbcuf"), (b"xyz^123", b"234"), (b"25$^ab0000$abab", b"bc1111")];
    let server = target.server()?;
    for (message, reply) in transcripts {
        let mut client = Client::greeted(server.address)?;
        client.send(message)?;
        client.expect(reply)?;
        client.half_close()?;
        client.expect_end(false)?;
    }
    Ok(())
}

fn state(target: &Target) -> Outcome {
    let server = target.server()?;
    let mut client = Client::greeted(server.address)?;
    for (piece, reply) in [(b"xyz^123", &b"234"[..]), (b"45$67^8", b"569"), (b"9$^ab$$", b":bc")] {
        client.send(piece)?;
        client.expect(reply)?;
    }
    Ok(())
}

fn byte_by_byte(target: &Target) -> Outcome {
    let server = target.server()?;
    let mut client = Client::greeted(server.address)?;
    let message = b"^abc$de^abte$f^^^$$^\xff\x00$";
    let mut answered = 0;
    for sent in 1..=message.len() {
        client.send(&message[sent - 1..sent])?;
        let owed = reply_to(&message[..sent]);
        if answered == owed.len() {
            // No answer says that the byte has arrived, so give it time to: the next one shall not come with it.
            thread::sleep(Duration::from_millis(2));
        }
        client.expect(&owed[answered..])?;
        answered = owed.len();
    }
    client.expect_nothing_but(b"^end$")
}

fn all_bytes(target: &Target) -> Outcome {
    let server = target.server()?;
    let mut client = Client::greeted(server.address)?;
    let all: Vec<u8> = (0..=u8::MAX).collect();
    // Out of a message: everything before `^` is ignored, and `^` is 0x5E; what follows it is answered until `$`, which
    // does not come.
    client.echo(&all)?;
    client.echo(b"$")?;
    for byte in all.into_iter().filter(|&byte| byte != b'$') {
        client.echo(&[b'^', byte, b'$'])?;
    }
    client.expect_nothing_but(b"^end$")
}

/// SplitMix64 (Steele, Lea, Flood 2014): a few lines that give the same numbers everywhere for a printed seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

fn random(target: &Target) -> Outcome {
    let server = target.server()?;
    for seed in 1..=20 {
        let mut random = Random(seed);
        let mut client = Client::greeted(server.address)?;
        let length = random.below(20_000) as usize;
        let input: Vec<u8> = (0..length)
            .map(|_| match random.below(8) {
                0 => b'^',
                1 => b'$',
                _ => random.next() as u8,
            })
            .collect();
        let mut rest = &input[..];
        while !rest.is_empty() {
            let length = (1 + random.below(997) as usize).min(rest.len());
            client.send(&rest[..length])?;
            rest = &rest[length..];
        }
        client.half_close()?;
        let outcome = client.expect(&reply_to(&input)).and_then(|()| client.expect_end(false));
        outcome.map_err(|Failure(text)| Failure(format!("seed {seed}: {text}")))?;
    }
    Ok(())
}

fn long_message(target: &Target) -> Outcome {
    both_ways(target, 300_000)
}

fn sixteen_mebibytes(target: &Target) -> Outcome {
    both_ways(target, 16 * 1024 * 1024)
}

/// One message, sent by one thread while another receives.
fn both_ways(target: &Target, length: usize) -> Outcome {
    let server = target.server()?;
    let mut client = Client::greeted(server.address)?;
    let (sender, expected) = send_letters(&client, length)?;
    client.expect(&expected)?;
    client.expect_end(false)?;
    joined(sender)
}

/// Sends a message of so many letters and half-closes, on a thread, because the server may stop reading until we read;
/// returns the thread, and the right answer.
fn send_letters(client: &Client, length: usize) -> Result<(JoinHandle<Outcome>, Vec<u8>), Failure> {
    let mut message = vec![b'^'];
    message.extend((0..length).map(|index| b'a' + (index % 23) as u8));
    message.push(b'$');
    let expected = reply_to(&message);
    client.will_send(&message);
    let mut sender = Client { stream: client.stream.try_clone()? };
    let sender = thread::spawn(move || {
        sender.send(&message)?;
        sender.half_close()
    });
    Ok((sender, expected))
}

fn joined(sender: JoinHandle<Outcome>) -> Outcome {
    sender.join().unwrap_or_else(|_| Err(Failure("the sender panicked".to_owned())))
}

fn pipelined(target: &Target) -> Outcome {
    let server = target.server()?;
    let mut client = Client::greeted(server.address)?;
    let messages: Vec<u8> =
        (0..20_000).flat_map(|number| format!("^{number}$").into_bytes()).collect();
    let expected = reply_to(&messages);
    client.will_send(&messages);
    let mut sender = Client { stream: client.stream.try_clone()? };
    let sender = thread::spawn(move || sender.send(&messages));
    client.expect(&expected)?;
    joined(sender)
}

/// When the server sees the end of the input, it still holds answers that it could not send.
fn half_close(target: &Target) -> Outcome {
    let server = target.server()?;
    // Linux keeps 115 KiB of an unread answer in the small buffers. A server that bounds what it holds can hold the
    // rest of the first answer, and see the end. With larger buffers the second answer may leave it a rest.
    for length in [160 * 1024, 256 * 1024] {
        half_close_unread(server.address, length)
            .map_err(|Failure(text)| Failure(format!("{length} bytes: {text}")))?;
    }
    Ok(())
}

fn half_close_unread(address: SocketAddr, length: usize) -> Outcome {
    let mut client = Client::connect_with_small_buffers(address)?;
    let (sender, expected) = send_letters(&client, length)?;
    thread::sleep(Duration::from_millis(200));
    client.expect_greeting()?;
    // Slowly, so that a server which had to stop reading sees the end while its next answers have to wait.
    for piece in expected.chunks(4096) {
        client.expect(piece)?;
        thread::sleep(Duration::from_millis(5));
    }
    client.expect_end(false)?;
    joined(sender)
}

fn silent_leave(target: &Target) -> Outcome {
    let server = target.server()?;
    drop(Client::connect(server.address)?);
    drop(Client::greeted(server.address)?);
    Client::greeted(server.address)?.echo(b"^after$")
}

fn open_message(target: &Target) -> Outcome {
    let server = target.server()?;
    let mut client = Client::greeted(server.address)?;
    client.echo(b"^never ended")?;
    client.half_close()?;
    client.expect_end(false)?;
    // The next connection begins outside a message: the state is the connection's own.
    let mut client = Client::greeted(server.address)?;
    client.send(b"ignored")?;
    client.expect_nothing_but(b"^end$")
}
