//! From what became of each member to the figures that gates name.

use std::collections::BTreeMap;

use super::{member::Member, roster::Kind, trial::Trial};
use crate::{
    outcome::Bounds,
    scenario::{Class, Plan, SwarmPlan},
    statistics::{mean, percentile, sorted},
};

/// Everything that figures are made from.
pub(super) struct Findings<'a> {
    pub(super) plan: &'a Plan,
    pub(super) swarm: &'a SwarmPlan,
    pub(super) bounds: Option<Bounds>,
    pub(super) trial: &'a Trial,
    /// The run that it is held against.
    pub(super) control: Option<&'a Trial>,
}

type Figures = BTreeMap<String, f64>;

impl Findings<'_> {
    /// All figures that this run has.
    pub(super) fn figures(&self) -> Figures {
        let mut figures = Figures::new();
        self.times(&mut figures);
        self.classes(&mut figures);
        self.completion(&mut figures);
        self.traffic(&mut figures);
        self.incentives(&mut figures);
        self.attackers(&mut figures);
        if self
            .plan
            .classes
            .iter()
            .any(|class| class.arrivals.is_some())
        {
            self.steady_state(&mut figures);
        }
        let endless = |member: &&Member| self.is_endless(member);
        let classes: Vec<&str> = self
            .members()
            .filter(endless)
            .map(|member| self.class(member).name.as_str())
            .collect();
        let compliant = self.members().filter(endless).any(Member::is_compliant);
        super::strike_endless(&mut figures, compliant, !classes.is_empty(), &classes);
        figures.retain(|_, value| value.is_finite());
        figures
    }

    fn members(&self) -> impl Iterator<Item = &Member> {
        self.trial.members.iter()
    }

    fn class(&self, member: &Member) -> &Class {
        &self.plan.classes[member.class]
    }

    /// It wanted the file, stayed, had time, and never had everything. In a stream without end the
    /// last ones had no time.
    fn is_endless(&self, member: &Member) -> bool {
        let had_time = self.class(member).arrivals.is_none() || self.is_steady(member);
        member.wants() && had_time && member.is_stuck()
    }

    /// When the run ended for this member's clock.
    fn time(&self, member: &Member) -> f64 {
        member.time(self.trial.ended)
    }

    /// From the first joining to the last completion, of members that a filter lets pass.
    fn span(&self, filter: impl Fn(&&Member) -> bool) -> Option<f64> {
        let first = self
            .members()
            .filter(|member| member.wants())
            .map(|member| member.joined)
            .min()?;
        let last = self
            .members()
            .filter(filter)
            .map(|member| member.done.unwrap_or(self.trial.ended))
            .max()?;
        Some(last.saturating_sub(first).as_secs_f64())
    }

    fn times(&self, figures: &mut Figures) {
        if !self.members().any(Member::wants) {
            // Nobody had to wait, and nobody could have waited less.
            let nothing = ["seconds", "mean_seconds", "lb_seconds", "bound_seconds"];
            let at_best = [
                "ratio",
                "mean_ratio",
                "ratio_all",
                "complete",
                "utilisation",
            ];
            nothing
                .iter()
                .for_each(|name| set(figures, name, Some(0.0)));
            at_best
                .iter()
                .for_each(|name| set(figures, name, Some(1.0)));
            return;
        }
        let compliant = |member: &&Member| member.is_compliant() && !member.gave_up();
        let times: Vec<f64> = self
            .members()
            .filter(compliant)
            .map(|member| self.time(member))
            .collect();
        let (average, last) = (mean(&times), greatest(&times));
        set(figures, "seconds", last);
        set(figures, "mean_seconds", average);
        let firsts = self
            .members()
            .filter(compliant)
            .filter_map(|member| member.end.first_piece);
        let firsts: Vec<f64> = firsts.map(|at| at.as_secs_f64()).collect();
        set(
            figures,
            "first_piece_seconds",
            percentile(&sorted(firsts), 50),
        );
        let Some(Bounds { fluid, lb }) = self.bounds else {
            return;
        };
        set(figures, "lb_seconds", Some(lb));
        set(figures, "bound_seconds", Some(fluid));
        set(figures, "mean_ratio", average.map(|mean| mean / lb));
        let ratio = self
            .span(|member| member.wants() && !member.gave_up())
            .map(|last| last / lb);
        set(figures, "ratio", ratio);
        set(figures, "ratio_all", ratio);
    }

    fn classes(&self, figures: &mut Figures) {
        for (number, class) in self.plan.classes.iter().enumerate() {
            let members = || {
                self.members()
                    .filter(move |member| member.class == number && member.wants())
                    .filter(|member| !member.gave_up())
            };
            let times: Vec<f64> = members().map(|member| self.time(member)).collect();
            let name = &class.name;
            set(figures, &format!("seconds.{name}"), mean(&times));
            set(figures, &format!("last_seconds.{name}"), greatest(&times));
            let ratio = self
                .bounds
                .and_then(|bounds| Some(mean(&times)? / bounds.lb));
            set(figures, &format!("ratio.{name}"), ratio);
            set(
                figures,
                &format!("complete.{name}"),
                share(members(), |member| member.done.is_some()),
            );
        }
    }

    fn completion(&self, figures: &mut Figures) {
        // In a stream without end the last ones had no time.
        let had_time =
            |member: &&Member| self.class(member).arrivals.is_none() || self.is_steady(member);
        let expected = self
            .members()
            .filter(|member| member.is_compliant() && !member.gave_up());
        let complete = share(expected.filter(had_time), |member| member.done.is_some());
        set(figures, "complete", complete);
        if let Some(available) = self.trial.available {
            set(figures, "available", Some(f64::from(u8::from(available))));
            if available {
                set(figures, "complete_if_available", complete);
            }
        }
        let starved = self.members().filter(|member| self.is_endless(member));
        let starved = starved.count();
        set(figures, "starved", Some(starved as f64));
    }

    fn traffic(&self, figures: &mut Figures) {
        let file = self.swarm.file_len() as f64;
        let servers: f64 = self.members().filter(|member| member.is_server()).count() as f64;
        if servers > 0.0 && self.members().any(Member::wants) {
            set(
                figures,
                "seed_copies",
                Some(self.trial.seed_sent as f64 / file),
            );
        }
        let last = self.members().filter_map(|member| member.done).max();
        let end = last.unwrap_or(self.trial.ended);
        let (mut useful, mut capacity) = (0.0, 0.0);
        for member in self.members().filter(|member| member.kind.wants()) {
            let until = member.left.unwrap_or(end).min(end);
            capacity += member.up * until.saturating_sub(member.joined).as_secs_f64();
            if !member.complete_from_start {
                useful += f64::from(member.end.have) * f64::from(self.swarm.piece_len);
            }
        }
        set(
            figures,
            "utilisation",
            (capacity > 0.0).then(|| useful / capacity),
        );
        let received: u64 = self.members().map(|member| member.end.received).sum();
        let wasted: u64 = self.members().map(|member| member.end.wasted).sum();
        set(
            figures,
            "wasted",
            (received > 0).then(|| wasted as f64 / received as f64),
        );
        let again = |member: &Member| member.end.right_pieces.saturating_sub(member.end.have);
        let again: u32 = self
            .members()
            .filter(|member| member.wants())
            .map(again)
            .sum();
        set(figures, "refetched", Some(f64::from(again)));
        let looked = self
            .members()
            .filter(|member| member.is_compliant() && member.looks > 0);
        let entropy: Vec<f64> = looked
            .map(|member| member.interesting as f64 / member.looks as f64)
            .collect();
        set(figures, "entropy_p20", percentile(&sorted(entropy), 20));
    }

    fn incentives(&self, figures: &mut Figures) {
        let of = |kind| {
            let times = self
                .members()
                .filter(move |member| member.wants() && member.kind == kind);
            let times = times.filter(|member| !member.gave_up());
            mean(&times.map(|member| self.time(member)).collect::<Vec<_>>())
        };
        let over = |a: Option<f64>, b: Option<f64>| Some(a? / b?);
        set(
            figures,
            "free_over_compliant",
            over(of(Kind::Rider), of(Kind::Compliant)),
        );
        let members = self
            .members()
            .filter(|member| member.is_compliant() && !member.gave_up());
        let points: Vec<(f64, f64)> = members
            .map(|member| (member.up, -self.time(member)))
            .collect();
        set(figures, "rank", rank_correlation(&points));
        let rates = || points.iter().map(|(up, _)| *up);
        let (fastest, slowest) = (
            rates().fold(0.0, f64::max),
            rates().fold(f64::INFINITY, f64::min),
        );
        let at = |rate: f64| {
            let of = points.iter().filter(|(up, _)| *up == rate);
            mean(&of.map(|(_, time)| -time).collect::<Vec<_>>())
        };
        if fastest > slowest {
            set(figures, "fast_over_slow", over(at(fastest), at(slowest)));
        }
        let Some(control) = self.control else { return };
        // A control has the same members in the same order, less those that stay away.
        let both: Vec<(&Member, &Member)> = self
            .members()
            .filter_map(|member| {
                Some((
                    member,
                    control
                        .members
                        .iter()
                        .find(|other| other.node == member.node)?,
                ))
            })
            .filter(|(member, other)| member.wants() && other.wants())
            .filter(|(member, other)| !member.gave_up() && !other.gave_up())
            .collect();
        // One that stayed for ever, here or there, has no time.
        let times = |kind: Option<Kind>| -> (Vec<f64>, Vec<f64>) {
            let of_kind = |member: &Member| kind.is_none_or(|kind| member.kind == kind);
            let pairs = || both.iter().filter(|(member, _)| of_kind(member));
            let stuck = |other: &Member| other.is_stuck() && self.class(other).arrivals.is_none();
            if pairs().any(|(member, other)| self.is_endless(member) || stuck(other)) {
                return Default::default();
            }
            pairs()
                .map(|(member, other)| (self.time(member), other.time(control.ended)))
                .unzip()
        };
        let (with, without) = times(Some(Kind::Compliant));
        set(figures, "slowdown", over(mean(&with), mean(&without)));
        set(
            figures,
            "last_slowdown",
            over(greatest(&with), greatest(&without)),
        );
        let (tyrant, fair) = times(Some(Kind::Tyrant));
        set(figures, "gain", over(mean(&fair), mean(&tyrant)));
        let (with, without) = times(None);
        set(figures, "swarm_slowdown", over(mean(&with), mean(&without)));
    }

    fn attackers(&self, figures: &mut Figures) {
        let liars: Vec<u32> = self
            .members()
            .filter(|member| member.kind == Kind::Attacker)
            .map(|member| member.node)
            .collect();
        if liars.is_empty() {
            return;
        }
        let compliant = || self.members().filter(|member| member.is_compliant());
        let bans = compliant().flat_map(|member| &member.end.bans);
        let lied = bans.filter(|(node, _, _)| liars.contains(node));
        let waits: Vec<f64> = lied
            .filter_map(|(_, first, at)| Some(at.saturating_sub((*first)?).as_secs_f64()))
            .collect();
        set(figures, "ban_seconds", greatest(&waits));
        // Each pair of a peer and a liar that sent it blocks ends in a ban or does not.
        let (mut pairs, mut ended) = (0u32, 0u32);
        for member in compliant() {
            for liar in &liars {
                let banned = member.end.bans.iter().any(|(node, _, _)| node == liar);
                pairs += u32::from(banned || member.end.givers.contains(liar));
                ended += u32::from(banned);
            }
        }
        let banned = (pairs > 0).then(|| f64::from(ended) / f64::from(pairs));
        set(figures, "banned", banned);
        let honest = compliant().flat_map(|member| &member.end.bans);
        let wrongly = honest.filter(|(node, _, _)| !liars.contains(node)).count();
        set(figures, "wrongly_banned", Some(wrongly as f64));
        let failed = compliant().map(|member| f64::from(member.end.failed_pieces));
        set(
            figures,
            "failed_pieces",
            greatest(&failed.collect::<Vec<_>>()),
        );
    }

    /// Whether a member came after the start-up and early enough to be done in time.
    fn is_steady(&self, member: &Member) -> bool {
        let (from, to) = self.steady_window();
        (from..to).contains(&member.joined.as_secs_f64())
    }

    fn steady_window(&self) -> (f64, f64) {
        let end = self.trial.ended.as_secs_f64();
        (
            end / 3.0,
            end - 3.0 * self.swarm.file_time.as_secs_f64().min(end / 6.0),
        )
    }

    fn steady_state(&self, figures: &mut Figures) {
        let steady = || {
            self.members()
                .filter(|member| member.is_compliant() && self.is_steady(member))
        };
        let done = || steady().filter(|member| member.done.is_some());
        let sent: f64 = done().map(|member| member.sent_when_done as f64).sum();
        let could: f64 = done().map(|member| member.up * self.time(member)).sum();
        let eta = sent / could;
        set(figures, "eta", Some(eta));
        let times: Vec<f64> = steady()
            .filter(|member| !member.gave_up())
            .map(|member| self.time(member))
            .collect();
        let average = mean(&times).filter(|_| !steady().any(Member::is_stuck));
        let fluid = self.fluid_time(eta);
        set(figures, "fluid_seconds", fluid);
        let ratio = average.zip(fluid).map(|(time, fluid)| time / fluid);
        set(figures, "fluid_ratio", ratio);
        set(
            figures,
            "fluid_deviation",
            ratio.map(|ratio| (ratio - 1.0).abs()),
        );
        let ideal = average
            .zip(self.fluid_time(1.0).filter(|ideal| *ideal > 0.0))
            .map(|(time, ideal)| (time / ideal - 1.0).abs());
        set(figures, "fluid_ideal_deviation", ideal);
        let end = self.trial.ended.as_secs_f64();
        let population = |from: f64, to: f64| {
            let seen = self.trial.series.population.iter();
            let seen = seen.filter(|(at, _)| (end * from..=end * to).contains(at));
            mean(&seen.map(|(_, count)| *count).collect::<Vec<_>>())
        };
        set(figures, "population", population(1.0 / 3.0, 1.0));
        let (middle, last) = (population(1.0 / 3.0, 2.0 / 3.0), population(2.0 / 3.0, 1.0));
        set(
            figures,
            "population_growth",
            last.zip(middle).map(|(last, middle)| last / middle),
        );
    }

    /// Qiu and Srikant's mean time of a peer in the steady state, of a swarm with one class of
    /// peers and with servers that stay: with arrivals at rate `a`, the peers' uplinks `u` used to
    /// the share `eta` while they lack something and wholly for a time `s` after, servers `U` and a
    /// file `F`, what is downloaded is what is uploaded:
    /// `a F = eta u x + u a s + U`, and by Little's law `T = x / a`; never less than `F / down`.
    fn fluid_time(&self, eta: f64) -> Option<f64> {
        let class = self
            .plan
            .classes
            .iter()
            .find(|class| class.arrivals.is_some())?;
        let (arrivals, up) = (class.arrivals?, class.up?);
        let file = self.swarm.file_len() as f64;
        let servers: f64 = self
            .members()
            .filter(|member| member.is_server())
            .map(|member| member.up)
            .sum();
        let stays = class.seeds_for?.as_secs_f64();
        let time = (file / up - stays - servers / (arrivals * up)) / eta;
        Some(
            class
                .down
                .map_or(time, |down| time.max(file / down))
                .max(0.0),
        )
    }
}

