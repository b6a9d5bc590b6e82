//! `[[gate]]`: what must come out, checked against the figures that there are and the cases that
//! the file runs.

use std::fmt;

use super::{
    Engine, FileError, Gate, Limit,
    cases::{Values, engine},
    document::{Document, Entry, GateTable},
    error::Wrong,
    value::Value,
};
use crate::experiment::{self, dht, swarm};

pub(super) fn read(document: &Document, values: &Values<'_>) -> Result<Vec<Gate>, FileError> {
    let gates = document.gates.iter();
    gates.map(|table| gate(document, values, table)).collect()
}

fn gate(document: &Document, values: &Values<'_>, table: &GateTable) -> Result<Gate, FileError> {
    let header_wrong = |what: &str, remedy: &str| {
        let wrong = Wrong::new(what, remedy);
        Err(document.at_key(&table.header, wrong))
    };
    let find = |name: &str| table.entries.iter().find(|entry| entry.path == name);
    let Some(named) = find("figure") else {
        return header_wrong("a gate without a figure", "add `figure = \"ratio\"`");
    };
    let figure = figure(document, named)?;
    let limit = match (find("at_most"), find("at_least")) {
        (Some(most), None) => Limit::AtMost(number(document, most)?),
        (None, Some(least)) => Limit::AtLeast(number(document, least)?),
        _ => {
            let what = "a gate opens one way";
            return header_wrong(what, "write either `at_most` or `at_least`");
        }
    };
    let mut goal = None;
    if let Some(entry) = find("goal") {
        let value = number(document, entry)?;
        if !limit.holds(value) {
            let wrong = Wrong::new(
                format!("the goal {value} would not pass the gate"),
                "a goal is beyond the gate: lower than `at_most`, higher than `at_least`",
            );
            return Err(document.at_value(&entry.origin, wrong));
        }
        goal = Some(value);
    }
    let engine = find("engine").map(|entry| engine(document, entry));
    Ok(Gate {
        figure,
        cases: conditions(document, values, &table.cases)?,
        over: conditions(document, values, &table.over)?,
        limit,
        goal,
        engine: engine.transpose()?,
    })
}

/// A figure that runs of this file have.
fn figure(document: &Document, entry: &Entry) -> Result<String, FileError> {
    let name = entry.value.to_string();
    let classes = document.classes();
    let mut known: Vec<String> = Vec::new();
    let swarm = document.table("swarm").map(|_| swarm::FIGURES);
    let dht = document.table("dht").map(|_| dht::FIGURES);
    let cost = Some(experiment::COST_FIGURES);
    for (figure, _) in [swarm, dht, cost].into_iter().flatten().flatten() {
        match figure.strip_suffix("CLASS") {
            Some(stem) => known.extend(classes.iter().map(|class| format!("{stem}{class}"))),
            None => known.push((*figure).into()),
        }
    }
    if matches!(entry.value, Value::Text(_)) && known.contains(&name) {
        return Ok(name);
    }
    let known: Vec<_> = known.iter().map(String::as_str).collect();
    let wrong = Wrong::unknown("figure", &name, &known);
    Err(document.at_value(&entry.origin, wrong))
}

fn number(document: &Document, entry: &Entry) -> Result<f64, FileError> {
    match entry.value {
        Value::Real(real) => Ok(real),
        Value::Whole(whole) => Ok(whole as f64),
        _ => {
            let what = format!("`{}` cannot be `{}`", entry.path, entry.value);
            let wrong = Wrong::new(what, "write a number");
            Err(document.at_value(&entry.origin, wrong))
        }
    }
}

/// Keys that vary, with values that some case has.
fn conditions(
    document: &Document,
    values: &Values<'_>,
    entries: &[Entry],
) -> Result<Vec<(String, String)>, FileError> {
    let mut conditions = Vec::new();
    for entry in entries {
        let path = values.resolve(&entry.path);
        let path = path.map_err(|wrong| document.at_key(&entry.origin, wrong))?;
        let varied = values.varied();
        if !varied.contains(path.as_str()) {
            let wrong = Wrong::new(
                format!("`{path}` does not vary, so no case differs in it"),
                match varied.len() {
                    0 => "take it away: this file has one case".to_string(),
                    _ => {
                        let varied: Vec<_> = varied.into_iter().collect();
                        format!("what varies: {}", varied.join(", "))
                    }
                },
            );
            return Err(document.at_key(&entry.origin, wrong));
        }
        let taken = values.taken(&path);
        for value in entry.value.each() {
            let value = value.to_string();
            if !taken.contains(&value) {
                let taken: Vec<_> = taken.iter().map(String::as_str).collect();
                let mut wrong = Wrong::unknown("value", &value, &taken);
                wrong.what += &format!(" of `{path}`: no case has it");
                return Err(document.at_value(&entry.origin, wrong));
            }
            conditions.push((path.clone(), value));
        }
    }
    Ok(conditions)
}

