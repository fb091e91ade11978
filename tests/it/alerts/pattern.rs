//! Filter patterns of CloudWatch Logs for JSON, as documented
//! (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html>), without regular expressions.

use serde_json::Value;

/// CloudWatch takes no longer one.
const LONGEST: usize = 1024;

/// A pattern that was understood.
#[derive(Clone, Debug, PartialEq)]
pub enum Pattern {
    All(Vec<Self>),
    Any(Vec<Self>),
    One(Selector, Test),
}

/// The way to a field: names and, in arrays, places; none for any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector(pub Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Name(String),
    Place(Option<usize>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    Text { equal: bool, glob: String },
    Number(Comparison, f64),
    IsNull,
    Is(bool),
    NotExists,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

impl Pattern {
    /// Reads a pattern, or says why CloudWatch would refuse it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("{} characters are more than {LONGEST}", text.len()));
        }
        let mut parser = Parser { rest: text };
        parser.expect("{")?;
        let pattern = parser.any()?;
        parser.expect("}")?;
        parser.end()?;
        Ok(pattern)
    }

    /// Whether this log event matches; one that is not JSON never does.
    pub fn matches(&self, event: &Value) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.matches(event)),
            Self::Any(parts) => parts.iter().any(|part| part.matches(event)),
            Self::One(selector, test) => {
                let found = selector.find(event);
                if *test == Test::NotExists {
                    found.is_empty()
                } else {
                    found.into_iter().any(|value| test.holds(value))
                }
            }
        }
    }

    /// Every comparison in it.
    pub fn comparisons(&self) -> Vec<(&Selector, &Test)> {
        match self {
            Self::All(parts) | Self::Any(parts) => {
                parts.iter().flat_map(Self::comparisons).collect()
            }
            Self::One(selector, test) => vec![(selector, test)],
        }
    }
}

impl Selector {
    /// The names on the way.
    pub fn names(&self) -> Vec<&str> {
        self.0
            .iter()
            .filter_map(|step| match step {
                Step::Name(name) => Some(name.as_str()),
                Step::Place(_) => None,
            })
            .collect()
    }

    fn find<'v>(&self, event: &'v Value) -> Vec<&'v Value> {
        self.0.iter().fold(vec![event], |found, step| {
            found
                .into_iter()
                .flat_map(|value| match step {
                    Step::Name(name) => value.get(name).into_iter().collect::<Vec<_>>(),
                    Step::Place(Some(place)) => value.get(place).into_iter().collect(),
                    Step::Place(None) => value.as_array().into_iter().flatten().collect(),
                })
                .collect()
        })
    }
}

impl Test {
    fn holds(&self, value: &Value) -> bool {
        match self {
            Self::Text { equal, glob } => match value.as_str() {
                Some(text) => is_like(text, glob) == *equal,
                // An asterisk alone stands for whatever there is.
                None => glob == "*" && *equal && !value.is_null(),
            },
            Self::Number(comparison, than) => {
                value.as_f64().is_some_and(|number| match comparison {
                    Comparison::Equal => number.total_cmp(than).is_eq(),
                    Comparison::NotEqual => number.total_cmp(than).is_ne(),
                    Comparison::Greater => number > *than,
                    Comparison::GreaterOrEqual => number >= *than,
                    Comparison::Less => number < *than,
                    Comparison::LessOrEqual => number <= *than,
                })
            }
            Self::IsNull => value.is_null(),
            Self::Is(expected) => value.as_bool() == Some(*expected),
            Self::NotExists => false,
        }
    }
}

fn is_like(text: &str, glob: &str) -> bool {
    let Some((first, rest)) = glob.split_once('*') else {
        return text == glob;
    };
    let Some(text) = text.strip_prefix(first) else {
        return false;
    };
    (0..=text.len())
        .filter(|at| text.is_char_boundary(*at))
        .any(|at| is_like(&text[at..], rest))
}

struct Parser<'t> {
    rest: &'t str,
}

