//! What was measured, side by side.

use client::count;
use client::table::{Figures, wrap};

use crate::Measurement;

pub(crate) const COLUMNS: [(&str, &str); 9] = [
    ("clients", "how many connected at once"),
    ("elapsed", "from the first client's start to the last one's end"),
    ("x ideal", "elapsed, divided by what one client's own pauses take"),
    ("threads", "the most that the server was seen to have (/proc, Linux only)"),
    (
        "syscalls",
        "the server's calls that can wait: accept, recv, send, select, poll, epoll, kevent, sleep (its --stats)",
    ),
    ("in vain", "the share of its accepts and recvs that found nothing: they would have blocked"),
    ("CPU", "what the server used, in user and kernel mode together (wait4)"),
    ("memory", "the most it had resident (/proc on Linux, else wait4)"),
    (
        "switches",
        "how often a thread of it went to sleep, + how often it was interrupted for another (getrusage)",
    ),
];

/// The columns that a narrow terminal goes without, the first of them first. Those that stay tell the stages apart: how
/// long it took, how many threads, what was asked in vain.
const EXPENDABLE: [&str; 5] = ["memory", "x ideal", "switches", "CPU", "syscalls"];

/// The table, and under it what its columns are; no wider than `width`, if there is one.
pub fn table(measurements: &[Measurement], width: Option<usize>) -> String {
    let header: Vec<_> =
        std::iter::once("stage").chain(COLUMNS.iter().map(|(name, _)| *name)).collect();
    let figures = Figures {
        header: &header,
        names: 1,
        expendable: &EXPENDABLE,
        rows: measurements.iter().map(|measurement| cells(measurement).to_vec()).collect(),
    };
    let table = figures.fit(width);
    let legend: Vec<_> =
        COLUMNS.iter().map(|(name, meaning)| format!("{name:12} {meaning}")).collect();
    let mut text = format!("{}\n\n{}\n", table.text, table.legend(&legend.join("\n"), 13, width));
    if measurements.iter().any(|m| m.clients < m.clients_asked_for) {
        let fewer =
            "A stage that serves one client at a time was given fewer: see --sequential-max.";
        text += &format!("\n{}\n", wrap(fewer, 0, width));
    }
    text
}

/// A stage's row.
pub(crate) fn cells(m: &Measurement) -> [String; 10] {
    let clients = match m.clients < m.clients_asked_for {
        true => format!("{} of {}", m.clients, m.clients_asked_for),
        false => m.clients.to_string(),
    };
    [
        m.stage.clone(),
        clients,
        format!("{:.2} s", m.elapsed),
        m.times_ideal().map_or("-".to_owned(), |times| format!("{times:.2}")),
        m.threads.map_or("-".to_owned(), |threads| threads.to_string()),
        m.syscalls.to_string(),
        format!("{:.0} %", 100.0 * m.share_in_vain()),
        format!("{:.0} ms", 1e3 * m.cpu),
        format!("{:.1} MiB", m.peak_memory as f64 / (1024.0 * 1024.0)),
        format!("{} + {}", m.voluntary_switches, m.involuntary_switches),
    ]
}

impl Measurement {
    /// The elapsed time in units of one client's own pauses; without pauses there is nothing to compare with.
    pub(crate) fn times_ideal(&self) -> Option<f64> {
        (self.ideal > 0.0).then(|| self.elapsed / self.ideal)
    }

    /// How long after one client the next one was greeted, in seconds, on average.
    fn greeted_apart(&self) -> f64 {
        let apart: Vec<_> = self.greeted.windows(2).map(|pair| pair[1] - pair[0]).collect();
        apart.iter().sum::<f64>() / apart.len().max(1) as f64
    }

    /// Whether its clients took nearly N times as long as one, and each was greeted about when the one before had left:
    /// then they were served one after another, whatever the stage claims. (A stage that greets all of them at once
    /// and then takes long is slow for another reason: its intervals, if the pauses are short.)
    pub(crate) fn is_one_after_another(&self) -> bool {
        let times = self.times_ideal().unwrap_or_default();
        self.clients > 1
            && times > 0.8 * self.clients as f64
            && self.greeted_apart() > 0.8 * self.ideal
    }

    pub(crate) fn share_in_vain(&self) -> f64 {
        self.found_nothing as f64 / self.asked.max(1) as f64
    }
}

/// What this run shows, from its own figures: it says only what was measured just now. No line is longer than `width`.
pub fn notes(measurements: &[Measurement], width: Option<usize>) -> Vec<String> {
    let of = |m: &Measurement| -> Vec<String> {
        note(m).into_iter().map(|note| wrap(&format!("{}: {note}", m.stage), 4, width)).collect()
    };
    measurements.iter().flat_map(of).collect()
}

