//! A chart as SVG.

mod legend;

use super::chart::{Bar, Chart, Look, Point, Row, Section, Sign, Subject, seconds};
use super::markup::{Markup, escaped, gathered, shortened};
use super::story::Story;
use legend::Legend;

/// The colours, for light, dark and paper, and the letters. It is the same in a page and in a picture alone.
pub(super) const STYLE: &str = include_str!("picture.css");

const WIDTH: f64 = 1000.0;
/// Where the time axis begins: the labels are left of it.
const LEFT: f64 = 276.0;
/// Where it ends: what became of each row is right of it.
const RIGHT: f64 = 818.0;
/// From here on the rows.
const TOP: f64 = 116.0;
/// A letter's width is about this part of its height.
const LETTER: f64 = 0.6;
const LONGEST_TOLD: usize = 28;

/// How much room rows take: less where there are many.
#[derive(Clone, Copy)]
struct Measure {
    row: f64,
    letters: f64,
    heading: f64,
}

impl Measure {
    fn of(rows: usize) -> Self {
        let (row, letters) = match rows {
            0..=30 => (22.0, 12.5),
            31..=60 => (17.0, 11.0),
            _ => (13.0, 9.5),
        };
        Self {
            row,
            letters,
            heading: 26.0,
        }
    }

    /// Labels that are longer would run off the picture.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a small positive number
    fn longest_label(self) -> usize {
        ((LEFT - 26.0) / (self.letters * LETTER)) as usize
    }
}

/// A picture that stands alone, style and all.
pub(super) fn alone(story: &Story) -> String {
    drawing(story, Some(STYLE), "alone")
}

/// A picture within a page that has the style already; `name` makes its ids its own.
pub(super) fn within(story: &Story, name: &str) -> String {
    drawing(story, None, name)
}

fn drawing(story: &Story, style: Option<&str>, name: &str) -> String {
    let chart = Chart::of(story);
    let measure = Measure::of(chart.rows());
    let headings = chart.sections.iter().filter(|section| has_heading(section));
    let body = count(chart.rows()) * measure.row + count(headings.count()) * measure.heading;
    let bottom = TOP + body + 8.0;
    let legend = Legend::of(&chart);
    let height = bottom + 26.0 + legend.height();
    let mut svg = Markup::default();
    svg.raw(format_args!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"interruption\" viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" \
         aria-labelledby=\"title-{name}\" font-size=\"{}\">",
        measure.letters
    ));
    svg.element("title", &format!("id=\"title-{name}\""), &title(story));
    if let Some(style) = style {
        svg.raw(format_args!("<style>\n{style}</style>"));
    }
    svg.raw(format_args!(
        "<defs><pattern id=\"refused-{name}\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" \
         patternTransform=\"rotate(45)\"><rect width=\"6\" height=\"6\" class=\"refused-ground\"/>\
         <rect width=\"2.5\" height=\"6\" class=\"refused-stripe\"/></pattern></defs>"
    ));
    svg.raw(format_args!(
        "<rect class=\"ground\" width=\"{WIDTH}\" height=\"{height:.0}\"/>"
    ));
    let mut canvas = Canvas {
        svg,
        chart: &chart,
        measure,
        name,
        y: TOP,
    };
    canvas.head(story);
    canvas.axis(bottom);
    for section in &chart.sections {
        canvas.section(section);
    }
    canvas.marks(bottom);
    canvas.y = bottom + 26.0;
    canvas.legend(&legend);
    canvas.svg.raw("</svg>");
    canvas.svg.into_string()
}

/// The node's row says by itself what it is.
fn has_heading(section: &Section) -> bool {
    section.rows.iter().any(|row| row.subject != Subject::Node)
}

fn title(story: &Story) -> String {
    let [instance, kind, zone] = &story.instance;
    let known: Vec<&str> = [kind, zone]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
    let instance = instance.as_deref().unwrap_or(&story.node);
    let rehearsal = if story.is_rehearsal {
        ", a dry run"
    } else {
        ""
    };
    if known.is_empty() {
        format!("Interruption of {instance}{rehearsal}")
    } else {
        format!(
            "Interruption of {instance} ({}){rehearsal}",
            known.join(", ")
        )
    }
}

