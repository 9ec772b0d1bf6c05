//! [`Room`]: how wide lines may be.

use console::Term;

/// How wide lines may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// Output to a file or a program: nothing is added just for the eye.
    Plain,
    /// Output to a terminal of this many columns.
    Columns(usize),
}

impl Room {
    /// The room on stdout.
    pub(crate) fn of_stdout() -> Room {
        let size = Term::stdout().size_checked();
        size.map_or(Room::Plain, |(_, columns)| Room::Columns(usize::from(columns)))
    }

    /// Whether a line of this width fits on the terminal.
    pub(super) fn fits(self, width: usize) -> bool {
        match self {
            Room::Plain => false,
            Room::Columns(columns) => width <= columns,
        }
    }
}