impl<'t> Parser<'t> {
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

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.skip(token) {
            Ok(())
        } else {
            Err(format!("{token:?} is expected before {:?}", self.rest))
        }
    }

    fn end(&self) -> Result<(), String> {
        if self.rest.trim().is_empty() {
            Ok(())
        } else {
            Err(format!("{:?} is too much", self.rest))
        }
    }

    fn any(&mut self) -> Result<Pattern, String> {
        let mut parts = vec![self.all()?];
        while self.skip("||") {
            parts.push(self.all()?);
        }
        Ok(one_or(parts, Pattern::Any))
    }

    fn all(&mut self) -> Result<Pattern, String> {
        let mut parts = vec![self.one()?];
        while self.skip("&&") {
            parts.push(self.one()?);
        }
        Ok(one_or(parts, Pattern::All))
    }

    fn one(&mut self) -> Result<Pattern, String> {
        if self.skip("(") {
            let inner = self.any()?;
            self.expect(")")?;
            return Ok(inner);
        }
        let selector = self.selector()?;
        let test = self.test()?;
        Ok(Pattern::One(selector, test))
    }

    fn word(&mut self, is_part: impl Fn(char) -> bool) -> &'t str {
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn selector(&mut self) -> Result<Selector, String> {
        self.expect("$")?;
        let mut steps = Vec::new();
        loop {
            if let Some(rest) = self.rest.strip_prefix('.') {
                self.rest = rest;
                let name = self.word(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
                if name.is_empty() {
                    return Err(format!("a name is expected before {:?}", self.rest));
                }
                steps.push(Step::Name(name.to_owned()));
            } else if let Some(rest) = self.rest.strip_prefix('[') {
                self.rest = rest;
                let place = self.word(|c| c.is_ascii_digit() || c == '*');
                let place = if place == "*" {
                    None
                } else {
                    Some(place.parse().map_err(|_| format!("no place: {place:?}"))?)
                };
                self.expect("]")?;
                steps.push(Step::Place(place));
            } else if steps.is_empty() {
                return Err(format!("a field is expected before {:?}", self.rest));
            } else {
                return Ok(Selector(steps));
            }
        }
    }

    fn test(&mut self) -> Result<Test, String> {
        if self.skip("IS ") {
            return match () {
                () if self.skip("NULL") => Ok(Test::IsNull),
                () if self.skip("TRUE") => Ok(Test::Is(true)),
                () if self.skip("FALSE") => Ok(Test::Is(false)),
                () => Err(format!("NULL, TRUE or FALSE before {:?}", self.rest)),
            };
        }
        if self.skip("NOT ") {
            self.expect("EXISTS")?;
            return Ok(Test::NotExists);
        }
        let operators = [
            ("!=", Comparison::NotEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<=", Comparison::LessOrEqual),
            ("=", Comparison::Equal),
            (">", Comparison::Greater),
            ("<", Comparison::Less),
        ];
        let found = operators.iter().find(|(token, _)| self.skip(token));
        let (_, comparison) =
            found.ok_or_else(|| format!("an operator is expected before {:?}", self.rest))?;
        self.value(*comparison)
    }

    fn value(&mut self, comparison: Comparison) -> Result<Test, String> {
        let text = if self.skip("\"") {
            let (text, rest) = self
                .rest
                .split_once('"')
                .ok_or_else(|| format!("no end of {:?}", self.rest))?;
            self.rest = rest;
            text
        } else {
            let word = self.word(|c| c.is_ascii_alphanumeric() || "-_.*".contains(c));
            let is_number = word.bytes().all(|byte| b"-.0123456789".contains(&byte));
            if let (true, Ok(number)) = (is_number, word.parse()) {
                return Ok(Test::Number(comparison, number));
            }
            word
        };
        match comparison {
            _ if text.is_empty() => Err(format!("a value is expected before {:?}", self.rest)),
            Comparison::Equal | Comparison::NotEqual => Ok(Test::Text {
                equal: comparison == Comparison::Equal,
                glob: text.to_owned(),
            }),
            Comparison::Greater
            | Comparison::GreaterOrEqual
            | Comparison::Less
            | Comparison::LessOrEqual => Err(format!("{text:?} is no number to be compared with")),
        }
    }
}

fn one_or(mut parts: Vec<Pattern>, several: fn(Vec<Pattern>) -> Pattern) -> Pattern {
    if parts.len() == 1 {
        parts.swap_remove(0)
    } else {
        several(parts)
    }
}

mod tests {
    use serde_json::json;

    use super::Pattern;

    #[test]
    fn a_pattern_matches_what_the_documentation_says() {
        let event = json!({
            "event": "drain.incomplete", "pods": 3, "left": 0.5, "a": {"b": {"c": "deep"}}, "list": ["x", 7],
            "nothing": null, "yes": true, "no": false, "detail-type": "EC2 Warning", "ip": "10.0.1.2",
        });
        for (pattern, expected) in [
            (r#"{ $.event = "drain.incomplete" }"#, true),
            (r#"{ $.event = "drain.*" }"#, true),
            (r#"{ $.event = "*complete" }"#, true),
            (r#"{ $.event = "d*.in*te" }"#, true),
            (r#"{ $.event = "drain.complete*" }"#, false),
            (r#"{ $.event = "Drain.incomplete" }"#, false),
            (r#"{ $.event != "drain.completed" }"#, true),
            (r#"{ $.event != "drain.*" }"#, false),
            (r#"{ $.absent != "x" }"#, false),
            ("{ $.absent = * }", false),
            ("{ $.pods = * }", true),
            ("{ $.ip = 10.0.* }", true),
            (
                "{ $.pods > 2 && $.pods >= 3 && $.pods < 4 && $.pods <= 3 }",
                true,
            ),
            ("{ $.pods != 3 }", false),
            ("{ $.left < 1 }", true),
            (r#"{ $.pods = "3" }"#, false),
            ("{ $.event > 3 }", false),
            (r#"{ $.a.b.c = "deep" }"#, true),
            (r#"{ $.a.c = "deep" }"#, false),
            (r#"{ $.list[0] = "x" }"#, true),
            ("{ $.list[*] = 7 }", true),
            ("{ $.list[1] = 8 }", false),
            ("{ $.nothing IS NULL }", true),
            ("{ $.absent IS NULL }", false),
            ("{ $.absent NOT EXISTS }", true),
            ("{ $.nothing NOT EXISTS }", false),
            ("{ $.yes IS TRUE && $.no IS FALSE }", true),
            (r#"{ $.detail-type = "EC2 Warning" }"#, true),
            // `&&` binds closer than `||`.
            ("{ $.pods = 3 || $.pods = 4 && $.pods = 5 }", true),
            ("{ ($.pods = 3 || $.pods = 4) && $.pods = 5 }", false),
            ("{($.pods=3)&&(($.yes IS TRUE)||($.no IS TRUE))}", true),
        ] {
            let parsed = Pattern::parse(pattern).unwrap_or_else(|why| panic!("{pattern}: {why}"));
            assert_eq!(parsed.matches(&event), expected, "{pattern}");
        }
        let text = json!("no object, but \"drain.incomplete\"");
        let pattern = Pattern::parse(r#"{ $.event = "drain.incomplete" }"#).expect("a pattern");
        assert!(!pattern.matches(&text));
    }

    #[test]
    fn a_pattern_that_cloudwatch_would_refuse_is_refused() {
        for pattern in [
            "",
            "{ }",
            "$.event = 3",
            "{ $.event = 3",
            "{ $.event = 3 } }",
            "{ event = 3 }",
            "{ $event = 3 }",
            "{ $. = 3 }",
            "{ $.event }",
            "{ $.event == 3 }",
            "{ $.event = }",
            r#"{ $.event = "x }"#,
            "{ $.event = 'x' }",
            r#"{ $.event > "x" }"#,
            "{ $.event < x }",
            "{ $.event = 3 & $.pods = 4 }",
            "{ $.event = 3 && }",
            "{ $.event = 3 and $.pods = 4 }",
            "{ ($.event = 3 }",
            "{ $.event EXISTS }",
            "{ $.event IS 3 }",
            "{ $.list[x] = 3 }",
            "{ NOT $.event = 3 }",
        ] {
            assert!(Pattern::parse(pattern).is_err(), "{pattern}");
        }
        let long = format!("{{ $.event = \"{}\" }}", "x".repeat(1024));
        assert!(Pattern::parse(&long).is_err());
    }
}
