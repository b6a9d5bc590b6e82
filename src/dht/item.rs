//! Items that nodes store for others ([BEP 44]): small values under the hash of what they are, or
//! under the hash of who may change them.
//!
//! An [`Item`] is always whole: made from a value, or checked when it was read. What is signed is
//! put together from its parts, so that no encoder's habits matter:
//!
//! ```text
//! 4:salt6:foobar3:seqi4e1:v12:Hello world!        the salt only if there is one
//! ```
//!
//! Values must be canonical bencode, as the BEP asks of whoever stores them and as libtorrent does
//! it: of another form the hash would change with each client that decodes and encodes it anew.
//!
//! [BEP 44]: https://www.bittorrent.org/beps/bep_0044.html

use std::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha1::{Digest, Sha1};

use super::krpc::Fault;
use crate::{
    bencode::{self, Limits, write_bytes, write_int},
    ids::NodeId,
};

/// BEP 44: the longest value that everybody stores, bencoded.
pub const MAX_VALUE: usize = 1_000;
/// BEP 44: the longest salt.
pub const MAX_SALT: usize = 64;

/// The length of a public key.
pub const KEY_LEN: usize = 32;
/// The length of a signature.
pub const SIGNATURE_LEN: usize = 64;

/// Ours: what a value may be made of, so that a message with it stays within [`Limits::KRPC`].
/// libtorrent reads messages of at most 500 parts.
const LIMITS: Limits = Limits {
    depth: Limits::KRPC.depth - 2,
    tokens: Limits::KRPC.tokens - 40,
};

/// A value with what proves that it belongs where it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Item {
    value: Box<[u8]>,
    mutable: Option<Box<Mutable>>,
}

/// What a value that its owner may replace has beside it.
#[derive(Clone, PartialEq, Eq)]
struct Mutable {
    key: [u8; KEY_LEN],
    salt: Box<[u8]>,
    seq: i64,
    signature: [u8; SIGNATURE_LEN],
}

/// Why something is no item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ItemError {
    /// Longer than [`MAX_VALUE`].
    #[error(
        "the value takes {len} bytes in bencode, and nodes store at most {MAX_VALUE}: shorten it"
    )]
    ValueTooBig {
        /// How long.
        len: usize,
    },
    /// Not one bencoded value in canonical form, or one of too many parts.
    #[error(
        "the value is not canonical bencode of less than {} parts and {} levels: sort and \
         unify its keys, and write numbers without leading zeros",
        LIMITS.tokens, LIMITS.depth + 1
    )]
    BadValue,
    /// Longer than [`MAX_SALT`].
    #[error("the salt has {len} bytes, and at most {MAX_SALT} are allowed: shorten it")]
    SaltTooBig {
        /// How long.
        len: usize,
    },
    /// What names the item would name a value, too.
    #[error(
        "this key with this salt is bencode itself, so its target is a value's: change the salt"
    )]
    KeyIsValue,
    /// Below zero.
    #[error("the sequence number is negative: count from 0 or 1")]
    NegativeSeq,
    /// The key did not sign this.
    #[error("the signature is not this key's for this value, salt and sequence number")]
    WrongSignature,
    /// It belongs elsewhere.
    #[error("the item belongs under another target")]
    WrongTarget,
}

impl From<ItemError> for Fault {
    fn from(error: ItemError) -> Self {
        match error {
            ItemError::ValueTooBig { .. } => Self::ValueTooBig,
            ItemError::BadValue => Self::BadValue,
            ItemError::SaltTooBig { .. } => Self::SaltTooBig,
            ItemError::KeyIsValue => Self::BadKey,
            ItemError::NegativeSeq => Self::BadSeq,
            ItemError::WrongSignature | ItemError::WrongTarget => Self::WrongSignature,
        }
    }
}

impl Item {
    /// A value that is named by its hash and can never change. `value` is bencoded.
    pub fn immutable(value: &[u8]) -> Result<Self, ItemError> {
        check_value(value)?;
        Ok(Self {
            value: value.into(),
            mutable: None,
        })
    }

    /// A value that the owner of `secret` (an ed25519 seed) can replace by one with a higher `seq`.
    /// One key holds as many items as there are salts.
    pub fn sign(secret: &[u8; 32], salt: &[u8], seq: i64, value: &[u8]) -> Result<Self, ItemError> {
        check_value(value)?;
        check_salt(salt)?;
        if seq < 0 {
            return Err(ItemError::NegativeSeq);
        }
        let secret = SigningKey::from_bytes(secret);
        check_owner(secret.verifying_key().as_bytes(), salt)?;
        let signature = secret.sign(&signed_bytes(salt, seq, value));
        Ok(Self {
            value: value.into(),
            mutable: Some(Box::new(Mutable {
                key: secret.verifying_key().to_bytes(),
                salt: salt.into(),
                seq,
                signature: signature.to_bytes(),
            })),
        })
    }

