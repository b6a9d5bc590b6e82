//! From a document to cases: which value each key has in each combination of what varies.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Action, Case, Class, Engine, FileError, Plan, TimedEvent,
    document::{Document, Entry, Origin},
    error::Wrong,
    keys::{self, EventDraft, Key, Section},
    value::{Given, Takes, Value},
};

/// More combinations than anybody reads.
const MOST_CASES: usize = 1000;

/// What each key has before anything varies, and what varies.
#[derive(Debug, Clone)]
pub(super) struct Values<'d> {
    document: &'d Document,
    base: BTreeMap<String, Entry>,
    /// Each is a product of lists; the cases are those of all of them.
    vary: Vec<Vec<Entry>>,
    pub(super) seeds: Option<Entry>,
}

impl<'d> Values<'d> {
    pub(super) fn new(document: &'d Document) -> Result<Self, FileError> {
        let base = document.entries.iter();
        let mut head = document.head.iter();
        let mut values = Self {
            document,
            base: base
                .map(|entry| (entry.path.clone(), entry.clone()))
                .collect(),
            vary: Vec::new(),
            seeds: head.rfind(|entry| entry.path == "seeds").cloned(),
        };
        for table in &document.vary {
            let mut product = Vec::new();
            for entry in table {
                let path = values.resolve(&entry.path);
                let path = path.map_err(|wrong| document.at_key(&entry.origin, wrong))?;
                let entry = Entry {
                    path,
                    ..entry.clone()
                };
                product.push(entry);
            }
            values.vary.push(product);
        }
        Ok(values)
    }

    /// Puts a value in place of what the file says, under a dotted path or its unique end.
    pub(super) fn set(&mut self, entry: &Entry) -> Result<(), FileError> {
        if entry.path == "seeds" {
            self.seeds = Some(entry.clone());
            return Ok(());
        }
        let path = self.resolve(&entry.path);
        let path = path.map_err(|wrong| self.document.at_key(&entry.origin, wrong))?;
        let entry = Entry {
            path,
            ..entry.clone()
        };
        let varied = self.varied().contains(entry.path.as_str());
        if !varied && !matches!(entry.value, Value::List(_)) {
            self.base.insert(entry.path.clone(), entry);
            return Ok(());
        }
        if self.vary.is_empty() {
            self.vary.push(Vec::new());
        }
        for product in &mut self.vary {
            match product.iter_mut().find(|old| old.path == entry.path) {
                Some(old) => *old = entry.clone(),
                None => product.push(entry.clone()),
            }
        }
        Ok(())
    }

    /// Paths that vary.
    pub(super) fn varied(&self) -> BTreeSet<&str> {
        let entries = self.vary.iter().flatten();
        entries.map(|entry| entry.path.as_str()).collect()
    }

    /// Every value that a path takes among the cases, as written.
    pub(super) fn taken(&self, path: &str) -> Vec<String> {
        let mut taken: Vec<String> = Vec::new();
        for entry in self.vary.iter().flatten().filter(|e| e.path == path) {
            taken.extend(entry.value.each().iter().map(ToString::to_string));
        }
        let mut seen = BTreeSet::new();
        taken.retain(|value| seen.insert(value.clone()));
        taken
    }

    /// What does not vary, as the file writes it.
    pub(super) fn parameters(&self) -> Vec<(String, String)> {
        let varied = self.varied();
        let fixed = self.base.values();
        fixed
            .filter(|entry| !varied.contains(entry.path.as_str()))
            .map(|entry| (entry.path.clone(), entry.value.to_string()))
            .collect()
    }

    /// What the file leaves out, as it would write it; nothing of tables that it does not have.
    pub(super) fn defaults(&self) -> Vec<(String, String)> {
        let varied = self.varied();
        let mut defaults = Vec::new();
        let tables = self.document.tables.iter().map(|(table, _)| table.as_str());
        let others = tables.filter(|table| *table != "network");
        for table in std::iter::once("network").chain(others) {
            let section = table.split('.').next().and_then(Section::named);
            let section = section.filter(|section| *section != Section::Event);
            for key in section.map(Section::keys).unwrap_or_default() {
                let path = format!("{table}.{}", key.name);
                let said = self.base.contains_key(&path) || varied.contains(path.as_str());
                if !said && !key.default.is_empty() {
                    defaults.push((path, key.default.to_string()));
                }
            }
        }
        defaults
    }

