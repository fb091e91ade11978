//! A page of pictures, complete in itself: no script, and nothing from elsewhere.

use super::chart::seconds;
use super::markup::{Markup, escaped};
use super::story::{Story, Warning};
use super::svg;

/// A page has no more pictures than this; it says how many are left out.
pub const MOST_PICTURES: usize = 20;

/// A picture has no more warnings below it than this; it says how many are left out.
pub const MOST_WARNINGS: usize = 50;

const STYLE: &str = include_str!("page.css");

/// The counts of a summary, as they are told: a heading, then fields with their words.
const COUNTS: [(&str, &[(&str, &str)]); 3] = [
    (
        "Pods",
        &[
            ("pods_total", "to go"),
            ("pods_gone", "gone"),
            ("pods_stopping", "stopping in time"),
            ("pods_cut", "with less than their grace"),
            ("pods_left", "without a stop signal"),
            ("pods_blocked", "refused at least once"),
            ("pods_deleted", "deleted in the end"),
            ("pods_ignored", "not to be touched"),
            ("grace_given_seconds", "seconds of grace given"),
            ("grace_cut_seconds", "seconds of grace cut"),
        ],
    ),
    (
        "Target groups",
        &[
            ("targets_total", "registrations"),
            ("targets_draining", "draining"),
            ("targets_gone", "not there"),
            ("targets_failed", "failed"),
            ("targets_reregistered", "registered again"),
            ("elb_requests", "requests to the load balancer"),
        ],
    ),
    (
        "Requests and times",
        &[
            ("api_requests", "requests to the API server"),
            ("api_429", "of these, answered 429"),
            ("imds_requests", "requests for metadata"),
            ("cordoned_after_seconds", "seconds until cordoned"),
            (
                "last_eviction_after_seconds",
                "seconds until the last eviction",
            ),
            ("last_target_after_seconds", "seconds until the last target"),
            ("all_gone_after_seconds", "seconds until all were gone"),
        ],
    ),
];

/// The page of these stories.
pub(super) fn page(stories: &[Story]) -> String {
    let mut page = Markup::default();
    page.raw(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>Spot interruptions</title>",
    );
    page.raw(format_args!(
        "<style>\n{}{STYLE}</style>\n</head>\n<body>",
        svg::STYLE
    ));
    if stories.len() > 1 {
        page.element("h1", "", &format!("{} interruptions", stories.len()));
    }
    for (index, story) in stories.iter().take(MOST_PICTURES).enumerate() {
        article(&mut page, index, story);
    }
    if let Some(left_out) = stories
        .len()
        .checked_sub(MOST_PICTURES)
        .filter(|left| *left > 0)
    {
        let told =
            format!("{left_out} later interruptions are left out: a page has {MOST_PICTURES}.");
        page.element("p", "class=\"left-out\"", &told);
    }
    page.raw("</body>\n</html>");
    page.into_string()
}

fn article(page: &mut Markup, index: usize, story: &Story) {
    page.raw(format_args!(
        "<article data-notice=\"{}\" data-node=\"{}\">",
        escaped(&story.notice),
        escaped(&story.node)
    ));
    page.raw("<figure>");
    page.raw(svg::within(story, &index.to_string()));
    page.raw("</figure>");
    let told = format!(
        "Node {}, notice {}: EC2 will {} the instance.",
        story.node, story.notice, story.action
    );
    page.element("p", "", &told);
    counts(page, story);
    warnings(page, story);
    page.raw("</article>");
}

fn counts(page: &mut Markup, story: &Story) {
    if story.summary.is_empty() {
        let told = "There is no summary: these lines end before the verdict.";
        page.element("p", "class=\"left-out\"", told);
        return;
    }
    page.raw("<div class=\"counts\">");
    for (heading, fields) in COUNTS {
        page.raw("<table>");
        page.element("caption", "", heading);
        for (field, words) in fields {
            let found = story.summary.iter().find(|(name, _)| name == field);
            if let Some((_, value)) = found {
                page.raw("<tr>");
                page.element("th", "scope=\"row\"", words);
                page.element("td", &format!("data-field=\"{field}\""), &value.to_string());
                page.raw("</tr>");
            }
        }
        page.raw("</table>");
    }
    page.raw("</div>");
}

fn warnings(page: &mut Markup, story: &Story) {
    if story.warnings.is_empty() {
        page.element("p", "", "No warnings and no errors.");
        return;
    }
    page.raw("<table class=\"warnings\">");
    page.element("caption", "", "Warnings and errors");
    for warning in story.warnings.iter().take(MOST_WARNINGS) {
        row(page, story, warning);
    }
    page.raw("</table>");
    let left_out = story.warnings.len().saturating_sub(MOST_WARNINGS);
    if left_out > 0 {
        let told = format!("{left_out} more are left out.");
        page.element("p", "class=\"left-out\"", &told);
    }
}

fn row(page: &mut Markup, story: &Story, warning: &Warning) {
    let left = story.deadline.seconds_after(warning.at);
    page.raw("<tr>");
    page.element("td", "", &format!("{} left", seconds(left)));
    let class = if warning.level == "error" {
        "class=\"error\""
    } else {
        ""
    };
    page.element("td", class, &warning.level);
    page.element("td", "", &warning.event);
    page.element("td", "", &warning.text);
    page.raw("</tr>");
}
