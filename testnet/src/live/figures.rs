//! From when real members of a swarm came and were done to the figures that gates name: for nodes
//! of a live run, and for those of an exported one whose output was collected.
//!
//! Where one of those that a time is about stayed and never finished there is no time, as in a
//! simulated run.

use std::collections::BTreeMap;

use crate::{
    experiment::swarm::strike_endless,
    outcome::{Bounds, Completion, Run},
    scenario::{Architecture, Behaviour, Class, Demand, Plan, SwarmPlan},
    statistics::mean,
};

/// What is known of a member. Times in seconds since the run began.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Member {
    /// Its class, by number.
    pub(crate) class: usize,
    /// When it joined; `None` if it never did.
    pub(crate) joined: Option<f64>,
    /// From joining to having everything.
    pub(crate) took: Option<f64>,
    /// When it left.
    pub(crate) left: Option<f64>,
    /// The share of the file that it has.
    pub(crate) has: f64,
    /// Others cannot call it.
    pub(crate) behind_nat: bool,
}

impl Member {
    /// It left without everything, so it took no time that could be compared with others'.
    fn gave_up(&self) -> bool {
        self.left.is_some() && self.took.is_none()
    }
}

/// Fetches the file and plays by the rules.
pub(crate) fn is_compliant(class: &Class) -> bool {
    !class.complete
        && matches!(
            class.behaviour,
            Behaviour::Standard | Behaviour::Proportional
        )
}

/// Fetches the file.
pub(crate) fn wants(class: &Class) -> bool {
    let attacks = matches!(
        class.behaviour,
        Behaviour::FalseHave | Behaviour::SeedSlots | Behaviour::Corrupt | Behaviour::Stalled
    );
    !class.complete && !attacks
}

/// Bytes per second that a member offers to the swarm.
pub(crate) fn offers(class: &Class, architecture: Architecture) -> f64 {
    let serves = class.complete || architecture == Architecture::PeerToPeer;
    match class.behaviour {
        Behaviour::Standard | Behaviour::Proportional | Behaviour::Tyrant if serves => {
            class.up.unwrap_or(f64::INFINITY)
        }
        _ => 0.0,
    }
}

/// A run of these members that ended at a time.
pub(crate) fn swarm(plan: &Plan, swarm: &SwarmPlan, members: &[Member], ended: f64) -> Run {
    let bounds = bounds(plan, swarm, members);
    let sheet = Sheet {
        plan,
        members,
        ended,
        bounds,
    };
    let mut run = Run::default();
    sheet.times(&mut run.figures);
    sheet.classes(&mut run.figures);
    sheet.completion(&mut run.figures);
    sheet.utilisation(swarm, &mut run.figures);
    sheet.strike_endless(&mut run.figures);
    run.figures.retain(|_, value| value.is_finite());
    let fetching = members.iter().filter(|member| wants(sheet.class(member)));
    run.series.completions = fetching
        .map(|member| Completion {
            class: sheet.class(member).name.clone(),
            seconds: member.took,
        })
        .collect();
    run.series.bounds = bounds;
    run
}

type Figures = BTreeMap<String, f64>;

struct Sheet<'a> {
    plan: &'a Plan,
    members: &'a [Member],
    ended: f64,
    bounds: Option<Bounds>,
}

