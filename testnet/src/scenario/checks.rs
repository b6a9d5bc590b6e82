//! What makes no sense although every value by itself does.

use super::{
    Action, AttackKind, Behaviour, Class, DhtStart, FileError, Plan, TimedEvent, cases::Chosen,
    error::Wrong,
};

/// Content is kept in memory once and hashed: beyond this it is no test of the protocol.
const LARGEST_FILE: u64 = 2 << 30;

impl Chosen<'_> {
    /// The first thing that is wrong with a plan.
    pub(super) fn check(&self, plan: &Plan) -> Result<(), FileError> {
        if plan.swarm.is_none() && plan.dht.is_none() {
            let wrong = Wrong::new(
                "nothing to run",
                "add a table [swarm] (a file is spread) or [dht] (a DHT is searched)",
            );
            return Err(self.document.at_start(wrong));
        }
        self.check_swarm(plan)?;
        for class in 0..plan.classes.len() {
            self.check_class(plan, class)?;
        }
        self.check_shares(plan)?;
        self.check_dht(plan)?;
        self.check_attack(plan)?;
        for path in self.events() {
            self.check_event(plan, path, &self.event(path)?)?;
        }
        Ok(())
    }

    /// An event must do something to what is run.
    fn check_event(&self, plan: &Plan, path: &str, event: &TimedEvent) -> Result<(), FileError> {
        let partition = matches!(event.action, Action::Partition(_));
        let Some(dht) = &plan.dht else {
            if !partition {
                return self.wrong(
                    path,
                    "an event for the nodes of a DHT, and there is no [dht]",
                    "add [dht], or take the event away; a swarm knows only `partition`",
                );
            }
            let limit = plan.swarm.as_ref().map(|swarm| swarm.limit);
            if limit.is_some_and(|limit| event.at >= limit) {
                return self.wrong(
                    &format!("{path}.at"),
                    "an event after the run has ended",
                    "write an earlier `at`, or a longer `swarm.limit`",
                );
            }
            return Ok(());
        };
        match event.action {
            // The bound is for all peers, and one that is killed is not there to be bounded.
            Action::Kill(_) if plan.swarm.is_some() => self.wrong(
                path,
                "`kill` is for the nodes of a DHT, and a swarm runs beside it",
                "write two files: one with [swarm], one with [dht] and the event",
            ),
            Action::RoutersDown(count) if count > dht.routers => self.wrong(
                path,
                &format!("{count} routers go down, and there are {}", dht.routers),
                "write fewer, or more `dht.routers`",
            ),
            _ => Ok(()),
        }
    }

    pub(super) fn wrong(&self, path: &str, what: &str, remedy: &str) -> Result<(), FileError> {
        let wrong = Wrong::new(what, remedy);
        let origin = self.place(path);
        Err(self.document.at_key(&origin, wrong))
    }

    fn check_swarm(&self, plan: &Plan) -> Result<(), FileError> {
        let Some(swarm) = &plan.swarm else {
            let Some(class) = plan.classes.first() else {
                return Ok(());
            };
            return self.wrong(
                &format!("class.{}", class.name),
                "members of a swarm, and there is no [swarm]",
                "add a table [swarm]",
            );
        };
        if swarm.file_len() > LARGEST_FILE {
            let what = format!(
                "a file of {} (pieces times piece_len)",
                crate::units::bytes(swarm.file_len())
            );
            let origin = self.place(if self.values.contains_key("swarm.piece_len") {
                "swarm.piece_len"
            } else {
                "swarm.pieces"
            });
            let wrong = Wrong::new(what, "the most is 2 GiB; write fewer or shorter pieces");
            return Err(self.document.at_value(&origin, wrong));
        }
        if swarm.optimistic_interval < swarm.choke_interval {
            return self.wrong(
                "swarm.optimistic_interval",
                "the optimistic slot cannot move more often than slots are dealt out",
                "write at least `choke_interval`; three times is usual",
            );
        }
        let seeds = plan.classes.iter().filter(|class| class.complete);
        let mut some = seeds.map(|seeds| {
            seeds.count > 0 || seeds.arrivals.is_some() || seeds.share.is_some_and(|s| s > 0.0)
        });
        if !some.any(|some| some) {
            return self.wrong(
                "swarm",
                "a swarm without a seed: nobody has the file",
                "add [class.seed] with `count = 1` and `has = \"everything\"`",
            );
        }
        for class in &plan.classes {
            if class.join_at >= swarm.limit {
                let what = format!("class `{}` comes when the run has ended", class.name);
                let key = format!("class.{}.join_at", class.name);
                let remedy = "write an earlier `join_at`, or a longer `swarm.limit`";
                return self.wrong(&key, &what, remedy);
            }
        }
        self.check_members(plan)
    }

    fn check_class(&self, plan: &Plan, at: usize) -> Result<(), FileError> {
        let class = &plan.classes[at];
        let path = |key: &str| format!("class.{}.{key}", class.name);
        let given = |key: &str| self.values.contains_key(&path(key));
        let ways = ["count", "share", "arrivals"];
        let said: Vec<_> = ways.into_iter().filter(|way| given(way)).collect();
        match said[..] {
            [_] => {}
            [] => {
                let what = format!("class `{}` does not say how many", class.name);
                let remedy = "add `count`, `arrivals`, or `share` with `of`";
                return self.wrong(&format!("class.{}", class.name), &what, remedy);
            }
            [first, second, ..] => {
                let what = format!("`{second}` beside `{first}`: both say how many");
                return self.wrong(&path(second), &what, "keep one of them");
            }
        }
        match (&class.of, class.share) {
            (None, None) => {}
            (None, Some(_)) => {
                return self.wrong(
                    &path("share"),
                    "a share of nothing",
                    "add `of = \"NAME\"` with the class it is taken from",
                );
            }
            (Some(_), None) => {
                let what = "`of` says what `share` is taken from, and there is none";
                return self.wrong(&path("of"), what, "add `share = 0.2`, or take it away");
            }
            (Some(of), Some(_)) => {
                let others = plan.classes.iter().filter(|other| other.share.is_none());
                let names: Vec<_> = others.map(|other| other.name.as_str()).collect();
                if !names.contains(&of.as_str()) {
                    let mut wrong = Wrong::unknown("class", of, &names);
                    wrong.remedy += " (classes that are no share themselves)";
                    let origin = self.place(&path("of"));
                    return Err(self.document.at_value(&origin, wrong));
                }
            }
        }
        self.check_joining(plan, class)?;
        self.check_leaving(class)?;
        let wants = matches!(
            class.behaviour,
            Behaviour::SeedsOnly | Behaviour::FalseHave | Behaviour::SeedSlots
        );
        if class.complete && wants {
            return self.wrong(
                &path("behaviour"),
                "a way to get pieces, of a class that has everything",
                "write `has = \"nothing\"`, or `free-rider` for a seed that uploads nothing",
            );
        }
        Ok(())
    }

    /// Nothing is said about when members come that something else says already.
    fn check_joining(&self, plan: &Plan, class: &Class) -> Result<(), FileError> {
        let path = |key: &str| format!("class.{}.{key}", class.name);
        let given = |key: &str| self.values.contains_key(&path(key));
        if class.arrivals.is_some() && given("join_within") {
            return self.wrong(
                &path("join_within"),
                "`arrivals` says when they come",
                "take it away; `join_at` is when the stream begins",
            );
        }
        for key in ["join_at", "join_within"] {
            if let Some(of) = class.of.as_ref().filter(|_| given(key)) {
                let what = format!("members taken from class `{of}` come when it says");
                let remedy = format!("write it in [class.{of}]");
                return self.wrong(&path(key), &what, &remedy);
            }
        }
        let comes = comes_with(plan, class);
        let last = comes.join_at + comes.join_within;
        if class.leaves_at.is_some_and(|at| at <= last) {
            return self.wrong(
                &path("leaves_at"),
                "they leave before all have joined",
                "write a time after `join_at` and `join_within`",
            );
        }
        Ok(())
    }

    /// Whoever is to leave can come to do so.
    fn check_leaving(&self, class: &Class) -> Result<(), FileError> {
        let path = |key: &str| format!("class.{}.{key}", class.name);
        if class.leaves_at_copies.is_some() {
            let silent = matches!(
                class.behaviour,
                Behaviour::FreeRider | Behaviour::LargeView | Behaviour::Stalled
            );
            let (what, remedy) = match (class.complete, silent) {
                (true, false) => return Ok(()),
                (true, true) => (
                    "members that upload nothing never leave by what they have sent",
                    "use `leaves_at` or `seeds_for`, or another `behaviour`",
                ),
                (false, _) => (
                    "only a seed leaves by what it has sent",
                    "add `has = \"everything\"`, or use `seeds_for` or `leaves_at`",
                ),
            };
            return self.wrong(&path("leaves_at_copies"), what, remedy);
        }
        if class.seeds_for.is_none() || class.complete {
            return Ok(());
        }
        if class.behaviour == Behaviour::SeedSlots {
            return self.wrong(
                &path("seeds_for"),
                "a `seed-slots` member begins anew when it has everything",
                "take it away, or use `leaves_at`",
            );
        }
        if class.down == Some(0.0) {
            return self.wrong(
                &path("seeds_for"),
                "a member whose connection stands still never has everything",
                "take it away, or use `leaves_at`",
            );
        }
        Ok(())
    }

    /// No class may give away more members than it has.
    fn check_shares(&self, plan: &Plan) -> Result<(), FileError> {
        for class in &plan.classes {
            let taken = plan
                .classes
                .iter()
                .filter(|other| other.of.as_ref() == Some(&class.name));
            let (mut sum, mut last) = (0.0, None);
            for other in taken {
                sum += other.share.unwrap_or(0.0);
                last = Some(other);
            }
            if let Some(last) = last.filter(|_| sum > 1.0 + 1e-9) {
                let what = format!("{sum} of class `{}` is taken in all", class.name);
                let path = format!("class.{}.share", last.name);
                return self.wrong(&path, &what, "shares of one class add up to 1 at most");
            }
        }
        Ok(())
    }

    fn check_dht(&self, plan: &Plan) -> Result<(), FileError> {
        let Some(dht) = &plan.dht else {
            return Ok(());
        };
        if dht.routers >= dht.nodes {
            return self.wrong(
                "dht.routers",
                "every node would be a router",
                "write fewer `routers` than `nodes`",
            );
        }
        if dht.lookups > 0 && dht.announces == 0 {
            return self.wrong(
                "dht.announces",
                "lookups of keys that nobody announced",
                "write `announces = 500`, or `lookups = 0`",
            );
        }
        self.check_crowd(plan, dht)
    }

    fn check_attack(&self, plan: &Plan) -> Result<(), FileError> {
        let Some(attack) = &plan.attack else {
            return Ok(());
        };
        if plan.dht.is_none() {
            return self.wrong(
                "attack",
                "an attack on a DHT, and there is no [dht]",
                "add a table [dht]; attackers of a swarm are classes with a `behaviour`",
            );
        }
        if plan
            .dht
            .as_ref()
            .is_some_and(|dht| dht.start == DhtStart::Cold)
        {
            return self.wrong(
                "dht.start",
                "an attack on a network that starts cold: attackers have their places in warm tables",
                "write `start = \"warm\"`, or take [attack] away",
            );
        }
        let given = |key: &str| self.values.contains_key(key);
        let eclipse = attack.kind == AttackKind::Eclipse;
        if !eclipse && !given("attack.share") {
            return self.wrong(
                "attack",
                "attackers without a number",
                "add `share = 0.2`: their share of all nodes",
            );
        }
        if eclipse && given("attack.share") {
            return self.wrong(
                "attack.share",
                "an eclipse has `sybils` around each key, not a share of all nodes",
                "write `sybils = 32` in its place",
            );
        }
        Ok(())
    }
}

/// The class that says when the members of a class come.
fn comes_with<'a>(plan: &'a Plan, class: &'a Class) -> &'a Class {
    let named = |other: &&Class| class.of.as_ref() == Some(&other.name);
    plan.classes.iter().find(named).unwrap_or(class)
}
