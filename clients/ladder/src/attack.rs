//! What a stage suffers from clients who mean harm, with and without limits.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use check::Client;
use comfy_table::{CellAlignment, Table, presets};
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

/// Attacks a stage in all four ways: silent and dripping clients, without and with limits.
///
/// # Errors
/// The server does not start, or does not stop as it should; or this process has no descriptors for so many clients.
pub fn suffer(executable: &Path, stage: Stage, clients: usize) -> io::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (kind, attackers) in [(Kind::Silent, "silent"), (Kind::Slow, "dripping")] {
        for limits in [false, true] {
            let options: &[&str] = if limits { &LIMITS } else { &[] };
            let server = Server::start(executable, [&["0", "--stats", "-q"], options].concat())?;
            let suffered = under_attack(&server, kind, clients)?;
            stop(server, false)?;
            let stage = stage.server.to_owned();
            rows.push(Row { stage, attackers, limits, suffered });
        }
    }
    Ok(rows)
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

/// The table, and what its columns are.
pub fn table(clients: usize, rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["stage", "attackers", "limits", "newcomer", "threads", "memory", "CPU"]);
    for column in table.column_iter_mut().skip(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for Row { stage, attackers, limits, suffered: row } in rows {
        let unknown = || "-".to_owned();
        table.add_row([
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
        ]);
    }
    format!(
        "{table}\n\n\
         attackers  {clients} that connect and say nothing, or send one byte a second\n\
         limits     {}\n\
         newcomer   how long a client takes that comes then: greeted, and one answer;\n           \
         refused: each time for 5 s; waits: not greeted within 5 s\n\
         threads    the server's, during the attack\n\
         memory     by how much the server has grown\n\
         CPU        the server's, during a second of the attack\n",
        LIMITS.join(" ")
    )
}
