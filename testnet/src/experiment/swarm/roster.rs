//! Who takes part in a swarm, and when each comes: worked out before anything runs, so that two
//! runs can be held against each other member by member.

use std::{f64::consts::LN_2, time::Duration};

use super::member::Member;
use crate::{
    outcome::Bounds,
    scenario::{Architecture, Behaviour, Class, Demand, SwarmPlan},
    sim::{
        Nat,
        hash::{draw, exponential, unit},
    },
};

/// One who will come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Place {
    /// Its class, by number.
    pub(super) class: usize,
    /// When it comes.
    pub(super) joins: Duration,
    /// What stands before it.
    pub(super) nat: Nat,
}

/// What each class does in a run; `None` stays away.
pub(super) type Cast = Vec<Option<Behaviour>>;

/// Everybody who will come, in order; of those that come together those that have everything first.
/// This share of those that begin without the file is behind a NAT.
pub(super) fn roster(classes: &[Class], share: f64, seed: u64, limit: Duration) -> Vec<Place> {
    let mut places = Vec::new();
    for (number, class) in classes.iter().enumerate() {
        if class.share.is_none() {
            let stream = draw(&[seed, ARRIVALS, number as u64]);
            let joins = joins(class, stream, limit).into_iter();
            places.extend(joins.map(|joins| Place {
                class: number,
                joins,
                nat: Nat::Open,
            }));
        }
    }
    let size = |of: usize| places.iter().filter(|place| place.class == of).count();
    let sizes: Vec<usize> = (0..classes.len()).map(size).collect();
    for (number, class) in classes.iter().enumerate() {
        let of = classes
            .iter()
            .position(|other| class.of.as_ref() == Some(&other.name));
        let (Some(of), Some(share)) = (of, class.share) else {
            continue;
        };
        let count = (share * sizes[of] as f64).round() as usize;
        let mut pool: Vec<&mut Place> = places
            .iter_mut()
            .filter(|place| place.class == of)
            .collect();
        for at in 0..count.min(pool.len()) {
            let roll = draw(&[seed, SHARES, number as u64, at as u64]);
            let with = at + (roll % (pool.len() - at) as u64) as usize;
            pool.swap(at, with);
            pool[at].class = number;
        }
    }
    places.sort_by_key(|place| (place.joins, !classes[place.class].complete));
    for (number, place) in (0..).zip(&mut places) {
        place.nat = nat(&classes[place.class], share, draw(&[seed, NAT, number]));
    }
    places
}

/// What stands before a host, by lot. Those that have everything are open to all.
pub(super) fn nat(class: &Class, share: f64, lot: u64) -> Nat {
    if class.complete || unit(lot) >= share {
        return Nat::Open;
    }
    match draw(&[lot]) % 8 {
        0..3 => Nat::PortRestricted,
        3..6 => Nat::Symmetric,
        _ => Nat::Firewall,
    }
}

/// When the members of a class come.
fn joins(class: &Class, stream: u64, limit: Duration) -> Vec<Duration> {
    let Some(rate) = class.arrivals else {
        let pause = class.join_within / class.count.max(1) as u32;
        let of = |at| class.join_at + pause * at as u32;
        return (0..class.count).map(of).collect();
    };
    let mut joins = Vec::new();
    let mut next = class.join_at;
    loop {
        // The draw's median is 1, its mean 1 / ln 2.
        let gap = exponential(draw(&[stream, joins.len() as u64])) * LN_2 / rate;
        next += Duration::from_secs_f64(gap);
        if next >= limit {
            return joins;
        }
        joins.push(next);
    }
}

/// What somebody is in a swarm for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Wants the file and plays fair.
    Compliant,
    /// Wants the file and uploads nothing.
    Rider,
    /// Wants the file and uploads as little as it can.
    Tyrant,
    /// Wants to do harm.
    Attacker,
}

impl Kind {
    pub(super) fn of(behaviour: Behaviour) -> Self {
        match behaviour {
            Behaviour::Standard | Behaviour::Proportional => Self::Compliant,
            Behaviour::FreeRider | Behaviour::SeedsOnly | Behaviour::LargeView => Self::Rider,
            Behaviour::Tyrant => Self::Tyrant,
            Behaviour::FalseHave
            | Behaviour::SeedSlots
            | Behaviour::Corrupt
            | Behaviour::Stalled => Self::Attacker,
        }
    }

