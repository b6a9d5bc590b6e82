//! What must hold for any bytes: the scanner follows the grammar, a stream gives the same messages
//! however it is split, and nothing panics.

use bytes::{Bytes, BytesMut};
use mainswarm::{
    bencode::{self, Limits},
    ids::InfoHash,
    metainfo::{Block, Magnet, Metainfo, PieceIndex},
    wire::{
        Decoder, Message,
        extension::{ExtensionError, ExtensionHandshake, MetadataMessage, PexMessage},
    },
};
use proptest::prelude::*;

fn encode(message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    let rest = message.encode(&mut out).unwrap_or_default();
    out.extend_from_slice(&rest);
    out
}

/// Bencode within serde_bencode's grammar, as text, sometimes with odd but tolerated numbers.
fn bencoded() -> impl Strategy<Value = Vec<u8>> {
    let string = |bytes: &[u8]| [format!("{}:", bytes.len()).as_bytes(), bytes].concat();
    let leaf = prop_oneof![
        any::<i64>().prop_map(|int| format!("i{int}e").into_bytes()),
        "i0[0-9]{1,5}e".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..20).prop_map(move |bytes| string(&bytes)),
    ];
    leaf.prop_recursive(5, 64, 8, move |inner| {
        let list = proptest::collection::vec(inner.clone(), 0..8);
        let list = list.prop_map(|items| [b"l".to_vec(), items.concat(), b"e".to_vec()].concat());
        let key = proptest::collection::vec(any::<u8>(), 0..4);
        let dict = proptest::collection::btree_map(key, inner, 0..8).prop_map(move |entries| {
            let entries = entries.into_iter();
            let entries = entries.map(|(key, value)| [string(&key), value].concat());
            [
                b"d".to_vec(),
                entries.collect::<Vec<_>>().concat(),
                b"e".to_vec(),
            ]
            .concat()
        });
        prop_oneof![list, dict]
    })
}

/// The grammar of BEP 3 in the plainest form, recursive; what follows the first value.
fn after_value(input: &[u8]) -> Option<&[u8]> {
    let number = |input: &'_ [u8], end: u8| {
        let at = input.iter().position(|byte| *byte == end)?;
        let digits = std::str::from_utf8(&input[..at]).ok()?;
        let sound = (1..=24).contains(&at) && digits.bytes().all(|byte| byte.is_ascii_digit());
        sound.then(|| (digits.parse::<u128>().unwrap(), at + 1))
    };
    let string = |input: &'_ [u8]| {
        let (len, at) = number(input, b':')?;
        Some(at + usize::try_from(len).ok()?)
    };
    let (first, mut rest) = input.split_first()?;
    match first {
        b'i' => {
            rest = rest.strip_prefix(b"-").unwrap_or(rest);
            rest.get(number(rest, b'e')?.1..)
        }
        b'l' | b'd' => loop {
            if let Some(rest) = rest.strip_prefix(b"e") {
                return Some(rest);
            }
            if *first == b'd' {
                rest = rest.get(string(rest)?..)?;
            }
            rest = after_value(rest)?;
        },
        _ => input.get(string(input)?..),
    }
}

fn message() -> impl Strategy<Value = Message> {
    let piece = any::<u32>().prop_map(PieceIndex);
    let block = (any::<u32>(), any::<u32>(), any::<u32>()).prop_map(|(piece, begin, len)| Block {
        piece: PieceIndex(piece),
        begin,
        len,
    });
    let bytes = || proptest::collection::vec(any::<u8>(), 0..600).prop_map(Bytes::from);
    prop_oneof![
        proptest::sample::select(vec![
            Message::KeepAlive,
            Message::Choke,
            Message::Unchoke,
            Message::Interested,
            Message::NotInterested,
            Message::HaveAll,
            Message::HaveNone,
            Message::Unknown(21),
        ]),
        (piece.clone(), 0..3u8).prop_map(|(piece, kind)| match kind {
            0 => Message::Have(piece),
            1 => Message::SuggestPiece(piece),
            _ => Message::AllowedFast(piece),
        }),
        (block, 0..3u8).prop_map(|(block, kind)| match kind {
            0 => Message::Request(block),
            1 => Message::Cancel(block),
            _ => Message::RejectRequest(block),
        }),
        any::<u16>().prop_map(Message::Port),
        bytes().prop_map(Message::Bitfield),
        (any::<u8>(), bytes()).prop_map(|(id, payload)| Message::Extended { id, payload }),
        (piece, any::<u32>(), bytes()).prop_map(|(piece, begin, data)| {
            let len = data.len() as u32;
            let block = Block { piece, begin, len };
            Message::Piece { block, data }
        }),
    ]
}

