//! What can be wrong with a query, and the code and text that its sender gets for it.

/// BEP 5: an error that has no code of its own.
pub const GENERIC_ERROR: i64 = 201;
/// BEP 5: the node cannot do it.
pub const SERVER_ERROR: i64 = 202;
/// BEP 5: malformed packet, invalid arguments, or bad token.
pub const PROTOCOL_ERROR: i64 = 203;
/// BEP 5: method unknown.
pub const METHOD_UNKNOWN: i64 = 204;
/// BEP 44: `v` is too long.
pub const VALUE_TOO_BIG: i64 = 205;
/// BEP 44: the signature is not right.
pub const INVALID_SIGNATURE: i64 = 206;
/// BEP 44: `salt` is too long.
pub const SALT_TOO_BIG: i64 = 207;
/// BEP 44: `cas` is not the sequence number of what is stored.
pub const CAS_MISMATCH: i64 = 301;
/// BEP 44: what is stored has a higher sequence number, or the same and another value.
pub const SEQ_TOO_LOW: i64 = 302;

/// What is wrong with a query, with the code and text that its sender gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `y` is missing or unknown.
    NoKind,
    /// `q` is missing.
    NoMethod,
    /// `a` is missing or no dictionary.
    NoArguments,
    /// `id` is missing or not 20 bytes.
    BadId,
    /// `target` is missing or not 20 bytes.
    BadTarget,
    /// `info_hash` is missing or not 20 bytes.
    BadInfoHash,
    /// `port` is missing or not in 1..=65535.
    BadPort,
    /// `token` is missing, or not the one we gave.
    BadToken,
    /// A method that we do not know, and no target in it.
    UnknownMethod,
    /// `v` is missing.
    NoValue,
    /// `v` is not canonical bencode, or nested or divided more than anybody reads.
    BadValue,
    /// `v` is longer than 1,000 bytes.
    ValueTooBig,
    /// Of `k`, `seq` and `sig` some are there and some are not.
    HalfSigned,
    /// `k` is not 32 bytes.
    BadKey,
    /// `seq` is no number, or a negative one.
    BadSeq,
    /// `sig` is not 64 bytes.
    BadSignature,
    /// `salt` is not a string.
    BadSalt,
    /// `salt` is longer than 64 bytes.
    SaltTooBig,
    /// `cas` is no number.
    BadCas,
    /// `sig` is not the signature of `k` for the rest.
    WrongSignature,
    /// `cas` is not the sequence number of what is stored.
    CasMismatch,
    /// `seq` is not higher than that of what is stored.
    SeqTooLow,
    /// The sender's part of the network has as many items here as it may.
    SourceFull,
    /// The store is full of items that are closer to us.
    StoreFull,
}

impl Fault {
    /// The KRPC error code and text.
    pub fn reply(self) -> (i64, &'static str) {
        match self {
            Self::NoKind => (PROTOCOL_ERROR, "missing or unknown 'y'"),
            Self::NoMethod => (PROTOCOL_ERROR, "missing 'q'"),
            Self::NoArguments => (PROTOCOL_ERROR, "missing 'a'"),
            Self::BadId => (PROTOCOL_ERROR, "invalid 'id'"),
            Self::BadTarget => (PROTOCOL_ERROR, "invalid 'target'"),
            Self::BadInfoHash => (PROTOCOL_ERROR, "invalid 'info_hash'"),
            Self::BadPort => (PROTOCOL_ERROR, "invalid 'port'"),
            Self::BadToken => (PROTOCOL_ERROR, "invalid 'token'"),
            Self::UnknownMethod => (METHOD_UNKNOWN, "unknown method"),
            Self::NoValue => (PROTOCOL_ERROR, "missing 'v'"),
            Self::BadValue => (PROTOCOL_ERROR, "'v' is not canonical bencode"),
            Self::ValueTooBig => (VALUE_TOO_BIG, "'v' is longer than 1000 bytes"),
            Self::HalfSigned => (PROTOCOL_ERROR, "'k', 'seq' and 'sig' go together"),
            Self::BadKey => (PROTOCOL_ERROR, "invalid 'k'"),
            Self::BadSeq => (PROTOCOL_ERROR, "invalid 'seq'"),
            Self::BadSignature => (PROTOCOL_ERROR, "invalid 'sig'"),
            Self::BadSalt => (PROTOCOL_ERROR, "invalid 'salt'"),
            Self::SaltTooBig => (SALT_TOO_BIG, "'salt' is longer than 64 bytes"),
            Self::BadCas => (PROTOCOL_ERROR, "invalid 'cas'"),
            Self::WrongSignature => (INVALID_SIGNATURE, "wrong signature"),
            Self::CasMismatch => (CAS_MISMATCH, "'cas' is not the stored 'seq'"),
            Self::SeqTooLow => (SEQ_TOO_LOW, "'seq' is not higher than the stored one"),
            Self::SourceFull => (GENERIC_ERROR, "too many items from your network"),
            Self::StoreFull => (SERVER_ERROR, "no room for this item"),
        }
    }
}
