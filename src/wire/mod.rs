//! The peer wire protocol: bytes to messages and back, and nothing else.
//!
//! [`handshake`] is the 68 bytes in front, [`message`] what follows (BEP 3, 5, 6), [`decoder`]
//! turns a stream of bytes into whole messages under limits, and [`extension`] reads and builds
//! the payloads of BEP 10: its handshake, `ut_metadata` (BEP 9) and `ut_pex` (BEP 11). [`fast`]
//! draws the allowed-fast set of BEP 6.

pub mod decoder;
pub mod extension;
pub mod fast;
pub mod handshake;
pub mod message;

pub use decoder::{DecodeError, Decoder};
pub use handshake::{HANDSHAKE_LEN, Handshake, Reserved};
pub use message::Message;
