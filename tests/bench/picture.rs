//! The picture of how evictions reach the server: by the agent, by `kubectl drain`, and at the floor.

use std::fmt::Write as _;

use crate::Courses;
use crate::drain::{Contender, Size};
use crate::place;

const PICTURE: &str = "docs/pictures/evictions.svg";

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 980.0;
const TOP: f64 = 92.0;
const PANEL: f64 = 150.0;
const STEP: f64 = 212.0;
/// The axis of time is logarithmic between these, in seconds.
const FIRST: f64 = 0.02;
const LAST: f64 = 60.0;

const STYLE: &str = "\
:root{color-scheme:light dark;--ground:#fff;--ink:#1b2430;--quiet:#5d6b7a;--grid:#e3e8ee;--agent:#2f6fc4;--kubectl:#c77a1f;--floor:#7b8794}
@media (prefers-color-scheme:dark){:root{--ground:#0f151c;--ink:#e6ecf2;--quiet:#98a6b5;--grid:#26313d;--agent:#6aa3ef;--kubectl:#e5a34e;--floor:#8996a5}}
text{font-family:system-ui,-apple-system,\"Segoe UI\",\"DejaVu Sans\",sans-serif;font-size:12.5px;fill:var(--ink)}
.ground{fill:var(--ground)}.title{font-size:17px;font-weight:600}.heading{font-size:13px;font-weight:600}
.quiet{fill:var(--quiet)}.grid{stroke:var(--grid)}.end{text-anchor:end}.middle{text-anchor:middle}
path{fill:none;stroke-width:2.2}.agent{stroke:var(--agent)}.kubectl{stroke:var(--kubectl)}.floor{stroke:var(--floor);stroke-dasharray:5 3}
";

const CURVES: [(Contender, &str, &str); 3] = [
    (Contender::Floor, "floor", "floor"),
    (Contender::Agent, "agent", "this agent"),
    (Contender::Kubectl, "kubectl", "kubectl drain"),
];

/// Draws and writes it.
pub fn write(courses: &Courses) {
    let sizes: Vec<Size> = crate::sizes().filter(|size| size.pods == 250).collect();
    let height = TOP + STEP * crate::figure::count(sizes.len());
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"title\">\n\
         <title id=\"title\">Evictions that have reached the API server, against the time since the notice</title>\n\
         <style>\n{STYLE}</style>\n<rect class=\"ground\" width=\"{WIDTH}\" height=\"{height}\"/>\n\
         <text class=\"title\" x=\"20\" y=\"30\">Evictions of 250 pods that have reached the API server, against seconds since the notice</text>\n"
    );
    for ((_, class, name), x) in CURVES.into_iter().zip([20.0, 120.0, 250.0]) {
        let _ = writeln!(
            svg,
            "<path class=\"{class}\" d=\"M{x} 52h26\"/><text x=\"{}\" y=\"56\">{name}</text>",
            x + 33.0
        );
    }
    for (place, size) in (0_u8..).zip(&sizes) {
        panel(&mut svg, TOP + STEP * f64::from(place), size, courses);
    }
    svg.push_str("</svg>\n");
    std::fs::write(place::path(PICTURE), svg).expect("a picture");
}

fn across(seconds: f64) -> f64 {
    let part = (seconds.max(FIRST) / FIRST).ln() / (LAST / FIRST).ln();
    LEFT + part * (RIGHT - LEFT)
}

fn panel(svg: &mut String, top: f64, size: &Size, courses: &Courses) {
    let (ceiling, ground) = (top + 14.0, top + 14.0 + PANEL);
    let up = |evictions: usize| {
        ground - crate::figure::count(evictions) / crate::figure::count(size.pods) * PANEL
    };
    let _ = writeln!(
        svg,
        "<text class=\"heading\" x=\"{LEFT}\" y=\"{top}\">{} ms added to each round trip</text>",
        size.round_trip.as_millis()
    );
    for evictions in [0, 125, 250] {
        let y = up(evictions);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"quiet end\" x=\"{:.1}\" y=\"{:.1}\">{evictions}</text>",
            LEFT - 6.0,
            y + 4.0
        );
    }
    for seconds in [0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0] {
        let x = across(seconds);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{ceiling}\" y2=\"{ground}\"/>\
             <text class=\"quiet middle\" x=\"{x:.1}\" y=\"{:.1}\">{seconds}</text>",
            ground + 16.0
        );
    }
    for (contender, class, _) in CURVES {
        let Some(course) = courses
            .get(&(*size, contender))
            .and_then(|courses| courses.first())
        else {
            continue;
        };
        let mut path = String::new();
        for (sent, seconds) in course.evictions.iter().enumerate() {
            let (x, y) = (across(*seconds), up(sent + 1));
            if sent == 0 {
                let _ = write!(path, "M{x:.1} {ground:.1}V{y:.1}");
            } else {
                let _ = write!(path, "H{x:.1}V{y:.1}");
            }
        }
        let _ = writeln!(svg, "<path class=\"{class}\" d=\"{path}\"/>");
    }
}
