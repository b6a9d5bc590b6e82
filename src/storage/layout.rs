//! Where a torrent's bytes lie in its files: ranges of the byte stream to spans of files.
//!
//! Pure arithmetic over plain data. Paths are checked once more here, although metainfo has made
//! them safe: nothing below this module can be handed a path that leaves the output directory.

use std::{
    ffi::OsStr,
    ops::Range,
    path::{Component, Path, PathBuf},
};

use crate::metainfo::{Geometry, Metainfo, PieceIndex};

/// The files of a torrent and where each starts.
#[derive(Debug)]
pub struct Layout {
    files: Box<[LayoutFile]>,
    /// The files that have bytes, in order: thousands of empty files between two bytes cost a
    /// lookup nothing.
    filled: Box<[u32]>,
    geometry: Geometry,
}

#[derive(Debug)]
struct LayoutFile {
    path: PathBuf,
    offset: u64,
    len: u64,
    pad: bool,
}

/// A range of bytes within one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The file's index.
    pub file: u32,
    /// Where the range starts in the file.
    pub offset: u64,
    /// Where it starts in the torrent's byte stream.
    pub start: u64,
    /// Its length in bytes; never 0.
    pub len: u64,
}

/// Why files do not make a layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// A path is empty, absolute, or has a component that is not a plain name.
    #[error("file {0} has a path that could leave the output directory")]
    Path(usize),
    /// The files' lengths do not add up to the pieces'.
    #[error("the files do not add up to the pieces")]
    Length,
}

impl Layout {
    /// Lays out files (path, length, whether it is padding) in order.
    pub fn new(files: &[(PathBuf, u64, bool)], geometry: Geometry) -> Result<Self, LayoutError> {
        let mut laid = Vec::with_capacity(files.len());
        let mut filled = Vec::new();
        let mut offset = 0u64;
        for (index, (path, len, pad)) in files.iter().enumerate() {
            if !is_plain(path) {
                return Err(LayoutError::Path(index));
            }
            if *len > 0 {
                filled.push(u32::try_from(index).map_err(|_| LayoutError::Length)?);
            }
            laid.push(LayoutFile {
                path: path.clone(),
                offset,
                len: *len,
                pad: *pad,
            });
            offset = offset.checked_add(*len).ok_or(LayoutError::Length)?;
        }
        if offset != geometry.total_len() {
            return Err(LayoutError::Length);
        }
        Ok(Self {
            files: laid.into(),
            filled: filled.into(),
            geometry,
        })
    }

    /// The layout of a torrent, whose file or directory is called `root` on disk if that is given.
    pub fn of(metainfo: &Metainfo, root: Option<&OsStr>) -> Result<Self, LayoutError> {
        let path = |path: &Path| match root {
            Some(root) => Path::new(root)
                .components()
                .chain(path.components().skip(1))
                .collect(),
            None => path.to_owned(),
        };
        let files: Vec<_> = metainfo
            .files()
            .iter()
            .map(|file| {
                (
                    path(file.path()),
                    file.len(),
                    file.is_pad() || file.is_symlink(),
                )
            })
            .collect();
        Self::new(&files, metainfo.geometry())
    }

    /// Piece arithmetic.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// How many files there are, empty ones and padding included.
    pub fn file_count(&self) -> usize {
        self.files.len()
    }

    /// A file's path relative to the output directory.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn path(&self, file: u32) -> &Path {
        &self.files[file as usize].path
    }

    /// A file's length in bytes.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn file_len(&self, file: u32) -> u64 {
        self.files[file as usize].len
    }

    /// Whether a file is padding: hashed as zeros, never on disk.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn is_pad(&self, file: u32) -> bool {
        self.files[file as usize].pad
    }

    /// The spans of files that hold `len` bytes from `start` of the byte stream, in order. What
    /// lies beyond the end of the torrent is in no span.
    pub fn spans(&self, start: u64, len: u64) -> impl Iterator<Item = Span> + '_ {
        let end = start.saturating_add(len);
        let first = self.filled.partition_point(|file| {
            let file = &self.files[*file as usize];
            file.offset + file.len <= start
        });
        self.filled[first..].iter().map_while(move |index| {
            let file = &self.files[*index as usize];
            let from = file.offset.max(start);
            let to = (file.offset + file.len).min(end);
            (from < to).then(|| Span {
                file: *index,
                offset: from - file.offset,
                start: from,
                len: to - from,
            })
        })
    }

    /// The spans of a whole piece.
    pub fn piece_spans(&self, piece: PieceIndex) -> impl Iterator<Item = Span> + '_ {
        self.spans(
            self.geometry.piece_offset(piece),
            u64::from(self.geometry.piece_len(piece)),
        )
    }

    /// The pieces that have bytes in a file.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn pieces_of(&self, file: u32) -> Range<u32> {
        let file = &self.files[file as usize];
        if file.len == 0 {
            return 0..0;
        }
        let piece_len = u64::from(self.geometry.standard_piece_len());
        let index = |at: u64| u32::try_from(at / piece_len).unwrap_or(u32::MAX);
        index(file.offset)..index(file.offset + file.len - 1) + 1
    }
}