impl Gate {
    /// Whether it is about a case with these settings: for each key one of its values.
    pub fn is_about(&self, settings: &[(String, String)]) -> bool {
        meets(&self.cases, settings)
    }

    /// Whether a case is what another one's figure is divided by: as `over` says, and else alike.
    pub fn divides(&self, divisor: &[(String, String)], settings: &[(String, String)]) -> bool {
        let said = |key: &str| self.over.iter().any(|(over, _)| over == key);
        meets(&self.over, divisor)
            && settings
                .iter()
                .filter(|(key, _)| !said(key))
                .all(|setting| divisor.contains(setting))
    }

    /// Whether it counts for an engine.
    pub fn is_for(&self, engine: Engine) -> bool {
        self.engine.is_none_or(|own| own == engine)
    }
}

fn meets(conditions: &[(String, String)], settings: &[(String, String)]) -> bool {
    conditions.iter().all(|(key, _)| {
        let values = conditions.iter().filter(|(other, _)| other == key);
        let mut values = values.map(|(_, value)| value);
        let setting = settings.iter().find(|(set, _)| set == key);
        setting.is_some_and(|(_, set)| values.any(|value| value == set))
    })
}

impl Limit {
    /// Whether a figure passes.
    pub fn holds(self, figure: f64) -> bool {
        match self {
            Self::AtMost(most) => figure <= most,
            Self::AtLeast(least) => figure >= least,
        }
    }

    /// The figure that is further from passing.
    pub fn worse(self, a: f64, b: f64) -> f64 {
        match self {
            Self::AtMost(_) => a.max(b),
            Self::AtLeast(_) => a.min(b),
        }
    }
}

/// `ratio at most 1.05 where class.peer.count = 35`.
impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (way, limit) = match self.limit {
            Limit::AtMost(most) => ("at most", most),
            Limit::AtLeast(least) => ("at least", least),
        };
        write!(f, "{} {way} {limit}", self.figure)?;
        if !self.over.is_empty() {
            write!(f, " times that of ")?;
            list(f, &self.over)?;
        }
        if !self.cases.is_empty() {
            write!(f, " where ")?;
            list(f, &self.cases)?;
        }
        Ok(())
    }
}

/// `a = 1 or 2, b = 3 to 9`.
fn list(f: &mut fmt::Formatter<'_>, conditions: &[(String, String)]) -> fmt::Result {
    let alike = conditions.chunk_by(|(key, _), (next, _)| key == next);
    for (at, alike) in alike.enumerate() {
        let values: Vec<&str> = alike.iter().map(|(_, value)| value.as_str()).collect();
        let numbers: Option<Vec<i64>> = values.iter().map(|value| value.parse().ok()).collect();
        let run = |numbers: &[i64]| numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]);
        let comma = if at == 0 { "" } else { ", " };
        write!(f, "{comma}{} = ", alike[0].0)?;
        match (&values[..], numbers) {
            ([first, _, .., last], Some(numbers)) if run(&numbers) => {
                write!(f, "{first} to {last}")?;
            }
            _ => write!(f, "{}", values.join(" or "))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_is_a_sentence() {
        let pair = |(key, value): &(&str, &str)| (key.to_string(), value.to_string());
        let gate = |cases: &[(&str, &str)], over: &[(&str, &str)]| Gate {
            figure: "ratio".into(),
            cases: cases.iter().map(pair).collect(),
            over: over.iter().map(pair).collect(),
            limit: Limit::AtMost(1.5),
            goal: None,
            engine: None,
        };
        let n = |value| ("n", value);
        let rows = [
            (gate(&[], &[]), "ratio at most 1.5"),
            (
                gate(&[("a", "x"), n("1"), n("2"), n("3")], &[]),
                "ratio at most 1.5 where a = x, n = 1 to 3",
            ),
            (
                gate(&[n("1"), n("2")], &[("b", "0")]),
                "ratio at most 1.5 times that of b = 0 where n = 1 or 2",
            ),
            (
                gate(&[n("1"), n("3"), n("4")], &[]),
                "ratio at most 1.5 where n = 1 or 3 or 4",
            ),
        ];
        for (gate, sentence) in rows {
            assert_eq!(gate.to_string(), sentence);
        }
        let settings = [pair(&("a", "x")), pair(&("n", "2"))];
        assert!(gate(&[n("1"), n("2")], &[]).is_about(&settings));
        assert!(!gate(&[n("1"), ("a", "x")], &[]).is_about(&settings));
        assert!(!gate(&[("other", "1")], &[]).is_about(&settings));
        assert_eq!(Limit::AtMost(1.0).worse(1.0, 2.0), 2.0);
        assert_eq!(Limit::AtLeast(1.0).worse(1.0, 2.0), 1.0);
        assert!(Limit::AtLeast(1.0).holds(1.0) && !Limit::AtMost(1.0).holds(f64::NAN));
    }
}
