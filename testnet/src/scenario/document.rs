//! A scenario file as it is written: its values with their places, nothing yet decided.
//!
//! Values are kept by dotted path (`class.peer.count`), which is also how `[vary]`, `[quick]`,
//! `[live]`, gates and `--set` name them.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    FileError,
    error::Wrong,
    keys::Section,
    value::{Given, Takes, Value},
};

/// Keys before the first table.
pub(super) const HEAD: [(&str, &str); 5] = [
    ("id", "its number in the catalogue, such as \"S01\""),
    ("title", "one line; needed"),
    ("about", "what it shows and how to read it"),
    (
        "held_against",
        "what the figures are held against: a bound, a paper",
    ),
    (
        "seeds",
        "how many seeds a simulated run takes if the command does not say; 5",
    ),
];

/// Keys of `[[gate]]`.
pub(super) const GATE: [(&str, &str); 7] = [
    ("figure", "its name; needed"),
    (
        "at_most",
        "the figure must not be greater; this or `at_least` is needed",
    ),
    ("at_least", "the figure must not be less"),
    ("goal", "what we are after beyond it"),
    (
        "where",
        "the cases it is about, all of them if absent: `{ \"class.peer.count\" = 35 }`, a list for any of several",
    ),
    (
        "over",
        "holds the figure divided by that of the case which differs only in this: `{ \"class.rider.share\" = 0 }`",
    ),
    ("engine", "\"sim\" or \"live\"; both if absent"),
];

/// How many runs of one case a file may ask for.
pub(super) const SEEDS: Takes = Takes::Count(1, 1000);

/// Where a value was written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Origin {
    /// The bytes of a key, or of a table's header, and of the value.
    File {
        key: Range<usize>,
        value: Range<usize>,
    },
    /// An argument, as typed.
    Argument(String),
}

/// A value with its path.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) path: String,
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// `[[gate]]` as written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct GateTable {
    pub(super) header: Origin,
    pub(super) entries: Vec<Entry>,
    pub(super) cases: Vec<Entry>,
    pub(super) over: Vec<Entry>,
}

/// A file.
#[derive(Debug, Clone)]
pub(super) struct Document {
    pub(super) file: String,
    pub(super) text: String,
    pub(super) head: Vec<Entry>,
    /// Tables that the file opens, by path: `swarm`, `class.peer`, `event.1`.
    pub(super) tables: Vec<(String, Origin)>,
    pub(super) entries: Vec<Entry>,
    pub(super) vary: Vec<Vec<Entry>>,
    pub(super) quick: Vec<Entry>,
    pub(super) live: Option<Vec<Entry>>,
    pub(super) gates: Vec<GateTable>,
}

impl Document {
    pub(super) fn parse(file: &str, text: &str) -> Result<Self, FileError> {
        let mut document = Self {
            file: file.into(),
            text: text.into(),
            head: Vec::new(),
            tables: Vec::new(),
            entries: Vec::new(),
            vary: Vec::new(),
            quick: Vec::new(),
            live: None,
            gates: Vec::new(),
        };
        let root = DeTable::parse(text).map_err(|error| {
            let span = error.span().unwrap_or(0..0);
            let what = error.message().trim().replace('\n', ", ");
            let wrong = match what.as_str() {
                "duplicate key" => duplicate(text, span.clone()),
                _ => Wrong::new(what, "a scenario file is TOML: see https://toml.io"),
            };
            wrong.at(file, text, span)
        })?;
        for (key, value) in in_order(root.get_ref()) {
            document.top_level(key, value)?;
        }
        Ok(document)
    }

    /// The error at a value.
    pub(super) fn at_value(&self, origin: &Origin, wrong: Wrong) -> FileError {
        match origin {
            Origin::File { value, .. } => wrong.at(&self.file, &self.text, value.clone()),
            Origin::Argument(argument) => wrong.in_argument(argument),
        }
    }

    /// The error at a key or a header.
    pub(super) fn at_key(&self, origin: &Origin, wrong: Wrong) -> FileError {
        match origin {
            Origin::File { key, .. } => wrong.at(&self.file, &self.text, key.clone()),
            Origin::Argument(argument) => wrong.in_argument(argument),
        }
    }

    /// The error of a file as a whole.
    pub(super) fn at_start(&self, wrong: Wrong) -> FileError {
        wrong.at(&self.file, &self.text, 0..0)
    }

    /// Where a table is opened.
    pub(super) fn table(&self, path: &str) -> Option<&Origin> {
        let found = self.tables.iter().find(|(name, _)| name == path);
        found.map(|(_, origin)| origin)
    }

    /// Names of the classes, in order.
    pub(super) fn classes(&self) -> Vec<&str> {
        let names = self.tables.iter().map(|(path, _)| path.as_str());
        names
            .filter_map(|path| path.strip_prefix("class."))
            .collect()
    }