impl Sheet<'_> {
    fn class(&self, member: &Member) -> &Class {
        &self.plan.classes[member.class]
    }

    /// What it took, or what it had.
    fn time(&self, member: &Member) -> f64 {
        let until = member.left.unwrap_or(self.ended);
        member
            .took
            .unwrap_or(until - member.joined.unwrap_or(until))
    }

    fn compliant(&self) -> impl Iterator<Item = &Member> {
        self.members
            .iter()
            .filter(|member| is_compliant(self.class(member)))
    }

    fn fetching(&self) -> impl Iterator<Item = &Member> {
        self.members
            .iter()
            .filter(|member| wants(self.class(member)))
    }

    /// From the first joining to the last completion.
    fn span<'a>(&self, members: impl Iterator<Item = &'a Member>) -> Option<f64> {
        let first = self
            .fetching()
            .filter_map(|member| member.joined)
            .reduce(f64::min)?;
        let end = |member: &Member| match (member.joined, member.took) {
            (Some(joined), Some(took)) => joined + took,
            _ => self.ended,
        };
        Some(members.map(end).reduce(f64::max)? - first)
    }

    fn times(&self, figures: &mut Figures) {
        let served = self.compliant().filter(|member| !member.gave_up());
        let times: Vec<f64> = served.map(|member| self.time(member)).collect();
        set(figures, "seconds", times.iter().copied().reduce(f64::max));
        set(figures, "mean_seconds", mean(&times));
        let Some(Bounds { fluid, lb }) = self.bounds else {
            return;
        };
        set(figures, "bound_seconds", Some(fluid));
        set(figures, "lb_seconds", Some(lb));
        if lb > 0.0 {
            set(figures, "mean_ratio", mean(&times).map(|mean| mean / lb));
            let served = self.fetching().filter(|member| !member.gave_up());
            let ratio = self.span(served).map(|last| last / lb);
            set(figures, "ratio", ratio);
            set(figures, "ratio_all", ratio);
        }
    }

    fn classes(&self, figures: &mut Figures) {
        for (number, class) in self.plan.classes.iter().enumerate() {
            let of_class = || {
                let members = self.fetching().filter(|member| !member.gave_up());
                members.filter(move |member| member.class == number)
            };
            let times: Vec<f64> = of_class().map(|member| self.time(member)).collect();
            let name = &class.name;
            set(figures, &format!("seconds.{name}"), mean(&times));
            let last = times.iter().copied().reduce(f64::max);
            set(figures, &format!("last_seconds.{name}"), last);
            let lb = self.bounds.map(|bounds| bounds.lb).filter(|lb| *lb > 0.0);
            let ratio = mean(&times).zip(lb).map(|(mean, lb)| mean / lb);
            set(figures, &format!("ratio.{name}"), ratio);
            set(figures, &format!("complete.{name}"), done_share(of_class()));
        }
        let of = |riders: bool| {
            let members = self.fetching().filter(|member| !member.gave_up());
            let kind = members.filter(|m| is_compliant(self.class(m)) != riders);
            mean(&kind.map(|member| self.time(member)).collect::<Vec<_>>())
        };
        let ratio = of(true)
            .zip(of(false))
            .map(|(free, compliant)| free / compliant);
        set(figures, "free_over_compliant", ratio);
    }

    fn strike_endless(&self, figures: &mut Figures) {
        let endless = || {
            let stuck = |member: &&Member| member.took.is_none() && member.left.is_none();
            self.fetching()
                .filter(stuck)
                .map(|member| self.class(member))
        };
        let classes: Vec<&str> = endless().map(|class| class.name.as_str()).collect();
        let compliant = endless().any(is_compliant);
        strike_endless(figures, compliant, !classes.is_empty(), &classes);
    }

    fn completion(&self, figures: &mut Figures) {
        let stayed = |member: &&Member| !member.gave_up();
        set(
            figures,
            "complete",
            done_share(self.compliant().filter(stayed)),
        );
        let starved = self
            .fetching()
            .filter(stayed)
            .filter(|member| member.took.is_none());
        set(figures, "starved", Some(starved.count() as f64));
    }

    /// Useful bytes over what all uplinks could have carried until the last was done.
    fn utilisation(&self, swarm: &SwarmPlan, figures: &mut Figures) {
        let done = self
            .fetching()
            .filter_map(|member| Some(member.joined? + member.took?));
        let end = done.reduce(f64::max).unwrap_or(self.ended);
        let (mut useful, mut capacity) = (0.0, 0.0);
        for member in self.members {
            let class = self.class(member);
            let until = member.left.unwrap_or(end).min(end);
            let here = (until - member.joined.unwrap_or(until)).max(0.0);
            capacity += offers(class, swarm.architecture) * here;
            if wants(class) {
                useful += member.has * swarm.file_len() as f64;
            }
        }
        set(
            figures,
            "utilisation",
            (capacity > 0.0).then(|| useful / capacity),
        );
    }
}