    pub(super) fn wants(self) -> bool {
        self != Self::Attacker
    }
}

/// The run that a run is held against, if its plan calls for one: tyrants play as their neighbours
/// do, and attackers that hold the others up stay away, as do peers whose downlink is slower than
/// an uplink of `1x`.
pub(super) fn control(classes: &[Class], base: f64) -> Option<Cast> {
    let slow = |class: &Class| class.down.is_some_and(|rate| rate < base);
    let cast: Cast = classes
        .iter()
        .map(|class| match class.behaviour {
            Behaviour::Tyrant => Some(neighbours_behaviour(classes, class)),
            Behaviour::SeedSlots | Behaviour::Corrupt | Behaviour::Stalled => None,
            _ if slow(class) => None,
            behaviour => Some(behaviour),
        })
        .collect();
    (cast != as_written(classes)).then_some(cast)
}

pub(super) fn as_written(classes: &[Class]) -> Cast {
    classes.iter().map(|class| Some(class.behaviour)).collect()
}

/// How the class is played that a class was taken from, or else any fair one.
fn neighbours_behaviour(classes: &[Class], class: &Class) -> Behaviour {
    let fair = |other: &&Class| Kind::of(other.behaviour) == Kind::Compliant && !other.complete;
    let of = classes
        .iter()
        .find(|other| class.of.as_ref() == Some(&other.name));
    of.or_else(|| classes.iter().find(fair))
        .map_or(Behaviour::Standard, |other| other.behaviour)
}

/// The rate of a class's uplink for the good of others.
pub(super) fn upload(class: &Class, behaviour: Behaviour, architecture: Architecture) -> f64 {
    let serves = class.complete || architecture == Architecture::PeerToPeer;
    let uploads = matches!(Kind::of(behaviour), Kind::Compliant | Kind::Tyrant);
    if serves && uploads {
        class.up.unwrap_or(UNLIMITED)
    } else {
        0.0
    }
}

/// The bounds for a cast, as if all came at once, which is the least that it can take; `None` if
/// there is nobody to serve, or no end to those who come.
pub(super) fn bounds(
    swarm: &SwarmPlan,
    classes: &[Class],
    places: &[Place],
    cast: &Cast,
) -> Option<Bounds> {
    let mut demand = Demand::new();
    for place in places {
        let class = &classes[place.class];
        let Some(behaviour) = cast[place.class] else {
            continue;
        };
        let up = upload(class, behaviour, swarm.architecture);
        if class.complete {
            demand.add_server(limited(up));
        } else if Kind::of(behaviour).wants() {
            demand.add_peer(limited(up), download(class), place.nat.takes_dials(), true);
        }
    }
    bounds_of(swarm, classes, &demand)
}

/// The bounds for those that took part and got the file or waited to the end. Who left without it
/// may have helped, and needed nothing.
pub(super) fn bounds_for_served(
    swarm: &SwarmPlan,
    classes: &[Class],
    members: &[Member],
) -> Option<Bounds> {
    let mut demand = Demand::new();
    for member in members {
        let class = &classes[member.class];
        if class.complete {
            demand.add_server(limited(member.up));
        } else if member.wants() {
            let served = !member.gave_up();
            demand.add_peer(limited(member.up), download(class), member.callable, served);
        }
    }
    bounds_of(swarm, classes, &demand)
}

fn bounds_of(swarm: &SwarmPlan, classes: &[Class], demand: &Demand) -> Option<Bounds> {
    let endless = classes.iter().any(|class| class.arrivals.is_some());
    (demand.is_bounded() && !endless).then(|| swarm.bounds(demand))
}

/// Nothing is a bound where a line has no limit.
fn limited(up: f64) -> f64 {
    if up < UNLIMITED { up } else { f64::INFINITY }
}

/// A line that is to stand still is as fast as any until then.
fn download(class: &Class) -> Option<f64> {
    class.down.filter(|down| *down > 0.0)
}

/// Bytes per second that stand for a line without limit: no computation overflows by it.
const UNLIMITED: f64 = 1e12;

/// What a draw is for.
const ARRIVALS: u64 = 0x5741_0001;
const SHARES: u64 = 0x5741_0002;
const NAT: u64 = 0x5741_0005;

#[cfg(test)]
mod tests {
    use super::*;

