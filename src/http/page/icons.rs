//! The icons, as one sprite that every page carries: no request, and they take the colour of the text around them.

use maud::{Markup, PreEscaped, html};

/// Every icon: its name, and its shape on a field of 24 by 24.
const ICONS: &[(&str, &str)] = &[
    ("send-good", r#"<path d="M3 12h16M13 5l7 7-7 7"/>"#),
    ("send-bad", r#"<path d="M11 12h9M15 6l6 6-6 6M2 9l6 6M8 9l-6 6"/>"#),
    ("send-off", r#"<path d="M3 12h16M13 5l7 7-7 7" stroke-dasharray="2.5 3.5"/>"#),
    ("push-good", r#"<path d="M21 12H5M11 5l-7 7 7 7"/>"#),
    ("push-bad", r#"<path d="M13 12H4M9 6l-6 6 6 6M22 9l-6 6M16 9l6 6"/>"#),
    ("push-off", r#"<path d="M21 12H5M11 5l-7 7 7 7" stroke-dasharray="2.5 3.5"/>"#),
    (
        "tool",
        r#"<path d="M20.5 7.2a5 5 0 0 1-6.6 5.6L7 19.7a2 2 0 0 1-2.8-2.8l6.9-6.9a5 5 0 0 1 5.6-6.6l-2.9 2.9.7 3 3 .7z"/>"#,
    ),
    ("check", r#"<path d="M4 13l5 5L20 6"/>"#),
    ("cross", r#"<path d="M6 6l12 12M18 6L6 18"/>"#),
    ("dash", r#"<path d="M6 12h12" stroke-dasharray="2.5 3.5"/>"#),
    ("beat", r#"<path d="M2 12h5l2.5-7 5 14L17 12h5"/>"#),
    ("flat", r#"<path d="M2 12h8M14 12h8M9 8l6 8M15 8l-6 8"/>"#),
    ("bell", r#"<path d="M6 16V11a6 6 0 0 1 12 0v5l2 2H4zM10 21h4"/>"#),
    ("eye", r#"<path d="M2 12s4-7 10-7 10 7 10 7-4 7-10 7-10-7-10-7z"/><circle cx="12" cy="12" r="3"/>"#),
];

/// The sprite.
pub fn sprite() -> Markup {
    html! {
        svg class="sprite" width="0" height="0" aria-hidden="true" focusable="false" {
            @for (name, shape) in ICONS {
                symbol id={ "i-" (name) } viewBox="0 0 24 24" { (PreEscaped(shape)) }
            }
            // What is bad in the timeline is striped, so that it is told without its colour.
            pattern id="stripes" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)" {
                rect class="stripe" width="3" height="6" {}
            }
        }
    }
}

/// An icon of the sprite; what it means stands beside it.
pub fn icon(name: &str) -> Markup {
    html! { svg class="icon" aria-hidden="true" focusable="false" { use href={ "#i-" (name) } {} } }
}
