//! Calls that the reactor must not make. They are counted for the whole process, so this test has a process of its own.

use std::io::Write;
use std::time::Duration;

use async_await::{block_on, sleep};
use common::connection;
use server::statistics::calls;
use server::sys::Syscall;

mod common;

fn waits() -> u64 {
    [Syscall::EpollWait, Syscall::Kevent].map(|call| calls(call).made).iter().sum()
}

fn changes() -> u64 {
    [Syscall::EpollCtl, Syscall::KeventChange].map(|call| calls(call).made).iter().sum()
}

/// The kernel reports input as long as it is there. If no task waits for it, it is no longer watched, so the executor
/// does not spin. And a descriptor that is not watched need not be taken off the kernel's list when it is dropped.
#[test]
fn input_that_nobody_waits_for_is_not_asked_for_again_and_again() {
    block_on(async {
        let (mut stream, mut peer) = connection().await;
        peer.write_all(b"early").unwrap();
        let before = waits();
        for _ in 0..10 {
            sleep(Duration::from_millis(20)).await;
        }
        let made = waits() - before;
        assert!((10..20).contains(&made), "{made} waits for 10 sleeps and one event");
        assert_eq!(stream.read().await.unwrap(), b"early");

        peer.write_all(b"late").unwrap();
        sleep(Duration::from_millis(20)).await;
        let before = changes();
        drop(stream);
        assert_eq!(changes(), before);
    })
    .unwrap();
}