/// How it ended, in one sentence.
fn outcome(story: &Story) -> String {
    let number = |name: &str| {
        let found = story.summary.iter().find(|(field, _)| field == name);
        found.map(|(_, value)| *value)
    };
    let Some(total) = number("pods_total") else {
        return format!(
            "{} pods so far; the log has no summary of it",
            story.pods.len()
        );
    };
    let mut parts = vec![format!("{total} pods")];
    for (field, what) in [
        ("pods_gone", "gone"),
        ("pods_stopping", "stopping"),
        ("pods_cut", "cut short"),
        ("pods_left", "left"),
        ("targets_draining", "targets draining"),
        ("targets_failed", "targets failed"),
        ("api_requests", "API requests"),
    ] {
        if let Some(value) = number(field).filter(|value| *value > 0.0) {
            parts.push(format!("{value} {what}"));
        }
    }
    parts.join(" · ")
}

struct Canvas<'a> {
    svg: Markup,
    chart: &'a Chart,
    measure: Measure,
    name: &'a str,
    y: f64,
}

impl Canvas<'_> {
    /// Where a moment is on the axis.
    fn x(&self, at: f64) -> f64 {
        LEFT + (RIGHT - LEFT) * at / self.chart.end
    }

    fn text(&mut self, class: &str, x: f64, y: f64, anchor: &str, text: &str) {
        let attributes =
            format!("class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\"");
        self.svg.element("text", &attributes, text);
    }

    fn line(&mut self, class: &str, x: f64, from: f64, until: f64) {
        self.svg.raw(format_args!(
            "<line class=\"{class}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{from:.1}\" y2=\"{until:.1}\"/>"
        ));
    }

    fn head(&mut self, story: &Story) {
        self.text("title", 16.0, 28.0, "start", &shortened(&title(story), 80));
        self.text("quiet", 16.0, 48.0, "start", &outcome(story));
        if let Some((_, is_complete)) = self.chart.verdict {
            let (class, word) = if is_complete {
                ("badge good", "completed")
            } else {
                ("badge bad", "incomplete")
            };
            self.text(class, WIDTH - 16.0, 28.0, "end", word);
        }
    }

    /// Seconds that are left, from the deadline backwards, and a little further where the log goes on.
    fn axis(&mut self, bottom: f64) {
        let deadline = self.chart.deadline;
        let step = step(self.chart.end);
        self.text("quiet", LEFT - 10.0, TOP - 12.0, "end", "seconds left");
        let first = ((deadline - self.chart.end) / step).ceil();
        let last = (deadline / step).floor();
        let mut tick = first;
        while tick <= last {
            let x = self.x(deadline - tick * step);
            self.line("grid", x, TOP - 6.0, bottom);
            // At nought is the deadline, which says so itself.
            if tick.abs() > 0.5 {
                let left = tick * step;
                self.text("tick", x, TOP - 12.0, "middle", &format!("{left}"));
            }
            tick += 1.0;
        }
    }

    /// The lines that go through all rows, and what they are. Two of them may be anywhere: each has a line of text of its
    /// own above the others, and stays on the picture.
    fn marks(&mut self, bottom: f64) {
        let deadline = self.chart.deadline;
        self.mark("notice", (0.0, bottom), 0.0, "start", "notice seen");
        self.mark(
            "deadline",
            (deadline, bottom),
            0.0,
            "start",
            "D: EC2 takes it",
        );
        if let Some((at, _)) = self.chart.verdict {
            let told = format!("V: verdict, {} left", seconds(deadline - at));
            self.mark("verdict", (at, bottom), 1.0, self.inwards(at), &told);
        }
        if let Some(at) = self.chart.notice_time {
            let anchor = self.inwards(at);
            self.mark(
                "notice-time",
                (at, bottom),
                2.0,
                anchor,
                "T: the notice's time",
            );
        }
    }

    /// On which side of a moment there is room for words.
    fn inwards(&self, at: f64) -> &'static str {
        if at / self.chart.end < 0.25 {
            "start"
        } else {
            "end"
        }
    }

    fn mark(&mut self, class: &str, (at, bottom): (f64, f64), line: f64, anchor: &str, told: &str) {
        let (x, y) = (self.x(at), TOP - 32.0 - 14.0 * line);
        self.line(&format!("mark {class}"), x, y + 4.0, bottom);
        self.text(&format!("mark-text {class}"), x, y, anchor, told);
    }

    fn section(&mut self, section: &Section) {
        if has_heading(section) {
            self.text(
                "heading",
                16.0,
                self.y + self.measure.heading - 8.0,
                "start",
                &section.title,
            );
            self.y += self.measure.heading;
        }
        for row in &section.rows {
            self.row(row);
        }
    }

    fn row(&mut self, row: &Row) {
        let class = match row.subject {
            Subject::Node => "row node",
            Subject::Target => "row target",
            Subject::Pod => "row pod",
            Subject::Pods(_) => "row pods",
        };
        let pods = match row.subject {
            Subject::Pods(count) => format!(" data-pods=\"{count}\""),
            Subject::Node | Subject::Target | Subject::Pod => String::new(),
        };
        self.svg.raw(format_args!(
            "<g class=\"{class}\" data-label=\"{}\"{pods}>",
            escaped(&row.label)
        ));
        self.svg.element("title", "", &row.details);
        let base = self.y + self.measure.row / 2.0 + self.measure.letters * 0.35;
        let label = gathered(&row.label, self.measure.longest_label());
        self.text("label", LEFT - 10.0, base, "end", &label);
        for bar in &row.bars {
            self.bar(bar, row.subject);
        }
        for point in &row.points {
            self.point(point);
        }
        let told = shortened(&row.told, LONGEST_TOLD);
        self.text("told", RIGHT + 12.0, base, "start", &told);
        self.svg.raw("</g>");
        self.y += self.measure.row;
    }

    fn bar(&mut self, bar: &Bar, subject: Subject) {
        let (x, end) = (self.x(bar.from), self.x(bar.until));
        // Something that took a moment only is still to be seen.
        let width = (end - x).max(2.0);
        // What is about others than pods is thinner: the pods are what matters.
        let share = match subject {
            Subject::Pod | Subject::Pods(_) => 0.68,
            Subject::Node | Subject::Target => 0.42,
        };
        let height = self.measure.row * share;
        let y = self.y + (self.measure.row - height) / 2.0;
        let fill = self.fill(bar.look);
        self.svg.raw(format_args!(
            "<rect class=\"bar {}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"2\"{fill} \
             data-from=\"{:.3}\" data-until=\"{:.3}\"/>",
            bar.look.class(),
            bar.from,
            bar.until
        ));
    }

    /// The pattern of what is refused, which a style sheet cannot name: its id is the picture's own.
    fn fill(&self, look: Look) -> String {
        if look == Look::Blocked {
            format!(" fill=\"url(#refused-{})\"", self.name)
        } else {
            String::new()
        }
    }

    fn point(&mut self, point: &Point) {
        let x = self.x(point.at);
        let y = self.y + self.measure.row / 2.0;
        self.sign(point.sign, x, y);
    }

    fn sign(&mut self, sign: Sign, x: f64, y: f64) {
        let size = self.measure.row * 0.36;
        let class = sign.class();
        let path = match sign {
            Sign::Deleted => format!(
                "M{x:.1} {:.1}l{size:.1} {size:.1}l-{size:.1} {size:.1}l-{size:.1} -{size:.1}z",
                y - size
            ),
            Sign::Reregistered => format!(
                "M{:.1} {:.1}h{:.1}l-{size:.1} -{:.1}z",
                x - size,
                y + size,
                size * 2.0,
                size * 2.0
            ),
            Sign::Restarted => format!(
                "M{:.1} {:.1}h{:.1}l-{size:.1} {:.1}z",
                x - size,
                y - size,
                size * 2.0,
                size * 2.0
            ),
        };
        self.svg
            .raw(format_args!("<path class=\"sign {class}\" d=\"{path}\"/>"));
    }
}

/// The distance of ticks: a round number of which six to fifteen fit.
fn step(span: f64) -> f64 {
    let steps = [
        1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 300.0, 600.0, 3_600.0, 21_600.0,
    ];
    let fitting = steps.into_iter().find(|step| span / step <= 13.0);
    fitting.unwrap_or_else(|| (span / 10.0).ceil())
}

/// A count as a length; no picture has so many rows that a double could not tell them apart.
#[allow(clippy::cast_precision_loss)]
const fn count(count: usize) -> f64 {
    count as f64
}
