//! Pages in a browser: no errors, no network requests, and the page's script works.
//!
//! Each page is copied with a small test script at its end, which uses the page as a person would
//! and writes what it saw into the document; the browser prints the document.

use std::path::Path;
use std::process::{Command, Stdio};

use windtunnel_ledger::store::Contents;

use crate::contents::{gate, measured, services};

/// Names of the browser's executable.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

#[expect(clippy::disallowed_methods, reason = "the test looks at the page with a browser")]
fn command(name: &str) -> Command {
    Command::new(name)
}

/// A browser that starts. If there is none, that is said once, with what to do.
fn browser() -> Option<&'static str> {
    let starts = |name: &&&str| {
        let mut command = command(name);
        let quiet = command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        quiet.status().is_ok_and(|status| status.success())
    };
    let found = BROWSERS.iter().find(starts).copied();
    if found.is_none() {
        use std::io::Write as _;
        let _ = writeln!(
            std::io::stderr(),
            "skipped: no browser is installed; `apt-get install chromium` lets this test look at pages"
        );
    }
    found
}

/// Goes before the page's own script: records errors and everything that is fetched.
const LISTEN: &str = r#"<script>
  window.seen = [];
  addEventListener("error", (event) => seen.push(`error: ${event.message}`));
  addEventListener("securitypolicyviolation", (event) => seen.push(`forbidden: ${event.blockedURI}`));
</script>"#;

/// Goes after it: `steps` use the page, then what was seen replaces the document.
fn look(steps: &str) -> String {
    format!(
        r#"<script>
  try {{ {steps} }} catch (error) {{ seen.push(`error: ${{error.message}}`); }}
  for (const entry of performance.getEntriesByType("resource")) seen.push(`fetched: ${{entry.name}}`);
  const told = parent.document.createElement("pre");
  told.textContent = "[seen]" + seen.join("\n") + "[/seen]";
  parent.document.body.replaceChildren(told);
</script>"#
    )
}

/// The narrowest window that the browser can open, in pixels.
const NARROWEST: u32 = 500;

/// A page in a frame as narrow as a phone.
fn framed(page: &str, width: u32) -> String {
    let page = page.replace('&', "&amp;").replace('"', "&quot;");
    format!(
        "<!DOCTYPE html><body><iframe width=\"{width}\" height=\"800\" srcdoc=\"{page}\"></iframe>"
    )
}

/// Checks what `steps` see on the page of `contents`, in a window of this width.
#[track_caller]
fn check(name: &str, contents: &Contents, width: u32, steps: &str, expected: &[&str]) {
    let page = windtunnel_report::render(contents).expect("every page can be made");
    check_page(name, &page, width, steps, expected);
}

/// Checks what `steps` see on a page.
#[track_caller]
fn check_page(name: &str, page: &str, width: u32, steps: &str, expected: &[&str]) {
    let Some(browser) = browser() else { return };
    let page = page.replacen("<body>", &format!("<body>{LISTEN}"), 1);
    let page = page.replacen("</body>", &format!("{}</body>", look(steps)), 1);
    let page = if width < NARROWEST { framed(&page, width) } else { page };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let file = folder.join(format!("browser-{name}-{width}.html"));
    std::fs::write(&file, page).expect("the target directory is writable");

    let profile = folder.join(format!("profile-{name}-{width}"));
    let mut command = command(browser);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]);
    command.args(["--no-first-run", "--disable-background-networking"]);
    command.arg("--enable-logging=stderr");
    command.arg(format!("--user-data-dir={}", profile.display()));
    command.arg(format!("--window-size={width},900")).arg(format!("file://{}", file.display()));
    let output = command.output().expect("the browser starts");
    let _ = std::fs::remove_dir_all(profile);
    let (dom, log) = (text(&output.stdout), text(&output.stderr));
    let console: Vec<&str> = log.lines().filter(|line| line.contains(":CONSOLE")).collect();
    assert!(console.is_empty(), "{console:?}");
    let seen = dom.split("[seen]").nth(1).and_then(|rest| rest.split("[/seen]").next());
    let seen = seen.unwrap_or_else(|| panic!("the browser printed no page: {log}"));
    assert_eq!(seen.lines().collect::<Vec<_>>(), expected, "{log}");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Checks that nothing is wider than the window, except what scrolls by itself.