    fn top_level(&mut self, key: Key<'_>, value: Node<'_>) -> Result<(), FileError> {
        let name = key.get_ref().as_ref();
        if HEAD.iter().any(|(known, _)| *known == name) {
            let entry = self.entry(name.into(), key, value)?;
            self.check_head(&entry)?;
            self.head.push(entry);
            return Ok(());
        }
        match name {
            "vary" => {
                for table in self.tables_of(key, value)? {
                    let entries = self.flat("", table)?;
                    self.vary.push(entries);
                }
            }
            "quick" => self.quick = self.flat("", self.only_table(key, value)?)?,
            "live" => self.live = Some(self.flat("", self.only_table(key, value)?)?),
            "gate" => {
                for table in self.tables_of(key, value)? {
                    let gate = self.gate(key, table)?;
                    self.gates.push(gate);
                }
            }
            "class" => {
                for (class, value) in in_order(self.only_table(key, value)?) {
                    self.class_name(class)?;
                    let path = format!("class.{}", class.get_ref());
                    let table = self.only_table(class, value)?;
                    self.section(Section::Class, path, class, table)?;
                }
            }
            "event" => {
                for (at, table) in self.tables_of(key, value)?.into_iter().enumerate() {
                    let path = format!("event.{}", at + 1);
                    self.section(Section::Event, path, key, table)?;
                }
            }
            _ => match Section::named(name) {
                Some(section) => {
                    let table = self.only_table(key, value)?;
                    self.section(section, name.into(), key, table)?;
                }
                None => {
                    let mut allowed: Vec<_> = HEAD.iter().map(|(name, _)| *name).collect();
                    allowed.extend(Section::ALL.map(Section::name));
                    allowed.extend(["gate", "vary", "quick", "live"]);
                    return Err(self.unknown("key or table", key, &allowed));
                }
            },
        }
        Ok(())
    }

    fn check_head(&self, entry: &Entry) -> Result<(), FileError> {
        let fits = match (entry.path.as_str(), &entry.value) {
            ("seeds", value) => {
                let takes = SEEDS;
                Given {
                    takes,
                    value,
                    unit: 0.0,
                }
                .count()
                .is_some()
            }
            (_, Value::Text(_)) => true,
            _ => false,
        };
        if fits {
            return Ok(());
        }
        let takes = match entry.path.as_str() {
            "seeds" => SEEDS.to_string(),
            _ => "a text in quotes".into(),
        };
        let what = format!("`{}` cannot be `{}`", entry.path, entry.value);
        Err(self.at_value(&entry.origin, Wrong::new(what, format!("write {takes}"))))
    }

    /// A table of the plan: every key must be one of its section's.
    fn section(
        &mut self,
        section: Section,
        path: String,
        header: Key<'_>,
        table: &DeTable<'_>,
    ) -> Result<(), FileError> {
        let keys: Vec<_> = section.keys().iter().map(|key| key.name).collect();
        for (key, value) in in_order(table) {
            if !keys.contains(&key.get_ref().as_ref()) {
                let kind = format!("key of {}", section.header());
                return Err(self.unknown(&kind, key, &keys));
            }
            let entry = self.entry(format!("{path}.{}", key.get_ref()), key, value)?;
            self.entries.push(entry);
        }
        self.tables.push((path, place(header, header.span())));
        Ok(())
    }

    /// A name is part of paths, figures and columns.
    fn class_name(&self, name: Key<'_>) -> Result<(), FileError> {
        let sound = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
        let text = name.get_ref();
        if !text.is_empty() && text.len() <= 32 && text.chars().all(sound) {
            return Ok(());
        }
        let wrong = Wrong::new(
            format!("`{text}` is not a class name"),
            "use up to 32 small letters, digits, `-` and `_`",
        );
        Err(self.at_key(&place(name, name.span()), wrong))
    }

    fn gate(&self, header: Key<'_>, table: &DeTable<'_>) -> Result<GateTable, FileError> {
        let mut gate = GateTable {
            header: place(header, header.span()),
            entries: Vec::new(),
            cases: Vec::new(),
            over: Vec::new(),
        };
        for (key, value) in in_order(table) {
            match key.get_ref().as_ref() {
                "where" => gate.cases = self.flat("", self.only_table(key, value)?)?,
                "over" => gate.over = self.flat("", self.only_table(key, value)?)?,
                name if GATE.iter().any(|(known, _)| *known == name) => {
                    gate.entries.push(self.entry(name.into(), key, value)?);
                }
                _ => {
                    let allowed = GATE.map(|(name, _)| name);
                    return Err(self.unknown("key of [[gate]]", key, &allowed));
                }
            }
        }
        // The header's own place is that of the array; its first key is nearer.
        if let Some(first) = gate.entries.first() {
            gate.header = first.origin.clone();
        }
        Ok(gate)
    }

    /// Dotted keys, quoted or not, as paths.
    fn flat(&self, prefix: &str, table: &DeTable<'_>) -> Result<Vec<Entry>, FileError> {
        let mut entries = Vec::new();
        for (key, value) in in_order(table) {
            let path = format!("{prefix}{}", key.get_ref());
            match value.get_ref() {
                DeValue::Table(inner) => entries.extend(self.flat(&format!("{path}."), inner)?),
                _ => entries.push(self.entry(path, key, value)?),
            }
        }
        Ok(entries)
    }

