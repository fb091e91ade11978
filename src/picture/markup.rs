//! Text within markup. Whatever a line says is text: names, errors and sentences come from outside.

use std::fmt::{Display, Write as _};

/// The text as it stands in HTML, in SVG and in a quoted attribute. What would end a document or turn its text around
/// is replaced.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(' '),
            // XML has no place for these, and a name that runs backwards is not the name it seems to be.
            _ if character.is_control() => escaped.push('\u{fffd}'),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}' => {
                escaped.push('\u{fffd}');
            }
            _ => escaped.push(character),
        }
    }
    escaped
}

/// At most so many characters of the text, the last an ellipsis where something is left out.
#[must_use]
pub fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(most.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// At most so many characters of the text, with an ellipsis in the middle: what tells one pod from another is the end.
#[must_use]
pub fn gathered(text: &str, most: usize) -> String {
    let length = text.chars().count();
    if length <= most {
        return text.to_owned();
    }
    let kept = most.saturating_sub(1);
    let tail = kept / 2;
    let head: String = text.chars().take(kept - tail).collect();
    let tail: String = text.chars().skip(length - tail).collect();
    format!("{head}…{tail}")
}

/// Markup as it grows.
#[derive(Debug, Default)]
pub(super) struct Markup(String);

impl Markup {
    /// Adds what is markup already.
    pub(super) fn raw(&mut self, markup: impl Display) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "{markup}");
    }

    /// Adds an element that has nothing but text in it; `attributes` is markup.
    pub(super) fn element(&mut self, name: &str, attributes: &str, text: &str) {
        let space = if attributes.is_empty() { "" } else { " " };
        self.raw(format_args!(
            "<{name}{space}{attributes}>{}</{name}>",
            escaped(text)
        ));
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}
