//! Progress of long work, on stderr: a bar on a terminal, otherwise a line for each finished piece,
//! and nothing with `--quiet`.

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
    /// A bar that redraws itself.
    Bar,
    /// A line for each finished piece.
    Lines,
    /// Not at all.
    Quiet,
}

/// Whether the user asked for silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Voice {
    /// Say what is happening.
    Normal,
    /// Say nothing but results and errors.
    Quiet,
}

impl Progress {
    /// Picks a style from the user's wish and from whether stdout and stderr are terminals.
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

    /// Begins a run of `rounds` child processes, estimated at `time` in total.
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

    /// Begins a download of `files` files of `what`, `size` in total.
    pub(crate) fn download(self, what: &str, files: usize, size: Bytes) -> DownloadBar {
        self.line(&format!("downloading {what}: {}, {size}", show::count(files, "file")));
        let bar = self.bar(size.0);
        bar.set_style(style("{spinner} downloading {prefix} {bar:24} {binary_bytes}/{binary_total_bytes}, {binary_bytes_per_sec}, about {eta} left: {wide_msg}"));
        bar.set_prefix(what.to_owned());
        bar.enable_steady_tick(TICK);
        DownloadBar { progress: self, bar, files, done: AtomicUsize::new(0) }
    }

    /// Whether a view that redraws itself is on screen.
    pub(crate) fn is_live(self) -> bool {
        self == Progress::Bar
    }

    /// Says something that matters, unless quiet.
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

    /// Prints a line if progress is shown as lines.
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

/// Three lines: the progress of the run, what is running, and its case's results so far.
fn live(so_far: &Arc<Mutex<String>>) -> ProgressStyle {
    let so_far = Arc::clone(so_far);
    style("{spinner} {bar:24} {percent}%  {elapsed} so far, about {prefix} left\n  {wide_msg}\n  {so_far}")
        .with_key("so_far", move |_: &ProgressState, to: &mut dyn fmt::Write| {
            // Failing to draw must not stop the work.
            let _ = so_far.lock().map(|text| to.write_str(&text));
        })
}

/// The progress of one build.
pub(crate) struct BuildBar {
    bar: ProgressBar,
}

impl BuildBar {
    /// `done` crates are built, `name` being the latest.
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

/// The progress of one download, shared by several threads.
pub(crate) struct DownloadBar {
    progress: Progress,
    bar: ProgressBar,
    files: usize,
    done: AtomicUsize,
}

impl DownloadBar {
    /// This many more bytes have arrived.
    pub(crate) fn add(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// This many bytes must be downloaded again.
    pub(crate) fn take_back(&self, bytes: u64) {
        self.bar.dec(bytes);
    }

    /// Says what is happening.
    pub(crate) fn say(&self, what: &str) {
        self.bar.set_message(what.to_owned());
        self.progress.line(what);
    }

    /// A file has been downloaded completely.
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
    /// The estimated and the actual time of the finished rounds.
    expected: Nanos,
    took: Nanos,
    left: Nanos,
}

impl RunBar {
    /// A round estimated at `expected` turns out not to be needed.
    pub(crate) fn drop_round(&mut self, expected: Nanos) {
        self.rounds -= 1;
        self.left = self.left.since(expected);
        self.bar.set_length(self.bar.length().unwrap_or(0).saturating_sub(expected.0 / 1_000_000));
    }

    /// Begins a round; `so_far` holds the earlier results of its case.
    pub(crate) fn begin(&self, what: &str, so_far: String) {
        if let Ok(mut text) = self.so_far.lock() {
            *text = so_far;
        }
        self.bar.set_prefix(self.time_left().to_string());
        self.bar.set_message(what.to_owned());
    }

    /// A round estimated at `expected` has ended after `took`.
    pub(crate) fn end(&mut self, what: &str, result: &str, expected: Nanos, took: Nanos) {
        self.done += 1;
        self.expected.0 = self.expected.0.saturating_add(expected.0);
        self.took.0 = self.took.0.saturating_add(took.0);
        self.left = self.left.since(expected);
        self.bar.set_position(self.expected.0 / 1_000_000);
        self.progress.line(&format!("[{}/{}] {what}: {result} ({took})", self.done, self.rounds));
    }

    /// The time left, scaled by how far off the estimates have been.
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

    /// A terminal that keeps everything written to it.
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
