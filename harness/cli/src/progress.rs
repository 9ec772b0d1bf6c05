//! How far a long work is: a bar on a terminal, a line for each finished piece elsewhere, nothing
//! when told to be quiet. All of it on stderr.

use std::fmt;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use windtunnel_ledger::unit::{Bytes, Nanos};

use crate::show;

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// As a bar that is drawn anew.
    Bar,
    /// As a line for each finished piece.
    Lines,
    /// Not at all.
    Quiet,
}

/// Whether the user asked for silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Voice {
    /// Say what happens.
    Normal,
    /// Say nothing but results and errors.
    Quiet,
}

impl Progress {
    /// The way that fits the user's wish and the place where stdout and stderr go.
    pub(crate) fn choose(voice: Voice) -> Progress {
        let terminal = std::io::stderr().is_terminal() && std::io::stdout().is_terminal();
        match voice {
            Voice::Quiet => Progress::Quiet,
            Voice::Normal if terminal => Progress::Bar,
            Voice::Normal => Progress::Lines,
        }
    }

    /// Begins a build of about `crates` crates.
    pub(crate) fn build(self, what: &str, crates: Option<usize>) -> BuildBar {
        self.line(&format!("building the probe of {what}"));
        let bar = self.bar(crates.map_or(0, |n| n as u64));
        bar.set_style(style("{spinner} building the probe of {prefix} {bar:24} {pos}/{len} crates, {elapsed} so far, about {eta} left: {wide_msg}"));
        bar.set_prefix(what.to_owned());
        bar.enable_steady_tick(TICK);
        BuildBar { bar }
    }

    /// Begins a run of `rounds` child processes that will take about `time` together.
    pub(crate) fn run(self, rounds: usize, time: Nanos) -> RunBar {
        let (bar, so_far) = (self.bar(time.0 / 1_000_000), Arc::default());
        bar.set_style(live(&so_far));
        bar.enable_steady_tick(TICK);
        RunBar {
            progress: self,
            bar,
            so_far,
            rounds,
            done: 0,
            expected: Nanos(0),
            took: Nanos(0),
            left: time,
        }
    }

    /// Begins to download `files` files of `what`, of `size` together.
    pub(crate) fn download(self, what: &str, files: usize, size: Bytes) -> DownloadBar {
        self.line(&format!("downloading {what}: {}, {size}", show::count(files, "file")));
        let bar = self.bar(size.0);
        bar.set_style(style("{spinner} downloading {prefix} {bar:24} {binary_bytes}/{binary_total_bytes}, {binary_bytes_per_sec}, about {eta} left: {wide_msg}"));
        bar.set_prefix(what.to_owned());
        bar.enable_steady_tick(TICK);
        DownloadBar { progress: self, bar, files, done: AtomicUsize::new(0) }
    }

    /// Whether there is anybody to whom a view of the work can be drawn anew.
    pub(crate) fn is_live(self) -> bool {
        self == Progress::Bar
    }

    /// Says something that matters, unless nothing is to be said.
    pub(crate) fn note(self, text: &str) {
        if self != Progress::Quiet {
            show::note(text);
        }
    }

    fn bar(self, length: u64) -> ProgressBar {
        let target = match self {
            Progress::Bar => ProgressDrawTarget::stderr(),
            Progress::Lines | Progress::Quiet => ProgressDrawTarget::hidden(),
        };
        ProgressBar::with_draw_target(Some(length), target)
    }

    /// Says a line where lines are said.
    fn line(self, text: &str) {
        if self == Progress::Lines {
            show::note(text);
        }
    }
}

const TICK: Duration = Duration::from_millis(200);

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is a constant")
}

/// Three lines: how far a run is, what runs, and what its case gave so far.
fn live(so_far: &Arc<Mutex<String>>) -> ProgressStyle {
    let so_far = Arc::clone(so_far);
    style("{spinner} {bar:24} {percent}%  {elapsed} so far, about {prefix} left\n  {wide_msg}\n  {so_far}")
        .with_key("so_far", move |_: &ProgressState, to: &mut dyn fmt::Write| {
            // A view that cannot be drawn stops no work.
            let _ = so_far.lock().map(|text| to.write_str(&text));
        })
}

/// The progress of one build.
pub(crate) struct BuildBar {
    bar: ProgressBar,
}

impl BuildBar {
    /// `done` crates are built, the last of them `name`.
    pub(crate) fn crates_done(&self, done: usize, name: &str) {
        self.bar.set_position(done as u64);
        self.bar.set_message(name.to_owned());
    }
}

