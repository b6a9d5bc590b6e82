//! The arithmetic of what torrents share: connections and rates.

/// What a session may use in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budgets {
    /// Connections of all torrents.
    pub(crate) connections: usize,
    /// Payload bytes per second to peers.
    pub(crate) up: Option<u64>,
    /// Payload bytes per second from peers.
    pub(crate) down: Option<u64>,
}

impl Budgets {
    /// Fits the wish for connections to the number of files that the process may have open.
    pub(crate) fn fit_files(self, open_files: u64) -> Self {
        let sockets = open_files.saturating_sub(OTHER_FILES) / 2;
        let sockets = usize::try_from(sockets).unwrap_or(usize::MAX);
        Self {
            connections: self.connections.min(sockets).max(1),
            ..self
        }
    }

    /// How many connections may wait for a handshake: they take descriptors of their own, so that
    /// strangers who say nothing never take the place of peers.
    pub(crate) fn unhandshaken(&self) -> usize {
        (self.connections / 2).clamp(1, MAX_UNHANDSHAKEN)
    }

    /// Neighbours that one torrent may hold, if it may wish for so many.
    pub(crate) fn peers_per_torrent(&self, wish: usize) -> usize {
        self.connections.min(wish)
    }

    /// The limits of a torrent that has peers, or of one that gets its first, when `active`
    /// torrents have peers. A torrent without any leaves its share to the others.
    pub(crate) fn rates(&self, active: usize, is_active: bool) -> (Option<u64>, Option<u64>) {
        let sharers = (active + usize::from(!is_active)).max(1) as u64;
        // A share below one byte would be read as "stop"; only a limit of 0 means that.
        let share = |limit: u64| {
            if limit == 0 {
                0
            } else {
                (limit / sharers).max(1)
            }
        };
        (self.up.map(share), self.down.map(share))
    }
}

/// Kept from sockets: content files, state, the runtime's own.
const OTHER_FILES: u64 = 128;
const MAX_UNHANDSHAKEN: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGETS: Budgets = Budgets {
        connections: 200,
        up: Some(1_000),
        down: None,
    };

    #[test]
    fn rates_are_divided_among_the_active() {
        let rows = [
            (0, false, Some(1_000)),
            (1, true, Some(1_000)),
            (1, false, Some(500)),
            (3, true, Some(333)),
            (5_000, true, Some(1)),
        ];
        for (active, is_active, up) in rows {
            assert_eq!(BUDGETS.rates(active, is_active), (up, None), "{active}");
        }
        let stopped = Budgets {
            up: Some(0),
            ..BUDGETS
        };
        assert_eq!(stopped.rates(2, true), (Some(0), None));
    }

    #[test]
    fn connections_fit_the_descriptors() {
        for (files, connections) in [(1 << 20, 200), (1_024, 200), (256, 64), (100, 1), (0, 1)] {
            assert_eq!(BUDGETS.fit_files(files).connections, connections, "{files}");
        }
        assert_eq!(BUDGETS.unhandshaken(), 100);
        assert_eq!(BUDGETS.fit_files(0).unhandshaken(), 1);
        assert_eq!(BUDGETS.fit_files(256).peers_per_torrent(50), 50);
        assert_eq!(BUDGETS.fit_files(140).peers_per_torrent(50), 6);
    }
}
