use std::collections::HashMap;

use super::*;
use crate::Measurement;
use crate::table::tests::measurement;
use crate::timeline::{Kind, Lane, Span, Timeline};

fn lane(name: &str, spans: &[(&str, f64, f64)]) -> Lane {
    let spans = spans.iter().map(|&(name, from, to)| Span::new(name, from, to));
    Lane { name: name.to_owned(), spans: spans.collect() }
}

/// A client that was greeted then, and soon sent its second message.
fn client(name: &str, greeted: f64) -> Lane {
    let (first, second) = (greeted + 0.001, greeted + 1.0);
    lane(
        name,
        &[
            ("connecting", 0.0, 0.0001),
            ("waiting for the greeting", 0.0001, greeted),
            ("sending", greeted, first),
            ("pausing", first, second),
            ("sending", second, second + 0.001),
            ("pausing", second + 0.001, second + 1.2),
        ],
    )
}

fn run(stage: &str, elapsed: f64, server: Vec<Lane>, clients: Vec<Lane>) -> Measurement {
    let timeline = Some(Timeline { seconds: elapsed, server, clients });
    Measurement { timeline, ..measurement(stage, 3, elapsed) }
}

fn stage(m: &Measurement, until: f64) -> String {
    lanes::stage(m, m.timeline.as_ref().unwrap(), until).file()
}

#[test]
fn ticks_are_round_and_not_too_many() {
    assert_eq!(ticks(2.2), [0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.2]);
    assert_eq!(ticks(11.02).len(), 12);
    for most in [0.05, 0.3, 7.0, 900.0, 4000.0] {
        assert!((2..=12).contains(&ticks(most).len()), "{most}: {:?}", ticks(most));
    }
}

#[test]
fn a_duration_has_the_unit_that_suits_it() {
    let cases = [
        (0.000_000_9, "0.9 µs"),
        (0.000_009_96, "10 µs"),
        (0.000_04, "40 µs"),
        (0.000_999_4, "999 µs"),
        (0.000_999_9, "1.0 ms"),
        (0.0123, "12.3 ms"),
        (0.9999, "1.00 s"),
        (11.018, "11.02 s"),
    ];
    for (seconds, text) in cases {
        assert_eq!(duration(seconds), text);
    }
}

