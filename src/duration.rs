//! Durations as people write them: `250ms`, `5s`, `2m`, `1h`, on the command line and in scenario files.

use std::time::Duration;

/// What is wrong with a text that should be a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration: write a whole number and a unit, as in 250ms, 5s, 2m or 1h")]
pub struct NotADuration(String);

/// Reads a duration: a whole number followed by `ms`, `s`, `m` or `h`. There is no default unit, and `0s` is a
/// duration.
///
/// # Errors
/// When the text has another form, or is too large to count.
pub fn parse(text: &str) -> Result<Duration, NotADuration> {
    let wrong = || NotADuration(text.to_owned());
    let unit_at = text
        .find(|character: char| !character.is_ascii_digit())
        .ok_or_else(wrong)?;
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let millis_per_unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(millis_per_unit)
        .map(Duration::from_millis)
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_with_a_unit_is_a_duration() {
        for (text, millis) in [
            ("250ms", 250),
            ("5s", 5_000),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_and_named() {
        for text in [
            "",
            "5",
            "s",
            "5 s",
            "-5s",
            "5.5s",
            "5S",
            "1d",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert_eq!(parse(text), Err(NotADuration(text.to_owned())));
        }
    }
}
