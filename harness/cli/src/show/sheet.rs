//! [`Sheet`]: a table before it is decided on what it is written.

use std::fmt::Write as _;

use comfy_table::Cell;

use super::{right, table};

/// A heading and a table whose first columns are words and whose last ones are numbers.
pub(super) struct Sheet {
    /// What it is of.
    pub(super) name: String,
    /// What all its rows share.
    pub(super) shared: String,
    /// Names of the columns of words.
    pub(super) words: Vec<String>,
    /// Names of the columns of numbers.
    pub(super) numbers: Vec<String>,
    /// As many cells in each as there are columns.
    pub(super) rows: Vec<Vec<String>>,
}

impl Sheet {
    /// For a terminal.
    pub(super) fn text(&self) -> String {
        let words = self.words.len();
        let cell = |(at, content): (usize, &String)| match at < words {
            true => Cell::new(content),
            false => right(content),
        };
        let header: Vec<&String> = self.words.iter().chain(&self.numbers).collect();
        let mut table = table(header.into_iter().enumerate().map(cell).collect());
        for row in &self.rows {
            table.add_row(row.iter().enumerate().map(cell));
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

/// Text that Markdown takes as it is.
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
        }
    }

    #[test]
    fn words_stand_left_and_numbers_right() {
        let text = sheet().text();
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
