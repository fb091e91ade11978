//! The picture of an interruption, drawn from its log lines alone.
//!
//! Lines become stories ([`story`]), a story becomes a chart in seconds ([`chart`]), and a chart becomes SVG (`svg`),
//! alone or within a page (`page`). Nothing here reads a file or a clock, and no text of a line is taken for markup.

pub mod chart;
mod line;
pub mod markup;
mod page;
pub mod story;
mod svg;

use std::collections::BTreeMap;

use line::Entry;
use story::Story;

pub use page::{MOST_PICTURES, MOST_WARNINGS};

/// What is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A page with a picture of each interruption, its counts and its warnings.
    Html,
    /// One picture.
    Svg,
}

/// Lines of a log, sorted by interruption as they come. Lines that are not the agent's are counted and left alone.
#[derive(Debug, Default)]
pub struct Log {
    lines: usize,
    own: usize,
    interruptions: BTreeMap<(String, String), Vec<Entry>>,
}

impl Log {
    /// Reads one line: the agent's own, or one into which a collector has wrapped it.
    pub fn read(&mut self, line: &str) {
        self.lines += 1;
        let Some(object) = line::own(line) else {
            return;
        };
        self.own += 1;
        if let Some((key, entry)) = Entry::of(object) {
            self.interruptions.entry(key).or_default().push(entry);
        }
    }

    /// How many lines were read.
    #[must_use]
    pub const fn lines(&self) -> usize {
        self.lines
    }

    /// How many of them were the agent's.
    #[must_use]
    pub const fn own_lines(&self) -> usize {
        self.own
    }

    /// Each node's interruptions, the earliest first.
    #[must_use]
    pub fn stories(&self) -> Vec<Story> {
        let mut stories: Vec<Story> = self
            .interruptions
            .iter()
            .filter_map(|((node, notice), entries)| Story::of(node, notice, entries))
            .collect();
        stories.sort_by_key(|story| story.begins);
        stories
    }
}

/// Draws these stories; as SVG the first of them.
#[must_use]
pub fn draw(stories: &[Story], form: Form) -> String {
    match form {
        Form::Html => page::page(stories),
        Form::Svg => stories.first().map(svg::alone).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
