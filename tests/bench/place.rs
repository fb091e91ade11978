//! Where in the pages of the repository the figures stand.

use std::path::PathBuf;

pub const PERFORMANCE: &str = "docs/performance.md";
pub const README: &str = "README.md";

pub fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Replaces what stands between the marks of this name in a page.
pub fn replace(page: &str, name: &str, text: &str) {
    let path = path(page);
    let old = std::fs::read_to_string(&path).expect("the page");
    let (begin, end) = (format!("<!-- measured: {name} -->\n"), "<!-- end -->");
    let Some((before, rest)) = old.split_once(&begin) else {
        panic!("{page} has no place for {name}");
    };
    let (_, after) = rest.split_once(end).expect("an end of the place");
    std::fs::write(path, format!("{before}{begin}\n{text}\n{end}{after}")).expect("the page");
}
