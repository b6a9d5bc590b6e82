//! What is seen of a swarm from time to time: copies of pieces, uplinks in use, who lets whom
//! download, who interests whom.

use std::{net::SocketAddr, time::Duration};

use super::member::Member;
use crate::{
    outcome::{Bounds, Completion, CopiesAt, Series, Unchoked},
    scenario::Class,
    sim::World,
};

/// Samples, and when to take the next.
pub(super) struct Samples {
    pub(super) next: Duration,
    /// For how long nobody has got a piece.
    pub(super) unchanged_for: Duration,
    pace: Duration,
    last: Duration,
    /// Pieces that all members have together.
    held: u64,
    /// Block bytes sent by all, and by those that are gone.
    sent: u64,
    classes: usize,
    pieces: u32,
    /// By node.
    member_of: Vec<Option<usize>>,
    copies: Vec<CopiesAt>,
    utilisation: Vec<(f64, f64)>,
    population: Vec<(f64, f64)>,
    present: Vec<(f64, f64)>,
    progress: Vec<(f64, u64, f64)>,
    /// Slot seconds from class to class.
    unchoked: Vec<f64>,
    counts: Vec<u32>,
}

impl Samples {
    pub(super) fn new(pace: Duration, classes: usize, pieces: u32) -> Self {
        Self {
            next: pace,
            unchanged_for: Duration::ZERO,
            pace,
            last: Duration::ZERO,
            held: 0,
            sent: 0,
            classes,
            pieces,
            member_of: Vec::new(),
            copies: Vec::new(),
            utilisation: Vec::new(),
            population: Vec::new(),
            present: Vec::new(),
            progress: Vec::new(),
            unchoked: vec![0.0; classes * classes],
            counts: Vec::new(),
        }
    }

    /// A member has come.
    pub(super) fn came(&mut self, node: u32, member: usize) {
        self.member_of.resize(node as usize + 1, None);
        self.member_of[node as usize] = Some(member);
        // Who has just come has had no time to get anything.
        self.unchanged_for = Duration::ZERO;
    }

    pub(super) fn due(&self, now: Duration) -> bool {
        now >= self.next
    }

    /// Looks at everybody who is here.
    pub(super) fn take(&mut self, world: &World, members: &mut [Member]) {
        let now = world.now();
        let elapsed = now.saturating_sub(self.last);
        (self.last, self.next) = (now, now + self.pace);
        self.look_at_ties(world, members, elapsed.as_secs_f64());
        let held = self.count_copies(world, members);
        self.unchanged_for = if held == self.held {
            self.unchanged_for + elapsed
        } else {
            Duration::ZERO
        };
        self.held = held;

        let (mut sent, mut capacity, mut present, mut lacking) = (0, 0.0, 0u32, 0u32);
        for member in &*members {
            if member.left.is_some() {
                sent += member.end.sent;
                continue;
            }
            sent += member.sent(world);
            capacity += member.up;
            present += 1;
            lacking += u32::from(!member.complete_from_start && member.done.is_none());
        }
        let time = now.as_secs_f64();
        if capacity > 0.0 && !elapsed.is_zero() {
            let share = (sent - self.sent) as f64 / (capacity * elapsed.as_secs_f64());
            self.utilisation.push((time, share));
        }
        self.sent = sent;
        self.population.push((time, f64::from(lacking)));
        self.present.push((time, f64::from(present)));
        let speed = world.speed();
        self.progress
            .push((time, speed.events, speed.wall.as_secs_f64()));
        let copies = self.distribution(time);
        self.copies.extend(copies);
        if self.population.len() >= MOST {
            self.thin_out();
        }
    }

    /// Whether those that are here have every piece together.
    pub(super) fn all_there(&mut self, world: &World, members: &[Member]) -> bool {
        self.count_copies(world, members);
        self.counts.iter().all(|copies| *copies > 0)
    }

