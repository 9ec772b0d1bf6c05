//! Legibility of text: the contrast of the palettes, by the formula of WCAG 2.

const STYLE: &str = include_str!("../../src/page/style.css");

/// The minimum contrast of text of ordinary size, level AA.
const TEXT: f64 = 4.5;
/// The colours of text, and of its backgrounds.
const INKS: [&str; 9] = ["ink", "muted", "link", "worse", "better", "s0", "s1", "s2", "s3"];
const PAPERS: [&str; 2] = ["paper", "tint"];

/// The colours of the `place`th palette: light, dark, print.
fn palette(place: usize) -> Vec<(&'static str, [f64; 3])> {
    let block = STYLE.split(":root {").nth(place + 1).expect("a palette");
    let (block, _) = block.split_once('}').expect("its end");
    let colour = |declaration: &'static str| {
        let (name, value) = declaration.trim().strip_prefix("--")?.split_once(": #")?;
        let doubled = |c: char| [c, c];
        let digits: String = match value.len() {
            3 => value.chars().flat_map(doubled).collect(),
            _ => value.to_owned(),
        };
        let part = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).ok().map(f64::from);
        Some((name, [part(0)?, part(2)?, part(4)?]))
    };
    block.split(';').filter_map(colour).collect()
}

fn luminance(colour: [f64; 3]) -> f64 {
    let linear = |part: f64| match part / 255.0 {
        part if part <= 0.040_45 => part / 12.92,
        part => ((part + 0.055) / 1.055).powf(2.4),
    };
    let [red, green, blue] = colour.map(linear);
    0.2126 * red + 0.7152 * green + 0.0722 * blue
}

fn contrast(a: [f64; 3], b: [f64; 3]) -> f64 {
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

#[test]
fn every_text_can_be_read_on_every_ground_in_light_dark_and_print() {
    for place in 0..3 {
        let palette = palette(place);
        let of = |name: &str| {
            let found = palette.iter().find(|(known, _)| *known == name);
            found.unwrap_or_else(|| panic!("palette {place} has no --{name}")).1
        };
        for (ink, paper) in INKS.iter().flat_map(|ink| PAPERS.map(|paper| (*ink, paper))) {
            let contrast = contrast(of(ink), of(paper));
            assert!(contrast >= TEXT, "palette {place}: --{ink} on --{paper} has {contrast:.2}");
        }
    }
}

#[test]
fn black_on_white_has_the_greatest_contrast() {
    assert!((contrast([0.0; 3], [255.0; 3]) - 21.0).abs() < 1e-9);
}
