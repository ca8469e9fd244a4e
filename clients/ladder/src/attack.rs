//! What a stage suffers from clients who mean harm, with and without limits.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use check::Client;
use client::table::Figures;
use load::attack::{Attack, Kind, attack};
use serde::Serialize;
use subprocess::Server;

use crate::{Stage, stop};

/// The limits of those runs that have any.
const LIMITS: [&str; 4] = ["--max-clients", "100", "--idle-timeout", "2"];

/// The attackers have this long to take their places, and the CPU time is that of as long again.
const A_WHILE: Duration = Duration::from_secs(1);

/// A newcomer that has not been served by then has left.
const PATIENCE: Duration = Duration::from_secs(5);

/// One attack on one stage.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The stage's server.
    pub stage: String,
    /// "silent" or "dripping".
    pub attackers: &'static str,
    /// Whether the server had limits.
    pub limits: bool,
    /// What came of it.
    #[serde(flatten)]
    pub suffered: Suffered,
}

/// What a server suffered.
#[derive(Clone, Debug, Serialize)]
pub struct Suffered {
    /// How long a newcomer took to be greeted and to have one message answered, in seconds, refusals included. None: it was
    /// not served within 5 s.
    pub newcomer: Option<f64>,
    /// How often it was refused.
    pub refusals: u32,
    /// Threads during the attack. Linux only.
    pub threads: Option<u64>,
    /// By how much the server's resident memory had grown, in bytes. Linux only.
    pub memory: Option<u64>,
    /// The server's CPU time in a second of the attack, in seconds. Linux only.
    pub cpu: Option<f64>,
}

/// The four ways in which a stage is attacked: by whom, and whether it has limits.
pub const WAYS: [(&str, bool); 4] =
    [("silent", false), ("silent", true), ("dripping", false), ("dripping", true)];

/// Attacks a stage in one of the ways.
///
/// # Errors
/// The server does not start, or does not stop as it should; or this process has no descriptors for so many clients.
pub fn suffer(
    executable: &Path,
    stage: Stage,
    (attackers, limits): (&'static str, bool),
    clients: usize,
) -> io::Result<Row> {
    let kind = if attackers == "silent" { Kind::Silent } else { Kind::Slow };
    let options: &[&str] = if limits { &LIMITS } else { &[] };
    let server = Server::start(executable, [&["0", "--stats", "-q"], options].concat())?;
    let suffered = under_attack(&server, kind, clients)?;
    stop(server, false)?;
    Ok(Row { stage: stage.server.to_owned(), attackers, limits, suffered })
}

fn under_attack(server: &Server, kind: Kind, clients: usize) -> io::Result<Suffered> {
    let resident = server.resident_memory();
    let address = server.address();
    let stop = AtomicBool::new(false);
    let plan = Attack { address, clients, kind, duration: Duration::from_secs(60) };
    thread::scope(|scope| {
        let attacker = scope.spawn(|| attack(&plan, &stop));
        thread::sleep(A_WHILE);
        let (started, before) = (Instant::now(), server.cpu_time());
        thread::sleep(A_WHILE);
        let used = server.cpu_time().zip(before).map(|(after, before)| after - before);
        let threads = server.threads();
        let memory = server.resident_memory().zip(resident);
        let elapsed = started.elapsed().as_secs_f64();
        let (newcomer, refusals) = newcomer(server);
        stop.store(true, Ordering::Relaxed);
        attacker.join().map_err(|_| io::Error::other("the attackers panicked"))??;
        Ok(Suffered {
            newcomer,
            refusals,
            threads,
            memory: memory.map(|(after, before)| after.saturating_sub(before)),
            cpu: used.map(|used| used.as_secs_f64() / elapsed),
        })
    })
}

/// How long a client takes that comes now and tries again when it is refused; and how often it is.
fn newcomer(server: &Server) -> (Option<f64>, u32) {
    let started = Instant::now();
    let mut refusals = 0;
    while let Some(left) = PATIENCE.checked_sub(started.elapsed()).filter(|left| !left.is_zero()) {
        let served = Client::connect(server.address()).and_then(|mut client| {
            client.stream.set_read_timeout(Some(left))?;
            client.expect_greeting()?;
            client.echo(b"^hello$")
        });
        if served.is_ok() {
            return (Some(started.elapsed().as_secs_f64()), refusals);
        }
        if started.elapsed() < PATIENCE {
            refusals += 1;
            thread::sleep(Duration::from_millis(100));
        }
    }
    (None, refusals)
}

const HEADER: [&str; 7] = ["stage", "attackers", "limits", "newcomer", "threads", "memory", "CPU"];

/// The table, and what its columns are; no wider than `width`, if there is one.
pub fn table(clients: usize, rows: &[Row], width: Option<usize>) -> String {
    let figures = Figures {
        header: &HEADER,
        names: 3,
        expendable: &["CPU", "memory"],
        rows: rows.iter().map(cells).collect(),
    };
    let table = figures.fit(width);
    let each = if clients == 1 { "connects and says" } else { "that connect and say" };
    let legend = format!(
        "attackers  {clients} {each} nothing, or send one byte a second\n\
         limits     {}\n\
         newcomer   how long a client takes that comes then: greeted, and one answer;\n           \
         refused: each time for 5 s; waits: not greeted within 5 s\n\
         threads    the server's, during the attack; one more looks for idle clients\n\
         memory     by how much the server has grown\n\
         CPU        the server's, during a second of the attack",
        LIMITS.join(" ")
    );
    format!("{}\n\n{}\n", table.text, table.legend(&legend, 11, width))
}

fn cells(Row { stage, attackers, limits, suffered: row }: &Row) -> Vec<String> {
    let unknown = || "-".to_owned();
    vec![
        stage.clone(),
        (*attackers).to_owned(),
        if *limits { "yes" } else { "no" }.to_owned(),
        match row.newcomer {
            Some(seconds) if seconds < 0.01 => format!("{:.1} ms", 1e3 * seconds),
            Some(seconds) => format!("{seconds:.1} s"),
            None if row.refusals > 0 => "refused".to_owned(),
            None => "waits".to_owned(),
        },
        row.threads.map_or_else(unknown, |threads| threads.to_string()),
        row.memory.map_or_else(unknown, |bytes| format!("{:.1} MiB", bytes as f64 / 1048576.0)),
        row.cpu.map_or_else(unknown, |share| format!("{:.0} %", 100.0 * share)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eighty_columns_are_enough() {
        let suffered = Suffered {
            newcomer: None,
            refusals: 2,
            threads: Some(20_001),
            memory: Some(64 << 20),
            cpu: Some(1.0),
        };
        let stage = "step2-thread-per-client".to_owned();
        let rows = [Row { stage, attackers: "dripping", limits: true, suffered }];
        let text = table(20_000, &rows, Some(80));
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        for what in ["newcomer", "refused", "20001", "no room for CPU:"] {
            assert!(text.contains(what), "{what}: {text}");
        }
        assert_eq!(table(20_000, &rows, Some(120)), table(20_000, &rows, None));
    }
}