fn set(figures: &mut Figures, name: &str, value: Option<f64>) {
    if let Some(value) = value {
        figures.insert(name.to_owned(), value);
    }
}

fn greatest(values: &[f64]) -> Option<f64> {
    values.iter().copied().max_by(f64::total_cmp)
}

fn share<'a>(
    members: impl Iterator<Item = &'a Member>,
    test: impl Fn(&Member) -> bool,
) -> Option<f64> {
    let passed: Vec<f64> = members
        .map(|member| f64::from(u8::from(test(member))))
        .collect();
    mean(&passed)
}

/// Spearman's: the correlation of ranks; equals share the mean of their ranks. `None` if all are
/// equal in one of the two.
fn rank_correlation(points: &[(f64, f64)]) -> Option<f64> {
    let first = ranks(&points.iter().map(|(a, _)| *a).collect::<Vec<_>>());
    let second = ranks(&points.iter().map(|(_, b)| *b).collect::<Vec<_>>());
    let middle = (points.len() as f64 - 1.0) / 2.0;
    let (mut both, mut squares) = (0.0, (0.0, 0.0));
    for (a, b) in first.iter().zip(&second) {
        both += (a - middle) * (b - middle);
        squares.0 += (a - middle) * (a - middle);
        squares.1 += (b - middle) * (b - middle);
    }
    let norm = (squares.0 * squares.1).sqrt();
    (norm > 0.0).then(|| both / norm)
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut from = 0;
    while from < order.len() {
        let equal = |at: &usize| values[*at] == values[order[from]];
        let to = from + order[from..].iter().take_while(|at| equal(at)).count();
        for at in &order[from..to] {
            ranks[*at] = (from + to - 1) as f64 / 2.0;
        }
        from = to;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_correlate_as_spearman_says() {
        let points = |ys: &[f64]| -> Vec<(f64, f64)> {
            (0..).map(f64::from).zip(ys.iter().copied()).collect()
        };
        let near = |a: Option<f64>, b: f64| assert!((a.unwrap() - b).abs() < 1e-9, "{a:?} {b}");
        near(rank_correlation(&points(&[1.0, 5.0, 9.0, 200.0])), 1.0);
        near(rank_correlation(&points(&[4.0, 3.0, 2.0, 1.0])), -1.0);
        // One swap of neighbours among four: 1 - 6 * 2 / (4 * 15).
        near(rank_correlation(&points(&[1.0, 3.0, 2.0, 4.0])), 0.8);
        assert_eq!(ranks(&[7.0, 1.0, 7.0, 0.0]), [2.5, 1.0, 2.5, 0.0]);
        assert_eq!(rank_correlation(&points(&[2.0, 2.0])), None);
        assert_eq!(rank_correlation(&[]), None);
    }
}
