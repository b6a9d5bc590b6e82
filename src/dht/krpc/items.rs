//! The fields of items ([BEP 44]), of scrapes ([BEP 33]) and of samples ([BEP 51]).
//!
//! [BEP 33]: https://www.bittorrent.org/beps/bep_0033.html
//! [BEP 44]: https://www.bittorrent.org/beps/bep_0044.html
//! [BEP 51]: https://www.bittorrent.org/beps/bep_0051.html

use super::{
    super::{
        item::{KEY_LEN, MAX_SALT, SIGNATURE_LEN, check_value},
        scrape::BLOOM_LEN,
    },
    Fault, Reply,
};
use crate::{
    bencode::{Value, write_bytes, write_int},
    ids::{ID_LEN, InfoHash},
};

/// What a `put` asks to store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Put<'a> {
    /// `v`, bencoded.
    pub value: &'a [u8],
    /// What our `get` reply handed out.
    pub token: &'a [u8],
    /// What a mutable item has beside.
    pub signed: Option<Signed<'a>>,
    /// The sequence number that is to be replaced, and no other. Only with `signed`.
    pub cas: Option<i64>,
}

/// What a mutable item has beside its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed<'a> {
    /// `k`: the owner's public key.
    pub key: &'a [u8; KEY_LEN],
    /// `salt`; empty if there is none.
    pub salt: &'a [u8],
    /// `seq`, not negative.
    pub seq: i64,
    /// `sig`, unchecked.
    pub signature: &'a [u8; SIGNATURE_LEN],
}

/// BEP 33: the IP addresses of those who announced a torrent, as filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filters<'a> {
    /// `BFsd`: those who said that they are seeds.
    pub seeds: &'a [u8; BLOOM_LEN],
    /// `BFpe`: all others.
    pub peers: &'a [u8; BLOOM_LEN],
}

/// BEP 51: what a node tells of its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample<'a> {
    /// After how many seconds there is another sample.
    pub interval: i64,
    /// How many torrents there are in all.
    pub num: i64,
    /// Info-hashes, end to end.
    pub hashes: &'a [u8],
}

impl<'a> Sample<'a> {
    /// The info-hashes; none if the list is cut in the middle.
    pub fn info_hashes(&self) -> impl Iterator<Item = InfoHash> + 'a {
        let (hashes, rest) = self.hashes.as_chunks::<ID_LEN>();
        let hashes = if rest.is_empty() { hashes } else { &[] };
        hashes.iter().copied().map(InfoHash::new)
    }
}

/// The arguments of `get` and `put` as they stand.
#[derive(Default)]
pub(super) struct ItemArguments<'a> {
    value: Option<Value<'a>>,
    key: Option<Value<'a>>,
    salt: Option<Value<'a>>,
    seq: Option<Value<'a>>,
    signature: Option<Value<'a>>,
    cas: Option<Value<'a>>,
}

impl<'a> ItemArguments<'a> {
    pub(super) fn read(&mut self, key: &[u8], value: Value<'a>) {
        match key {
            b"v" => self.value = Some(value),
            b"k" => self.key = Some(value),
            b"salt" => self.salt = Some(value),
            b"seq" => self.seq = Some(value),
            b"sig" => self.signature = Some(value),
            b"cas" => self.cas = Some(value),
            _ => {}
        }
    }

    /// The `seq` of a `get`.
    pub(super) fn wanted_seq(&self) -> Result<Option<i64>, Fault> {
        self.seq
            .map(|seq| seq.as_int().ok_or(Fault::BadSeq))
            .transpose()
    }

