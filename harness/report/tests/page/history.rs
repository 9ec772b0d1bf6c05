//! Pages of invented histories, as the ledger reads them.

use windtunnel_ledger::course::{Event, EventKind, Track as Question, course};
use windtunnel_ledger::judge::Nature;
use windtunnel_ledger::margin::Margin;
use windtunnel_ledger::metric::Metric;
use windtunnel_ledger::series::Series;
use windtunnel_ledger::store::Contents;
use windtunnel_report::history::{Along, Build, Cause, Commit, History, Point, Track};
use windtunnel_report::index::{Card, Kind};

use crate::{between, made, svgs};

/// The value of a series, given the index of its session and the number of sessions.
type Shape = fn(usize, usize) -> f64;

/// A history of this many builds, in which everything happens that can.
pub(crate) fn eventful(builds: usize) -> History {
    let shapes: [(&str, &str, Metric, Shape); 8] = [
        ("gate/decode", "batch=1,depth=1024", Metric::DecodeRate, |i, n| {
            if i >= n * 2 / 3 { 37.6 } else { 41.0 }
        }),
        ("gate/prefill", "prompt=2048", Metric::TimeToFirstToken, |i, n| {
            2.4e9 * (1.0 + 0.12 * i as f64 / n as f64)
        }),
        ("gate/serve", "arrival=closed,batch=8", Metric::SystemRate, |i, n| {
            if i >= n / 2 { 131.0 } else { 112.0 }
        }),
        ("gate/load", "dtype=bf16", Metric::LoadTime, |i, n| {
            if (n / 4..n / 2).contains(&i) { 2.3e9 } else { 1.9e9 }
        }),
        ("gate/decode", "batch=8,depth=128", Metric::InterToken, |i, _| {
            if i * 7 % 10 < 3 { 34e6 } else { 25e6 }
        }),
        ("gate/decode", "batch=8,depth=128", Metric::DecodeRate, |i, n| {
            if i + 2 >= n { 120.0 } else { 139.0 }
        }),
        ("gate/prefill", "prompt=128", Metric::PrefillRate, |_, _| 820.0),
        ("nightly/embed", "batch=4", Metric::EmbedRate, |_, _| 5100.0),
    ];
    let tracks = shapes.into_iter().enumerate().map(|(place, (scenario, axes, metric, shape))| {
        let count = if metric == Metric::EmbedRate { 4 } else { builds };
        let value = |i: usize| {
            let noise = ((i * 37 + place * 11) % 23) as f64 / 23.0 - 0.5;
            shape(i, builds) * (1.0 + 0.012 * noise)
        };
        let point = |i: usize| Point {
            build: i,
            rounds: (0..3).map(|r| value(i) * (1.0 + 0.001 * f64::from(r))).collect(),
        };
        let points: Vec<Point> = (builds - count..builds).map(point).collect();
        track(format!("{scenario}/qwen2.5-0.5b/{axes}"), metric, points)
    });
    History {
        along: Along::Own,
        builds: (0..builds).map(build).collect(),
        tracks: tracks.collect(),
        family: 8,
        runs: builds,
        records: builds * 24,
        unread: Vec::new(),
    }
}

fn build(place: usize) -> Build {
    Build {
        at: format!("2026-{:02}-{:02}T04:00:00Z", 1 + place / 28 % 12, 1 + place % 28),
        run: format!("2026-run-{place}"),
        subject: ".".into(),
        commit: format!(
            "{:016x}{place:024x}",
            0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(place as u64 + 1)
        ),
        upstream: "2bcf0e9e3a0c688786cfa3142e2b18844a7f3447".into(),
    }
}

fn commit(place: usize, subject: &str) -> Commit {
    let hash = build(place).commit;
    let web = "https://example.org/engine";
    Commit {
        link: Some(format!("{web}/commit/{hash}")),
        pr_link: Some(format!("{web}/pull/{}", 100 + place)),
        pr: Some(100 + place as u32),
        date: build(place).at[..10].to_owned(),
        subject: subject.into(),
        hash,
    }
}

fn track(case: String, metric: Metric, points: Vec<Point>) -> Track {
    let question = Question {
        better: metric.spec().better,
        nature: Nature::Timed,
        margin: Margin::new(0.03, 0.0).expect("a margin"),
        session_sd: None,
        sessions: points.iter().map(|point| &point.rounds[..]).collect(),
    };
    let course = course(&question, 8);
    let cause = |event: &Event| match (event.kind, event.at % 2) {
        (EventKind::Drift, _) => Cause {
            note: Some("It drifted from 9e3779b97 to 4c9d68531, not by any single commit".into()),
            ..Cause::default()
        },
        (_, 0) => Cause {
            commits: vec![commit(
                event.at,
                "Read the weights of a layer when it is first asked for",
            )],
            ..Cause::default()
        },
        _ => Cause {
            commits: (0..4)
                .map(|more| commit(event.at + more, "Keep keys and values side by side"))
                .collect(),
            hidden: 3,
            settings: vec!["rustc 1.94.0 → 1.95.0".into()],
            ..Cause::default()
        },
    };
    let causes = course.events.iter().map(cause).collect();
    Track {
        case,
        series: Series::median(metric),
        machine: "amd-epyc-7763-2c-23g-5d07ca".into(),
        variant: String::new(),
        points,
        course,
        causes,
    }
}

