//! What the README says of the figures is what `docs/performance.md` says; `make bench` writes both.

const README: &str = include_str!("../../README.md");
const PERFORMANCE: &str = include_str!("../../docs/performance.md");

/// The rows of the table that was measured under this name, cell by cell.
fn rows(page: &'static str, name: &str) -> Vec<Vec<&'static str>> {
    let (_, rest) = page
        .split_once(&format!("<!-- measured: {name} -->"))
        .expect("a place for it");
    let (table, _) = rest.split_once("<!-- end -->").expect("its end");
    let lines = table.lines().filter(|line| line.starts_with('|'));
    lines
        .skip(2)
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect()
}

#[test]
fn the_readme_and_the_page_tell_the_same_figures() {
    let rest = rows(PERFORMANCE, "rest");
    assert_eq!(rows(README, "rest"), rest);
    assert!(rest.len() > 5, "{rest:?}");
    let drains = rows(PERFORMANCE, "drains");
    let mut compared = 0;
    for row in rows(README, "beside") {
        let [who, pods, cordon, last, requests, memory] = row[..] else {
            panic!("{row:?}");
        };
        let size = format!("{pods} pods, 20 ms");
        let Some(drain) = drains.iter().find(|drain| drain[..2] == [&*size, who]) else {
            // Who is not measured here is told of below the page's tables.
            assert!(
                row[0].contains("node-termination") || row[0].contains("tuned"),
                "{row:?}"
            );
            continue;
        };
        let (median, _) = drain[3].split_once(' ').unwrap_or((drain[3], ""));
        assert_eq!(
            [cordon, last, requests, memory],
            [drain[2], median, drain[6], drain[9]],
            "{row:?}"
        );
        compared += 1;
    }
    assert_eq!(compared, 6);
}