    /// All of a `put`, but for what only the store can judge.
    pub(super) fn put(&self, token: Option<&'a [u8]>) -> Result<Put<'a>, Fault> {
        let value = self.value.ok_or(Fault::NoValue)?.raw();
        check_value(value).map_err(Fault::from)?;
        let signed = self.signed()?;
        let cas = match (signed, self.cas) {
            (Some(_), Some(cas)) => Some(cas.as_int().ok_or(Fault::BadCas)?),
            // BEP 44: it applies to mutable items only.
            _ => None,
        };
        Ok(Put {
            value,
            token: token.ok_or(Fault::BadToken)?,
            signed,
            cas,
        })
    }

    /// All three or none: a value without a signature must not get under a key's target.
    fn signed(&self) -> Result<Option<Signed<'a>>, Fault> {
        let (key, seq, signature) = match (self.key, self.seq, self.signature) {
            (None, None, None) => return Ok(None),
            (Some(key), Some(seq), Some(signature)) => (key, seq, signature),
            _ => return Err(Fault::HalfSigned),
        };
        let salt = self.salt.map(|salt| salt.as_bytes().ok_or(Fault::BadSalt));
        let salt = salt.transpose()?.unwrap_or_default();
        if salt.len() > MAX_SALT {
            return Err(Fault::SaltTooBig);
        }
        let seq = seq.as_int().filter(|seq| *seq >= 0);
        Ok(Some(Signed {
            key: array(key).ok_or(Fault::BadKey)?,
            salt,
            seq: seq.ok_or(Fault::BadSeq)?,
            signature: array(signature).ok_or(Fault::BadSignature)?,
        }))
    }
}

fn array<'a, const LEN: usize>(value: Value<'a>) -> Option<&'a [u8; LEN]> {
    value.as_bytes()?.try_into().ok()
}

impl Put<'_> {
    /// What stands before `id`.
    pub(super) fn encode_cas(&self, out: &mut Vec<u8>) {
        if let Some(cas) = self.cas.filter(|_| self.signed.is_some()) {
            out.extend_from_slice(b"3:cas");
            write_int(out, cas);
        }
    }

    /// What stands behind it.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        if let Some(signed) = &self.signed {
            out.extend_from_slice(b"1:k32:");
            out.extend_from_slice(signed.key);
            if !signed.salt.is_empty() {
                out.extend_from_slice(b"4:salt");
                write_bytes(out, signed.salt);
            }
            out.extend_from_slice(b"3:seq");
            write_int(out, signed.seq);
            out.extend_from_slice(b"3:sig64:");
            out.extend_from_slice(signed.signature);
        }
        out.extend_from_slice(b"5:token");
        write_bytes(out, self.token);
        out.extend_from_slice(b"1:v");
        out.extend_from_slice(self.value);
    }
}

impl Filters<'_> {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"4:BFpe256:");
        out.extend_from_slice(self.peers);
        out.extend_from_slice(b"4:BFsd256:");
        out.extend_from_slice(self.seeds);
    }
}

/// Writes a key with the value 1, or nothing.
pub(super) fn write_flag(out: &mut Vec<u8>, key: &[u8], set: bool) {
    if set {
        out.extend_from_slice(key);
        out.extend_from_slice(b"i1e");
    }
}

/// The fields of a reply that few have. One that is malformed counts as missing.
#[derive(Default)]
pub(super) struct ReplyExtras<'a> {
    seeds: Option<&'a [u8; BLOOM_LEN]>,
    peers: Option<&'a [u8; BLOOM_LEN]>,
    value: Option<&'a [u8]>,
    key: Option<&'a [u8; KEY_LEN]>,
    signature: Option<&'a [u8; SIGNATURE_LEN]>,
    seq: Option<i64>,
    interval: Option<i64>,
    num: Option<i64>,
    samples: Option<&'a [u8]>,
}

impl<'a> ReplyExtras<'a> {
    pub(super) fn read(&mut self, key: &[u8], value: Value<'a>) {
        match key {
            b"BFsd" => self.seeds = array(value),
            b"BFpe" => self.peers = array(value),
            b"v" => self.value = Some(value.raw()),
            b"k" => self.key = array(value),
            b"sig" => self.signature = array(value),
            b"seq" => self.seq = value.as_int(),
            b"interval" => self.interval = value.as_int(),
            b"num" => self.num = value.as_int(),
            b"samples" => self.samples = value.as_bytes(),
            _ => {}
        }
    }