#[test]
fn a_lane_is_drawn_where_it_was_and_its_names_are_escaped() {
    let server = vec![lane("a & b", &[("<recv>", 1.0, 2.0)])];
    let picture = stage(&run("step1-sequential", 2.0, server, Vec::new()), 4.0);
    assert!(picture.contains("a &amp; b") && picture.contains("&lt;recv&gt;"), "{picture}");
    // The second quarter of what is right of the names.
    let (x, width) = (lanes::LEFT + 173.0, 173.0);
    let there = format!(r#"<rect class="asleep" x="{x}" y="58" width="{width}""#);
    assert!(picture.contains(&there), "{there}: {picture}");
}

#[test]
fn what_is_short_is_not_covered_by_what_follows() {
    let spans = [("accept", 0.0, 0.000_01), ("recv", 0.000_01, 1.0)];
    let server = vec![lane("main", &spans)];
    let picture = stage(&run("step1-sequential", 1.0, server, Vec::new()), 1.0);
    let at = |text: &str| picture.find(text).unwrap_or_else(|| panic!("{text}: {picture}"));
    assert!(at("<title>recv: 1.00 s") < at("<title>accept: 10 µs"));
}

#[test]
fn of_many_tasks_as_many_are_drawn_as_fit_below_the_threads() {
    let asleep = [("readable.await", 0.0, 1.0)];
    let tasks = (1..=20).map(|number| lane(&format!("task {number}"), &asleep));
    let server: Vec<_> = std::iter::once(lane("main", &asleep)).chain(tasks).collect();
    let picture = stage(&run("async-echo", 1.0, server, Vec::new()), 1.0);
    assert!(picture.contains("server, 12 of 21"), "{picture}");
    assert!(picture.contains(">main<") && picture.contains(">task 11<"), "{picture}");
    assert!(!picture.contains(">task 12<"), "{picture}");
    assert!(picture.contains(r#"<rect class="await""#), "{picture}");
    assert!(picture.contains("task: asleep at .await"), "{picture}");
}

#[test]
fn a_legend_says_only_what_there_is() {
    let server = vec![lane("main", &[("select", 0.0, 1.0)])];
    let picture = stage(&run("step5-select", 1.0, server, Vec::new()), 1.0);
    assert!(picture.contains("asleep in the call") && !picture.contains("at .await"), "{picture}");
}

#[test]
fn clients_are_drawn_in_the_order_in_which_they_were_greeted() {
    let clients = vec![client("late", 3.0), client("first", 1.0), client("next", 2.0)];
    let picture = stage(&run("step1-sequential", 4.0, Vec::new(), clients), 4.0);
    let at = |name: &str| picture.find(&format!(">{name}<")).unwrap();
    assert!(at("first") < at("next") && at("next") < at("late"), "{picture}");
}

#[test]
fn the_overview_has_one_axis_for_all() {
    let clients = |greeted: [f64; 3]| greeted.iter().map(|&at| client("c", at)).collect();
    let one_by_one = run("step1-sequential", 6.6, Vec::new(), clients([0.0, 2.2, 4.4]));
    let together = run("step2-thread-per-client", 2.2, Vec::new(), clients([0.0; 3]));
    let not_traced = measurement("step3-blocking", 3, 6.6);
    let picture = overview::overview(&[one_by_one, together, not_traced]);
    let (title, caption) = (&picture.title, &picture.caption);
    assert_eq!(title, "3 clients at once, 2 servers: who waits?");
    assert!(caption.contains("1 server serves one after another, which takes 6.60 s"), "{caption}");
    assert!(
        caption.contains("1 server serves all at the same time, which takes 2.20 s"),
        "{caption}"
    );
    let file = picture.file();
    // The last client of step 1 waits for two thirds of the axis, and no client of step 2 does.
    let waits = |width: f64| {
        file.matches(r#"class="waiting""#).count() > 1
            && file.contains(&format!(r#"width="{}""#, px(width)))
    };
    assert!(waits((WIDTH - 84.0 - 232.0) * 4.4 / 6.6), "{file}");
    assert!(file.contains(">6.60 s<") && file.contains(">2.20 s<"), "{file}");
}

#[test]
fn from_close_by_it_is_the_calls_of_those_that_wait_for_many() {
    let call = |name, from: f64, to: f64| (name, 1.0 + 1e-6 * from, 1.0 + 1e-6 * to);
    let main = [
        ("epoll_wait", 0.1, 1.000_020),
        call("on_read", 21.0, 40.0),
        call("recv", 22.0, 26.5),
        call("send", 30.0, 38.0),
        call("epoll_wait", 1100.0, 3000.0),
    ];
    let clients = || vec![client("late", 0.000_1), client("first", 0.0)];
    let waits = run("step6-epoll-kqueue", 2.2, vec![lane("main", &main)], clients());
    let other = vec![lane("main", &[("recv", 0.0, 2.2)])];
    let does_not = run("step2-thread-per-client", 2.2, other, clients());
    let picture = zoom::zoom(&[waits, does_not.clone()]).unwrap();
    assert!(picture.caption.contains("within 100 µs"), "{}", picture.caption);
    let said = "6 epoll and kqueue: 3 calls: 1 epoll_wait, 1 recv, 1 send, callbacks: on_read";
    assert!(picture.caption.contains(said), "{}", picture.caption);
    let file = picture.file();
    assert!(file.contains(">4.5 µs<") && file.contains(">8.0 µs<"), "{file}");
    assert!(!file.contains("step2"), "{file}");
    assert!(zoom::zoom(&[does_not]).is_none());
}

#[test]
fn the_kinds_of_what_is_drawn_follow_from_the_names() {
    let kinds =
        [("is 7 prime?", Kind::Asking), ("work", Kind::Work), ("after_work", Kind::Callback)];
    for (name, kind) in kinds {
        assert_eq!(Span::new(name, 0.0, 1.0).kind, kind, "{name}");
    }
}

/// The relative luminance of `#rrggbb`, and the contrast of two (WCAG 2.2).
fn contrast(one: &str, other: &str) -> f64 {
    let luminance = |colour: &str| -> f64 {
        let parts = [1, 3, 5].map(|at| u8::from_str_radix(&colour[at..at + 2], 16).unwrap());
        let linear = parts.map(|part| match f64::from(part) / 255.0 {
            value if value <= 0.04045 => value / 12.92,
            value => ((value + 0.055) / 1.055).powf(2.4),
        });
        0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    };
    let [one, other] = [luminance(one), luminance(other)];
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

/// What each selector is filled with: in the light, and in the dark.
fn fills() -> [HashMap<String, String>; 2] {
    let (light, dark) = STYLE.split_once("@media").unwrap();
    let parse = |rules: &str, fills: &mut HashMap<String, String>| {
        for rule in rules.lines() {
            let Some((selectors, rest)) = rule.split_once(" { ") else { continue };
            let Some((_, fill)) = rest.split_once("fill: ") else { continue };
            for selector in selectors.split(',').filter(|_| fill.starts_with('#')) {
                fills.insert(selector.trim().to_owned(), fill[..7].to_owned());
            }
        }
    };
    let mut both = [HashMap::new(), HashMap::new()];
    parse(light, &mut both[0]);
    both[1] = both[0].clone();
    parse(dark, &mut both[1]);
    both
}

#[test]
fn every_text_can_be_read_in_the_light_and_in_the_dark() {
    for fills in fills() {
        let bars = ["asleep", "recv", "send", "other", "await", "work", "unnoticed", "pausing"];
        let on_bars = bars.map(|bar| ("text", format!(".{bar}")));
        let plain = ["text", "text.muted", "text.tick"]
            .into_iter()
            .flat_map(|text| [(text, ".paper".to_owned()), (text, ".lane".to_owned())]);
        for (text, ground) in plain.chain(on_bars) {
            let ratio = contrast(&fills[text], &fills[&ground]);
            assert!(ratio >= 4.5, "{text} on {ground}: {ratio:.2}");
        }
    }
    let sizes = STYLE.split("font-size: ").skip(1).map(|rest| rest.split("px").next().unwrap());
    for size in sizes {
        assert!(size.parse::<f64>().unwrap() >= 11.0, "{size} px");
    }
}

#[test]
fn bars_can_be_told_from_what_is_behind_them() {
    let bars = ["call", "callback", "busy", "served", "recv-bar", "send-bar", "other-bar"];
    for fills in fills() {
        for bar in bars {
            let ratio = contrast(&fills[&format!(".{bar}")], &fills[".paper"]);
            assert!(ratio >= 3.0, "{bar}: {ratio:.2}");
        }
        let ratio = contrast(&fills[".waiting"], &fills[".served"]);
        assert!(ratio >= 1.7, "waiting and served: {ratio:.2}");
    }
}
