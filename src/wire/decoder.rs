//! Bytes in, whole messages out.
//!
//! A length prefix is only a claim: it is judged by the limit of its message as soon as the id is
//! there, before the bytes are, and nothing is allocated for it. Block data, bitfields and
//! extension payloads leave as slices of the read buffer. What a number *means* (whether a piece
//! exists, whether a bitfield fits) is for who knows the torrent.

use std::io::IoSlice;

use bytes::{Buf, Bytes};

use super::{Message, extension, message::id};
use crate::metainfo::{Block, PieceIndex};

/// Why a stream is not the peer wire protocol; the connection must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A length prefix over the limit for its message.
    #[error("message of {len} bytes is longer than allowed")]
    TooLong {
        /// The length prefix.
        len: u32,
    },
    /// A payload of the wrong size for its message id.
    #[error("message {id} has a payload of the wrong size")]
    BadLength {
        /// The message id.
        id: u8,
    },
}

/// Cuts a byte stream into messages. The caller reads into its buffer and calls
/// [`Decoder::decode`] until it gives `None`.
#[derive(Debug, Default)]
pub struct Decoder {
    missing: usize,
}

impl Decoder {
    /// A decoder for a connection whose handshake is done.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one whole message off the front of `buffer`, block data as a slice of it, uncopied.
    /// The buffer may be of several parts; data that lie in two of them are copied.
    ///
    /// O(1) while the message is incomplete. After an error the buffer means nothing.
    pub fn decode(&mut self, buffer: &mut impl Buf) -> Result<Option<Message>, DecodeError> {
        self.missing = 0;
        let (front, count) = front(buffer);
        let Some((prefix, ids)) = front[..count].split_first_chunk::<PREFIX_LEN>() else {
            return Ok(None);
        };
        let len = u32::from_be_bytes(*prefix);
        if len == 0 {
            buffer.advance(PREFIX_LEN);
            return Ok(Some(Message::KeepAlive));
        }
        if len > MAX_LEN {
            return Err(DecodeError::TooLong { len });
        }
        if let [id, extended @ ..] = ids {
            check_len(*id, len, extended.first().copied())?;
        }
        let whole = PREFIX_LEN + len as usize;
        if buffer.remaining() < whole {
            self.missing = whole - buffer.remaining();
            return Ok(None);
        }
        Ok(Some(take(buffer, len)))
    }

    /// How many bytes the message at the front still lacks, by its own (checked) length prefix;
    /// 0 when that is unknown. A hint for the size of the next read, at most 1 MiB.
    pub fn missing(&self) -> usize {
        self.missing
    }
}

/// A copy of the first bytes, from several parts if need be, and how many there are.
fn front(buffer: &impl Buf) -> ([u8; FRONT_LEN], usize) {
    let mut front = [0; FRONT_LEN];
    let chunk = buffer.chunk();
    if let Some(whole) = chunk.first_chunk() {
        return (*whole, FRONT_LEN);
    }
    let mut parts = [IoSlice::new(&[]); FRONT_LEN];
    let full = buffer.chunks_vectored(&mut parts);
    let bytes = parts[..full].iter().flat_map(|part| part.iter());
    let mut count = 0;
    for (place, byte) in front.iter_mut().zip(bytes) {
        *place = *byte;
        count += 1;
    }
    (front, count)
}

/// Judges a length prefix, id byte included, by the message's id and, for an extended message, by
/// the extended id if it is here already.
fn check_len(id: u8, len: u32, extended: Option<u8>) -> Result<(), DecodeError> {
    let (min, max) = match id {
        id::CHOKE..=id::NOT_INTERESTED | id::HAVE_ALL | id::HAVE_NONE => (1, 1),
        id::HAVE | id::SUGGEST_PIECE | id::ALLOWED_FAST => (5, 5),
        id::REQUEST | id::CANCEL | id::REJECT_REQUEST => (13, 13),
        id::PORT => (3, 3),
        id::BITFIELD => (1, 1 + MAX_BITFIELD),
        id::PIECE => (9, 9 + MAX_BLOCK),
        id::EXTENDED if extended == Some(extension::HANDSHAKE_ID) => (2, 2 + MAX_EXT_HANDSHAKE),
        id::EXTENDED => (2, MAX_LEN),
        _ => (1, 1 + MAX_UNKNOWN),
    };
    if len < min || (len > max && min == max) {
        return Err(DecodeError::BadLength { id });
    }
    if len > max {
        return Err(DecodeError::TooLong { len });
    }
    Ok(())
}

