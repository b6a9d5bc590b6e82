//! One member of a swarm: how it is set up, and what is kept of it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use mainswarm::{
    ids::PeerId,
    network::Network,
    torrent::{TorrentConfig, chooser::Chooser},
};

use super::roster::{self, Kind};
use crate::{
    scenario::{Architecture, Behaviour, Class, SwarmPlan},
    sim::{Content, Nat, NodeConfig, PeerConfig, Strategy, World, tyrant},
};

/// What a newcomer is made from.
pub(super) struct Terms<'a> {
    pub(super) swarm: &'a SwarmPlan,
    pub(super) class: &'a Class,
    pub(super) behaviour: Behaviour,
    pub(super) router: Option<SocketAddr>,
    pub(super) nat: Nat,
}

impl Terms<'_> {
    /// What it uploads for the good of others, bytes per second.
    pub(super) fn upload(&self) -> f64 {
        roster::upload(self.class, self.behaviour, self.swarm.architecture)
    }

    /// Its host. A line that is to stand still is as fast as any until then.
    pub(super) fn node(&self) -> NodeConfig {
        let bytes = |rate: f64| rate.round().max(1.0) as u64;
        NodeConfig {
            dht: self.router.map(|router| vec![router]),
            up: self.class.up.map(bytes),
            down: self.class.down.filter(|down| *down > 0.0).map(bytes),
            nat: self.nat,
            ..NodeConfig::default()
        }
    }

    /// Its client.
    pub(super) fn peer(&self, content: &Arc<Content>, told: Vec<SocketAddr>) -> PeerConfig {
        let swarm = self.swarm;
        let mut torrent = TorrentConfig::new(PeerId::with_suffix([0; 12]), Network::Private);
        torrent.piece_order = swarm.piece_order;
        torrent.choke_interval = swarm.choke_interval;
        torrent.optimistic_interval = swarm.optimistic_interval;
        torrent.upload_slots = swarm.slots;
        torrent.optimistic_slots = swarm.optimistic_slots;
        torrent.max_peers = swarm.neighbours;
        torrent.unsent_first = swarm.unsent_first;
        torrent.seed_order = swarm.seed_order;
        torrent.chooser = match self.behaviour {
            Behaviour::Proportional => Chooser::Proportional,
            Behaviour::Tyrant => tyrant::chooser(self.upload()),
            _ => Chooser::TitForTat,
        };
        let serves = self.class.complete || swarm.architecture == Architecture::PeerToPeer;
        torrent.upload = serves
            && match self.behaviour {
                Behaviour::FreeRider
                | Behaviour::SeedsOnly
                | Behaviour::FalseHave
                | Behaviour::LargeView
                | Behaviour::SeedSlots => false,
                Behaviour::Standard
                | Behaviour::Proportional
                | Behaviour::Tyrant
                | Behaviour::Corrupt
                | Behaviour::Stalled => true,
            };
        if matches!(
            self.behaviour,
            Behaviour::LargeView | Behaviour::SeedSlots | Behaviour::Tyrant
        ) {
            torrent.max_peers = EVERYBODY;
        }
        let mut peer = PeerConfig::new(Arc::clone(content), torrent);
        peer.complete = self.class.complete;
        peer.magnet = swarm.magnet && !self.class.complete;
        peer.candidates = told;
        peer.discover = self.router.is_some();
        peer.corrupt_blocks = self.behaviour == Behaviour::Corrupt;
        peer.strategy = match self.behaviour {
            _ if self.class.down == Some(0.0) => Strategy::Frozen,
            Behaviour::SeedsOnly | Behaviour::SeedSlots => Strategy::SeedsOnly,
            Behaviour::FalseHave => Strategy::FalseHave,
            Behaviour::Stalled => Strategy::Stalled,
            Behaviour::Standard
            | Behaviour::Proportional
            | Behaviour::FreeRider
            | Behaviour::LargeView
            | Behaviour::Tyrant
            | Behaviour::Corrupt => Strategy::Honest,
        };
        peer
    }
}

