//! The picture of a report: bars, one chart below the other.

use maud::{Markup, html};

const WIDTH: f64 = 720.0;
/// Where bars begin and how long the longest is; the number stands behind it.
const LEFT: f64 = 130.0;
const LONGEST: f64 = 480.0;
const BAR: f64 = 22.0;
const TITLE: f64 = 34.0;
/// Dark enough on white, light enough on black.
const COLOURS: [&str; 3] = ["#2f7d5b", "#b0713a", "#5b6fb0"];

/// A name, and a bar for each program.
pub type Chart<'a> = (&'a str, Vec<(&'a str, f64)>);

/// An image that needs no fonts or styles of a page.
pub fn svg(charts: &[Chart<'_>]) -> String {
    let mut parts: Vec<Markup> = Vec::new();
    let mut y = 0.0;
    for (name, bars) in charts {
        y += TITLE;
        parts.push(html! { text x="8" y=(y - 10.0) font-weight="bold" { (name) } });
        let most = bars.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
        for ((program, value), colour) in bars.iter().zip(COLOURS.iter().cycle()) {
            let length = LONGEST * value / most;
            let middle = y + BAR * 0.68;
            parts.push(html! {
                text x=(LEFT - 8.0) y=(middle) text-anchor="end" { (program) }
                rect x=(LEFT) y=(y) width=(format!("{length:.1}")) height=(BAR - 4.0) fill=(colour) {}
                text x=(format!("{:.1}", LEFT + length + 6.0)) y=(middle) { (number(*value)) }
            });
            y += BAR;
        }
    }
    let size = format!("0 0 {WIDTH} {}", y + 10.0);
    html! {
        svg xmlns="http://www.w3.org/2000/svg" viewBox=(size) font-family="sans-serif" font-size="13" fill="#777" {
            @for part in &parts { (part) }
        }
    }
    .into_string()
}

/// As many digits as tell something.
fn number(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}