    fn entry(&self, path: String, key: Key<'_>, node: Node<'_>) -> Result<Entry, FileError> {
        let origin = place(key, node.span());
        match read(node) {
            Some(value) => Ok(Entry {
                path,
                value,
                origin,
            }),
            None => {
                let what = format!("`{path}` has a value that no key takes");
                let remedy = "write a text in quotes, a number, true or false";
                Err(self.at_value(&origin, Wrong::new(what, remedy)))
            }
        }
    }

    fn only_table<'a, 'i>(
        &self,
        key: Key<'_>,
        node: &'a Spanned<DeValue<'i>>,
    ) -> Result<&'a DeTable<'i>, FileError> {
        node.get_ref().as_table().ok_or_else(|| {
            let name = key.get_ref();
            let what = format!("`{name}` is not one table");
            let wrong = Wrong::new(what, format!("write [{name}] with its keys below"));
            self.at_key(&place(key, node.span()), wrong)
        })
    }

    /// `[name]` or several `[[name]]`.
    fn tables_of<'a, 'i>(
        &self,
        key: Key<'_>,
        node: &'a Spanned<DeValue<'i>>,
    ) -> Result<Vec<&'a DeTable<'i>>, FileError> {
        let tables = match node.get_ref() {
            DeValue::Table(table) => Some(vec![table]),
            DeValue::Array(items) => items.iter().map(|item| item.get_ref().as_table()).collect(),
            _ => None,
        };
        tables.ok_or_else(|| {
            let name = key.get_ref();
            let what = format!("`{name}` is no table");
            let wrong = Wrong::new(what, format!("write [[{name}]] with its keys below"));
            self.at_key(&place(key, node.span()), wrong)
        })
    }

    fn unknown(&self, kind: &str, key: Key<'_>, allowed: &[&str]) -> FileError {
        let wrong = Wrong::unknown(kind, key.get_ref(), allowed);
        self.at_key(&place(key, key.span()), wrong)
    }
}

type Key<'a> = &'a Spanned<std::borrow::Cow<'a, str>>;
type Node<'a> = &'a Spanned<DeValue<'a>>;

fn place(key: Key<'_>, value: Range<usize>) -> Origin {
    Origin::File {
        key: key.span(),
        value,
    }
}

/// A key that its table has already, with the line that has it if that is easily seen.
fn duplicate(text: &str, span: Range<usize>) -> Wrong {
    let name = text.get(span.clone()).unwrap_or_default().trim();
    let name = name.trim_matches(['[', ']']);
    let before = text.get(..span.start).unwrap_or_default();
    let here = before.matches('\n').count();
    let is_it = |line: &str| {
        let line = line.trim();
        let key = line.split_once('=').map(|(key, _)| key.trim());
        key == Some(name) || line.trim_matches(['[', ']']) == name && line.starts_with('[')
    };
    let earlier: Vec<(usize, &str)> = before.lines().enumerate().take(here).collect();
    // A key is looked for in its own table first: others may have one of that name.
    let table = earlier
        .iter()
        .rposition(|(_, line)| line.trim_start().starts_with('['));
    let own = &earlier[table.unwrap_or(0)..];
    let first = own.iter().find(|(_, line)| is_it(line));
    let first = first.or_else(|| earlier.iter().find(|(_, line)| is_it(line)));
    let what = format!("duplicate key `{name}`");
    match first {
        Some((at, _)) => Wrong::new(
            format!("{what}: line {} has it already", at + 1),
            "keep one of them",
        ),
        None => Wrong::new(what, "its table has it already: keep one of them"),
    }
}

/// As written: the parser sorts by name.
fn in_order<'a>(
    table: &'a DeTable<'a>,
) -> Vec<(
    &'a Spanned<std::borrow::Cow<'a, str>>,
    &'a Spanned<DeValue<'a>>,
)> {
    let mut pairs: Vec<_> = table.iter().collect();
    pairs.sort_by_key(|(key, _)| key.span().start);
    pairs
}

fn read(node: Node<'_>) -> Option<Value> {
    Some(match node.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(whole) => {
            match i64::from_str_radix(whole.as_str(), whole.radix()) {
                Ok(whole) => Value::Whole(whole),
                // Beyond every range: whoever reads it says which one.
                Err(_) if whole.radix() == 10 => Value::Real(whole.as_str().parse().ok()?),
                Err(_) => return None,
            }
        }
        DeValue::Float(real) => {
            let real: f64 = real.as_str().parse().ok()?;
            real.is_finite().then_some(Value::Real(real))?
        }
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Array(items) => {
            let items: Option<Vec<_>> = items.iter().map(read).collect();
            let items = items.filter(|items| !items.is_empty())?;
            let nested = items.iter().any(|item| matches!(item, Value::List(_)));
            (!nested).then_some(Value::List(items))?
        }
        DeValue::Datetime(_) | DeValue::Table(_) => return None,
    })
}