/// Takes a message that is complete and of a permitted length.
fn take(buffer: &mut impl Buf, len: u32) -> Message {
    buffer.advance(PREFIX_LEN);
    let id = buffer.get_u8();
    let left = len as usize - 1;
    match id {
        id::CHOKE => Message::Choke,
        id::UNCHOKE => Message::Unchoke,
        id::INTERESTED => Message::Interested,
        id::NOT_INTERESTED => Message::NotInterested,
        id::HAVE => Message::Have(PieceIndex(buffer.get_u32())),
        id::BITFIELD => Message::Bitfield(buffer.copy_to_bytes(left)),
        id::REQUEST => Message::Request(block(buffer)),
        id::PIECE => {
            let piece = PieceIndex(buffer.get_u32());
            let begin = buffer.get_u32();
            let data: Bytes = buffer.copy_to_bytes(left - 8);
            let block = Block {
                piece,
                begin,
                len: data.len() as u32,
            };
            Message::Piece { block, data }
        }
        id::CANCEL => Message::Cancel(block(buffer)),
        id::PORT => Message::Port(buffer.get_u16()),
        id::SUGGEST_PIECE => Message::SuggestPiece(PieceIndex(buffer.get_u32())),
        id::HAVE_ALL => Message::HaveAll,
        id::HAVE_NONE => Message::HaveNone,
        id::REJECT_REQUEST => Message::RejectRequest(block(buffer)),
        id::ALLOWED_FAST => Message::AllowedFast(PieceIndex(buffer.get_u32())),
        id::EXTENDED => Message::Extended {
            id: buffer.get_u8(),
            payload: buffer.copy_to_bytes(left - 1),
        },
        unknown => {
            buffer.advance(left);
            Message::Unknown(unknown)
        }
    }
}

fn block(buffer: &mut impl Buf) -> Block {
    Block {
        piece: PieceIndex(buffer.get_u32()),
        begin: buffer.get_u32(),
        len: buffer.get_u32(),
    }
}

