//! [`Room`]: how wide lines may be.

use console::Term;

/// How wide lines may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// They go into a file or to a program: nothing is added for the eye.
    Plain,
    /// They go to a terminal of so many columns.
    Columns(usize),
}

impl Room {
    /// That of stdout.
    pub(crate) fn of_stdout() -> Room {
        let size = Term::stdout().size_checked();
        size.map_or(Room::Plain, |(_, columns)| Room::Columns(usize::from(columns)))
    }

    /// Whether a line of this width fits onto a terminal.
    pub(super) fn fits(self, width: usize) -> bool {
        match self {
            Room::Plain => false,
            Room::Columns(columns) => width <= columns,
        }
    }
}
