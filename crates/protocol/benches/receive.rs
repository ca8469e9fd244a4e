//! How fast the session answers, beside the naive byte loop and a plain copy of the same bytes.
//!
//! `cargo bench -p protocol`. Each message is framed, `^` and `$` around its payload; the reply buffer is reused, as the
//! servers do.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use protocol::{BEGIN, END, Session};

const LENGTHS: [usize; 5] = [8, 64, 1024, 64 * 1024, 16 * 1024 * 1024];

fn main() {
    divan::main();
}

fn message(length: usize) -> Vec<u8> {
    let payload = (0..length).map(|index| b'a' + (index % 26) as u8);
    std::iter::once(BEGIN).chain(payload).chain(std::iter::once(END)).collect()
}

#[divan::bench(args = LENGTHS)]
fn session(bencher: Bencher<'_, '_>, length: usize) {
    let message = message(length);
    let mut reply = Vec::with_capacity(length);
    let mut session = Session::new();
    // memchr looks for the CPU's best instructions on its first call: that must not be timed.
    session.receive(&message, &mut reply);
    bencher.counter(BytesCount::new(length)).bench_local(|| {
        reply.clear();
        session.receive(black_box(&message), &mut reply);
        black_box(&reply);
    });
}

#[divan::bench(args = LENGTHS)]
fn naive_loop(bencher: Bencher<'_, '_>, length: usize) {
    let message = message(length);
    let mut reply = Vec::with_capacity(length);
    let mut in_message = false;
    bencher.counter(BytesCount::new(length)).bench_local(|| {
        reply.clear();
        for &byte in black_box(&message) {
            match (in_message, byte) {
                (false, BEGIN) => in_message = true,
                (false, _) => {}
                (true, END) => in_message = false,
                (true, byte) => reply.push(byte.wrapping_add(1)),
            }
        }
        black_box(&reply);
    });
}

#[divan::bench(args = LENGTHS)]
fn plain_copy(bencher: Bencher<'_, '_>, length: usize) {
    let message = message(length);
    let mut reply = vec![0; message.len()];
    bencher.counter(BytesCount::new(length)).bench_local(|| {
        reply.copy_from_slice(black_box(&message));
        black_box(&reply);
    });
}
