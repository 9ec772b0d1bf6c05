//! [`Sheet`]: a table before its output format is chosen.

use std::fmt::Write as _;

use comfy_table::Cell;

use super::{Room, right, table};

/// A heading and a table whose first columns hold words and whose last ones hold numbers.
pub(super) struct Sheet {
    /// What the table is about.
    pub(super) name: String,
    /// What all rows have in common.
    pub(super) shared: String,
    /// Headers of the word columns.
    pub(super) words: Vec<String>,
    /// Headers of the number columns.
    pub(super) numbers: Vec<String>,
    /// One cell per column in each row.
    pub(super) rows: Vec<Vec<String>>,
    /// The course of the rounds of each row, in block characters.
    pub(super) courses: Vec<String>,
}

/// The header of the column with the course of the rounds, and the space before the column.
const COURSE: &str = "rounds";
const GAP: usize = 3;

impl Sheet {
    /// For people to read; with the course of the rounds if there is anything to see and room for
    /// it.
    pub(super) fn text(&self, room: Room) -> String {
        let plain = self.aligned(None);
        let width = plain.lines().map(|line| line.chars().count()).max().unwrap_or(0);
        let course = self.courses.iter().map(|course| course.chars().count()).max().unwrap_or(0);
        let course = if course > 1 { course.max(COURSE.len()) } else { return plain };
        match room.fits(width + GAP + course) {
            true => self.aligned(Some(&self.courses)),
            false => plain,
        }
    }

    fn aligned(&self, courses: Option<&[String]>) -> String {
        let words = self.words.len();
        let cell = |(at, content): (usize, &String)| match at < words {
            true => Cell::new(content),
            false => right(content),
        };
        let header: Vec<&String> = self.words.iter().chain(&self.numbers).collect();
        let course = courses.map(|_| Cell::new(COURSE));
        let mut table = table(header.into_iter().enumerate().map(cell).chain(course).collect());
        for (place, row) in self.rows.iter().enumerate() {
            let course = courses.and_then(|courses| courses.get(place)).map(Cell::new);
            table.add_row(row.iter().enumerate().map(cell).chain(course));
        }
        let gap = if self.shared.is_empty() { "" } else { "  " };
        format!("\n{}{gap}{}\n{}\n", self.name, self.shared, table.trim_fmt())
    }

    /// For a document.
    pub(super) fn markdown(&self) -> String {
        let mut text = format!("### {}\n\n", escaped(&self.name));
        if !self.shared.is_empty() {
            let _ = writeln!(text, "{}\n", escaped(&self.shared));
        }
        let line = |cells: &mut dyn Iterator<Item = &String>| {
            let cells: Vec<String> = cells.map(|cell| escaped(cell)).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        text.push_str(&line(&mut self.words.iter().chain(&self.numbers)));
        text.push('|');
        text.push_str(&"---|".repeat(self.words.len()));
        text.push_str(&"--:|".repeat(self.numbers.len()));
        text.push('\n');
        for row in &self.rows {
            text.push_str(&line(&mut row.iter()));
        }
        text
    }
}

/// Escapes what Markdown would interpret.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '|' | '*' | '_' | '`' | '<' | '[') {
            escaped.push('\\');
        }
        escaped.push(if c.is_control() { ' ' } else { c });
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet() -> Sheet {
        Sheet {
            name: "gate/a|b".into(),
            shared: "output=16".into(),
            words: vec!["batch".into()],
            numbers: vec!["decode".into(), "peak_rss".into()],
            rows: vec![vec!["1".into(), "12.0 tok/s".into(), "1.00 GiB".into()]],
            courses: vec!["▃▅█".into()],
        }
    }

    #[test]
    fn how_rounds_went_is_shown_on_a_terminal_with_room_for_it() {
        let plain = sheet().text(Room::Plain);
        let widest = |text: &str| text.lines().map(|line| line.chars().count()).max().unwrap();
        let wide = sheet().text(Room::Columns(120));
        assert!(wide.contains("rounds") && wide.ends_with("▃▅█\n"), "{wide}");
        assert_eq!(sheet().text(Room::Columns(widest(&wide))), wide);
        assert_eq!(sheet().text(Room::Columns(widest(&wide) - 1)), plain);
        let one = Sheet { courses: vec!["▅".into()], ..sheet() };
        assert_eq!(one.text(Room::Columns(120)), plain, "one round has no course");
    }

    #[test]
    fn words_stand_left_and_numbers_right() {
        let text = sheet().text(Room::Plain);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], ["", "gate/a|b  output=16"]);
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(lines[2]), ["batch", "decode", "peak_rss"]);
        assert_eq!(words(lines[4]), ["1", "12.0", "tok/s", "1.00", "GiB"]);
        assert!(lines[2].starts_with("  batch") && lines[4].ends_with("1.00 GiB"), "{text}");
    }

    #[test]
    fn a_document_gets_a_heading_and_nothing_in_it_is_markup() {
        assert_eq!(
            sheet().markdown(),
            "### gate/a\\|b\n\noutput=16\n\n| batch | decode | peak\\_rss |\n|---|--:|--:|\n| 1 | 12.0 tok/s | 1.00 GiB |\n"
        );
    }
}
