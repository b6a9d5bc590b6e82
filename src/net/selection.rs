//! Which pieces a choice of files needs.

use super::torrent_handle::FileFilter;
use crate::{
    bitfield::Bitfield,
    metainfo::{Geometry, Metainfo},
};

/// The files that `select` chooses, by index.
pub(super) fn wanted_files(metainfo: &Metainfo, select: &FileFilter) -> Vec<bool> {
    let files = metainfo.files().iter().enumerate();
    files
        .map(|(index, file)| !file.is_pad() && !file.is_symlink() && select(index, file))
        .collect()
}

/// The pieces that overlap a wanted file. `files` are offset, length and whether it is wanted, in
/// order of their bytes.
pub(super) fn wanted_pieces(
    geometry: Geometry,
    files: impl Iterator<Item = (u64, u64, bool)>,
) -> Bitfield {
    let mut pieces = Bitfield::empty(geometry.piece_count());
    let mut at = geometry.pieces().peekable();
    for (start, len, wanted) in files.filter(|(_, len, _)| *len > 0) {
        let end = start + len;
        // Files and pieces are both in order: one walk over both.
        while let Some(piece) = at.peek().copied()
            && geometry.piece_offset(piece) < end
        {
            if wanted {
                pieces.set(piece.0);
            }
            // The next file may begin in this piece.
            if geometry.piece_offset(piece) + u64::from(geometry.piece_len(piece)) > end {
                break;
            }
            at.next();
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wanted_files_want_every_piece_they_touch() {
        // Pieces of 10: [0..10) [10..20) [20..25).
        let geometry = Geometry::new(25, 10).unwrap();
        let layout = [(0, 5), (5, 0), (5, 5), (10, 12), (22, 0), (22, 3)];
        let rows: [(&[usize], &[u32]); 9] = [
            (&[], &[]),
            (&[0], &[0]),
            (&[1], &[]),
            (&[2], &[0]),
            (&[3], &[1, 2]),
            (&[4], &[]),
            (&[5], &[2]),
            (&[0, 5], &[0, 2]),
            (&[0, 1, 2, 3, 4, 5], &[0, 1, 2]),
        ];
        for (files, pieces) in rows {
            let ranges = layout.iter().enumerate();
            let ranges = ranges.map(|(at, (start, len))| (*start, *len, files.contains(&at)));
            let wanted = wanted_pieces(geometry, ranges);
            assert_eq!(wanted.ones().collect::<Vec<_>>(), pieces, "{files:?}");
        }
    }
}
