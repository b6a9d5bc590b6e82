//! How fast a file can possibly reach everybody: the lower bounds that runs are held against.
//!
//! [`client_server`] and [`p2p_fluid`] are the two textbook bounds for a file that flows like water
//! (the file must leave the server, enter the slowest peer, and be uploaded once for each peer).
//! [`lb`] adds what pieces cost: a peer can pass on a piece only once it has all of it. Every
//! argument may be in any unit as long as all agree: bytes and bytes per second give seconds.

use std::{cmp::Ordering, collections::BinaryHeap};

/// The least time in which a server alone can give a file of length `f` to `n` clients, with
/// upload rate `us` and the slowest client's download rate `dmin` (may be infinite).
pub fn client_server(n: usize, f: f64, us: f64, dmin: f64) -> f64 {
    if n == 0 {
        return 0.0;
    }
    (n as f64 * f / us).max(f / dmin)
}

/// The least time in which a server and its peers can give everybody a file that may be passed on
/// bit by bit. `ups` has one upload rate for each peer.
pub fn p2p_fluid(f: f64, us: f64, ups: &[f64], dmin: f64) -> f64 {
    p2p_fluid_serving(ups.len(), f, us, ups, dmin)
}

/// The same if only `served` of the peers need the file and the others help.
pub fn p2p_fluid_serving(served: usize, f: f64, us: f64, ups: &[f64], dmin: f64) -> f64 {
    if served == 0 {
        return 0.0;
    }
    let all = us + ups.iter().sum::<f64>();
    (f / us).max(f / dmin).max(served as f64 * f / all)
}

/// The least time in which a server and its peers can give everybody a file of `pieces` equal
/// pieces, none of which can be passed on before it is whole.
///
/// Three things bound it: the slowest download, the work (each uplink idles until its peer can hold
/// a first piece), and the last piece that leaves the server, which still has to reach everybody.
/// With equal rates it is exactly the optimum of Mundinger, Weber and Weiss (2008),
/// `f/u * (1 + floor(log2 n) / pieces)`.
pub fn lb(f: f64, pieces: u32, us: f64, ups: &[f64], dmin: f64) -> f64 {
    lb_serving(ups.len(), f, pieces, us, ups, dmin)
}

/// The same if only `n` of the peers need the file and the others help until the end. Whichever
/// these are, so many copies of each piece must be made, and none sooner than if they all went to
/// the fastest; `dmin` is of those that need it.
pub fn lb_serving(n: usize, f: f64, pieces: u32, us: f64, ups: &[f64], dmin: f64) -> f64 {
    if n == 0 || pieces == 0 {
        return 0.0;
    }
    let mut rates = ups.to_vec();
    rates.sort_by(|a, b| b.total_cmp(a));
    let piece = f / f64::from(pieces);
    let first = Race::new(piece, us).run(&rates);
    let work = work_time(n as f64 * f, us, &rates, &first);
    let tail = if n == 1 {
        0.0
    } else {
        // The fastest peer holds the last piece already; it and the server copy it to the others.
        let mut race = Race::new(piece, us);
        race.join(0.0, rates[0]);
        race.run(&rates[1..n]).last().copied().unwrap_or(0.0)
    };
    work.max(f / us + tail).max(f / dmin)
}

/// The least time in which `n` peers that nobody can call get a file: two of them cannot meet, so all
/// that they get is uploaded by those that can be called, at `up` in all.
pub fn behind_nat(n: usize, f: f64, up: f64) -> f64 {
    if n == 0 {
        return 0.0;
    }
    n as f64 * f / up
}

/// One piece spreads: every holder copies it as fast as its uplink allows, to the fastest peer that
/// lacks it.
struct Race {
    piece: f64,
    copies: BinaryHeap<Copying>,
}

impl Race {
    fn new(piece: f64, server: f64) -> Self {
        let mut race = Self {
            piece,
            copies: BinaryHeap::new(),
        };
        race.join(0.0, server);
        race
    }

    fn join(&mut self, now: f64, rate: f64) {
        if rate > 0.0 {
            let done = now + self.piece / rate;
            self.copies.push(Copying { done, rate });
        }
    }

    /// When each of the peers has the piece; infinite if nobody uploads.
    fn run(mut self, rates: &[f64]) -> Vec<f64> {
        rates
            .iter()
            .map(|rate| {
                let Some(Copying { done, rate: from }) = self.copies.pop() else {
                    return f64::INFINITY;
                };
                self.join(done, from);
                self.join(done, *rate);
                done
            })
            .collect()
    }
}

/// A holder's copy under way.
struct Copying {
    done: f64,
    rate: f64,
}

impl Ord for Copying {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap gives the greatest: the copy that is done first.
        other.done.total_cmp(&self.done)
    }
}

