//! A torrent's content, made from a seed, and what one peer has of it.
//!
//! All peers of a torrent share one copy of the content. A piece that a peer has verified is equal
//! to it by definition, so a peer keeps bytes of its own only for pieces that are not complete: a
//! thousand peers need no thousand copies. Pieces are hashed once, when the content is made; later
//! their bytes are compared with the content's, since equal bytes have equal hashes.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use mainswarm::{
    bitfield::Bitfield,
    metainfo::{Block, Metainfo, PieceIndex},
    torrent::{
        BlockDigest, StorageDone, StorageFault, StorageFaultKind, StorageOperation, StorageRequest,
    },
};
use sha1::{Digest, Sha1};

use super::hash::mix;

/// A torrent and all its bytes.
#[derive(Debug)]
pub struct Content {
    /// The torrent.
    pub metainfo: Arc<Metainfo>,
    bytes: Bytes,
}

impl Content {
    /// A single-file torrent of `pieces` pieces of `piece_len` bytes, with bytes drawn from `seed`.
    ///
    /// # Panics
    /// If the torrent is not valid, for example with a piece length of 0.
    pub fn generate(seed: u64, pieces: u32, piece_len: u32) -> Arc<Self> {
        let len = u64::from(pieces) * u64::from(piece_len);
        let mut bytes = Vec::with_capacity(len as usize + 8);
        let mut word = mix(seed);
        while (bytes.len() as u64) < len {
            bytes.extend_from_slice(&word.to_le_bytes());
            word = mix(word);
        }
        bytes.truncate(len as usize);

        let name = format!("content-{seed}");
        let mut info = format!(
            "d6:lengthi{len}e4:name{}:{name}12:piece lengthi{piece_len}e6:pieces{}:",
            name.len(),
            20 * pieces
        )
        .into_bytes();
        for piece in bytes.chunks(piece_len as usize) {
            info.extend_from_slice(&Sha1::digest(piece));
        }
        info.push(b'e');
        let metainfo = Metainfo::from_info(info.into());
        Arc::new(Self {
            metainfo: Arc::new(metainfo.expect("the info dictionary is canonical and complete")),
            bytes: bytes.into(),
        })
    }

    fn range(&self, block: Block) -> Option<Bytes> {
        let geometry = self.metainfo.geometry();
        let start = geometry.block_offset(block) as usize;
        geometry
            .contains(block)
            .then(|| self.bytes.slice(start..start + block.len as usize))
    }
}

/// What one peer has of a torrent.
#[derive(Debug)]
pub(crate) struct Store {
    content: Arc<Content>,
    have: Bitfield,
    unfinished: BTreeMap<PieceIndex, BTreeMap<u32, Bytes>>,
    /// Serve wrong bytes: an attacker.
    pub(crate) corrupt: bool,
}

impl Store {
    pub(crate) fn new(content: Arc<Content>, complete: bool, corrupt: bool) -> Self {
        let pieces = content.metainfo.geometry().piece_count();
        Self {
            have: if complete {
                Bitfield::full(pieces)
            } else {
                Bitfield::empty(pieces)
            },
            content,
            unfinished: BTreeMap::new(),
            corrupt,
        }
    }

    pub(crate) fn open(&self) -> StorageDone {
        StorageDone::Opened {
            have: self.have.clone(),
        }
    }

    /// Carries a request out and appends what there is to report.
    pub(crate) fn handle(&mut self, request: StorageRequest, done: &mut Vec<StorageDone>) {
        match request {
            StorageRequest::Read { peer, block } => {
                let data = self.content.range(block);
                done.push(match data.filter(|_| self.have.get(block.piece.0)) {
                    Some(data) => StorageDone::BlockRead {
                        peer,
                        block,
                        data: if self.corrupt { spoil(&data) } else { data },
                    },
                    None => StorageDone::Failed {
                        operation: StorageOperation::Read { peer, block },
                        fault: StorageFault {
                            kind: StorageFaultKind::Vanished,
                            text: "the block is not in this store".into(),
                        },
                    },
                });
            }
            StorageRequest::Write { block, data } => {
                let blocks = self.unfinished.entry(block.piece).or_default();
                if let Some(old) = blocks.insert(block.begin, data) {
                    let bytes = old.len() as u64;
                    done.push(StorageDone::Written { bytes });
                }
            }
            StorageRequest::Verify {
                piece,
                want_digests,
            } => self.verify(piece, want_digests, done),
            StorageRequest::Discard { piece } => self.drop_blocks(piece, done),
        }
    }