    fn class(name: &str, count: usize, behaviour: Behaviour) -> Class {
        Class {
            behaviour,
            up: Some(10.0),
            ..Class::new(name, count)
        }
    }

    fn classes() -> Vec<Class> {
        let seed = Class {
            complete: true,
            ..class("seed", 1, Behaviour::Standard)
        };
        let riders = Class {
            share: Some(0.4),
            of: Some("peer".into()),
            ..class("rider", 0, Behaviour::FreeRider)
        };
        vec![class("peer", 20, Behaviour::Standard), riders, seed]
    }

    #[test]
    fn shares_are_taken_out_of_a_class_and_seeds_come_first() {
        let classes = classes();
        let places = roster(&classes, 0.0, 1, Duration::MAX);
        let count = |class| places.iter().filter(|place| place.class == class).count();
        assert_eq!((count(0), count(1), count(2)), (12, 8, 1));
        assert_eq!(places[0].class, 2);
        assert_ne!(places, roster(&classes, 0.0, 2, Duration::MAX));
    }

    #[test]
    fn arrivals_are_even_or_a_poisson_stream() {
        let mut stream = class("peer", 4, Behaviour::Standard);
        stream.join_within = Duration::from_secs(8);
        stream.join_at = Duration::from_secs(1);
        let seconds = |class: &Class| -> Vec<f64> {
            let joins = joins(class, 9, Duration::from_secs(100_000));
            joins.iter().map(Duration::as_secs_f64).collect()
        };
        assert_eq!(seconds(&stream), [1.0, 3.0, 5.0, 7.0]);
        stream.arrivals = Some(0.2);
        let seen = seconds(&stream);
        assert!((19_000..21_000).contains(&seen.len()), "{}", seen.len());
        assert!(seen.is_sorted() && seen[0] > 1.0);
    }

    #[test]
    fn who_cannot_be_called_is_served_by_those_that_can() {
        let swarm = SwarmPlan {
            pieces: 100,
            ..SwarmPlan::default()
        };
        let mut classes = classes();
        classes.remove(1);
        let lb = |share: f64| {
            let places = roster(&classes, share, 1, Duration::MAX);
            let behind = places.iter().filter(|place| !place.nat.takes_dials());
            let cast = as_written(&classes);
            let bounds = bounds(&swarm, &classes, &places, &cast).unwrap();
            (behind.count() as f64, bounds.lb)
        };
        let file = swarm.file_len() as f64;
        let (nobody, open) = lb(0.0);
        assert_eq!(nobody, 0.0);
        let (behind, lb) = lb(1.0);
        // All of them, so that the seed is alone.
        let seed = classes[1].up.unwrap();
        assert!((lb - behind * file / seed).abs() < 1.0, "{lb}");
        assert!(lb > open);
    }

    #[test]
    fn riders_count_for_the_bound_and_attackers_do_not() {
        let swarm = SwarmPlan {
            pieces: 100,
            ..SwarmPlan::default()
        };
        let mut classes = classes();
        let places = roster(&classes, 0.0, 1, Duration::MAX);
        let bound = |classes: &[Class]| {
            let cast = as_written(classes);
            bounds(&swarm, classes, &places, &cast).unwrap().fluid
        };
        let file = swarm.file_len() as f64;
        assert!((bound(&classes) - 20.0 * file / 130.0).abs() < 1.0);
        classes[1].behaviour = Behaviour::FalseHave;
        // The twelve that are left are held up by the seed alone.
        assert!((bound(&classes) - file / 10.0).abs() < 1.0);
    }

    #[test]
    fn a_control_replaces_tyrants_and_sends_attackers_away() {
        let mut classes = classes();
        assert_eq!(control(&classes, 10.0), None);
        classes[0].behaviour = Behaviour::Proportional;
        classes[1].behaviour = Behaviour::Tyrant;
        let fair = Some(Behaviour::Proportional);
        let seed = Some(Behaviour::Standard);
        assert_eq!(control(&classes, 10.0), Some(vec![fair, fair, seed]));
        classes[1].behaviour = Behaviour::SeedSlots;
        assert_eq!(control(&classes, 10.0), Some(vec![fair, None, seed]));
        classes[1].behaviour = Behaviour::Standard;
        classes[1].down = Some(1.0);
        assert_eq!(control(&classes, 10.0), Some(vec![fair, None, seed]));
    }
}