/// A member and what became of it.
#[derive(Debug)]
pub(super) struct Member {
    /// Its class, by number.
    pub(super) class: usize,
    pub(super) behaviour: Behaviour,
    pub(super) kind: Kind,
    pub(super) node: u32,
    pub(super) joined: Duration,
    pub(super) complete_from_start: bool,
    /// It was told to leave, so it need not have everything.
    pub(super) left: Option<Duration>,
    pub(super) done: Option<Duration>,
    /// What it uploads for the good of others, bytes per second.
    pub(super) up: f64,
    /// No NAT keeps others from calling it.
    pub(super) callable: bool,
    /// Block bytes that it had sent when it was complete.
    pub(super) sent_when_done: u64,
    /// Looks at it and a neighbour after the start, and those that found the neighbour interesting.
    pub(super) looks: u64,
    pub(super) interesting: u64,
    /// What its torrent said when it left, or at the end.
    pub(super) end: End,
}

/// The last words of a member.
#[derive(Debug, Default)]
pub(super) struct End {
    pub(super) first_piece: Option<Duration>,
    pub(super) have: u32,
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) wasted: u64,
    pub(super) right_pieces: u32,
    pub(super) failed_pieces: u32,
    /// Nodes that gave it blocks and that it did not ban.
    pub(super) givers: Vec<u32>,
    /// Nodes that it banned: when it got the first block from each, and when it banned it.
    pub(super) bans: Vec<(u32, Option<Duration>, Duration)>,
}

impl Member {
    pub(super) fn new(
        number: usize,
        behaviour: Behaviour,
        class: &Class,
        up: f64,
        node: u32,
        now: Duration,
    ) -> Self {
        Self {
            class: number,
            behaviour,
            kind: Kind::of(behaviour),
            node,
            joined: now,
            complete_from_start: class.complete,
            left: None,
            done: None,
            up,
            callable: true,
            sent_when_done: 0,
            looks: 0,
            interesting: 0,
            end: End::default(),
        }
    }

    /// It is one of those that the file comes from.
    pub(super) fn is_server(&self) -> bool {
        self.complete_from_start && self.kind.wants()
    }

    /// It is here to get the file.
    pub(super) fn wants(&self) -> bool {
        !self.complete_from_start && self.kind.wants()
    }

    pub(super) fn is_compliant(&self) -> bool {
        !self.complete_from_start && self.kind == Kind::Compliant
    }

    /// It stayed to the end and lacks something.
    pub(super) fn is_stuck(&self) -> bool {
        self.done.is_none() && self.left.is_none()
    }

    /// It left without everything, so it took no time that could be compared with others'.
    pub(super) fn gave_up(&self) -> bool {
        self.done.is_none() && self.left.is_some()
    }

    /// The time it took, or had until `end` if it is not done.
    pub(super) fn time(&self, end: Duration) -> f64 {
        let until = self.done.or(self.left).unwrap_or(end);
        until.saturating_sub(self.joined).as_secs_f64()
    }

    /// Block bytes that it has sent.
    pub(super) fn sent(&self, world: &World) -> u64 {
        let torrent = world.node(self.node).torrents()[0].core();
        torrent.stats(world.instant()).uploaded
    }

    /// Writes down what its torrent has to say.
    pub(super) fn observe(&mut self, world: &World) {
        let torrent = &world.node(self.node).torrents()[0];
        let (stats, log) = (torrent.core().stats(world.instant()), torrent.log());
        let port = world.addr(self.node).port();
        let node = |ip| world.node_at(SocketAddr::new(ip, port));
        self.end = End {
            first_piece: log.first_piece.map(|at| at.saturating_sub(self.joined)),
            have: stats.have,
            sent: stats.uploaded,
            received: stats.downloaded,
            wasted: stats.wasted,
            right_pieces: log.right_pieces,
            failed_pieces: log.failed_pieces,
            givers: torrent.givers().filter_map(node).collect(),
            bans: torrent
                .bans()
                .iter()
                .filter_map(|ban| Some((node(ban.ip)?, ban.first_block, ban.at)))
                .collect(),
        };
    }
}

/// As many connections as a host can hold.
const EVERYBODY: usize = 10_000;
