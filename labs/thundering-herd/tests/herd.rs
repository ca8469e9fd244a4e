//! Which workers wake up, in counts and never in times: times depend on the machine.

use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;
use thundering_herd::Mode;
use thundering_herd::experiment::{ARRIVALS, Arrivals, Measurement, lose, measure, stay};

const WORKERS: usize = 8;

fn server() -> (&'static Path, &'static [&'static str]) {
    (Path::new(env!("CARGO_BIN_EXE_thundering-herd")), &[])
}

/// So far apart that every worker is asleep again when the next connection comes, on a loaded machine too.
const SPACED: Arrivals =
    Arrivals { name: "spaced", concurrent: 1, pause: Duration::from_millis(8) };

fn spaced(mode: Mode) -> Measurement {
    measure(server(), mode, SPACED, WORKERS, 150, || {}).unwrap()
}

fn switches(mode: Mode) -> f64 {
    spaced(mode).per_connection(|worker| worker.voluntary_switches)
}

#[test]
fn blocking_is_level_without_one_line() {
    let [level, blocking] =
        [include_str!("../src/mode/level.rs"), include_str!("../src/mode/blocking.rs")]
            .map(|file| file.lines().filter(|line| !line.starts_with("//!")).collect::<Vec<_>>());
    let (without, with): (Vec<_>, Vec<_>) =
        level.into_iter().partition(|line| !line.contains("set_nonblocking"));
    assert_eq!(with, ["        listener.set_nonblocking()?;"]);
    assert_eq!(blocking, without);
}

/// `stay` checks that the clients without an answer are exactly those of the workers that sleep in accept, and that
/// more connections wake all these workers. Whether a worker loses the race into accept is chance; on one core it does
/// not happen.
#[test]
fn the_clients_of_workers_stuck_in_accept_wait_for_connections() {
    for _ in 0..10 {
        let row = stay(server(), Mode::Blocking, 4, 200, Duration::ZERO).unwrap();
        assert!(row.stuck < 4, "the worker that accepted last is not stuck: {row:?}");
        assert!(row.stuck > 0 || row.unanswered == 0, "{row:?}");
        assert_eq!(row.unanswered > 0, row.until_answered > 0, "{row:?}");
        assert!(row.to_stuck <= row.contested && row.contested < row.clients, "{row:?}");
    }
}

#[test]
fn no_worker_is_stuck_if_the_listener_does_not_block() {
    for &mode in Mode::value_variants() {
        if matches!(mode, Mode::Accept | Mode::Blocking) {
            continue;
        }
        for _ in 0..10 {
            let row = stay(server(), mode, 4, 200, Duration::ZERO).unwrap();
            assert_eq!((row.stuck, row.unanswered, row.until_answered), (0, 0, 0), "{row:?}");
        }
    }
}

#[test]
fn a_shared_listener_in_everybodys_poller_wakes_the_herd() {
    let switches = switches(Mode::Level);
    assert!(switches >= WORKERS as f64 / 2.0, "{switches} switches per connection");
}

#[test]
fn blocking_accept_wakes_one_and_in_turn() {
    let measured = spaced(Mode::Accept);
    let switches = measured.per_connection(|worker| worker.voluntary_switches);
    assert!(switches <= 1.5, "{switches} switches per connection");
    #[cfg(target_os = "linux")]
    assert!(measured.imbalance() < 1.5, "{measured:?}");
    assert_eq!(measured.in_accept, WORKERS, "there they wait");
}

#[test]
fn a_poller_that_is_shared_wakes_one_thread() {
    let measured = spaced(Mode::Oneshot);
    let switches = measured.per_connection(|worker| worker.voluntary_switches);
    assert!(switches <= 1.5, "{switches} switches per connection");
    assert_eq!((measured.workers.len(), measured.shares().len()), (1, WORKERS));
}

#[test]
fn a_listener_for_each_worker_wakes_its_worker() {
    let measured = spaced(Mode::Reuseport);
    let switches = measured.per_connection(|worker| worker.voluntary_switches);
    assert!(switches <= 1.5, "{switches} switches per connection");
    let mut listeners: Vec<_> = measured.workers.iter().flat_map(|w| &w.listeners).collect();
    listeners.sort_unstable();
    listeners.dedup();
    assert_eq!(listeners.len(), WORKERS, "each has its own");
}

#[test]
fn a_lock_around_the_wait_wakes_its_holder_and_around_accept_the_herd() {
    // The others try the lock twice a second, however many connections come meanwhile.
    let measured = spaced(Mode::Mutex);
    let around_wait = measured.per_connection(|worker| worker.voluntary_switches)
        - measured.per_connection(|worker| worker.in_vain);
    assert!(around_wait <= 1.5, "{around_wait} switches per connection");
    let around_accept = switches(Mode::Semaphore);
    assert!(around_accept >= WORKERS as f64 / 2.0, "{around_accept} switches per connection");
}

#[cfg(target_os = "linux")]
#[test]
fn edge_triggered_wakes_the_herd_too() {
    let switches = switches(Mode::Edge);
    assert!(switches >= WORKERS as f64 / 2.0, "{switches} switches per connection");
}

#[cfg(target_os = "linux")]
#[test]
fn exclusive_wakes_one_and_nearly_always_the_same() {
    let measured = spaced(Mode::Exclusive);
    let switches = measured.per_connection(|worker| worker.voluntary_switches);
    assert!(switches <= 1.5, "{switches} switches per connection");
    let most = measured.workers.iter().map(|worker| worker.connections).max();
    assert!(most > Some(measured.connections / 2), "{measured:?}");
}

#[test]
fn every_connection_is_served_exactly_once_in_every_mode_and_however_they_come() {
    // `measure` compares what the workers say with what their clients were told.
    for &mode in Mode::value_variants() {
        for arrivals in &ARRIVALS[1..] {
            let measured = measure(server(), mode, *arrivals, WORKERS, 300, || {}).unwrap();
            let served: u64 = measured.workers.iter().map(|worker| worker.connections).sum();
            assert_eq!(served, 300, "{mode:?}");
        }
    }
}

#[test]
fn a_shared_listener_loses_nothing_when_a_worker_dies() {
    for mode in [Mode::Accept, Mode::Level, Mode::Semaphore, Mode::Mutex] {
        let loss = lose(server(), mode, false, 4, 40).unwrap();
        assert_eq!(loss.reset, 0, "{loss:?}");
    }
}

/// Not if the kernel moves the connections, or the master has kept the listener.
#[cfg(target_os = "linux")]
#[test]
fn a_workers_own_listener_takes_with_it_what_waits_there() {
    let loss = lose(server(), Mode::Reuseport, false, 4, 40).unwrap();
    assert_eq!(loss.at_once + loss.later + loss.reset, 40);
    assert!(loss.at_once < 40, "the hash has sent none of 40 to one worker of four: {loss:?}");
    let migrates = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_migrate_req");
    if migrates.is_ok_and(|text| text.trim() == "1") {
        assert_eq!(loss.reset, 0, "{loss:?}");
    } else {
        assert!(loss.reset > 0, "{loss:?}");
    }

    let loss = lose(server(), Mode::Reuseport, true, 4, 40).unwrap();
    assert_eq!(loss.reset, 0, "{loss:?}");
}