/// The page of a history.
#[track_caller]
fn page(name: &str, history: &History) -> String {
    made(name, || windtunnel_report::render_history(history).expect("every page can be made"))
}

/// A history of the cases of a run, with that run as the newest build.
pub(crate) fn of_run(contents: &Contents, builds: usize) -> History {
    let mut history = eventful(builds);
    for (place, track) in history.tracks.iter_mut().enumerate() {
        let cases = contents.run.cases.iter().map(|planned| planned.case.id.to_string());
        let scenario = track.case.split("/qwen").next().unwrap_or_default();
        let alike: Vec<String> = cases.filter(|case| case.starts_with(scenario)).collect();
        if !alike.is_empty() {
            track.case = alike[place % alike.len()].clone();
        }
    }
    history.builds[builds - 1].run = contents.run.id.0.clone();
    history.of_run(&contents.run.id.0)
}

#[test]
fn the_page_of_a_run_tells_since_when_its_series_are_as_they_are() {
    let contents = crate::gates::regressed();
    let history = of_run(&contents, 90);
    let page = made("regressed-history", || {
        windtunnel_report::render_with_history(&contents, &history).expect("every page can be made")
    });
    let (_, header) = page.split_once("<header>").unwrap();
    let (header, _) = header.split_once("</header>").unwrap();
    assert!(
        header.contains("<a href=\"#history\">History</a>: <span class=\"worse\">▲ 2 of 8"),
        "{header}"
    );
    let (_, section) = page.split_once("<section id=\"history\">").unwrap();
    let (section, _) = section.split_once("</section>").unwrap();
    for words in [
        "90 builds from <span class=\"id\">2026-01-01</span> to",
        "8 series were judged as one family: if nothing had changed,",
        "Read the weights of a layer when it is first asked for",
        "<strong> this run</strong>",
        "2 series in which nothing was found",
    ] {
        assert!(section.contains(words), "{words} in {section}");
    }
    // The evidence of a verdict leads to the history of its series.
    let (_, evidence) = page.split_once("<div class=\"evidence\">").unwrap();
    let links = between(evidence, "href=\"#history/");
    assert!(!links.is_empty());
}

#[test]
fn a_history_is_cut_to_the_series_of_a_run_with_all_their_builds() {
    let mut history = eventful(90);
    history.builds[0].run = "mine".into();
    let all = history.clone();
    let cut = history.of_run("mine");
    // One series began later.
    assert_eq!((cut.tracks.len(), cut.builds.len(), cut.family), (7, 90, 8));
    for (track, whole) in cut.tracks.iter().zip(&all.tracks) {
        let builds = |history: &History, track: &Track| -> Vec<Build> {
            track.points.iter().map(|point| history.builds[point.build].clone()).collect()
        };
        assert_eq!(builds(&cut, track), builds(&all, whole));
    }
    let none = all.of_run("another");
    assert_eq!((none.tracks.len(), none.builds.len(), none.tells()), (0, 0, false));
}

#[test]
fn a_history_survives_json_with_what_became_infinitely_worse() {
    let mut history = eventful(40);
    history.tracks[0].course.events[0].effect = f64::INFINITY;
    let text = serde_json::to_string(&history).unwrap();
    let back: History = serde_json::from_str(&text).unwrap();
    assert_eq!(back.tracks[0].course, history.tracks[0].course);
    let page = |history| windtunnel_report::render_history(history).unwrap();
    assert_eq!(page(&back), page(&history));
}

#[test]
fn what_became_infinitely_worse_and_stayed_so_was_not_undone() {
    let mut track = eventful(40).tracks.remove(0);
    let event = &mut track.course.events[0];
    (event.before, event.effect) = (0.0, f64::INFINITY);
    assert!(track.stands(&track.course.events[0]));
}

#[test]
fn a_confirmed_regression_is_not_undone_by_the_newest_builds_alone() {
    let point = |build: usize| {
        let noise = (build * 37 % 23) as f64 / 23.0 - 0.5;
        let rate = if (60..90).contains(&build) { 37.6 } else { 41.0 };
        Point { build, rounds: vec![rate * (1.0 + 0.012 * noise); 3] }
    };
    let mut history = eventful(92);
    history.tracks =
        vec![track("gate/decode".into(), Metric::DecodeRate, (0..92).map(point).collect())];
    let [track] = &history.tracks[..] else { unreachable!() };
    let kinds: Vec<EventKind> = track.course.events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::Change, EventKind::Unconfirmed], "{:?}", track.course);
    assert!(track.course.events.iter().all(|event| track.stands(event)));
    let census = history.census();
    assert_eq!((census.worse, census.undone), (1, 0));
    // Its current value is a separate question.
    assert!(track.now() > 40.0, "{}", track.now());
}

