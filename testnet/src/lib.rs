//! The mainswarm lab: whole networks of nodes on one machine.
//!
//! [`live`] starts nodes with real sockets, and [`demo`] measures a distribution among them against
//! the lower bounds of distribution time ([`bound`]). [`sim`] runs the same cores in virtual time.

#![warn(clippy::unwrap_used)]

pub mod bound;
pub mod collect;
pub mod cpu;
pub mod demo;
pub mod experiment;
pub mod export;
pub mod input;
pub mod interrupt;
pub mod live;
pub mod outcome;
pub mod printable;
pub mod report;
pub mod runner;
pub mod scenario;
pub mod sim;
mod statistics;
pub mod units;
