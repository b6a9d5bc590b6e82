//! Every key that a scenario file may have: what it takes, its default, what it says.
//!
//! These tables are the only description of the format: files are read by them, errors name what
//! they allow, and the reference in `scenarios/README.md` is printed from them.

use super::value::{Given, Takes};

mod dht;
mod swarm;

pub(super) use dht::{ATTACK, DHT, EVENT, EventDraft, NETWORK};
pub(super) use swarm::{CLASS, SWARM};

/// A key of a table that fills a `T`.
pub(super) struct Key<T: 'static> {
    pub(super) about: KeyInfo,
    /// `None` if the value is not what the key takes.
    pub(super) read: fn(&mut T, Given<'_>) -> Option<()>,
}

/// What can be said about a key without its table's type.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyInfo {
    pub(super) name: &'static str,
    pub(super) takes: Takes,
    /// As a file would write it; empty if there is none.
    pub(super) default: &'static str,
    pub(super) says: &'static str,
}

const fn key<T>(
    name: &'static str,
    takes: Takes,
    default: &'static str,
    says: &'static str,
    read: fn(&mut T, Given<'_>) -> Option<()>,
) -> Key<T> {
    Key {
        about: KeyInfo {
            name,
            takes,
            default,
            says,
        },
        read,
    }
}

/// The tables of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Network,
    Swarm,
    Class,
    Dht,
    Attack,
    Event,
}

impl Section {
    pub(super) const ALL: [Self; 6] = [
        Self::Network,
        Self::Swarm,
        Self::Class,
        Self::Dht,
        Self::Attack,
        Self::Event,
    ];

    /// The section that a path's first part names.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|section| section.name() == name)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Swarm => "swarm",
            Self::Class => "class",
            Self::Dht => "dht",
            Self::Attack => "attack",
            Self::Event => "event",
        }
    }

    /// As a file opens it.
    pub(super) fn header(self) -> &'static str {
        match self {
            Self::Network => "[network]",
            Self::Swarm => "[swarm]",
            Self::Class => "[class.NAME]",
            Self::Dht => "[dht]",
            Self::Attack => "[attack]",
            Self::Event => "[[event]]",
        }
    }

    /// Its keys.
    pub(super) fn keys(self) -> Vec<KeyInfo> {
        fn infos<T>(keys: &[Key<T>]) -> Vec<KeyInfo> {
            keys.iter().map(|key| key.about).collect()
        }
        match self {
            Self::Network => infos(NETWORK),
            Self::Swarm => infos(SWARM),
            Self::Class => infos(CLASS),
            Self::Dht => infos(DHT),
            Self::Attack => infos(ATTACK),
            Self::Event => infos(EVENT),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{
        AttackPlan, Class, DhtPlan, NetworkPlan, SwarmPlan,
        value::{Given, Value},
    };

    /// What a key says its default is, is what a plan has that was told nothing.
    fn defaults_hold<T: Clone + PartialEq + std::fmt::Debug>(keys: &[Key<T>], default: &T) {
        for key in keys.iter().filter(|key| !key.about.default.is_empty()) {
            let mut told = default.clone();
            let value = Value::typed(key.about.default);
            let given = Given {
                takes: key.about.takes,
                value: &value,
                unit: 1.0,
            };
            assert!((key.read)(&mut told, given).is_some(), "{:?}", key.about);
            assert_eq!(&told, default, "{}", key.about.name);
        }
    }

    #[test]
    fn documented_defaults_are_the_defaults() {
        defaults_hold(NETWORK, &NetworkPlan::default());
        defaults_hold(SWARM, &SwarmPlan::default());
        defaults_hold(CLASS, &Class::new("peer", 0));
        defaults_hold(DHT, &DhtPlan::default());
        defaults_hold(ATTACK, &AttackPlan::default());
        defaults_hold(EVENT, &EventDraft::default());
    }

    #[test]
    fn words_and_things_are_as_many() {
        // Reading the last word of each list must give something.
        fn row<T: Clone>(keys: &[Key<T>], start: &T) {
            for key in keys {
                let Takes::Word(words) = key.about.takes else {
                    continue;
                };
                for word in words {
                    let value = Value::Text((*word).into());
                    let given = Given {
                        takes: key.about.takes,
                        value: &value,
                        unit: 1.0,
                    };
                    let read = (key.read)(&mut start.clone(), given);
                    assert!(read.is_some(), "{} = {word}", key.about.name);
                }
            }
        }
        row(SWARM, &SwarmPlan::default());
        row(CLASS, &Class::new("peer", 0));
        row(DHT, &DhtPlan::default());
        row(ATTACK, &AttackPlan::default());
        row(EVENT, &EventDraft::default());
    }
}