    fn verify(&mut self, piece: PieceIndex, want_digests: bool, done: &mut Vec<StorageDone>) {
        let blocks = self.unfinished.get(&piece);
        let ok = self.is_content(piece, blocks);
        let digest = |data: &Bytes| BlockDigest::from(Sha1::digest(data));
        let digests = if want_digests || !ok {
            blocks
                .into_iter()
                .flat_map(BTreeMap::values)
                .map(digest)
                .collect()
        } else {
            Vec::new()
        };
        if ok {
            self.have.set(piece.0);
        }
        self.drop_blocks(piece, done);
        done.push(StorageDone::PieceVerified { piece, ok, digests });
    }

    /// Whether blocks are all of a piece, and are what they should be.
    fn is_content(&self, piece: PieceIndex, blocks: Option<&BTreeMap<u32, Bytes>>) -> bool {
        let mut end = 0;
        for (begin, data) in blocks.into_iter().flatten() {
            let len = data.len() as u32;
            let block = Block {
                piece,
                begin: *begin,
                len,
            };
            let right = self.content.range(block);
            if *begin != end || !right.is_some_and(|right| is_same(&right, data)) {
                return false;
            }
            end += len;
        }
        end == self.content.metainfo.geometry().piece_len(piece)
    }

    fn drop_blocks(&mut self, piece: PieceIndex, done: &mut Vec<StorageDone>) {
        let blocks = self.unfinished.remove(&piece).unwrap_or_default();
        let bytes: usize = blocks.values().map(Bytes::len).sum();
        if bytes > 0 {
            done.push(StorageDone::Written {
                bytes: bytes as u64,
            });
        }
    }
}

/// Whether bytes are equal, which those that were never copied need not be read for.
fn is_same(a: &Bytes, b: &Bytes) -> bool {
    std::ptr::eq::<[u8]>(&**a, &**b) || a == b
}

/// The data with one bit wrong.
fn spoil(data: &Bytes) -> Bytes {
    let mut data = data.to_vec();
    if let Some(byte) = data.last_mut() {
        *byte ^= 1;
    }
    data.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: PieceIndex = PieceIndex(1);

    fn write(store: &mut Store, done: &mut Vec<StorageDone>, index: u32, wrong: bool) {
        let geometry = store.content.metainfo.geometry();
        let block = geometry.block(PIECE, index).unwrap();
        let data = store.content.range(block).unwrap();
        let data = if wrong { spoil(&data) } else { data };
        store.handle(StorageRequest::Write { block, data }, done);
    }

    #[test]
    fn a_wrong_piece_is_refused_with_digests_and_a_right_one_is_kept() {
        let content = Content::generate(1, 3, 2 * 16_384);
        let mut store = Store::new(content, false, false);
        let verify = || StorageRequest::Verify {
            piece: PIECE,
            want_digests: false,
        };
        let mut done = Vec::new();
        write(&mut store, &mut done, 0, true);
        write(&mut store, &mut done, 1, false);
        assert!(done.is_empty());
        store.handle(verify(), &mut done);
        assert!(
            matches!(&done[..], [StorageDone::Written { bytes: 32_768 },
                StorageDone::PieceVerified { piece: PIECE, ok: false, digests }] if digests.len() == 2),
            "{done:?}"
        );
        done.clear();
        write(&mut store, &mut done, 1, false);
        write(&mut store, &mut done, 0, false);
        write(&mut store, &mut done, 0, false);
        store.handle(verify(), &mut done);
        assert!(
            matches!(
                done[..],
                [
                    StorageDone::Written { bytes: 16_384 },
                    StorageDone::Written { bytes: 32_768 },
                    StorageDone::PieceVerified { ok: true, .. }
                ]
            ),
            "{done:?}"
        );
        assert!(store.have.get(1) && store.have.count_ones() == 1);
    }
}
