//! Announce tokens: proof that whoever announces an address also receives there ([BEP 5]).
//!
//! A token is a keyed hash of the asker's IP address and the info-hash, so nothing is stored per
//! asker. The key changes every five minutes and the one before stays valid.
//!
//! [BEP 5]: https://www.bittorrent.org/beps/bep_0005.html

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use rand::{RngExt, rngs::StdRng};
use sha1::{Digest, Sha1};

use crate::ids::InfoHash;

/// Long enough that guessing is hopeless at any rate of datagrams.
pub(super) const TOKEN_LEN: usize = 8;

/// BEP 5: the secret changes every five minutes, and tokens up to ten minutes old are accepted.
const ROTATE_EVERY: Duration = Duration::from_secs(5 * 60);

type Secret = [u8; 16];

#[derive(Debug)]
pub(super) struct Tokens {
    current: Secret,
    previous: Secret,
    rotated: Instant,
}

impl Tokens {
    pub(super) fn new(now: Instant, rng: &mut StdRng) -> Self {
        Self {
            current: rng.random(),
            previous: rng.random(),
            rotated: now,
        }
    }

    /// Changes the secret if it is due. Called before every use, so that no timer is needed.
    pub(super) fn rotate(&mut self, now: Instant, rng: &mut StdRng) {
        let age = now.saturating_duration_since(self.rotated);
        if age < ROTATE_EVERY {
            return;
        }
        self.previous = match age < 2 * ROTATE_EVERY {
            true => self.current,
            false => rng.random(),
        };
        self.current = rng.random();
        self.rotated = now;
    }

    /// The token for somebody at `ip`.
    pub(super) fn token(&self, ip: IpAddr, info_hash: &InfoHash) -> [u8; TOKEN_LEN] {
        token(&self.current, ip, info_hash)
    }

    /// Whether we gave this token to `ip` for this torrent in the last ten minutes.
    pub(super) fn accepts(&self, shown: &[u8], ip: IpAddr, info_hash: &InfoHash) -> bool {
        let matches = |secret| equal(shown, &token(secret, ip, info_hash));
        // Both are computed always: the time must not tell which secret is in use.
        matches(&self.current) | matches(&self.previous)
    }
}

fn token(secret: &Secret, ip: IpAddr, info_hash: &InfoHash) -> [u8; TOKEN_LEN] {
    let mut hash = Sha1::new();
    hash.update(secret);
    match ip {
        IpAddr::V4(ip) => hash.update(ip.octets()),
        IpAddr::V6(ip) => hash.update(ip.octets()),
    }
    hash.update(info_hash.as_bytes());
    hash.update(secret);
    let mut token = [0; TOKEN_LEN];
    token.copy_from_slice(&hash.finalize()[..TOKEN_LEN]);
    token
}

/// Compares without leaving early at the first difference.
fn equal(a: &[u8], b: &[u8; TOKEN_LEN]) -> bool {
    let difference = a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b));
    a.len() == TOKEN_LEN && std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn bound_to_address_torrent_and_time() {
        let start = Instant::now();
        let mut rng = StdRng::from_seed([3; 32]);
        let mut tokens = Tokens::new(start, &mut rng);
        let ip: IpAddr = "10.0.0.1".parse().expect("an address");
        let hash = InfoHash::new([7; 20]);
        let token = tokens.token(ip, &hash);

        assert!(tokens.accepts(&token, ip, &hash));
        assert!(!tokens.accepts(&token, "10.0.0.2".parse().expect("an address"), &hash));
        assert!(!tokens.accepts(&token, ip, &InfoHash::new([8; 20])));
        assert!(!tokens.accepts(&token[..7], ip, &hash));
        assert!(!tokens.accepts(b"", ip, &hash));
        assert!(!tokens.accepts(&[&token[..], b"x"].concat(), ip, &hash));

        tokens.rotate(start + ROTATE_EVERY, &mut rng);
        assert_ne!(tokens.token(ip, &hash), token);
        assert!(tokens.accepts(&token, ip, &hash));
        tokens.rotate(start + 2 * ROTATE_EVERY, &mut rng);
        assert!(!tokens.accepts(&token, ip, &hash));

        let token = tokens.token(ip, &hash);
        tokens.rotate(start + 10 * ROTATE_EVERY, &mut rng);
        assert!(!tokens.accepts(&token, ip, &hash), "a long sleep ends both");
    }
}
