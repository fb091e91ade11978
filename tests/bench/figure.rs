//! Figures of several runs.

/// What is pulled by every node.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// In MiB.
    pub binary: f64,
    /// In MiB.
    pub image: f64,
}

/// The one in the middle, the upper one of two.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    quantile(values, 0.5)
}

/// With as many digits as say something.
pub fn number(value: f64) -> String {
    if value.fract() == 0.0 {
        format!("{value}")
    } else if value.abs() < 10.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.1}")
    }
}

/// The same, or a dash.
pub fn number_or_dash(value: Option<f64>) -> String {
    value.map_or("–".to_owned(), number)
}

/// This part of the values, 0.5 for the median, is smaller.
pub fn quantile(values: impl IntoIterator<Item = f64>, part: f64) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss
    )] // a place among some thousands
    let place = (values.len() as f64 * part) as usize;
    values
        .get(place.min(values.len().saturating_sub(1)))
        .copied()
}

#[allow(clippy::cast_precision_loss)] // a few thousand
pub fn count(number: usize) -> f64 {
    number as f64
}