/// What no network could do faster, if all came at once.
fn bounds(plan: &Plan, swarm: &SwarmPlan, members: &[Member]) -> Option<Bounds> {
    let mut demand = Demand::new();
    for member in members {
        let class = &plan.classes[member.class];
        let up = offers(class, swarm.architecture);
        if class.complete {
            demand.add_server(up);
        } else if wants(class) {
            demand.add_peer(up, class.down, !member.behind_nat, !member.gave_up());
        }
    }
    demand.is_bounded().then(|| swarm.bounds(&demand))
}

fn set(figures: &mut Figures, name: &str, value: Option<f64>) {
    if let Some(value) = value {
        figures.insert(name.to_owned(), value);
    }
}

fn done_share<'a>(members: impl Iterator<Item = &'a Member>) -> Option<f64> {
    let done = members.map(|member| f64::from(u8::from(member.took.is_some())));
    mean(&done.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> (Plan, SwarmPlan) {
        let mut seed = Class::new("seed", 1);
        (seed.complete, seed.up) = (true, Some(1000.0));
        let mut peer = Class::new("peer", 2);
        peer.up = Some(100.0);
        let mut rider = Class::new("rider", 1);
        rider.behaviour = Behaviour::FreeRider;
        let swarm = SwarmPlan {
            pieces: 10,
            piece_len: 120,
            ..SwarmPlan::default()
        };
        let plan = Plan {
            classes: vec![seed, peer, rider],
            ..Plan::default()
        };
        (plan, swarm)
    }

    fn member(class: usize, joined: f64, took: Option<f64>) -> Member {
        Member {
            class,
            joined: Some(joined),
            took,
            left: None,
            has: f64::from(u8::from(took.is_some())),
            behind_nat: false,
        }
    }

    #[test]
    fn times_are_held_against_the_bound_for_the_uploads_that_there_are() {
        let (plan, swarm_plan) = plan();
        let members = [
            member(0, 0.0, None),
            member(1, 0.0, Some(3.0)),
            member(1, 1.0, Some(4.0)),
            member(2, 0.0, Some(7.0)),
        ];
        let run = swarm(&plan, &swarm_plan, &members, 8.0);
        let figure = |name: &str| run.figures.get(name).copied().unwrap();
        assert_eq!(figure("seconds"), 4.0);
        assert_eq!(figure("mean_seconds"), 3.5);
        // Three want 1,200 bytes each of a seed with 1,000 and two with 100 bytes per second.
        assert_eq!(figure("bound_seconds"), 3.0);
        let lb = figure("lb_seconds");
        assert!(lb > 3.0);
        // The bound is for all three, so the ratio is of the last of them, who rides free.
        assert_eq!(figure("ratio"), 7.0 / lb);
        assert_eq!(figure("ratio_all"), 7.0 / lb);
        assert_eq!(figure("ratio.rider"), 7.0 / lb);
        assert_eq!(figure("free_over_compliant"), 2.0);
        assert_eq!((figure("complete"), figure("starved")), (1.0, 0.0));
        assert!((figure("utilisation") - 3600.0 / (7000.0 + 700.0 + 600.0)).abs() < 1e-9);
        assert_eq!(run.series.completions.len(), 3);
    }

    #[test]
    fn where_one_never_finished_there_is_no_time() {
        let (plan, swarm_plan) = plan();
        let members = [
            member(0, 0.0, None),
            member(1, 0.0, Some(3.0)),
            member(1, 2.0, None),
        ];
        let run = swarm(&plan, &swarm_plan, &members, 20.0);
        assert_eq!(run.figures["complete"], 0.5);
        let times = [
            "seconds",
            "mean_seconds",
            "ratio",
            "mean_ratio",
            "ratio_all",
            "ratio.peer",
        ];
        for name in times {
            assert!(!run.figures.contains_key(name), "{name}");
        }
        assert_eq!(run.figures["starved"], 1.0);
        let nobody = swarm(&plan, &swarm_plan, &[member(0, 0.0, None)], 1.0);
        assert!(!nobody.figures.contains_key("ratio") && nobody.series.bounds.is_none());
    }
}
