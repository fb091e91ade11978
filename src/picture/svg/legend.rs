//! What the bars and signs of a picture mean.

use std::collections::BTreeSet;

use super::{Canvas, WIDTH, count};
use crate::picture::chart::{Chart, Look, Sign};

const COLUMNS: usize = 4;
const LINE: f64 = 20.0;

enum Entry {
    Look(Look),
    Sign(Sign),
}

/// What is on the picture, and no more.
pub(super) struct Legend {
    entries: Vec<Entry>,
}

impl Legend {
    pub(super) fn of(chart: &Chart) -> Self {
        let rows = chart.sections.iter().flat_map(|section| &section.rows);
        let (mut looks, mut signs) = (BTreeSet::new(), BTreeSet::new());
        for row in rows {
            looks.extend(row.bars.iter().map(|bar| bar.look));
            signs.extend(row.points.iter().map(|point| point.sign));
        }
        let looks = Look::ALL.into_iter().filter(|look| looks.contains(look));
        let signs = Sign::ALL.into_iter().filter(|sign| signs.contains(sign));
        Self {
            entries: looks
                .map(Entry::Look)
                .chain(signs.map(Entry::Sign))
                .collect(),
        }
    }

    pub(super) fn height(&self) -> f64 {
        count(self.entries.len().div_ceil(COLUMNS)) * LINE
    }
}

impl Canvas<'_> {
    pub(super) fn legend(&mut self, legend: &Legend) {
        for (index, entry) in legend.entries.iter().enumerate() {
            let column = count(index % COLUMNS);
            let x = 16.0 + column * (WIDTH - 32.0) / count(COLUMNS);
            let y = self.y + count(index / COLUMNS) * LINE;
            let meaning = match entry {
                Entry::Look(look) => {
                    let fill = self.fill(*look);
                    self.svg.raw(format_args!(
                        "<rect class=\"{}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"22\" height=\"10\" rx=\"2\"{fill}/>",
                        look.class(),
                        y - 9.0
                    ));
                    look.meaning()
                }
                Entry::Sign(sign) => {
                    self.sign(*sign, x + 11.0, y - 4.0);
                    sign.meaning()
                }
            };
            self.text("quiet", x + 30.0, y, "start", meaning);
        }
    }
}
