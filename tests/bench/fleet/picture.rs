//! The picture of the requests that come to a node while it is interrupted.

use std::fmt::Write as _;

use super::page::POLICIES;
use super::requests::{self, AFTER, BEFORE, Traffic};
use super::storm::{Drainer, Keeper};

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 980.0;
const TOP: f64 = 74.0;
const PANEL: f64 = 80.0;
const STEP: f64 = 132.0;
/// The most requests of a second that a panel shows.
const MOST: f64 = 22.0;

const STYLE: &str = "\
:root{color-scheme:light dark;--ground:#fff;--ink:#1b2430;--quiet:#5d6b7a;--grid:#e3e8ee;--served:#5b8bd0;--failed:#d23f3f}
@media (prefers-color-scheme:dark){:root{--ground:#0f151c;--ink:#e6ecf2;--quiet:#98a6b5;--grid:#26313d;--served:#4d7fc7;--failed:#e35d5d}}
text{font-family:system-ui,-apple-system,\"Segoe UI\",\"DejaVu Sans\",sans-serif;font-size:12.5px;fill:var(--ink)}
.ground{fill:var(--ground)}.title{font-size:17px;font-weight:600}.heading{font-size:13px;font-weight:600}
.quiet{fill:var(--quiet)}.grid{stroke:var(--grid)}.mark{stroke:var(--quiet);stroke-dasharray:4 3}
.served{fill:var(--served)}.failed{fill:var(--failed)}.end{text-anchor:end}.middle{text-anchor:middle}
";

/// Draws it.
pub fn draw() -> String {
    let panels: Vec<(String, Traffic)> = POLICIES
        .iter()
        .flat_map(|(policy, traffic)| {
            let agent = requests::play(Drainer::Agent, Keeper::Alive, *traffic, 1);
            let evict = requests::play(Drainer::EvictFirst, Keeper::Absent, *traffic, 1);
            [
                (format!("{policy}: evict first, nobody deregisters"), evict),
                (format!("{policy}: the agent"), agent),
            ]
        })
        .collect();
    let bottom = TOP + STEP * 4.0;
    let height = bottom + 16.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"title\">\n\
         <title id=\"title\">Requests that a load balancer sends to a node while it is interrupted, served and failed</title>\n\
         <style>\n{STYLE}</style>\n<rect class=\"ground\" width=\"{WIDTH}\" height=\"{height}\"/>\n"
    );
    let _ = writeln!(
        svg,
        "<text class=\"title\" x=\"20\" y=\"30\">Requests a second that the load balancer sends to an interrupted node</text>\n\
         <rect class=\"served\" x=\"20\" y=\"43\" width=\"12\" height=\"12\"/><text x=\"38\" y=\"53\">served</text>\n\
         <rect class=\"failed\" x=\"96\" y=\"43\" width=\"12\" height=\"12\"/><text x=\"114\" y=\"53\">failed</text>"
    );
    for (place, (name, traffic)) in (0_u8..).zip(&panels) {
        panel(&mut svg, TOP + STEP * f64::from(place), name, traffic);
    }
    svg.push_str("</svg>\n");
    svg
}

/// Where a second after the notice lies.
fn across(second: f64) -> f64 {
    let whole = f64::from(BEFORE + AFTER);
    LEFT + (second + f64::from(BEFORE)) / whole * (RIGHT - LEFT)
}

fn panel(svg: &mut String, top: f64, name: &str, traffic: &Traffic) {
    let (heading, ground) = (top + 14.0, top + 22.0 + PANEL);
    let said = match traffic.lost() {
        0 => format!("none of {} failed", traffic.sent()),
        lost => format!("{lost} of {} failed", traffic.sent()),
    };
    let class = if traffic.lost() == 0 {
        "heading end"
    } else {
        "heading end failed"
    };
    let _ = writeln!(
        svg,
        "<text class=\"heading\" x=\"{LEFT}\" y=\"{heading}\">{name}</text>\n\
         <text class=\"{class}\" x=\"{RIGHT}\" y=\"{heading}\">{said}</text>"
    );
    for requests in [0.0, 10.0, 20.0] {
        let y = ground - requests / MOST * PANEL;
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"quiet end\" x=\"{:.1}\" y=\"{:.1}\">{requests}</text>",
            LEFT - 6.0,
            y + 4.0
        );
    }
    let width = (RIGHT - LEFT) / f64::from(BEFORE + AFTER) - 0.6;
    for (second, (served, failed)) in (0_u32..).zip(traffic.served.iter().zip(&traffic.failed)) {
        let x = across(f64::from(second) - f64::from(BEFORE));
        let mut y = ground;
        for (class, count) in [("served", served), ("failed", failed)] {
            let tall = f64::from(*count) / MOST * PANEL;
            y -= tall;
            if *count > 0 {
                let _ = writeln!(
                    svg,
                    "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{tall:.1}\"/>"
                );
            }
        }
    }
    for (second, name) in [(0.0, "notice"), (60.0, "60 s"), (120.0, "reclaim")] {
        let x = across(second);
        let _ = writeln!(
            svg,
            "<line class=\"mark\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{ground}\"/>\
             <text class=\"quiet middle\" x=\"{x:.1}\" y=\"{:.1}\">{name}</text>",
            top + 20.0,
            ground + 15.0
        );
    }
}