    pub(super) fn add_to(self, reply: &mut Reply<'a>) {
        if let (Some(seeds), Some(peers)) = (self.seeds, self.peers) {
            reply.filters = Some(Filters { seeds, peers });
        }
        reply.value = self.value;
        reply.key = self.key;
        reply.signature = self.signature;
        reply.seq = self.seq;
        // BEP 51: it is the field `samples` that tells who supports this.
        reply.sample = self.samples.map(|hashes| Sample {
            interval: self.interval.unwrap_or_default(),
            num: self.num.unwrap_or_default(),
            hashes,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Body, Message, Method, Query, decode},
        *,
    };
    use crate::{
        bencode::{self, Limits},
        ids::NodeId,
    };

    fn encoded(body: Body<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        let message = Message {
            tid: b"aa",
            version: None,
            ip: None,
            read_only: false,
            body,
        };
        message.encode(&mut bytes);
        let scanned = bencode::scan(&bytes, Limits::KRPC).expect("our own encoding");
        assert!(scanned.canonical, "{}", bytes.escape_ascii());
        bytes
    }

    #[test]
    fn queries_round_trip_with_every_field() {
        let signed = Signed {
            key: &[1; 32],
            salt: b"salt",
            seq: i64::MAX,
            signature: &[2; 64],
        };
        let put = Put {
            value: b"d1:ai1ee",
            token: b"tok",
            signed: Some(signed),
            cas: Some(3),
        };
        let (target, info_hash) = (NodeId::new([3; 20]), InfoHash::new([4; 20]));
        let rows = [
            Method::Put(put),
            Method::Put(Put {
                signed: Some(Signed {
                    salt: b"",
                    ..signed
                }),
                cas: None,
                ..put
            }),
            Method::Put(Put {
                signed: None,
                cas: None,
                ..put
            }),
            Method::Get { target, seq: None },
            Method::Get {
                target,
                seq: Some(0),
            },
            Method::SampleInfohashes { target },
            Method::GetPeers {
                info_hash,
                noseed: true,
                scrape: true,
            },
            Method::get_peers(info_hash),
            Method::AnnouncePeer {
                info_hash,
                port: Some(1),
                token: b"tok",
                seed: true,
            },
        ];
        for method in rows {
            let query = Query {
                id: NodeId::new([9; 20]),
                method,
                want: None,
            };
            let bytes = encoded(Body::Query(query));
            let Body::Query(again) = decode(&bytes).expect("our own encoding").body else {
                panic!("{method:?}")
            };
            assert_eq!(again, query);
        }
    }

    #[test]
    fn replies_round_trip_with_every_field() {
        let reply = Reply {
            nodes: Some(&[]),
            token: Some(b"tok"),
            filters: Some(Filters {
                seeds: &[1; 256],
                peers: &[2; 256],
            }),
            value: Some(b"l1:xe"),
            key: Some(&[3; 32]),
            signature: Some(&[4; 64]),
            seq: Some(0),
            sample: Some(Sample {
                interval: 21_600,
                num: 7,
                hashes: &[5; 40],
            }),
            ..Reply::new(NodeId::new([9; 20]))
        };
        let bytes = encoded(Body::Reply(reply));
        let Body::Reply(again) = decode(&bytes).expect("our own encoding").body else {
            panic!("no reply")
        };
        assert_eq!(again.filters, reply.filters);
        assert_eq!((again.value, again.key), (reply.value, reply.key));
        assert_eq!((again.signature, again.seq), (reply.signature, reply.seq));
        assert_eq!(again.sample, reply.sample);
        let sample = again.sample.expect("a sample");
        assert_eq!(sample.info_hashes().count(), 2);
        let hashes = &[5; 41];
        assert_eq!(Sample { hashes, ..sample }.info_hashes().count(), 0);
    }

    fn put(before: &str, salt: &str, seq: &str, sig: &str, v: &str) -> String {
        let id = "i".repeat(20);
        format!("d1:ad{before}2:id20:{id}{salt}{seq}{sig}5:token1:t{v}e1:q3:put1:t1:x1:y1:qe")
    }

    #[test]
    fn faulty_puts_and_gets_get_their_codes() {
        let (key, signature) = ("k".repeat(32), "s".repeat(64));
        let k = &format!("1:k32:{key}");
        let sig = &format!("3:sig64:{signature}");
        let salted = |len: usize| format!("{k}4:salt{len}:{}", "x".repeat(len));
        let long = |len: usize| format!("1:v{len}:{}", "x".repeat(len));
        let rows = [
            (put("", "", "", "", "1:vi1e"), None),
            (put("", k, "3:seqi0e", sig, "1:vi1e"), None),
            (put("", &salted(64), "3:seqi0e", sig, &long(996)), None),
            (put("3:casi-1e", k, "3:seqi0e", sig, "1:vi1e"), None),
            // Without a key it is ignored.
            (put("3:cas1:x", "4:salti1e", "", "", "1:vi1e"), None),
            (put("", "", "", "", ""), Some((203, Fault::NoValue))),
            (put("", "", "", "", "1:vi01e"), Some((203, Fault::BadValue))),
            (
                put("", "", "", "", "1:vd1:bi1e1:ai2ee"),
                Some((203, Fault::BadValue)),
            ),
            (
                put("", "", "", "", &long(997)),
                Some((205, Fault::ValueTooBig)),
            ),
            (put("", k, "", "", "1:vi1e"), Some((203, Fault::HalfSigned))),
            (
                put("", k, "3:seqi1e", "", "1:vi1e"),
                Some((203, Fault::HalfSigned)),
            ),
            (
                put("", k, "", sig, "1:vi1e"),
                Some((203, Fault::HalfSigned)),
            ),
            (
                put("", "", "3:seqi1e", sig, "1:vi1e"),
                Some((203, Fault::HalfSigned)),
            ),
            (
                put("", "1:k1:x", "3:seqi1e", sig, "1:vi1e"),
                Some((203, Fault::BadKey)),
            ),
            (
                put("", k, "3:seq1:1", sig, "1:vi1e"),
                Some((203, Fault::BadSeq)),
            ),
            (
                put("", k, "3:seqi-1e", sig, "1:vi1e"),
                Some((203, Fault::BadSeq)),
            ),
            (
                put("", k, "3:seqi9223372036854775808e", sig, "1:vi1e"),
                Some((203, Fault::BadSeq)),
            ),
            (
                put("", k, "3:seqi1e", "3:sig1:x", "1:vi1e"),
                Some((203, Fault::BadSignature)),
            ),
            (
                put("", &salted(65), "3:seqi1e", sig, "1:vi1e"),
                Some((207, Fault::SaltTooBig)),
            ),
            (
                put("", &format!("{k}4:salti1e"), "3:seqi1e", sig, "1:vi1e"),
                Some((203, Fault::BadSalt)),
            ),
            (
                put("3:cas1:x", k, "3:seqi1e", sig, "1:vi1e"),
                Some((203, Fault::BadCas)),
            ),
            (
                put("", "", "", "", "1:vi1e").replace("5:token1:t", ""),
                Some((203, Fault::BadToken)),
            ),
            (
                "d1:ad2:id20:iiiiiiiiiiiiiiiiiiiie1:q3:get1:t1:x1:y1:qe".into(),
                Some((203, Fault::BadTarget)),
            ),
            (
                "d1:ad2:id20:iiiiiiiiiiiiiiiiiiii3:seq1:16:target20:iiiiiiiiiiiiiiiiiiiie\
                 1:q3:get1:t1:x1:y1:qe"
                    .into(),
                Some((203, Fault::BadSeq)),
            ),
            (
                "d1:ad2:id20:iiiiiiiiiiiiiiiiiiiie1:q17:sample_infohashes1:t1:x1:y1:qe".into(),
                Some((203, Fault::BadTarget)),
            ),
        ];
        for (bytes, expected) in rows {
            let body = decode(bytes.as_bytes()).expect(&bytes).body;
            match (body, expected) {
                (Body::Query(_), None) => {}
                (Body::Malformed(fault), Some((code, expected))) => {
                    assert_eq!((fault.reply().0, fault), (code, expected), "{bytes}");
                }
                (body, _) => panic!("{bytes}: {body:?}"),
            }
        }
    }
}
