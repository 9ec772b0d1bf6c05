//! Histories whose course is known: a file of synthetic ones, and thousands drawn here.

use serde::Deserialize;

use super::{Course, EventKind, Track, course};
use crate::judge::{Lack, Nature};
use crate::margin::Margin;
use crate::metric::Better;

const FILE: &str = include_str!("../../tests/histories/histories.toml");

#[derive(Deserialize)]
struct Histories {
    history: Vec<History>,
}

#[derive(Deserialize)]
struct History {
    name: String,
    better: String,
    nature: String,
    truth: Vec<String>,
    sessions: Vec<Vec<f64>>,
}

fn track<'a>(better: Better, nature: Nature, sessions: &'a [Vec<f64>]) -> Track<'a> {
    let sessions = sessions.iter().map(Vec::as_slice).collect();
    Track { better, nature, margin: Margin::new(0.03, 0.0).unwrap(), session_sd: None, sessions }
}

/// What was found, each with the positions at which it may have happened.
fn found(course: &Course) -> Vec<(String, std::ops::Range<usize>)> {
    let mut found = Vec::new();
    if course.states.is_some() {
        found.push(("two states".to_owned(), 0..1));
    }
    if matches!(course.lack, Some(Lack::History { .. })) {
        found.push(("lacks".to_owned(), 0..1));
    }
    for event in &course.events {
        let kind = match event.kind {
            EventKind::Change => "change",
            EventKind::Drift => "drift",
            EventKind::Unconfirmed => "unconfirmed",
        };
        let direction = if event.effect > 0.0 { "worse" } else { "better" };
        let between = match event.kind {
            // The start of a slope is not known exactly.
            EventKind::Drift => event.at.saturating_sub(10)..event.at + 11,
            EventKind::Change | EventKind::Unconfirmed => event.between.clone(),
        };
        found.push((format!("{kind} {direction}"), between));
    }
    found
}

#[test]
fn every_committed_history_has_the_course_that_it_was_made_with() {
    let Histories { history } = toml::from_str(FILE).unwrap();
    assert!(history.len() > 20);
    for history in history {
        let better = if history.better == "higher" { Better::Higher } else { Better::Lower };
        let nature = if history.nature == "counted" { Nature::Counted } else { Nature::Timed };
        // As one series of a hundred: a finding must stand out among many.
        let course = course(&track(better, nature, &history.sessions), 100);
        let found = found(&course);
        let kinds: Vec<&str> = found.iter().map(|(kind, _)| kind.as_str()).collect();
        let told: Vec<(String, usize)> = history.truth.iter().map(|truth| parts(truth)).collect();
        let expected: Vec<&str> = told.iter().map(|(kind, _)| kind.as_str()).collect();
        assert_eq!(kinds, expected, "{}: {course:#?}", history.name);
        for ((_, place), (kind, between)) in told.iter().zip(&found) {
            assert!(between.contains(place), "{}: {kind} at {between:?}", history.name);
        }
    }
}

/// Splits `change 40 worse` into `change worse` and 40.
fn parts(truth: &str) -> (String, usize) {
    let words: Vec<&str> = truth.split(' ').collect();
    match words[..] {
        [kind, place, direction] => (format!("{kind} {direction}"), place.parse().unwrap()),
        _ => (truth.to_owned(), 0),
    }
}

/// Pseudo-random numbers, the same every time.
struct Draws(u64);

impl Draws {
    fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let (radius, angle) = (self.uniform().max(1e-12), self.uniform());
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }

    /// A history of one round per session with this noise; from `at` on it is worse by `effect`.
    fn history(&mut self, sessions: usize, sd: f64, at: usize, effect: f64) -> Vec<Vec<f64>> {
        let level = |place| if place >= at { effect } else { 0.0 };
        (0..sessions).map(|place| vec![100.0 * (sd * self.normal() + level(place)).exp()]).collect()
    }
}

#[test]
fn of_two_thousand_histories_in_which_nothing_happens_none_is_called_changed() {
    let mut draws = Draws(0x9e37_79b9_7f4a_7c15);
    let family = 2000;
    for i in 0..family {
        let sd = [0.002, 0.01, 0.05][i % 3];
        let sessions = draws.history(8 + i % 90, sd, 0, 0.0);
        let course = course(&track(Better::Lower, Nature::Timed, &sessions), family);
        assert_eq!(course.events, [], "{i} with {sd}");
        assert_eq!(course.levels.len(), 1);
    }
}

#[test]
fn a_change_of_five_standard_deviations_is_found_where_it_was_made() {
    let mut draws = Draws(0x2545_f491_4f6c_dd1d);
    let (mut found, mut near) = (0, 0);
    let count = 200;
    for i in 0..count {
        let at = 10 + i % 40;
        let sessions = draws.history(60, 0.01, at, 0.05);
        let course = course(&track(Better::Lower, Nature::Timed, &sessions), 100);
        if let [event] = &course.events[..] {
            found += 1;
            near += usize::from(event.between.contains(&at) && event.between.len() <= 3);
            assert!((event.effect - 0.05).abs() < 0.02, "{event:?}");
        }
    }
    assert!(found >= count * 99 / 100, "{found} of {count}");
    assert!(near >= count * 95 / 100, "{near} of {count}");
}

#[test]
fn the_noise_of_a_calibrated_machine_makes_a_short_history_doubt() {
    let mut sessions = vec![vec![100.0], vec![100.1], vec![99.9], vec![100.0]];
    sessions.extend([vec![106.0], vec![106.1], vec![105.9], vec![106.0]]);
    let events = |session_sd| {
        let track = Track { session_sd, ..track(Better::Lower, Nature::Timed, &sessions) };
        course(&track, 1).events.len()
    };
    assert_eq!((events(None), events(Some(0.002)), events(Some(0.1))), (1, 1, 0));
}

#[test]
fn levels_hold_every_session_and_events_stand_between_them() {
    let mut draws = Draws(7);
    let sessions = draws.history(50, 0.01, 20, 0.2);
    let course = course(&track(Better::Higher, Nature::Timed, &sessions), 1);
    let ends: Vec<_> = course.levels.iter().map(|level| level.sessions.clone()).collect();
    assert_eq!(ends, [0..20, 20..50]);
    let event = &course.events[0];
    assert_eq!((event.kind, event.at), (EventKind::Change, 20));
    assert!(event.effect < -0.15 && event.after > event.before, "more is better: {event:?}");
}

#[test]
fn no_number_makes_it_panic() {
    let odd = [0.0, -1.0, f64::NAN, f64::INFINITY, f64::MAX, 5e-324, 1.0];
    for (a, b) in odd.into_iter().flat_map(|a| odd.map(|b| (a, b))) {
        for count in [0, 1, 2, 5, 6, 7, 20] {
            let sessions: Vec<Vec<f64>> = (0..count)
                .map(|i| if i % 7 == 6 { vec![] } else { vec![if i % 3 == 0 { b } else { a }] })
                .collect();
            for nature in [Nature::Timed, Nature::Counted] {
                let _ = course(&track(Better::Lower, nature, &sessions), 10);
            }
        }
    }
}
