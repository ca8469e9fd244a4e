//! What `timer_again` must do.

use std::time::{Duration, Instant};

use step7_event_loop::{Loop, TimerId};

const MS: Duration = Duration::from_millis(1);

#[derive(Default)]
struct State {
    calls: Vec<Instant>,
    put_off: u32,
    timer: Option<TimerId>,
    answers: Vec<bool>,
}

#[test]
fn a_timer_that_is_put_off_again_and_again_is_called_once_and_late() {
    let mut lp = Loop::new().unwrap();
    let started = lp.now();
    let late = lp.timer_start(60 * MS, None, |lp, state: &mut State, _| {
        state.calls.push(lp.now());
    });
    lp.timer_start(20 * MS, Some(20 * MS), move |lp, state: &mut State, ticker| {
        if state.put_off == 10 {
            lp.timer_stop(ticker);
        } else {
            state.put_off += 1;
            state.answers.push(lp.timer_again(late, 60 * MS));
        }
    });
    let mut state = State::default();
    lp.run(&mut state).unwrap();
    assert_eq!(state.calls.len(), 1, "it is called once");
    // On a machine that was busy it may have been due before it was put off the last time: then that was refused.
    let put_off = state.answers.iter().filter(|&&answer| answer).count() as u32;
    let earliest = 20 * MS * put_off + 60 * MS;
    let after = state.calls[0] - started;
    assert!(after >= earliest, "put off {put_off} times, it was called after {after:?}");
}

#[test]
fn a_timer_may_be_put_off_by_one_that_is_due_at_the_same_moment() {
    let mut lp = Loop::new().unwrap();
    lp.timer_start(5 * MS, None, |lp, state: &mut State, _| {
        let other = state.timer.expect("it was started");
        state.calls.push(lp.now());
        assert!(lp.timer_again(other, 50 * MS));
    });
    let other = lp.timer_start(5 * MS, None, |lp, state: &mut State, _| {
        state.calls.push(lp.now());
    });
    let mut state = State { timer: Some(other), ..State::default() };
    lp.run(&mut state).unwrap();
    let [first, other] = state.calls[..] else { panic!("{} calls", state.calls.len()) };
    assert!(other - first >= 50 * MS, "put off by 50 ms, it came after {:?}", other - first);
}

#[test]
fn a_repeating_timer_goes_on_from_there_and_may_be_put_off_in_its_own_callback() {
    let mut lp = Loop::new().unwrap();
    lp.timer_start(10 * MS, Some(10 * MS), |lp, state: &mut State, timer| {
        state.calls.push(lp.now());
        match state.calls.len() {
            1 => assert!(lp.timer_again(timer, 200 * MS), "it repeats, so it is there"),
            3 => assert!(lp.timer_stop(timer)),
            _ => {}
        }
    });
    let mut state = State::default();
    lp.run(&mut state).unwrap();
    let [first, second, third] = state.calls[..] else { panic!("{} calls", state.calls.len()) };
    assert!(second - first >= 200 * MS, "put off by 200 ms, it came after {:?}", second - first);
    // The third is due one interval after the second was due; it may be called late, and the second as well.
    assert!(third >= second && third - first >= 210 * MS, "{:?}", third - first);
}

#[test]
fn sooner_works_as_well_as_later() {
    let mut lp = Loop::new().unwrap();
    let started = Instant::now();
    let timer = lp.timer_start(Duration::from_secs(3600), None, |_, state: &mut State, _| {
        state.calls.push(Instant::now());
    });
    assert!(lp.timer_again(timer, 5 * MS));
    let due = lp.timer_due(timer).expect("it has not been called");
    assert!(due <= Instant::now() + 5 * MS);
    let mut state = State::default();
    lp.run(&mut state).unwrap();
    assert_eq!(state.calls.len(), 1);
    assert!(state.calls[0] - started < Duration::from_secs(60));
}

#[test]
fn one_that_is_over_or_has_been_stopped_is_not_there() {
    let mut lp = Loop::new().unwrap();
    let stopped = lp.timer_start(5 * MS, None, |_, _: &mut State, _| panic!("it was stopped"));
    assert!(lp.timer_stop(stopped));
    assert!(!lp.timer_again(stopped, 5 * MS));
    let over = lp.timer_start(5 * MS, None, |lp, state: &mut State, timer| {
        state.answers.push(lp.timer_again(timer, 5 * MS));
    });
    let mut state = State { timer: Some(over), ..State::default() };
    lp.run(&mut state).unwrap();
    assert_eq!(state.answers, [false], "a one-shot timer is over when its callback is called");
    assert!(!lp.timer_again(state.timer.unwrap(), 5 * MS));
}
