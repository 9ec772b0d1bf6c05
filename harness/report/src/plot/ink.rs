//! Colours and text of a plot.
//!
//! The backend writes colours as numbers, but on the page they must follow the light or dark
//! scheme. So every ink is painted in a placeholder colour, which is replaced by the page's
//! variable in the finished drawing.

use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontStyle, RGBAColor, RGBColor, ShapeStyle, TextStyle};
use plotters::style::{FontFamily, IntoFont};

/// The marks of subjects in words and tables, one for each colour.
pub(crate) const SHAPES: [&str; 4] = ["○", "◇", "△", "□"];

/// What a line or text is for.
#[derive(Clone, Copy)]
pub(super) enum Ink {
    /// Names of cases.
    Text,
    /// Ticks.
    Muted,
    /// Grid lines.
    Grid,
    /// A change for the worse.
    Worse,
    /// A change for the better.
    Better,
    /// The measurements of a subject, by its index modulo the number of [`SHAPES`].
    Subject(u8),
}

impl Ink {
    const ALL: [Ink; 9] = [
        Ink::Text,
        Ink::Muted,
        Ink::Grid,
        Ink::Worse,
        Ink::Better,
        Ink::Subject(0),
        Ink::Subject(1),
        Ink::Subject(2),
        Ink::Subject(3),
    ];

    /// The ink of the subject with this index.
    pub(super) fn subject(index: usize) -> Ink {
        Ink::Subject((index % SHAPES.len()) as u8)
    }

    /// The placeholder colour of this ink until the drawing is finished.
    pub(super) fn colour(self) -> RGBColor {
        match self {
            Ink::Text => RGBColor(1, 0, 0),
            Ink::Muted => RGBColor(2, 0, 0),
            Ink::Grid => RGBColor(3, 0, 0),
            Ink::Worse => RGBColor(5, 0, 0),
            Ink::Better => RGBColor(6, 0, 0),
            Ink::Subject(index) => RGBColor(4, 0, index),
        }
    }

    /// The name of the page's CSS variable.
    fn variable(self) -> String {
        match self {
            Ink::Text => "ink".into(),
            Ink::Muted => "muted".into(),
            Ink::Grid => "line".into(),
            Ink::Worse => "worse".into(),
            Ink::Better => "better".into(),
            Ink::Subject(index) => format!("s{index}"),
        }
    }

    /// A line of this width.
    pub(super) fn stroke(self, width: u32) -> ShapeStyle {
        self.colour().stroke_width(width)
    }

    /// A tint that leaves everything visible.
    pub(super) fn faint_fill(self) -> ShapeStyle {
        self.colour().mix(0.12).filled()
    }

    /// A tint that leaves what is under it visible.
    pub(super) fn faint(self) -> RGBAColor {
        self.colour().mix(0.25)
    }
}

/// Text whose upper left corner is at its place.
pub(super) fn text(size: f64, ink: Ink) -> TextStyle<'static> {
    styled(size, FontStyle::Normal, ink)
}

/// A heading.
pub(super) fn bold(size: f64) -> TextStyle<'static> {
    styled(size, FontStyle::Bold, Ink::Text)
}

/// Text that ends at its place, vertically centred.
pub(super) fn value(size: f64, ink: Ink) -> TextStyle<'static> {
    text(size, ink).pos(Pos::new(HPos::Right, VPos::Center))
}

/// Text centred at its place.
pub(super) fn centred(size: f64, ink: Ink) -> TextStyle<'static> {
    text(size, ink).pos(Pos::new(HPos::Center, VPos::Center))
}

/// The backend writes font sizes divided by 1.24.
fn styled(size: f64, style: FontStyle, ink: Ink) -> TextStyle<'static> {
    let font = (FontFamily::SansSerif, size * 1.24, style).into_font();
    TextStyle { color: ink.colour().to_backend_color(), ..font.into() }
}

/// The finished drawing as an element of the page: in the page's colours, as wide as its container,
/// and with a text alternative.
pub(super) fn themed(svg: &str, alt: &str) -> String {
    let mut themed = svg.replace(r#" font-family="sans-serif""#, "").replace(r#" opacity="1""#, "");
    for ink in Ink::ALL {
        let RGBColor(r, g, b) = ink.colour();
        // With the quotes, because in text the backend escapes them.
        let painted = format!("\"#{r:02X}{g:02X}{b:02X}\"");
        themed = themed.replace(&painted, &format!("\"var(--{})\"", ink.variable()));
    }
    let alt = maud::html! { svg role="img" aria-label=(alt) {} }.into_string();
    let opening = alt.trim_end_matches("></svg>");
    themed.replacen("<svg", opening, 1)
}
