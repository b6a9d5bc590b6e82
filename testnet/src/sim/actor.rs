//! Nodes that are not ours: adversaries, crawlers, routers of another make.
//!
//! An [`Actor`] gets raw datagrams and sends raw datagrams. Whatever it speaks is its own affair:
//! `mainswarm::dht::krpc` reads and writes what the others understand.

use std::{fmt::Debug, net::SocketAddr, time::Duration};

use mainswarm::ids::NodeId;

use super::{
    hash::draw,
    line::Line,
    medium::{Event, Medium},
};

/// Something that lives at a node's address in place of our cores.
pub trait Actor: Send + Debug {
    /// A datagram has come.
    fn on_datagram(&mut self, context: &mut ActorContext<'_>, from: SocketAddr, datagram: &[u8]);

    /// Called once when it joins, and when a time has come that it asked for.
    fn on_timer(&mut self, context: &mut ActorContext<'_>) {
        let _ = context;
    }

    /// The id under which it has its places in the tables of a world that begins converged; without
    /// one it has none.
    fn node_id(&self) -> Option<NodeId> {
        None
    }

    /// What it has counted, by name, for whoever reads the run's results.
    fn figures(&self) -> Vec<(&'static str, f64)> {
        Vec::new()
    }
}

/// What an actor can do.
#[derive(Debug)]
pub struct ActorContext<'a> {
    line: &'a mut Line,
    medium: &'a mut Medium,
    wake: &'a mut Option<u64>,
}

impl ActorContext<'_> {
    /// The time since the world began.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.medium.now)
    }

    /// Its index among the world's nodes.
    pub fn index(&self) -> u32 {
        self.line.node
    }

    /// Its own address.
    pub fn addr(&self) -> SocketAddr {
        self.medium.addresses.of(self.line.node)
    }

    /// Sends a datagram.
    pub fn send(&mut self, to: SocketAddr, datagram: &[u8]) {
        self.line.transmit(self.medium, to, datagram);
    }

    /// Asks for [`Actor::on_timer`] at this time since the world began, or now if that is past. Of
    /// several times that were asked for only the earliest counts.
    pub fn wake_at(&mut self, time: Duration) {
        let at = (time.as_nanos() as u64).max(self.medium.now);
        if self.wake.is_none_or(|wake| at < wake) {
            *self.wake = Some(at);
            let node = self.line.node;
            self.medium.wake(self.line, at, Event::ActorTimer { node });
        }
    }

    /// 64 random bits: the same in every run of the same seed.
    pub fn draw(&mut self) -> u64 {
        let count = self.line.next();
        draw(&[self.medium.seed, ACTOR, u64::from(self.line.node), count])
    }
}

/// An actor at its place.
#[derive(Debug)]
pub(crate) struct ActorSlot {
    pub(crate) actor: Box<dyn Actor>,
    wake: Option<u64>,
}

impl ActorSlot {
    pub(crate) fn new(actor: Box<dyn Actor>, line: &mut Line, medium: &mut Medium) -> Self {
        let mut slot = Self { actor, wake: None };
        let now = Duration::from_nanos(medium.now);
        slot.with(line, medium, |_, context| context.wake_at(now));
        slot
    }

    /// Whether this is the time that was asked for last; it is used up.
    pub(crate) fn fires(&mut self, now: u64) -> bool {
        let fires = self.wake == Some(now);
        if fires {
            self.wake = None;
        }
        fires
    }

    pub(crate) fn with(
        &mut self,
        line: &mut Line,
        medium: &mut Medium,
        call: impl FnOnce(&mut dyn Actor, &mut ActorContext<'_>),
    ) {
        let mut context = ActorContext {
            line,
            medium,
            wake: &mut self.wake,
        };
        call(self.actor.as_mut(), &mut context);
    }
}

/// What a draw is for.
const ACTOR: u64 = 7;