const FITS: &str = r#"
  const wide = document.documentElement.scrollWidth - innerWidth;
  seen.push(wide > 0 ? `wider than the window by ${wide}` : "fits");"#;

#[test]
fn rows_of_a_gate_open_sort_and_filter() {
    let steps = r#"
  const rows = () => [...document.querySelectorAll(".ruled")];
  const first = rows()[0];
  seen.push(`closed ${!first.open}`);
  const heard = (place) => getComputedStyle(first.querySelector(".row").children[place], "::before").content;
  seen.push(`heard ${heard(2)} ${heard(4)}`);
  first.querySelector("summary").click();
  seen.push(`open ${first.open}, figure ${first.querySelector("figure").offsetHeight > 50}`);
  const list = first.parentElement;
  const worse = () => [...list.querySelectorAll(":scope > .ruled")].map((row) => Number(row.dataset.worse));
  list.querySelector("[data-key=interval] button").click();
  seen.push(`rising ${worse().every((w, i, all) => i === 0 || all[i - 1] <= w)}`);
  list.querySelector("[data-key=interval] button").click();
  seen.push(`falling ${worse().every((w, i, all) => i === 0 || all[i - 1] >= w)}`);
  const field = document.querySelector("input[type=search]");
  field.value = "prefill regressed";
  field.dispatchEvent(new Event("input"));
  const shown = rows().filter((row) => !row.hidden);
  seen.push(`some ${shown.length > 0 && shown.length < rows().length}`);
  seen.push(`right ${shown.every((row) => /prefill/.test(row.textContent) && /regressed/.test(row.textContent))}`);"#;
    let expected = [
        "closed true",
        "heard \"base \" \"worse by \"",
        "open true, figure true",
        "rising true",
        "falling true",
        "some true",
        "right true",
        "fits",
    ];
    for width in [1200, 390] {
        check("gate", &crate::gates::regressed(), width, &format!("{steps}{FITS}"), &expected);
    }
}

#[test]
fn paper_shows_the_evidence_for_what_was_found_and_not_for_what_passed() {
    let steps = r#"
  const rules = [...document.styleSheets[0].cssRules];
  const print = rules.find((rule) => rule.conditionText === "print");
  const style = document.createElement("style");
  style.textContent = [...print.cssRules].map((rule) => rule.cssText).join("\n");
  document.head.append(style);
  const visible = (selector) => document.querySelector(selector).checkVisibility();
  seen.push(`found ${visible(".ruled figure")}`);
  seen.push(`passed ${visible(".passed .ruled > summary")}, ${visible(".passed .ruled figure")}`);"#;
    check("print", &crate::gates::regressed(), 1200, steps, &["found true", "passed true, false"]);
}

#[test]
fn results_of_a_run_sort_by_the_size_of_their_values() {
    let steps = r#"
  const table = document.querySelector("table.results");
  const heads = [...table.tHead.rows[0].cells];
  const place = heads.findIndex((head) => head.textContent.startsWith("decode"));
  heads[place].querySelector("button").click();
  const values = [...table.tBodies].map((body) => parseFloat(body.rows[0].cells[place].textContent));
  seen.push(`rising ${values.every((v, i) => i === 0 || values[i - 1] <= v)}, ${values.length}`);"#;
    let contents = measured(&crate::one(), &gate(&[8, 1, 4], &[128]), 3, 0.0);
    for width in [1200, 390] {
        check("run", &contents, width, &format!("{steps}{FITS}"), &["rising true, 6", "fits"]);
    }
}

#[test]
fn rows_of_an_only_body_sort_and_filter_too() {
    let steps = r#"
  const table = document.querySelector("[id=stages] table.results");
  const rows = () => [...table.tBodies[0].rows];
  const head = table.tHead.rows[0].cells[0];
  const names = () => rows().map((row) => row.cells[0].textContent);
  head.querySelector("button").click();
  const rising = names();
  head.querySelector("button").click();
  seen.push(`turned ${rising.length > 1 && names().join() === rising.reverse().join()}`);
  const field = document.querySelector("input[type=search]");
  field.value = names()[0];
  field.dispatchEvent(new Event("input"));
  seen.push(`some ${rows().some((row) => row.hidden) && !rows()[0].hidden}`);"#;
    check("stages", &crate::gates::regressed(), 1200, steps, &["turned true", "some true"]);
}