    /// A value that somebody else has signed.
    ///
    /// Keys and signatures under which everything is valid are refused: with them two nodes could
    /// hold different values of the same sequence number, and both would be right.
    pub fn signed(
        key: &[u8; KEY_LEN],
        salt: &[u8],
        seq: i64,
        signature: &[u8; SIGNATURE_LEN],
        value: &[u8],
    ) -> Result<Self, ItemError> {
        check_value(value)?;
        check_salt(salt)?;
        if seq < 0 {
            return Err(ItemError::NegativeSeq);
        }
        check_owner(key, salt)?;
        let verifying = VerifyingKey::from_bytes(key).map_err(|_| ItemError::WrongSignature)?;
        let signed = signed_bytes(salt, seq, value);
        verifying
            .verify_strict(&signed, &Signature::from_bytes(signature))
            .map_err(|_| ItemError::WrongSignature)?;
        Ok(Self {
            value: value.into(),
            mutable: Some(Box::new(Mutable {
                key: *key,
                salt: salt.into(),
                seq,
                signature: *signature,
            })),
        })
    }

    /// The point of the key space under which it is stored.
    pub fn target(&self) -> NodeId {
        match &self.mutable {
            Some(mutable) => mutable_target(&mutable.key, &mutable.salt),
            None => immutable_target(&self.value),
        }
    }

    /// The value, bencoded.
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// The public key of its owner; `None` if it is immutable.
    pub fn key(&self) -> Option<&[u8; KEY_LEN]> {
        Some(&self.mutable.as_ref()?.key)
    }

    /// The salt; empty if there is none.
    pub fn salt(&self) -> &[u8] {
        self.mutable.as_ref().map_or(&[], |mutable| &mutable.salt)
    }

    /// The sequence number; `None` if it is immutable.
    pub fn seq(&self) -> Option<i64> {
        Some(self.mutable.as_ref()?.seq)
    }

    /// The owner's signature; `None` if it is immutable.
    pub fn signature(&self) -> Option<&[u8; SIGNATURE_LEN]> {
        Some(&self.mutable.as_ref()?.signature)
    }

    /// Roughly what it takes of memory.
    pub(super) fn weight(&self) -> usize {
        let mutable = self.mutable.as_ref();
        let mutable = mutable.map_or(0, |mutable| size_of::<Mutable>() + mutable.salt.len());
        size_of::<Self>() + self.value.len() + mutable
    }
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Item({}, {} bytes", self.target(), self.value.len())?;
        match self.seq() {
            Some(seq) => write!(f, ", seq {seq})"),
            None => write!(f, ")"),
        }
    }
}

/// The public key that belongs to an ed25519 seed.
pub fn public_key(secret: &[u8; 32]) -> [u8; KEY_LEN] {
    SigningKey::from_bytes(secret).verifying_key().to_bytes()
}

/// Where an owner's item of this salt is stored.
pub fn mutable_target(key: &[u8; KEY_LEN], salt: &[u8]) -> NodeId {
    NodeId::new(
        Sha1::new()
            .chain_update(key)
            .chain_update(salt)
            .finalize()
            .into(),
    )
}

/// Where a value that cannot change is stored.
pub fn immutable_target(value: &[u8]) -> NodeId {
    NodeId::new(Sha1::digest(value).into())
}

/// What an owner signs.
pub fn signed_bytes(salt: &[u8], seq: i64, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(40 + salt.len() + value.len());
    if !salt.is_empty() {
        bytes.extend_from_slice(b"4:salt");
        write_bytes(&mut bytes, salt);
    }
    bytes.extend_from_slice(b"3:seq");
    write_int(&mut bytes, seq);
    bytes.extend_from_slice(b"1:v");
    bytes.extend_from_slice(value);
    bytes
}

/// Whether a bencoded value may be stored.
pub(super) fn check_value(value: &[u8]) -> Result<(), ItemError> {
    if value.len() > MAX_VALUE {
        return Err(ItemError::ValueTooBig { len: value.len() });
    }
    let scan = bencode::scan(value, LIMITS).map_err(|_| ItemError::BadValue)?;
    match scan.canonical && scan.rest.is_empty() {
        true => Ok(()),
        false => Err(ItemError::BadValue),
    }
}

fn check_salt(salt: &[u8]) -> Result<(), ItemError> {
    match salt.len() {
        0..=MAX_SALT => Ok(()),
        len => Err(ItemError::SaltTooBig { len }),
    }
}