    /// The one path that is meant.
    pub(super) fn resolve(&self, written: &str) -> Result<String, Wrong> {
        let known = self.paths();
        if known.iter().any(|path| path == written) {
            return Ok(written.into());
        }
        let end = format!(".{written}");
        let ends: Vec<_> = known.iter().filter(|path| path.ends_with(&end)).collect();
        match &ends[..] {
            [one] => return Ok((*one).clone()),
            [] => {}
            several => {
                // What the file speaks of is meant before what it could have said.
                let written = |path: &&&String| {
                    self.base.contains_key(**path) || self.varied().contains(path.as_str())
                };
                let mut spoken = several.iter().filter(written);
                if let (Some(one), None) = (spoken.next(), spoken.next()) {
                    return Ok((*one).clone());
                }
                let several: Vec<_> = several.iter().map(|path| path.as_str()).collect();
                return Err(Wrong::new(
                    format!("`{}` may be any of {}", &end[1..], several.join(", ")),
                    "write which one",
                ));
            }
        }
        if let Some(meant) = self.many_of(written) {
            return Err(Wrong::new(
                format!("unknown key `{written}`"),
                format!("did you mean `{meant}`?"),
            ));
        }
        // Nearest among whole paths if it has a dot, among last parts if not.
        let table = written.rsplit_once('.').map_or("", |(table, _)| table);
        let in_table = |path: &&String| path.rsplit_once('.').is_some_and(|(t, _)| t == table);
        let mut near: Vec<&str> = known
            .iter()
            .filter(in_table)
            .map(|path| path.as_str())
            .collect();
        if near.is_empty() {
            let last = |path: &'_ String| path.rfind('.').map_or(0, |at| at + 1);
            near = match table {
                "" => known.iter().map(|path| &path[last(path)..]).collect(),
                _ => known.iter().map(|path| path.as_str()).collect(),
            };
        }
        near.sort_unstable();
        near.dedup();
        let mut wrong = Wrong::unknown("key", written, &near);
        if Section::named(written.split('.').next().unwrap_or_default()).is_some()
            && !near.iter().any(|path| path.starts_with(table))
        {
            wrong.what += ": this scenario has no such table";
        }
        Err(wrong)
    }

    /// Who writes `peers` means how many of class `peer`.
    fn many_of(&self, written: &str) -> Option<String> {
        let class = self.document.classes().into_iter().find(|class| {
            let rest = written.strip_prefix(*class);
            matches!(rest, Some("" | "s"))
        })?;
        let mut ways = ["count", "arrivals", "share"]
            .into_iter()
            .map(|way| format!("class.{class}.{way}"));
        let said =
            |path: &String| self.base.contains_key(path) || self.varied().contains(path.as_str());
        ways.find(said)
    }

    /// Every path that may be set.
    fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        let mut add = |table: &str, section: Section| {
            let keys = section.keys();
            paths.extend(keys.iter().map(|key| format!("{table}.{}", key.name)));
        };
        add("network", Section::Network);
        for (table, _) in &self.document.tables {
            let kind = table.split('.').next().and_then(Section::named);
            match kind {
                Some(Section::Event) | Some(Section::Network) | None => {}
                Some(section) => add(table, section),
            }
        }
        // An event has the keys that the file gives it: another would be another event.
        let events = self.base.keys().filter(|path| path.starts_with("event."));
        paths.extend(events.cloned());
        paths
    }

    /// All combinations.
    pub(super) fn cases(&self) -> Result<Vec<Case>, FileError> {
        self.with(&[]).read()?;
        let mut cases: Vec<Case> = Vec::new();
        let none = [Vec::new()];
        let products = if self.vary.is_empty() {
            &none[..]
        } else {
            &self.vary[..]
        };
        let mut seen = BTreeSet::new();
        for product in products {
            let product: Vec<_> = product.iter().map(different).collect();
            // Lists of thousands must not be multiplied out before somebody counts.
            let each = product.iter().map(|entry| entry.value.each().len());
            if each.fold(1, usize::saturating_mul) > MOST_CASES {
                return Err(self.too_many(&product[0]));
            }
            for combination in combinations(&product) {
                let settings: Vec<_> = combination
                    .iter()
                    .map(|entry| (entry.path.clone(), entry.value.to_string()))
                    .collect();
                if !seen.insert(settings.clone()) {
                    continue;
                }
                if cases.len() == MOST_CASES {
                    return Err(self.too_many(&combination[0]));
                }
                let plan = self.with(&combination).plan()?;
                cases.push(Case { settings, plan });
            }
        }
        Ok(cases)
    }

    /// Where a path has its value from, or its table begins.
    pub(super) fn place(&self, path: &str) -> Origin {
        let varied = self.vary.iter().flatten().find(|entry| entry.path == path);
        match varied {
            Some(entry) => entry.origin.clone(),
            None => self.with(&[]).place(path),
        }
    }

    fn too_many(&self, first: &Entry) -> FileError {
        let wrong = Wrong::new(
            format!("more than {MOST_CASES} combinations vary"),
            "vary fewer values, or name combinations one by one with [[vary]]",
        );
        self.document.at_key(&first.origin, wrong)
    }

    fn with(&self, combination: &[Entry]) -> Chosen<'_> {
        let mut values = self.base.clone();
        for entry in combination {
            values.insert(entry.path.clone(), entry.clone());
        }
        Chosen {
            document: self.document,
            values,
        }
    }
}

