//! New inputs from old ones.

use fastrand::Rng;

/// What parsers stumble over: the ends of number ranges, nesting, escapes, and the words of the formats.
const FRAGMENTS: &[&str] = &[
    "",
    "0",
    "-1",
    "1e999",
    "-0.0",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551616",
    "4294967296",
    "2147483648",
    "null",
    "true",
    "{}",
    "[]",
    "\"\"",
    "{\"\":",
    "[[[[[[[[[[[[[[[[",
    "\\u0000",
    "\\ud800",
    "\u{feff}",
    "\u{202e}",
    "\u{0}",
    "\r\n",
    "\n",
    "\"",
    "'",
    "\\",
    ",",
    ":",
    "=",
    "<",
    "</",
    "/>",
    "<![CDATA[",
    "]]>",
    "&#0;",
    "&lt;",
    "<!DOCTYPE a [",
    "%s",
    "{",
    "}",
    "[",
    "]",
    "+99:99",
    "-99999-01-01T00:00:00Z",
    "9999-12-31T23:59:60Z",
    "1970-01-01T00:00:00Z",
    "terminate",
    "stop",
    "hibernate",
    "1h",
    "999999999999h",
    "1ns",
];

/// No input grows beyond this: what parsers do with endless bodies is tested over the wire.
const LONGEST: usize = 64 * 1024;

/// One to six changes to an input of the pool.
pub fn mutated(pool: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut input = pool[rng.usize(..pool.len())].clone();
    for _ in 0..rng.u8(1..=6) {
        change(&mut input, pool, rng);
    }
    input.truncate(LONGEST);
    input
}

fn change(input: &mut Vec<u8>, pool: &[Vec<u8>], rng: &mut Rng) {
    let (start, end) = range(input.len(), rng);
    match rng.u8(..8) {
        0 => {
            if let Some(byte) = input.get_mut(start) {
                *byte ^= 1 << rng.u8(..8);
            }
        }
        1 => {
            if let Some(byte) = input.get_mut(start) {
                *byte = rng.u8(..);
            }
        }
        2 => {
            input.drain(start..end);
        }
        3 => {
            let again = input[start..end].to_vec();
            input.splice(end..end, again);
        }
        4 => input.truncate(start),
        5 => {
            let other = &pool[rng.usize(..pool.len())];
            let (from, to) = range(other.len(), rng);
            input.splice(start..end, other[from..to].iter().copied());
        }
        _ => {
            let fragment = FRAGMENTS[rng.usize(..FRAGMENTS.len())];
            let end = if rng.bool() { start } else { end };
            input.splice(start..end, fragment.bytes());
        }
    }
}

/// A stretch of something of this length: mostly short ones.
fn range(length: usize, rng: &mut Rng) -> (usize, usize) {
    let start = rng.usize(..=length);
    let longest = if rng.u8(..4) == 0 { length } else { 12 };
    let end = (start + rng.usize(..=longest)).min(length);
    (start, end)
}