impl Drop for BuildBar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The progress of one download, which several threads share.
pub(crate) struct DownloadBar {
    progress: Progress,
    bar: ProgressBar,
    files: usize,
    done: AtomicUsize,
}

impl DownloadBar {
    /// So many bytes are there.
    pub(crate) fn add(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// So many bytes have to come once more.
    pub(crate) fn take_back(&self, bytes: u64) {
        self.bar.dec(bytes);
    }

    /// What is going on.
    pub(crate) fn say(&self, what: &str) {
        self.bar.set_message(what.to_owned());
        self.progress.line(what);
    }

    /// All of a file is there.
    pub(crate) fn file_done(&self, path: &str, size: Bytes) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        self.bar.set_message(format!("{done} of {} files", self.files));
        self.progress.line(&format!("[{done}/{}] {path} ({size})", self.files));
    }
}

impl Drop for DownloadBar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The progress of one run.
pub(crate) struct RunBar {
    progress: Progress,
    bar: ProgressBar,
    so_far: Arc<Mutex<String>>,
    rounds: usize,
    done: usize,
    /// What the finished rounds were expected to take, and what they took.
    expected: Nanos,
    took: Nanos,
    left: Nanos,
}

impl RunBar {
    /// A round that was expected to take `expected` need not run after all.
    pub(crate) fn drop_round(&mut self, expected: Nanos) {
        self.rounds -= 1;
        self.left = self.left.since(expected);
        self.bar.set_length(self.bar.length().unwrap_or(0).saturating_sub(expected.0 / 1_000_000));
    }

    /// A round begins, of a case that gave this so far.
    pub(crate) fn begin(&self, what: &str, so_far: String) {
        if let Ok(mut text) = self.so_far.lock() {
            *text = so_far;
        }
        self.bar.set_prefix(self.time_left().to_string());
        self.bar.set_message(what.to_owned());
    }

    /// A round that was expected to take `expected` has ended after `took`.
    pub(crate) fn end(&mut self, what: &str, result: &str, expected: Nanos, took: Nanos) {
        self.done += 1;
        self.expected.0 = self.expected.0.saturating_add(expected.0);
        self.took.0 = self.took.0.saturating_add(took.0);
        self.left = self.left.since(expected);
        self.bar.set_position(self.expected.0 / 1_000_000);
        self.progress.line(&format!("[{}/{}] {what}: {result} ({took})", self.done, self.rounds));
    }

    /// What is left, corrected by how wrong the estimates were so far.
    fn time_left(&self) -> Nanos {
        let correction = match self.expected.0 {
            0 => 1.0,
            expected => self.took.0 as f64 / expected as f64,
        };
        Nanos((self.left.0 as f64 * correction) as u64)
    }
}

impl Drop for RunBar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A terminal that keeps all that is written on it.
    #[derive(Clone, Debug, Default)]
    struct Screen(Arc<Mutex<String>>);

    impl indicatif::TermLike for Screen {
        fn width(&self) -> u16 {
            80
        }
        fn move_cursor_up(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> std::io::Result<()> {
            self.write_str(&format!("{text}\n"))
        }
        fn write_str(&self, text: &str) -> std::io::Result<()> {
            self.0.lock().unwrap().push_str(text);
            Ok(())
        }
        fn clear_line(&self) -> std::io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_live_view_shows_the_time_left_the_case_and_what_it_gave_so_far() {
        let screen = Screen::default();
        let mut bar = Progress::Quiet.run(4, Nanos::from_seconds(8.0));
        bar.bar.set_draw_target(ProgressDrawTarget::term_like(Box::new(screen.clone())));
        bar.end("round 1 of a", "ok", Nanos::from_seconds(2.0), Nanos::from_seconds(2.0));
        bar.begin("round 2 of a", "so far decode 41.0 tok/s (1 round)".into());
        bar.bar.force_draw();
        let shown = screen.0.lock().unwrap().clone();
        for words in
            ["25%", "about 6.00 s left", "  round 2 of a", "  so far decode 41.0 tok/s (1 round)"]
        {
            assert!(shown.contains(words), "{words} in {shown}");
        }
    }

    #[test]
    fn the_time_left_learns_from_rounds_that_took_longer() {
        let second = Nanos::from_seconds(1.0);
        let mut bar = Progress::Quiet.run(3, Nanos(3 * second.0));
        assert_eq!(bar.time_left(), Nanos(3 * second.0));
        bar.end("a", "ok", second, Nanos(2 * second.0));
        assert_eq!(bar.time_left(), Nanos(4 * second.0), "two rounds of two seconds each");
    }
}
