//! BitTyrant (Piatek, Isdal, Anderson, Krishnamurthy, Venkataramani 2007: "Do incentives build
//! robustness in BitTorrent?"): give each neighbour the least that keeps it giving, and spend what
//! that saves on more neighbours.
//!
//! For each neighbour the tyrant keeps what it hopes to get from it and what it believes it has to
//! pay. Each round it pays those first that give most for it, until its uplink is spent. Who gives
//! three rounds in a row is offered a tenth less, who takes and does not give a fifth more.

use std::collections::BTreeMap;

use mainswarm::torrent::{
    PeerKey,
    choker::PeerView,
    chooser::{Chooser, Round, Slot},
};

/// The policy of a tyrant with this uplink, in bytes per second.
pub fn chooser(up: f64) -> Chooser {
    Chooser::custom(move || {
        let mut tyrant = Tyrant::new(up);
        move |round: &Round<'_>, _: &mut _| {
            tyrant.choose(round.peers, round.slots + round.optimistic_slots)
        }
    })
}

#[derive(Debug)]
struct Tyrant {
    up: f64,
    deals: BTreeMap<PeerKey, Deal>,
}

/// What is thought of one neighbour.
#[derive(Debug, Clone, Copy)]
struct Deal {
    /// What it gives, bytes per second.
    gives: f64,
    /// What it has to be paid, bytes per second.
    costs: f64,
    /// It was paid in the last round.
    paid: bool,
    /// Rounds in a row in which it was paid and unchoked us.
    repaid: u32,
    /// What it had given in all.
    received: u64,
}

impl Tyrant {
    fn new(up: f64) -> Self {
        Self {
            up,
            deals: BTreeMap::new(),
        }
    }

    fn choose(&mut self, peers: &[PeerView], places: usize) -> Vec<Slot> {
        // At first everybody is taken for one like us, that divides its uplink evenly.
        let even = self.up / places.max(1) as f64;
        let before = std::mem::take(&mut self.deals);
        for peer in peers {
            let mut deal = before.get(&peer.key).copied().unwrap_or(Deal {
                gives: even,
                costs: even,
                paid: false,
                repaid: 0,
                received: peer.received,
            });
            deal.judge(peer);
            self.deals.insert(peer.key, deal);
        }
        let wanting = peers
            .iter()
            .filter(|peer| peer.interested)
            .map(|peer| peer.key);
        let mut ranked: Vec<(f64, PeerKey)> = wanting
            .filter_map(|key| {
                self.deals
                    .get(&key)
                    .map(|deal| (deal.gives / deal.costs, key))
            })
            .collect();
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let mut left = self.up;
        let mut slots = Vec::new();
        for (_, key) in ranked {
            if left <= 0.0 {
                break;
            }
            if let Some(deal) = self.deals.get_mut(&key) {
                deal.paid = true;
                let weight = deal.costs.min(left);
                left -= weight;
                slots.push(Slot { key, weight });
            }
        }
        slots
    }
}

impl Deal {
    /// A round is over.
    fn judge(&mut self, peer: &PeerView) {
        if peer.received > self.received {
            self.gives = peer.received_rate.max(1.0);
        }
        self.received = peer.received;
        match (self.paid, peer.unchokes_us) {
            (true, true) => {
                self.repaid += 1;
                if self.repaid >= ROUNDS {
                    self.costs *= LESS;
                }
            }
            (true, false) => {
                self.repaid = 0;
                self.costs *= MORE;
            }
            (false, _) => self.repaid = 0,
        }
        self.paid = false;
    }
}

/// Piatek et al.: a neighbour that has given for so many rounds is offered less.
const ROUNDS: u32 = 3;
/// Piatek et al.: by a tenth.
const LESS: f64 = 0.9;
/// Piatek et al.: one that does not give is offered a fifth more.
const MORE: f64 = 1.2;

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, time::Instant};

    use super::*;

    #[allow(
        clippy::disallowed_methods,
        reason = "a view needs some time, and no time matters here"
    )]
    fn view(key: u64, received: u64, rate: f64) -> PeerView {
        PeerView {
            key: PeerKey(key),
            addr: IpAddr::from([10, 0, 0, key as u8]),
            interested: true,
            unchoked: true,
            unchoked_since: None,
            received_rate: rate,
            received,
            last_received: None,
            sent: 0,
            snubbed: false,
            unchokes_us: rate > 0.0,
            connected_at: Instant::now(),
            pieces_missing: 9,
            last_optimistic: None,
        }
    }

    #[test]
    fn who_repays_is_paid_less_and_who_does_not_more_and_last() {
        let mut tyrant = Tyrant::new(100.0);
        let weights = |slots: &[Slot]| -> Vec<(u64, f64)> {
            slots.iter().map(|slot| (slot.key.0, slot.weight)).collect()
        };
        let first = tyrant.choose(&[view(1, 0, 0.0), view(2, 0, 0.0)], 5);
        assert_eq!(weights(&first), [(1, 20.0), (2, 20.0)]);
        let mut last = Vec::new();
        for round in 1..=4 {
            last = tyrant.choose(&[view(1, 0, 0.0), view(2, round * 100, 30.0)], 5);
        }
        let (first, second) = (last[0], last[1]);
        assert_eq!((first.key.0, second.key.0), (2, 1));
        assert!((first.weight - 20.0 * 0.81).abs() < 1e-9, "{first:?}");
        assert!(
            (second.weight - 20.0 * 1.2f64.powi(4)).abs() < 1e-9,
            "{second:?}"
        );
    }

    #[test]
    fn no_more_is_paid_than_there_is() {
        let mut tyrant = Tyrant::new(100.0);
        let peers: Vec<PeerView> = (0..9).map(|key| view(key, 0, 0.0)).collect();
        let slots = tyrant.choose(&peers, 5);
        assert_eq!(slots.len(), 5);
        assert!((slots.iter().map(|slot| slot.weight).sum::<f64>() - 100.0).abs() < 1e-9);
    }
}