/// An item that never changes is named by the hash of its value, and one that does by the hash of
/// its key and salt. Whoever tries some ten million keys has one that is a value as well: under its
/// target he could show what nobody can change, and change it.
fn check_owner(key: &[u8; KEY_LEN], salt: &[u8]) -> Result<(), ItemError> {
    match check_value(&[key, salt].concat()) {
        Ok(()) => Err(ItemError::KeyIsValue),
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: [u8; 32] = [7; 32];

    #[test]
    fn what_is_made_can_be_checked_and_nothing_else() {
        let item = Item::sign(&SECRET, b"salt", 4, b"5:hello").expect("an item");
        let (key, seq) = (*item.key().expect("a key"), item.seq().expect("a number"));
        let signature = *item.signature().expect("a signature");
        assert_eq!(key, public_key(&SECRET));
        assert_eq!(item.target(), mutable_target(&key, b"salt"));
        let again = Item::signed(&key, b"salt", seq, &signature, b"5:hello");
        assert_eq!(again, Ok(item));

        let wrong = Err(ItemError::WrongSignature);
        assert_eq!(Item::signed(&key, b"", seq, &signature, b"5:hello"), wrong);
        assert_eq!(
            Item::signed(&key, b"salt", 5, &signature, b"5:hello"),
            wrong
        );
        assert_eq!(
            Item::signed(&key, b"salt", seq, &signature, b"5:hellO"),
            wrong
        );
        assert_eq!(
            Item::signed(&[2; 32], b"salt", seq, &signature, b"5:hello"),
            wrong
        );
        for bit in 0..8 * SIGNATURE_LEN {
            let mut bent = signature;
            bent[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                Item::signed(&key, b"salt", seq, &bent, b"5:hello"),
                wrong,
                "{bit}"
            );
        }
    }

    #[test]
    fn a_key_under_which_everything_is_valid_is_none() {
        // The neutral point as key and as R, and s = 0: valid for every message by the equation.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let mut signature = [0; 64];
        signature[0] = 1;
        let key = VerifyingKey::from_bytes(&neutral).expect("a point");
        let parsed = Signature::from_bytes(&signature);
        assert!(ed25519_dalek::Verifier::verify(&key, b"anything", &parsed).is_ok());
        let item = Item::signed(&neutral, b"", 1, &signature, b"5:hello");
        assert_eq!(item, Err(ItemError::WrongSignature));
    }

    #[test]
    fn no_target_is_that_of_a_value_and_of_an_owner() {
        let key = |head: &[u8; 3]| {
            let mut key = [b'a'; KEY_LEN];
            key[..3].copy_from_slice(head);
            key
        };
        let rows = [
            (key(b"29:"), 0, Err(ItemError::KeyIsValue)),
            (key(b"93:"), 64, Err(ItemError::KeyIsValue)),
            (key(b"29:"), 1, Err(ItemError::WrongSignature)),
            (key(b"93:"), 63, Err(ItemError::WrongSignature)),
        ];
        for (key, len, expected) in rows {
            let salt = vec![b'a'; len];
            let named = [&key, &salt[..]].concat();
            let value = Item::immutable(&named).map(|item| item.target());
            let twins = value == Ok(mutable_target(&key, &salt));
            assert_eq!(twins, expected == Err(ItemError::KeyIsValue), "{len}");
            let signed = Item::signed(&key, &salt, 1, &[1; SIGNATURE_LEN], b"1:x");
            assert_eq!(signed.map(|_| ()), expected, "{len}");
        }
    }

    #[test]
    fn values_are_canonical_and_bounded() {
        let long = |len: usize| format!("{len}:{}", "x".repeat(len)).into_bytes();
        let nested = |depth: usize| ["l".repeat(depth), "e".repeat(depth)].concat().into_bytes();
        let many = |count: usize| ["l".into(), "le".repeat(count), "e".into()].concat();
        let rows: [(Vec<u8>, Result<(), ItemError>); 16] = [
            (long(996), Ok(())),
            (long(997), Err(ItemError::ValueTooBig { len: 1_001 })),
            (b"i42e".to_vec(), Ok(())),
            (b"0:".to_vec(), Ok(())),
            (b"d1:ai1e1:bl1:xee".to_vec(), Ok(())),
            (nested(6), Ok(())),
            (nested(7), Err(ItemError::BadValue)),
            (many(471).into_bytes(), Ok(())),
            (many(472).into_bytes(), Err(ItemError::BadValue)),
            (b"".to_vec(), Err(ItemError::BadValue)),
            (b"i1ei2e".to_vec(), Err(ItemError::BadValue)),
            (b"i007e".to_vec(), Err(ItemError::BadValue)),
            (b"i-0e".to_vec(), Err(ItemError::BadValue)),
            (b"02:ab".to_vec(), Err(ItemError::BadValue)),
            (b"d1:bi1e1:ai2ee".to_vec(), Err(ItemError::BadValue)),
            (b"d1:ai1e1:ai2ee".to_vec(), Err(ItemError::BadValue)),
        ];
        for (value, expected) in rows {
            let made = Item::immutable(&value).map(|_| ());
            assert_eq!(made, expected, "{}", value.escape_ascii());
            let signed = Item::sign(&SECRET, b"", 1, &value).map(|_| ());
            assert_eq!(signed, expected, "{}", value.escape_ascii());
        }
        let salted = |len: usize| Item::sign(&SECRET, &vec![1; len], 1, b"i1e").map(|_| ());
        assert_eq!(salted(64), Ok(()));
        assert_eq!(salted(65), Err(ItemError::SaltTooBig { len: 65 }));
        let negative = Item::sign(&SECRET, b"", -1, b"i1e");
        assert_eq!(negative, Err(ItemError::NegativeSeq));
    }
}
