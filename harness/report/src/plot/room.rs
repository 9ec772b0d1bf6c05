//! The room that marks and texts take up in a drawing, to keep texts from overlapping.

use super::DOT;

/// A rectangle of the drawing.
pub(super) struct Room {
    corner: (i32, i32),
    size: (i32, i32),
}

/// The width of a character and the height of a line of small text.
const CHARACTER: i32 = 7;
const LINE: i32 = 12;

impl Room {
    /// The room of a mark.
    pub(super) fn of_dot((x, y): (i32, i32)) -> Room {
        Room { corner: (x - DOT, y - DOT), size: (2 * DOT, 2 * DOT) }
    }

    /// The room of small text with this upper left corner.
    pub(super) fn of_text(corner: (i32, i32), text: &str) -> Room {
        Room { corner, size: (CHARACTER * text.chars().count() as i32, LINE) }
    }

    /// Where `text` goes beside the mark at this place: to its right if that is free, else above,
    /// below or to its left; to its right if nothing is free.
    pub(super) fn beside((x, y): (i32, i32), text: &str, taken: &[Room]) -> (i32, i32) {
        let (width, near) = (CHARACTER * text.chars().count() as i32, DOT + 3);
        let places = [
            (x + near, y - LINE / 2),
            (x - width / 2, y - near - LINE),
            (x - width / 2, y + near),
            (x - near - width, y - LINE / 2),
        ];
        let free = |corner: &&(i32, i32)| Room::of_text(**corner, text).is_free(taken);
        *places.iter().find(free).unwrap_or(&places[0])
    }

    /// Whether it overlaps nothing in `taken`.
    pub(super) fn is_free(&self, taken: &[Room]) -> bool {
        let apart = |a: i32, a_size: i32, b: i32, b_size: i32| a + a_size <= b || b + b_size <= a;
        taken.iter().all(|other| {
            apart(self.corner.0, self.size.0, other.corner.0, other.size.0)
                || apart(self.corner.1, self.size.1, other.corner.1, other.size.1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stands_on_the_right_of_its_mark_or_where_there_is_room() {
        let mark = (100, 100);
        let mut taken = vec![Room::of_dot(mark)];
        let mut corners = Vec::new();
        for _ in 0..5 {
            let corner = Room::beside(mark, "q4k", &taken);
            taken.push(Room::of_text(corner, "q4k"));
            corners.push(corner);
        }
        assert_eq!(corners, [(107, 94), (90, 81), (90, 107), (72, 94), (107, 94)]);
    }
}