/// A list without the values that it has already.
fn different(entry: &Entry) -> Entry {
    let mut seen = BTreeSet::new();
    let mut values = entry.value.each();
    values.retain(|value| seen.insert(value.to_string()));
    Entry {
        value: match entry.value {
            Value::List(_) => Value::List(values.into_iter().cloned().collect()),
            ref single => single.clone(),
        },
        path: entry.path.clone(),
        origin: entry.origin.clone(),
    }
}

/// All ways to take one value of each list; the first list changes slowest.
fn combinations(product: &[Entry]) -> Vec<Vec<Entry>> {
    let mut all: Vec<Vec<Entry>> = vec![Vec::new()];
    for entry in product {
        let mut longer = Vec::new();
        for chosen in &all {
            for value in entry.value.each() {
                let mut chosen = chosen.clone();
                chosen.push(Entry {
                    value: value.clone(),
                    path: entry.path.clone(),
                    origin: entry.origin.clone(),
                });
                longer.push(chosen);
            }
        }
        all = longer;
    }
    all
}

/// One combination: every key has one value.
#[derive(Debug)]
pub(super) struct Chosen<'d> {
    pub(super) document: &'d Document,
    pub(super) values: BTreeMap<String, Entry>,
}

impl Chosen<'_> {
    fn plan(&self) -> Result<Plan, FileError> {
        let mut plan = self.tables()?;
        for path in self.events() {
            plan.events.push(self.event(path)?);
        }
        plan.events.sort_by_key(|event| event.at);
        self.check(&plan)?;
        Ok(plan)
    }

    pub(super) fn events(&self) -> impl Iterator<Item = &str> {
        let paths = self.document.tables.iter().map(|(path, _)| path.as_str());
        paths.filter(|path| path.starts_with("event."))
    }

    /// Every value is what its key takes, those too that are replaced in every case.
    fn read(&self) -> Result<(), FileError> {
        self.tables()?;
        for path in self.events() {
            self.fill(keys::EVENT, path, &mut EventDraft::default(), 0.0)?;
        }
        Ok(())
    }

    /// All but the events.
    fn tables(&self) -> Result<Plan, FileError> {
        let mut plan = Plan::default();
        self.fill(keys::NETWORK, "network", &mut plan.network, 0.0)?;
        let mut unit = 0.0;
        if self.document.table("swarm").is_some() {
            let mut swarm = super::SwarmPlan::default();
            self.fill(keys::SWARM, "swarm", &mut swarm, 0.0)?;
            unit = swarm.base_rate();
            plan.swarm = Some(swarm);
        }
        for name in self.document.classes() {
            let mut class = Class::new(name, 0);
            self.fill(keys::CLASS, &format!("class.{name}"), &mut class, unit)?;
            plan.classes.push(class);
        }
        if self.document.table("dht").is_some() {
            let mut dht = super::DhtPlan::default();
            self.fill(keys::DHT, "dht", &mut dht, 0.0)?;
            plan.dht = Some(dht);
        }
        if self.document.table("attack").is_some() {
            let mut attack = super::AttackPlan::default();
            self.fill(keys::ATTACK, "attack", &mut attack, 0.0)?;
            plan.attack = Some(attack);
        }
        Ok(plan)
    }

    fn fill<T>(
        &self,
        keys: &[Key<T>],
        table: &str,
        target: &mut T,
        unit: f64,
    ) -> Result<(), FileError> {
        for key in keys {
            let path = format!("{table}.{}", key.about.name);
            let Some(entry) = self.values.get(&path) else {
                continue;
            };
            let given = Given {
                takes: key.about.takes,
                value: &entry.value,
                unit,
            };
            if (key.read)(target, given).is_none() {
                return Err(self.not_taken(entry, key.about.takes));
            }
        }
        Ok(())
    }

    fn not_taken(&self, entry: &Entry, takes: Takes) -> FileError {
        let (path, value) = (&entry.path, &entry.value);
        let wrong = match (takes, value) {
            (_, Value::List(_)) => Wrong::new(
                format!("`{path}` has several values"),
                format!("to run one case for each, write `\"{path}\" = [...]` below [vary]"),
            ),
            (Takes::Word(words), Value::Text(text)) => {
                let mut wrong = Wrong::unknown("value", text, words);
                wrong.what += &format!(" of `{path}`");
                wrong
            }
            _ => Wrong::new(
                format!("`{path}` cannot be `{value}`"),
                format!("it takes {takes}"),
            ),
        };
        self.document.at_value(&entry.origin, wrong)
    }

    pub(super) fn event(&self, path: &str) -> Result<TimedEvent, FileError> {
        let mut draft = EventDraft::default();
        self.fill(keys::EVENT, path, &mut draft, 0.0)?;
        let actions = [
            draft.kill.map(Action::Kill),
            draft.routers_down.map(Action::RoutersDown),
            draft.newcomers.map(|count| Action::Newcomers {
                count,
                cached: draft.cached,
            }),
            draft.partition.map(Action::Partition),
        ];
        let mut actions = actions.into_iter().flatten();
        let (action, another) = (actions.next(), actions.next());
        let knowing = self.values.get(&format!("{path}.knowing"));
        let wrong = match (draft.at, action, another) {
            (Some(at), Some(action), None) => {
                let Some(knowing) = knowing.filter(|_| draft.newcomers.is_none()) else {
                    return Ok(TimedEvent { at, action });
                };
                let wrong = Wrong::new(
                    "`knowing` says what newcomers know, and none come",
                    "add `newcomers = 100`, or take it away",
                );
                return Err(self.document.at_key(&knowing.origin, wrong));
            }
            (None, ..) => Wrong::new("an event without a time", "add `at = \"5min\"`"),
            (_, None, _) => Wrong::new(
                "an event in which nothing happens",
                "add one of `kill`, `routers_down`, `newcomers`, `partition`",
            ),
            (_, _, Some(_)) => Wrong::new(
                "an event does one thing",
                "write another [[event]] with the same `at`",
            ),
        };
        Err(self.document.at_key(&self.place(path), wrong))
    }

    /// The place of a key, or of the first key of its table, or of the table's header.
    pub(super) fn place(&self, path: &str) -> Origin {
        if let Some(entry) = self.values.get(path) {
            return entry.origin.clone();
        }
        let mut table = path;
        if !self.document.tables.iter().any(|(known, _)| known == path) {
            table = path.rsplit_once('.').map_or(path, |(table, _)| table);
        }
        let first = self.document.entries.iter().find(|entry| {
            let rest = entry.path.strip_prefix(table);
            rest.is_some_and(|rest| rest.starts_with('.')) && table.starts_with("event.")
        });
        let header = self.document.table(table).cloned();
        let first = first.map(|entry| entry.origin.clone());
        first.or(header).unwrap_or(Origin::File {
            key: 0..0,
            value: 0..0,
        })
    }
}

/// `key=value` of `--set`.
pub(super) fn argument(text: &str) -> Result<Entry, FileError> {
    let argument = format!("--set {text}");
    match text.split_once('=') {
        Some((path, value)) if !path.trim().is_empty() && !value.trim().is_empty() => Ok(Entry {
            path: path.trim().into(),
            value: Value::typed(value),
            origin: Origin::Argument(argument),
        }),
        _ => {
            Err(Wrong::new("no key and value", "write it like `nodes=1000`").in_argument(&argument))
        }
    }
}

/// The engine that a gate is for.
pub(super) fn engine(document: &Document, entry: &Entry) -> Result<Engine, FileError> {
    match &entry.value {
        Value::Text(text) if text == "sim" => Ok(Engine::Sim),
        Value::Text(text) if text == "live" => Ok(Engine::Live),
        other => {
            let wrong = Wrong::unknown("engine", &other.to_string(), &["sim", "live"]);
            Err(document.at_value(&entry.origin, wrong))
        }
    }
}