#[test]
fn a_run_of_thousands_of_series_shows_those_of_its_history_that_matter() {
    let contents = crate::gates::regressed();
    let mut history = of_run(&contents, 90);
    let tracks = history.tracks.clone();
    while history.tracks.len() < 10_000 {
        history.tracks.extend(tracks.iter().cloned());
    }
    let plain = windtunnel_report::render(&contents).unwrap().len();
    let page = windtunnel_report::render_with_history(&contents, &history).unwrap();
    assert!(page.len() < plain + (2 << 20), "{} KiB more", (page.len() - plain) >> 10);
    assert!(page.contains("more series are left out"));
}

#[test]
fn what_changed_comes_first_the_worst_on_top_and_improvements_as_plainly() {
    let page = page("history", &eventful(90));
    let words: Vec<&str> = page
        .split("<span class=\"word\">")
        .skip(1)
        .map(|rest| rest.split("</summary>").next().unwrap())
        .collect();
    let of = |place: usize| {
        let text: String = words[place]
            .split('<')
            .map(|piece| piece.split_once('>').map_or(piece, |(_, text)| text))
            .collect();
        text.split("  ").next().unwrap().to_owned()
    };
    let told: Vec<String> = (0..words.len()).map(of).collect();
    let begins = |place: usize, words: &str| assert!(told[place].starts_with(words), "{told:#?}");
    begins(0, "▲ 11.8 % worse (drift)");
    begins(1, "▲ 9.0 % worse");
    begins(2, "? 15");
    begins(3, "▽ 14.5 % better");
    begins(4, "↺ was 2");
    begins(5, "⇅ two states");
    begins(6, "= steady");
    let (_, heading) = page.split_once("<h1>").unwrap();
    let (heading, _) = heading.split_once("</h1>").unwrap();
    for words in [
        "▲ 2 of 8 series are worse",
        "? 1 in the newest builds alone",
        "▽\u{a0}1\u{a0}better",
        "1 changed and changed back",
        "1 with two states",
        "1 too short",
    ] {
        assert!(heading.contains(words), "{heading}");
    }
    assert!(
        page.contains("Not the same before and after: </strong>rustc 1.94.0 → 1.95.0")
            || page.contains("One of 7 commits")
    );
}

#[test]
fn a_page_tells_of_itself_for_the_list() {
    let card = Card::of(&page("history-card", &eventful(90))).unwrap();
    assert_eq!(
        (card.kind, card.cases, card.machine.as_str()),
        (Kind::History, 7, "amd-epyc-7763-2c-23g-5d07ca")
    );
    assert!(
        card.headline.starts_with("▲ 2 of 8 series are worse than before"),
        "{}",
        card.headline
    );
}

#[test]
fn hostile_names_and_subjects_stay_text() {
    let attack = "\"><script>alert(1)</script><img src=x onerror=alert(1)>'&\u{1}";
    let mut history = eventful(90);
    for track in &mut history.tracks {
        track.case = attack.into();
        track.machine = attack.into();
        track.variant = attack.into();
        for cause in &mut track.causes {
            cause.note = Some(attack.into());
            cause.settings = vec![attack.into()];
            cause.commits.iter_mut().for_each(|commit| {
                (commit.subject, commit.hash, commit.date) =
                    (attack.into(), attack.into(), attack.into());
            });
        }
    }
    for build in &mut history.builds {
        *build = Build {
            at: attack.into(),
            run: attack.into(),
            subject: attack.into(),
            commit: attack.into(),
            upstream: attack.into(),
        };
    }
    history.unread.push(attack.into());
    let page = windtunnel_report::render_history(&history).unwrap();
    assert_eq!(page.matches("<script").count(), 1, "the page's own");
    assert!(!page.contains("<img") && !page.contains("=\"\">"), "an attribute was closed early");
    for svg in svgs(&page) {
        roxmltree::Document::parse(svg).unwrap();
    }
}

#[test]
fn an_empty_history_and_one_of_a_single_build_are_pages_too() {
    let empty = page("history-empty", &History::default());
    assert!(empty.contains("None of 0 series is worse than before"));
    let mut one = eventful(90);
    one.builds.truncate(1);
    one.tracks =
        vec![track("a".into(), Metric::DecodeRate, vec![Point { build: 0, rounds: vec![1.0] }])];
    let one = page("history-one", &one);
    assert!(one.contains("To be judged it lacks 6 sessions at least; there are 1."), "{one}");
}

#[test]
fn a_long_history_of_many_series_stays_small() {
    let mut history = eventful(2000);
    let tracks = history.tracks.clone();
    while history.tracks.len() < 400 {
        history.tracks.extend(tracks.iter().cloned());
    }
    let page = windtunnel_report::render_history(&history).unwrap();
    assert!(page.len() < 15 << 20, "{} MiB", page.len() >> 20);
    assert_eq!(page.matches("<figure>").count(), 200);
}