proptest! {
    #[test]
    fn the_scanner_takes_what_serde_takes(bytes in bencoded()) {
        use serde_bencode::value::Value as Serde;
        let serde: Serde = serde_bencode::from_bytes(&bytes).unwrap();
        let scan = bencode::scan(&bytes, Limits::FILE).unwrap();
        prop_assert_eq!(scan.value.raw(), &bytes[..]);
        let again = serde_bencode::to_bytes(&serde).unwrap();
        // Serde writes canonically, so canonical is what comes out as it went in.
        prop_assert_eq!(scan.canonical, again == bytes);
        prop_assert!(bencode::scan(&bytes[..bytes.len() - 1], Limits::FILE).is_err());
    }

    #[test]
    fn the_scanner_follows_the_grammar_on_damage(
        mut bytes in bencoded(),
        index in any::<prop::sample::Index>(),
        byte in prop_oneof![
            proptest::sample::select(b"eldi:-+0 ".to_vec()),
            b'0'..=b'9',
        ],
    ) {
        let at = index.index(bytes.len());
        bytes[at] = byte;
        let rest = bencode::scan(&bytes, Limits::FILE).ok().map(|scan| scan.rest);
        prop_assert_eq!(rest, after_value(&bytes));
    }

    #[test]
    fn any_split_of_a_stream_gives_the_same_messages(
        messages in proptest::collection::vec(message(), 0..20),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let stream: Vec<u8> = messages.iter().flat_map(encode).collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.push(stream.len());
        cuts.sort_unstable();
        let (mut decoder, mut buffer) = (Decoder::new(), BytesMut::new());
        let (mut decoded, mut at) = (Vec::new(), 0);
        for cut in cuts {
            buffer.extend_from_slice(&stream[at..cut]);
            at = cut;
            while let Some(message) = decoder.decode(&mut buffer).unwrap() {
                decoded.push(message);
            }
            let missing = decoder.missing();
            prop_assert!(at + missing <= stream.len());
        }
        prop_assert_eq!(decoded, messages);
        prop_assert!(buffer.is_empty());
    }

    #[test]
    fn nothing_panics_on_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        let mut buffer = BytesMut::from(&bytes[..]);
        let mut decoder = Decoder::new();
        while let Ok(Some(_)) = decoder.decode(&mut buffer) {}
        let shared = Bytes::from(bytes);
        let _ = bencode::scan(&shared, Limits::FILE);
        let _ = ExtensionHandshake::decode(&shared);
        let _ = PexMessage::decode(&shared);
        let _ = MetadataMessage::decode(&shared);
        let _ = Metainfo::from_torrent(&shared);
        let _ = Metainfo::from_info(shared.clone());
        let _ = String::from_utf8_lossy(&shared).parse::<Magnet>();
    }

    #[test]
    fn nothing_panics_on_bytes_that_are_nearly_right(
        value in bencoded(),
        tail in proptest::collection::vec(any::<u8>(), 0..10),
        key in proptest::sample::select(vec![
            "m", "metadata_size", "p", "reqq", "upload_only", "v", "yourip", "msg_type", "piece",
            "total_size", "added", "added.f", "dropped", "added6", "info",
        ]),
    ) {
        let entry = [format!("d{}:{key}", key.len()).as_bytes(), &value, b"e", &tail].concat();
        let shared = Bytes::from(entry);
        prop_assert!(!matches!(
            ExtensionHandshake::decode(&shared),
            Err(ExtensionError::Field(_))
        ));
        let _ = PexMessage::decode(&shared);
        let _ = MetadataMessage::decode(&shared);
        prop_assert!(Metainfo::from_torrent(&shared).is_err());
    }

    #[test]
    fn magnets_read_back_whatever_the_name(
        hash in any::<[u8; 20]>(),
        name in "\\PC{1,40}",
        junk in "[a-z=&%+.:0-9]{0,60}",
    ) {
        let mut magnet = Magnet::new(InfoHash::new(hash));
        magnet.name = Some(name);
        prop_assert_eq!(magnet.to_string().parse(), Ok(magnet.clone()));
        // What comes later never changes the torrent.
        let more: Magnet = format!("{magnet}&{junk}").parse().unwrap();
        prop_assert_eq!(more.info_hash, magnet.info_hash);
    }
}