#[test]
fn a_service_fits_a_desktop_without_scrolling() {
    let steps = r#"
  for (const wide of document.querySelectorAll(".wide, .tails"))
    if (wide.scrollWidth > wide.clientWidth) seen.push(`scrolls: ${wide.getAttribute("aria-label")}`);"#;
    let contents = measured(&crate::one(), &services(), 3, 0.0);
    check("service", &contents, 1200, &format!("{steps}{FITS}"), &["fits"]);
}

#[test]
fn every_text_on_a_phone_has_room_for_its_words() {
    let steps = r#"
  for (const folded of document.querySelectorAll("details")) folded.open = true;
  for (const cell of document.querySelectorAll("td, th, .row > span, figcaption"))
    if (cell.offsetWidth > 0 && cell.offsetWidth < 40 && cell.textContent.trim().length > 8)
      seen.push(`narrow: ${cell.textContent.trim()}`);"#;
    let pages = [
        ("watched", crate::sections::seen_from_outside()),
        ("served", measured(&crate::one(), &services(), 3, 0.0)),
        ("judged", crate::gates::regressed()),
    ];
    for (name, contents) in pages {
        check(name, &contents, 390, &format!("{steps}{FITS}"), &["fits"]);
    }
}

#[test]
fn a_history_opens_sorts_and_filters_and_its_plots_are_seen() {
    let steps = r#"
  const rows = () => [...document.querySelectorAll(".ruled")];
  const first = rows()[0];
  first.querySelector("summary").click();
  seen.push(`open ${first.open}, figure ${first.querySelector("figure").offsetHeight > 50}`);
  const list = first.parentElement;
  const worse = () => [...list.querySelectorAll(":scope > .ruled")].map((row) => Number(row.dataset.worse));
  list.querySelector("[data-key=change] button").click();
  seen.push(`rising ${worse().every((w, i, all) => i === 0 || all[i - 1] <= w)}, ${worse().length}`);
  const field = document.querySelector("input[type=search]");
  field.value = "prefill worse";
  field.dispatchEvent(new Event("input"));
  const shown = rows().filter((row) => !row.hidden);
  seen.push(`right ${shown.length === 1 && /prefill/.test(shown[0].textContent)}`);"#;
    let expected = ["open true, figure true", "rising true, 6", "right true", "fits"];
    let history = crate::history::eventful(90);
    let page = windtunnel_report::render_history(&history).expect("every page can be made");
    for width in [1200, 390] {
        check_page("history", &page, width, &format!("{steps}{FITS}"), &expected);
    }
}

#[test]
fn the_history_on_the_page_of_a_run_opens_and_sorts() {
    let steps = r##"
  const link = document.querySelector('a[href^="#history/"]');
  const row = document.getElementById(link.getAttribute("href").slice(1));
  row.querySelector("summary").click();
  seen.push(`open ${row.open}, figure ${row.querySelector("figure").offsetHeight > 50}`);
  const list = row.parentElement;
  list.querySelector("[data-key=change] button").click();
  const worse = [...list.querySelectorAll(":scope > .ruled")].map((row) => Number(row.dataset.worse));
  seen.push(`rising ${worse.every((w, i, all) => i === 0 || all[i - 1] <= w)}, ${worse.length}`);"##;
    let contents = crate::gates::regressed();
    let history = crate::history::of_run(&contents, 90);
    let page = windtunnel_report::render_with_history(&contents, &history).expect("a page");
    let expected = ["open true, figure true", "rising true, 6", "fits"];
    for width in [1200, 390] {
        check_page("run-history", &page, width, &format!("{steps}{FITS}"), &expected);
    }
}

#[test]
fn a_list_of_reports_sorts_and_filters() {
    let steps = r#"
  const list = document.querySelector("[id=reports] .verdicts");
  const rows = () => [...list.querySelectorAll(":scope > .ruled")];
  list.querySelector("[data-key=cases] button").click();
  seen.push(`first ${rows()[0].querySelector(".number")?.textContent}`);
  const field = document.querySelector("input[type=search]");
  field.value = "inconclusive";
  field.dispatchEvent(new Event("input"));
  seen.push(`left ${rows().filter((row) => !row.hidden).length}`);"#;
    let page = windtunnel_report::render_index(&crate::index::entries());
    for width in [1200, 390] {
        check_page(
            "index",
            &page,
            width,
            &format!("{steps}{FITS}"),
            &["first 6", "left 1", "fits"],
        );
    }
}
