//! The pictures of the storms.

use std::fmt::Write as _;

use crate::course::Course;
use crate::crowd::{self, Answer};
use crate::figure::count;
use crate::place;
use crate::round::Who;

const STORM: &str = "docs/pictures/storm.svg";
const CROWD: &str = "docs/pictures/crowd.svg";

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 66.0;
const RIGHT: f64 = 980.0;
const PANEL: f64 = 110.0;

/// Seconds before the first notice that are shown.
const BEFORE: f64 = 5.0;

/// A bar counts the requests of so many seconds.
const BAR: f64 = 0.5;

/// What the probe felt is drawn between these, in milliseconds, on a logarithmic scale.
const FASTEST: f64 = 0.5;
const SLOWEST: f64 = 1_000.0;

const STYLE: &str = "\
:root{color-scheme:light dark;--ground:#fff;--ink:#1b2430;--quiet:#5d6b7a;--grid:#e3e8ee;--served:#5b8bd0;--refused:#d23f3f;--felt:#7a4fb5}
@media (prefers-color-scheme:dark){:root{--ground:#0f151c;--ink:#e6ecf2;--quiet:#98a6b5;--grid:#26313d;--served:#4d7fc7;--refused:#e35d5d;--felt:#b492e6}}
text{font-family:system-ui,-apple-system,\"Segoe UI\",\"DejaVu Sans\",sans-serif;font-size:12.5px;fill:var(--ink)}
.ground{fill:var(--ground)}.title{font-size:17px;font-weight:600}.heading{font-size:13px;font-weight:600}
.quiet{fill:var(--quiet)}.grid{stroke:var(--grid)}.mark{stroke:var(--quiet);stroke-dasharray:4 3}
.served{fill:var(--served)}.refused{fill:var(--refused)}.felt{fill:var(--felt)}.end{text-anchor:end}.middle{text-anchor:middle}
";

/// Draws and writes that of the storms against a real server.
pub fn storm(courses: &[Course]) {
    let latest = courses.iter().map(|course| course.span().1);
    let axis = Axis::until(latest.fold(10.0, f64::max) + 3.0);
    let height = 74.0 + 330.0 * count(courses.len());
    let mut svg = begun(
        height,
        "What a storm of drains asks of an API server, and what another client of it feels",
    );
    let most = courses.iter().map(|course| counted(&course.requests));
    let most = most.flatten().map(|(_, rate)| rate).fold(1.0, f64::max);
    for (place, course) in (0_u8..).zip(courses) {
        let top = 74.0 + 330.0 * f64::from(place);
        let who = match course.who {
            Who::Agents => "agents",
            Who::Kubectls => "kubectl drain",
        };
        let title = format!("{} {who}: requests a second", course.nodes);
        let up = |rate: f64| rate / most;
        axis.panel(
            &mut svg,
            top,
            &title,
            &[(0.0, "0"), (up(most), &format!("{most:.0}"))],
        );
        for (from, rate) in counted(&course.requests) {
            axis.bar(&mut svg, top, "served", from, BAR, 0.0, up(rate));
        }
        let top = top + 160.0;
        let up = |took: f64| {
            ((took.clamp(FASTEST, SLOWEST) / FASTEST).ln() / (SLOWEST / FASTEST).ln()).min(1.0)
        };
        let lines = [
            (up(1.0), "1"),
            (up(10.0), "10"),
            (up(100.0), "100"),
            (up(1_000.0), "1000"),
        ];
        axis.panel(&mut svg, top, "another client's GETs, ms", &lines);
        for (asked, took) in &course.gets {
            axis.dot(&mut svg, top, *asked, up(*took));
        }
    }
    finish(svg, STORM);
}

/// Draws and writes that of the crowd in virtual time.
pub fn crowd(course: &crowd::Course) {
    let latest = course.drained.iter().flatten().copied();
    let axis = Axis::until(latest.fold(10.0, f64::max) + 3.0);
    let mut svg = begun(
        74.0 + 330.0,
        &format!("{} nodes at once, in virtual time", course.crowd.nodes),
    );
    let of = |answer: Answer| {
        let asked = course.asked.iter().filter(|asked| asked.answer == answer);
        counted(&asked.map(|asked| asked.at).collect::<Vec<f64>>())
    };
    let (served, refused) = (of(Answer::Served), of(Answer::Refused));
    let refused_at = |from: f64| {
        let bar = refused
            .iter()
            .find(|(at, _)| (*at - from).abs() < BAR / 2.0);
        bar.map_or(0.0, |(_, rate)| *rate)
    };
    let all: Vec<f64> = course.asked.iter().map(|asked| asked.at).collect();
    let most = counted(&all).iter().map(|bar| bar.1).fold(1.0, f64::max);
    let title = "requests a second: served, and in red answered 429";
    axis.panel(
        &mut svg,
        74.0,
        title,
        &[(0.0, "0"), (1.0, &format!("{most:.0}"))],
    );
    for (from, rate) in served {
        let low = rate / most;
        axis.bar(&mut svg, 74.0, "served", from, BAR, 0.0, low);
        axis.bar(
            &mut svg,
            74.0,
            "refused",
            from,
            BAR,
            low,
            refused_at(from) / most,
        );
    }
    let nodes = count(course.crowd.nodes);
    let title = "nodes all of whose pods have been told to stop";
    axis.panel(
        &mut svg,
        234.0,
        title,
        &[(0.0, "0"), (1.0, &format!("{nodes}"))],
    );
    let mut drained: Vec<f64> = course.drained.iter().flatten().copied().collect();
    drained.sort_by(f64::total_cmp);
    for (place, at) in drained.iter().enumerate() {
        axis.dot(&mut svg, 234.0, *at, count(place + 1) / nodes);
    }
    finish(svg, CROWD);
}

/// How many of these fall into each bar, as a rate.
fn counted(times: &[f64]) -> Vec<(f64, f64)> {
    let mut bars = Vec::new();
    let mut from = 0.0;
    let last = times.iter().copied().fold(0.0, f64::max);
    while from <= last {
        let within = times.iter().filter(|at| (from..from + BAR).contains(*at));
        bars.push((from, count(within.count()) / BAR));
        from += BAR;
    }
    bars
}

fn begun(height: f64, title: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"title\">\n\
         <title id=\"title\">{title}</title>\n<style>\n{STYLE}</style>\n\
         <rect class=\"ground\" width=\"{WIDTH}\" height=\"{height}\"/>\n\
         <text class=\"title\" x=\"20\" y=\"30\">{title}</text>\n"
    )
}

fn finish(mut svg: String, name: &str) {
    svg.push_str("</svg>\n");
    std::fs::write(place::path(name), svg).expect("a picture");
}

/// Seconds after the first notice, across.
struct Axis {
    until: f64,
}

impl Axis {
    fn until(until: f64) -> Self {
        Self { until }
    }

    fn across(&self, second: f64) -> f64 {
        LEFT + (second + BEFORE) / (self.until + BEFORE) * (RIGHT - LEFT)
    }

    /// The ground of a panel: its title, its lines at these parts of its height, and its seconds.
    fn panel(&self, svg: &mut String, top: f64, title: &str, lines: &[(f64, &str)]) {
        let ground = top + 12.0 + PANEL;
        let _ = writeln!(
            svg,
            "<text class=\"heading\" x=\"{LEFT}\" y=\"{top}\">{title}</text>"
        );
        for (up, name) in lines {
            let y = ground - up * PANEL;
            let _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"quiet end\" x=\"{:.1}\" y=\"{:.1}\">{name}</text>",
                LEFT - 6.0,
                y + 4.0
            );
        }
        let step = if self.until > 30.0 { 10.0 } else { 5.0 };
        let mut second = 0.0;
        while second <= self.until {
            let x = self.across(second);
            let name = if second == 0.0 {
                "first notice".to_owned()
            } else {
                format!("{second} s")
            };
            let _ = writeln!(
                svg,
                "<line class=\"mark\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{ground:.1}\"/>\
                 <text class=\"quiet middle\" x=\"{x:.1}\" y=\"{:.1}\">{name}</text>",
                top + 12.0,
                ground + 15.0
            );
            second += step;
        }
    }

    #[allow(clippy::too_many_arguments)] // a place, a size and a colour
    fn bar(
        &self,
        svg: &mut String,
        top: f64,
        class: &str,
        from: f64,
        wide: f64,
        low: f64,
        tall: f64,
    ) {
        if tall <= 0.0 || from >= self.until {
            return;
        }
        let (x, end) = (
            self.across(from),
            self.across((from + wide).min(self.until)),
        );
        let y = top + 12.0 + PANEL - (low + tall) * PANEL;
        let _ = writeln!(
            svg,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
            (end - x - 0.6).max(0.5),
            tall * PANEL
        );
    }

    fn dot(&self, svg: &mut String, top: f64, at: f64, up: f64) {
        if at < -BEFORE || at > self.until {
            return;
        }
        let (x, y) = (self.across(at), top + 12.0 + PANEL - up * PANEL);
        let _ = writeln!(
            svg,
            "<circle class=\"felt\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"1.3\"/>"
        );
    }
}