/// The same of one stage.
pub(crate) fn note(m: &Measurement) -> Vec<String> {
    let mut notes = Vec::new();
    if m.is_one_after_another() {
        notes.push(format!(
            "{} clients took {:.1} times as long as one, greeted {:.2} s apart: one after another",
            m.clients,
            m.times_ideal().unwrap_or_default(),
            m.greeted_apart(),
        ));
    }
    if let Some(threads) = m.threads.filter(|&threads| m.clients > 1 && threads > m.clients as u64)
    {
        notes.push(format!("{threads} threads for {}", count(m.clients, "client")));
    }
    if m.share_in_vain() > 0.5 {
        notes.push(format!("{} of {} accepts and recvs found nothing", m.found_nothing, m.asked));
    }
    // Not a figure of this run, but without it the figures would look too good.
    if m.stage == "tokio-echo" {
        notes.push("Tokio's own waits are not among its syscalls, nor in its timeline".to_owned());
    }
    notes
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn measurement(stage: &str, clients: usize, elapsed: f64) -> Measurement {
        Measurement {
            stage: stage.to_owned(),
            clients,
            clients_asked_for: 5,
            elapsed,
            ideal: 2.2,
            threads: Some(1),
            syscalls: 200,
            asked: 160,
            found_nothing: 0,
            cpu: 0.0123,
            peak_memory: 3 * 1024 * 1024,
            voluntary_switches: 17,
            involuntary_switches: 2,
            greeted: (0..clients).map(|number| 2.2 * number as f64).collect(),
            timeline: None,
        }
    }

    #[test]
    fn a_row_says_what_was_measured() {
        let text = table(&[measurement("step1-sequential", 5, 11.0)], None);
        let row = text.lines().nth(2).unwrap();
        let cells: Vec<_> = row.split('|').map(str::trim).filter(|cell| !cell.is_empty()).collect();
        let expected = [
            "step1-sequential",
            "5",
            "11.00 s",
            "5.00",
            "1",
            "200",
            "0 %",
            "12 ms",
            "3.0 MiB",
            "17 + 2",
        ];
        assert_eq!(cells, expected);
    }

    #[test]
    fn fewer_clients_than_asked_for_are_no_secret() {
        let text = table(&[measurement("step1-sequential", 3, 6.6)], None);
        assert!(text.contains("3 of 5"), "{text}");
        assert!(text.contains("--sequential-max"), "{text}");
    }

    #[test]
    fn notes_say_only_what_the_figures_say() {
        let mut polling = measurement("polling", 5, 2.3);
        polling.found_nothing = 120;
        let mut threads = measurement("threads", 5, 2.2);
        threads.threads = Some(6);
        let those = [
            measurement("one-by-one", 5, 11.0),
            polling,
            threads,
            measurement("fine", 5, 2.2),
            measurement("tokio-echo", 5, 2.2),
        ];
        let notes = notes(&those, None);
        assert_eq!(
            notes,
            [
                "one-by-one: 5 clients took 5.0 times as long as one, greeted 2.20 s apart: one after another",
                "polling: 120 of 160 accepts and recvs found nothing",
                "threads: 6 threads for 5 clients",
                "tokio-echo: Tokio's own waits are not among its syscalls, nor in its timeline",
            ]
        );
    }

    #[test]
    fn a_stage_that_is_slow_and_greets_at_once_does_not_serve_one_after_another() {
        // Step 4 with short pauses: two clients wait for its intervals, not for each other.
        let mut slow = measurement("step4-nonblocking-poll", 2, 0.6);
        slow.ideal = 0.22;
        slow.greeted = vec![0.2, 0.2];
        assert!(!slow.is_one_after_another());
        slow.greeted = vec![0.0, 0.3];
        assert!(slow.is_one_after_another());
    }

    #[test]
    fn without_pauses_there_is_no_ideal() {
        let mut at_once = measurement("step1-sequential", 2, 0.01);
        at_once.ideal = 0.0;
        assert_eq!(cells(&at_once)[3], "-");
        assert_eq!(note(&at_once), [""; 0]);
    }

    #[test]
    fn eighty_columns_are_enough() {
        let mut wide = measurement("step2-thread-per-client", 10, 22.03);
        (wide.clients_asked_for, wide.threads) = (200, Some(201));
        (wide.asked, wide.found_nothing, wide.syscalls) = (2413, 1424, 3226);
        (wide.voluntary_switches, wide.involuntary_switches) = (1078, 181);
        let text = table(std::slice::from_ref(&wide), Some(80));
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        for column in ["stage", "clients", "elapsed", "threads", "in vain"] {
            assert!(text.lines().next().unwrap().contains(column), "{column}: {text}");
        }
        assert!(text.contains("no room for memory, x ideal, switches, CPU:"), "{text}");
        assert!(!text.contains("getrusage"), "that is about a column which is not there: {text}");
        assert_eq!(table(std::slice::from_ref(&wide), Some(200)), table(&[wide], None));
    }
}
