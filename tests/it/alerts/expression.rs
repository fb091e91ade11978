//! What alarms compute: metric math and the rules of composite alarms, as far as the templates use them.

use std::collections::BTreeMap;

/// The value of an expression; none where a metric in it has no datapoint, because then it has none either.
pub fn value(text: &str, metrics: &BTreeMap<String, Option<f64>>) -> Option<f64> {
    let mut reader = Reader { rest: text };
    let value = reader.either(metrics);
    assert_eq!(reader.rest.trim(), "", "what is this in {text:?}?");
    value
}

/// Whether the rule of a composite alarm holds, its alarms being in these states.
pub fn rule(text: &str, states: &BTreeMap<String, bool>) -> bool {
    let mut plain = text.to_owned();
    let mut metrics = BTreeMap::new();
    for (index, (name, state)) in states.iter().enumerate() {
        let metric = format!("alarm{index}");
        plain = plain.replace(&format!("ALARM(\"{name}\")"), &metric);
        metrics.insert(metric, Some(truth(*state)));
    }
    assert!(
        !plain.contains("ALARM("),
        "an alarm that is not there: {plain}"
    );
    value(&plain, &metrics) == Some(1.0)
}

type Metrics = BTreeMap<String, Option<f64>>;

struct Reader<'t> {
    rest: &'t str,
}

impl Reader<'_> {
    fn skip(&mut self, token: &str) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn either(&mut self, metrics: &Metrics) -> Option<f64> {
        let mut value = self.both(metrics);
        while self.skip("OR ") {
            let other = self.both(metrics);
            value = Some(truth(value? != 0.0 || other? != 0.0));
        }
        value
    }

    fn both(&mut self, metrics: &Metrics) -> Option<f64> {
        let mut value = self.compared(metrics);
        while self.skip("AND ") {
            let other = self.compared(metrics);
            value = Some(truth(value? != 0.0 && other? != 0.0));
        }
        value
    }

    fn compared(&mut self, metrics: &Metrics) -> Option<f64> {
        let value = self.sum(metrics);
        for (token, holds) in [
            (">=", f64::ge as fn(&f64, &f64) -> bool),
            ("<=", f64::le),
            (">", f64::gt),
            ("<", f64::lt),
        ] {
            if self.skip(token) {
                let other = self.sum(metrics);
                return Some(truth(holds(&value?, &other?)));
            }
        }
        value
    }

    fn sum(&mut self, metrics: &Metrics) -> Option<f64> {
        let mut value = self.product(metrics);
        loop {
            if self.skip("+") {
                let other = self.product(metrics);
                value = value.zip(other).map(|(one, other)| one + other);
            } else if self.skip("-") {
                let other = self.product(metrics);
                value = value.zip(other).map(|(one, other)| one - other);
            } else {
                return value;
            }
        }
    }

    fn product(&mut self, metrics: &Metrics) -> Option<f64> {
        let mut value = self.atom(metrics);
        while self.skip("*") {
            let other = self.atom(metrics);
            value = value.zip(other).map(|(one, other)| one * other);
        }
        value
    }

    fn atom(&mut self, metrics: &Metrics) -> Option<f64> {
        if self.skip("IF(") {
            let condition = self.either(metrics);
            assert!(self.skip(","), "a comma before {:?}", self.rest);
            let then = self.either(metrics);
            assert!(self.skip(","), "a comma before {:?}", self.rest);
            let otherwise = self.either(metrics);
            assert!(self.skip(")"), "an end before {:?}", self.rest);
            return if condition? == 0.0 { otherwise } else { then };
        }
        if self.skip("(") {
            let value = self.either(metrics);
            assert!(self.skip(")"), "an end before {:?}", self.rest);
            return value;
        }
        self.rest = self.rest.trim_start();
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '_';
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        if let Ok(number) = word.parse() {
            return Some(number);
        }
        let metric = metrics.get(word);
        *metric.unwrap_or_else(|| panic!("no metric {word:?} before {rest:?}"))
    }
}

fn truth(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

#[test]
fn an_expression_has_the_value_that_its_metrics_give_it_and_none_without_one_of_them() {
    let metrics = BTreeMap::from([
        ("m1".to_owned(), Some(4.0)),
        ("m2".to_owned(), Some(2.0)),
        ("gone".to_owned(), None),
    ]);
    for (text, expected) in [
        ("m1 + m2 * 2.5", Some(9.0)),
        ("(m1 + m2) * 2", Some(12.0)),
        ("m1 - m2", Some(2.0)),
        ("m1 > m2 AND m2 >= 2", Some(1.0)),
        ("m1 < m2 OR m2 <= 1", Some(0.0)),
        ("IF(m1 < m2, 1, 0)", Some(0.0)),
        ("IF(m1 > m2, 7, 0)", Some(7.0)),
        ("m1 + gone", None),
        ("IF(gone < m1, 1, 0)", None),
    ] {
        assert_eq!(value(text, &metrics), expected, "{text}");
    }
    let states = BTreeMap::from([("a".to_owned(), true), ("b".to_owned(), false)]);
    assert!(rule(
        r#"ALARM("a") AND (ALARM("b") OR ALARM("a"))"#,
        &states
    ));
    assert!(!rule(r#"ALARM("a") AND ALARM("b")"#, &states));
}