/// Whether every component is a plain name: no root, drive, `.` or `..`.
fn is_plain(path: &Path) -> bool {
    let mut components = path.components().peekable();
    components.peek().is_some()
        && components.all(|component| matches!(component, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(files: &[(&str, u64, bool)], piece_len: u32) -> Layout {
        let total = files.iter().map(|file| file.1).sum();
        let files: Vec<_> = files
            .iter()
            .map(|(path, len, pad)| (PathBuf::from(path), *len, *pad))
            .collect();
        Layout::new(&files, Geometry::new(total, piece_len).unwrap()).unwrap()
    }

    fn spans(layout: &Layout, start: u64, len: u64) -> Vec<(u32, u64, u64)> {
        layout
            .spans(start, len)
            .map(|span| (span.file, span.offset, span.len))
            .collect()
    }

    #[test]
    fn ranges_become_spans() {
        let many = layout(
            &[
                ("d/a", 10, false),
                ("d/empty", 0, false),
                ("d/b", 1, false),
                ("d/c", 1, false),
                ("d/pad", 4, true),
                ("d/e", 100, false),
                ("d/last-empty", 0, false),
            ],
            16,
        );
        type Spans = &'static [(u32, u64, u64)];
        #[rustfmt::skip]
        let table: &[(u64, u64, Spans)] = &[
            (0, 10, &[(0, 0, 10)]),
            (0, 11, &[(0, 0, 10), (2, 0, 1)]),
            (9, 3, &[(0, 9, 1), (2, 0, 1), (3, 0, 1)]),
            (8, 20, &[(0, 8, 2), (2, 0, 1), (3, 0, 1), (4, 0, 4), (5, 0, 12)]),
            (10, 1, &[(2, 0, 1)]),
            (115, 1, &[(5, 99, 1)]),
            (115, 9, &[(5, 99, 1)]),
            (116, 1, &[]),
            (5, 0, &[]),
            (u64::MAX, u64::MAX, &[]),
        ];
        for (start, len, expected) in table {
            assert_eq!(spans(&many, *start, *len), *expected, "{start}+{len}");
        }
        assert!(many.is_pad(4) && !many.is_pad(5));
    }

    #[test]
    fn pieces_and_files_overlap_both_ways() {
        let many = layout(&[("a", 16, false), ("b", 0, false), ("c", 17, false)], 16);
        assert_eq!(many.pieces_of(0), 0..1);
        assert_eq!(many.pieces_of(1), 0..0);
        assert_eq!(many.pieces_of(2), 1..3);
        let last: Vec<_> = many.piece_spans(PieceIndex(2)).collect();
        assert_eq!(
            last,
            [Span {
                file: 2,
                offset: 16,
                start: 32,
                len: 1
            }]
        );
        assert_eq!(many.piece_spans(PieceIndex(3)).count(), 0);
    }

    #[test]
    fn spans_of_all_pieces_cover_every_byte_once() {
        let lens = [3u64, 0, 1, 77, 16, 0, 0, 5, 64, 1];
        let names: Vec<String> = (0..lens.len()).map(|index| format!("f{index}")).collect();
        let files: Vec<_> = names
            .iter()
            .zip(lens)
            .map(|(name, len)| (name.as_str(), len, false))
            .collect();
        for piece_len in [1, 2, 7, 16, 1000] {
            let layout = layout(&files, piece_len);
            let mut next = 0;
            let mut per_file = [0; 10];
            for span in layout
                .geometry()
                .pieces()
                .flat_map(|piece| layout.piece_spans(piece))
            {
                assert_eq!(span.start, next);
                assert_eq!(span.offset, per_file[span.file as usize]);
                next += span.len;
                per_file[span.file as usize] += span.len;
            }
            assert_eq!(per_file, lens);
        }
    }

    #[test]
    fn hostile_paths_and_wrong_sums_are_refused() {
        let geometry = Geometry::new(1, 16).unwrap();
        for path in ["", "/etc/passwd", "../x", "a/../../x", "./a", ".."] {
            let files = [(PathBuf::from(path), 1, false)];
            assert_eq!(
                Layout::new(&files, geometry).err(),
                Some(LayoutError::Path(0)),
                "{path:?}"
            );
        }
        for lens in [&[2u64][..], &[], &[1, u64::MAX], &[u64::MAX, 2]] {
            let files: Vec<_> = lens
                .iter()
                .map(|len| (PathBuf::from("a"), *len, false))
                .collect();
            assert_eq!(
                Layout::new(&files, geometry).err(),
                Some(LayoutError::Length)
            );
        }
    }
}