    /// Counts the copies of each piece among those that are here. Gives the sum over peers that
    /// began with nothing.
    fn count_copies(&mut self, world: &World, members: &[Member]) -> u64 {
        self.counts.clear();
        self.counts.resize(self.pieces as usize, 0);
        let (mut full, mut held) = (0, 0);
        let here = |member: &&Member| member.left.is_none() && member.kind.wants();
        for member in members.iter().filter(here) {
            let torrent = world.node(member.node).torrents()[0].core();
            let Some(have) = torrent.have() else { continue };
            if have.is_full() {
                full += 1;
            } else {
                have.ones()
                    .for_each(|piece| self.counts[piece as usize] += 1);
            }
            if !member.complete_from_start {
                held += u64::from(have.count_ones());
            }
        }
        self.counts.iter_mut().for_each(|copies| *copies += full);
        held
    }

    fn distribution(&mut self, time: f64) -> Option<CopiesAt> {
        self.counts.sort_unstable();
        let last = self.counts.len().checked_sub(1)?;
        let at = |tenths: usize| self.counts[last * tenths / 10];
        Some(CopiesAt {
            time,
            min: at(0),
            p10: at(1),
            median: at(5),
            p90: at(9),
            max: at(10),
        })
    }

    fn look_at_ties(&mut self, world: &World, members: &mut [Member], elapsed: f64) {
        for at in 0..members.len() {
            let member = &members[at];
            if member.left.is_some() {
                continue;
            }
            let torrent = &world.node(member.node).torrents()[0];
            let port = world.addr(member.node).port();
            let have = torrent.core().have().map_or(0, |have| have.count_ones());
            let started = have >= self.pieces.div_ceil(START) && member.done.is_none();
            let (mut looks, mut interesting) = (0, 0);
            for tie in torrent.ties() {
                let node = world.node_at(SocketAddr::new(tie.ip, port));
                let other = node.and_then(|node| *self.member_of.get(node as usize)?);
                let Some(other) = other.map(|other| &members[other]) else {
                    continue;
                };
                if tie.unchoked {
                    self.unchoked[member.class * self.classes + other.class] += elapsed;
                }
                if started && other.wants() && other.done.is_none() {
                    looks += 1;
                    interesting += u64::from(tie.interesting);
                }
            }
            members[at].looks += looks;
            members[at].interesting += interesting;
        }
    }

    /// Twice the pace, and half of what there is: a run that takes long is drawn as finely.
    fn thin_out(&mut self) {
        fn halve<T>(samples: &mut Vec<T>) {
            let mut odd = false;
            samples.retain(|_| {
                odd = !odd;
                !odd
            });
        }
        halve(&mut self.copies);
        halve(&mut self.population);
        halve(&mut self.present);
        halve(&mut self.progress);
        let pairs = self.utilisation.chunks_exact(2);
        self.utilisation = pairs
            .map(|pair| (pair[1].0, (pair[0].1 + pair[1].1) / 2.0))
            .collect();
        self.pace *= 2;
    }

    pub(super) fn into_series(
        self,
        classes: &[Class],
        members: &[Member],
        bounds: Option<Bounds>,
    ) -> Series {
        let completions = members.iter().filter(|member| member.wants());
        let completion = |member: &Member| Completion {
            class: classes[member.class].name.clone(),
            seconds: member
                .done
                .map(|at| at.saturating_sub(member.joined).as_secs_f64()),
        };
        let name = |class: usize| classes[class].name.clone();
        let unchoked = self
            .unchoked
            .iter()
            .enumerate()
            .filter(|(_, seconds)| **seconds > 0.0);
        Series {
            completions: completions.map(completion).collect(),
            bounds,
            copies: self.copies,
            utilisation: self.utilisation,
            unchoked: unchoked
                .map(|(pair, seconds)| Unchoked {
                    from: name(pair / self.classes),
                    to: name(pair % self.classes),
                    seconds: *seconds,
                })
                .collect(),
            population: self.population,
            present: self.present,
            progress: self.progress,
            ..Series::default()
        }
    }
}

/// Samples kept at most.
const MOST: usize = 400;
/// A peer has started when it has one piece in so many: before that nearly everybody is interesting
/// or nobody is, whatever the policy.
const START: u32 = 20;