const PREFIX_LEN: usize = 4;
/// The length prefix, the id, and the id of an extended message.
const FRONT_LEN: usize = PREFIX_LEN + 2;
/// BEP 3: clients close on requests over 128 KiB; nobody sends blocks longer than that.
const MAX_BLOCK: u32 = 128 * 1024;
/// Four million pieces, the most that a torrent may have ([`crate::metainfo`]).
const MAX_BITFIELD: u32 = 512 * 1024;
/// Ours: real extension handshakes have some hundred bytes.
const MAX_EXT_HANDSHAKE: u32 = 64 * 1024;
/// Ours: a message that nobody defined is thrown away, so it may not cost more than a block.
const MAX_UNKNOWN: u32 = 128 * 1024;
/// No message is longer: what an extended one may have, ids included.
const MAX_LEN: u32 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;

    fn decode(bytes: &[u8]) -> Result<Option<Message>, DecodeError> {
        Decoder::new().decode(&mut BytesMut::from(bytes))
    }

    #[test]
    fn limits_are_judged_before_the_bytes_arrive() {
        for (name, bytes, error) in [
            (
                "huge, id not yet here",
                &[0xff, 0xff, 0xff, 0xff][..],
                DecodeError::TooLong { len: u32::MAX },
            ),
            (
                "block over 128 KiB",
                &[0, 2, 0, 10, id::PIECE],
                DecodeError::TooLong { len: 131_082 },
            ),
            (
                "bitfield over 4 M pieces",
                &[0, 8, 0, 2, id::BITFIELD],
                DecodeError::TooLong { len: 524_290 },
            ),
            (
                "extension handshake over 64 KiB",
                &[0, 1, 0, 3, id::EXTENDED, 0],
                DecodeError::TooLong { len: 65_539 },
            ),
            (
                "unknown over 128 KiB",
                &[0, 2, 0, 2, 99],
                DecodeError::TooLong { len: 131_074 },
            ),
            (
                "extended without an id",
                &[0, 0, 0, 1, id::EXTENDED],
                DecodeError::BadLength { id: id::EXTENDED },
            ),
            (
                "request one byte long",
                &[0, 0, 0, 14, id::REQUEST],
                DecodeError::BadLength { id: id::REQUEST },
            ),
            (
                "piece without begin",
                &[0, 0, 0, 5, id::PIECE],
                DecodeError::BadLength { id: id::PIECE },
            ),
        ] {
            assert_eq!(decode(bytes), Err(error), "{name}");
        }
    }

    #[test]
    fn the_largest_of_each_kind_is_waited_for() {
        for (bytes, missing) in [
            (&[0, 2, 0, 9, id::PIECE][..], 131_080),
            (&[0, 8, 0, 1, id::BITFIELD], 524_288),
            (&[0, 1, 0, 2, id::EXTENDED, 0], 65_536),
            (&[0, 0x10, 0, 0, id::EXTENDED, 1], 1_048_574),
            (&[0, 2, 0, 1, 99], 131_072),
        ] {
            let mut decoder = Decoder::new();
            assert_eq!(decoder.decode(&mut BytesMut::from(bytes)), Ok(None));
            assert_eq!(decoder.missing(), missing);
        }
    }

    #[test]
    fn a_buffer_may_be_of_several_parts() {
        let block = Block {
            piece: PieceIndex(1),
            begin: 2,
            len: 3,
        };
        let data = Bytes::from_static(b"xyz");
        let mut bytes = Vec::new();
        let message = Message::Piece { block, data };
        let data = message.encode(&mut bytes).expect("a block has data");
        for at in 0..=bytes.len() {
            let (first, second) = bytes.split_at(at);
            let mut parts = first.chain(second).chain(data.clone());
            let mut decoder = Decoder::new();
            let decoded = decoder.decode(&mut parts).unwrap().expect("a whole one");
            assert_eq!(decoded, message, "{at}");
            let Message::Piece { data: same, .. } = decoded else {
                panic!("{decoded:?}");
            };
            assert_eq!(same.as_ptr(), data.as_ptr());
            assert_eq!(decoder.decode(&mut parts), Ok(None));
        }
    }

    #[test]
    fn block_data_is_not_copied() {
        let mut buffer = BytesMut::new();
        buffer.extend_from_slice(&[0, 0, 0, 12, id::PIECE, 0, 0, 0, 1, 0, 0, 0, 0]);
        buffer.extend_from_slice(b"abc\0\0\0\0");
        let at = buffer[13..].as_ptr();
        let mut decoder = Decoder::new();
        let Ok(Some(Message::Piece { block, data })) = decoder.decode(&mut buffer) else {
            panic!("not a piece");
        };
        assert_eq!((block.piece.0, block.begin, block.len), (1, 0, 3));
        assert_eq!((data.as_ptr(), &data[..]), (at, &b"abc"[..]));
        assert_eq!(decoder.decode(&mut buffer), Ok(Some(Message::KeepAlive)));
        assert!(buffer.is_empty());
    }

    #[test]
    fn unknown_messages_are_skipped_whole() {
        let mut buffer = BytesMut::from(&[0, 0, 0, 3, 99, b'h', b'i', 0, 0, 0, 1, id::CHOKE][..]);
        let mut decoder = Decoder::new();
        assert_eq!(decoder.decode(&mut buffer), Ok(Some(Message::Unknown(99))));
        assert_eq!(decoder.decode(&mut buffer), Ok(Some(Message::Choke)));
        assert_eq!(decoder.decode(&mut buffer), Ok(None));
    }
}