impl PartialOrd for Copying {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Copying {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Copying {}

/// The least `t` with `us * t + sum(rate * max(0, t - start)) >= work`; `starts` ascend.
fn work_time(work: f64, us: f64, rates: &[f64], starts: &[f64]) -> f64 {
    let (mut capacity, mut lost) = (us, 0.0);
    for (rate, start) in rates.iter().zip(starts) {
        if (work + lost) / capacity <= *start {
            break;
        }
        capacity += rate;
        lost += rate * start;
    }
    (work + lost) / capacity
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFINITE: f64 = f64::INFINITY;

    #[test]
    fn the_textbook_figure() {
        // One hour to upload the file at a peer's rate; the server is ten times as fast.
        let rows = [
            (0, 0.0, 0.0),
            (1, 0.1, 0.1),
            (2, 0.2, 0.1667),
            (3, 0.3, 0.2308),
            (5, 0.5, 0.3333),
            (10, 1.0, 0.5),
            (17, 1.7, 0.6296),
            (29, 2.9, 0.7436),
            (30, 3.0, 0.75),
            (35, 3.5, 0.7778),
            (100, 10.0, 0.9091),
            (1000, 100.0, 0.9901),
        ];
        for (n, cs, p2p) in rows {
            let ups = vec![1.0; n];
            assert!((client_server(n, 1.0, 10.0, INFINITE) - cs).abs() < 1e-9);
            assert!(
                (p2p_fluid(1.0, 10.0, &ups, INFINITE) - p2p).abs() < 5e-5,
                "n={n}"
            );
        }
    }

    #[test]
    fn the_slowest_download_binds() {
        assert_eq!(client_server(2, 100.0, 1000.0, 1.0), 100.0);
        assert_eq!(p2p_fluid(100.0, 1000.0, &[1.0, 1.0], 1.0), 100.0);
        assert_eq!(lb(100.0, 10, 1000.0, &[50.0, 50.0], 1.0), 100.0);
    }

    #[test]
    fn equal_rates_give_the_known_optimum() {
        for n in [1usize, 2, 3, 4, 7, 8, 15, 16, 31, 100, 1000] {
            for pieces in [1, 10, 100] {
                let optimum = 1.0 + f64::from(n.ilog2()) / f64::from(pieces);
                let bound = lb(1.0, pieces, 1.0, &vec![1.0; n], INFINITE);
                assert!(
                    (bound - optimum).abs() < 1e-9,
                    "n={n} m={pieces}: {bound} {optimum}"
                );
            }
        }
    }

    #[test]
    fn pieces_cost_what_the_table_says() {
        let rows = [
            (10, [1.022, 1.0055, 1.0014, 1.0003]),
            (35, [1.054, 1.0135, 1.0034, 1.0008]),
            (100, [1.094, 1.0236, 1.0059, 1.0015]),
            (1000, [1.211, 1.0527, 1.0132, 1.0033]),
        ];
        for (n, ratios) in rows {
            let ups = vec![1.0; n];
            let fluid = p2p_fluid(1.0, 10.0, &ups, INFINITE);
            for (pieces, ratio) in [25, 100, 400, 1600].into_iter().zip(ratios) {
                let seen = lb(1.0, pieces, 10.0, &ups, INFINITE) / fluid;
                assert!(
                    (seen - ratio).abs() < 6e-4,
                    "n={n} m={pieces}: {seen} {ratio}"
                );
            }
        }
    }

    #[test]
    fn who_only_helps_needs_nothing() {
        let ups = [1.0; 10];
        let all = lb_serving(10, 1.0, 100, 10.0, &ups, INFINITE);
        assert_eq!(all, lb(1.0, 100, 10.0, &ups, INFINITE));
        let half = lb_serving(5, 1.0, 100, 10.0, &ups, INFINITE);
        assert!(half < all && half >= 0.25, "{half}");
        assert_eq!(p2p_fluid_serving(5, 1.0, 10.0, &ups, INFINITE), 0.25);
        // Helpers that upload nothing are as good as none.
        let idle = [1.0, 1.0, 0.0, 0.0];
        let alone = lb(1.0, 100, 10.0, &[1.0, 1.0], INFINITE);
        assert!((lb_serving(2, 1.0, 100, 10.0, &idle, INFINITE) - alone).abs() < 1e-9);
        assert_eq!(lb_serving(0, 1.0, 100, 10.0, &ups, INFINITE), 0.0);
    }

    #[test]
    fn unequal_rates_and_free_riders() {
        // Nobody but the server uploads: client-server.
        let bound = lb(1.0, 50, 2.0, &[0.0; 8], INFINITE);
        assert!((bound - client_server(8, 1.0, 2.0, INFINITE)).abs() < 1e-9);
        // The bound never falls below the fluid one, and falls with more capacity.
        let slow = [0.25, 0.25, 1.0, 1.0, 4.0, 0.0];
        let fast = [0.5, 0.5, 1.0, 1.0, 4.0, 0.0];
        let (a, b) = (
            lb(1.0, 100, 1.0, &slow, INFINITE),
            lb(1.0, 100, 1.0, &fast, INFINITE),
        );
        assert!(a >= p2p_fluid(1.0, 1.0, &slow, INFINITE) && b <= a);
        assert_eq!(lb(1.0, 10, 1.0, &[], INFINITE), 0.0);
    }
}
