//! From the names in a torrent to paths on disk. Nothing else may make a path of foreign names.
//!
//! Names are replaced, not refused: honest torrents carry odd ones. A component never is `..`,
//! never holds a separator, NUL, control or direction character, and never is longer than file
//! systems allow. Two files never share a path, not even on a file system that ignores case: the
//! later one gets a number. Equal input gives equal paths, so that a download resumes.

use std::{
    borrow::Cow,
    collections::{HashMap, hash_map::Entry},
    path::PathBuf,
};

use crate::text::is_treacherous;

/// One component that is safe on disk, or `None` for one that says nothing: empty, `.`, or nothing
/// but characters that must not stay.
pub(super) fn component(raw: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(raw);
    match &*text {
        "" | "." => return None,
        ".." => return Some("_".into()),
        text if text.chars().all(is_treacherous) => return None,
        _ => {}
    }
    let unsafe_char = |char| matches!(char, '/' | '\\') || is_treacherous(char);
    let text = if text.contains(unsafe_char) {
        Cow::Owned(text.replace(unsafe_char, "_"))
    } else {
        text
    };
    Some(if text.len() > MAX_COMPONENT {
        let (stem, extension) = split_extension(&text);
        let stem = truncated(stem, MAX_COMPONENT - extension.len());
        format!("{stem}{extension}")
    } else {
        text.into_owned()
    })
}

/// The safe components of a whole path; at least one.
pub(super) fn components<'a>(raw: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let mut out: Vec<String> = raw.filter_map(component).collect();
    let Some(name) = out.pop() else {
        return vec!["_".into()];
    };
    // A path that the operating system would refuse loses its inner directories.
    let mut room = MAX_PATH;
    let fits = out.iter().take_while(|component| {
        let left = room.checked_sub(component.len() + 1);
        room = left.unwrap_or(0);
        left.is_some()
    });
    let fits = fits.count();
    out.truncate(fits);
    out.push(name);
    out
}

/// Gives each file a path of its own below `root`.
///
/// Directories come first, so that a file named as a directory gives way and everything below the
/// directory stays together. Every step is a look-up: the cost is linear in the components.
#[derive(Debug)]
pub(super) struct UniquePaths {
    /// The directory around everything.
    root: String,
    /// What is taken: parent directory and folded name to the directory's number, or to a file.
    taken: HashMap<(Directory, String), Option<Directory>>,
    directories: u32,
    /// How far the numbers of a name have been tried.
    tried: HashMap<(Directory, String), u32>,
}

/// A directory's number in [`UniquePaths`]; 0 is the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Directory(u32);

impl UniquePaths {
    pub(super) fn new(root: String) -> Self {
        Self {
            root,
            taken: HashMap::new(),
            directories: 0,
            tried: HashMap::new(),
        }
    }

    /// Takes the directories of a file's path. To be called for all files before the first
    /// [`Self::add_file`], which needs the answer.
    pub(super) fn add_directories(&mut self, components: &[String]) -> Directory {
        let mut parent = Directory(0);
        for name in &components[..components.len().saturating_sub(1)] {
            let next = Directory(self.directories + 1);
            let taken = self.taken.entry((parent, folded(name)));
            // Only directories are taken yet.
            parent = taken.or_insert(Some(next)).unwrap_or(parent);
            self.directories = self.directories.max(parent.0);
        }
        parent
    }

    /// Takes the file's name in its directory, or the next free one like it.
    pub(super) fn add_file(
        &mut self,
        directory: Directory,
        mut components: Vec<String>,
    ) -> PathBuf {
        if let Some(name) = components.pop() {
            components.push(self.free_name(directory, name));
        }
        self.unwritten(&components)
    }

    fn free_name(&mut self, parent: Directory, name: String) -> String {
        if let Entry::Vacant(entry) = self.taken.entry((parent, folded(&name))) {
            entry.insert(None);
            return name;
        }
        let (stem, extension) = split_extension(&name);
        let stem = truncated(stem, MAX_COMPONENT - MAX_SUFFIX - extension.len());
        // Counted for the name as it is numbered, so that no number is tried twice.
        let tried = (parent, folded(&format!("{stem}{extension}")));
        let number = self.tried.entry(tried).or_default();
        loop {
            *number += 1;
            let name = format!("{stem}.{number}{extension}");
            if let Entry::Vacant(entry) = self.taken.entry((parent, folded(&name))) {
                entry.insert(None);
                return name;
            }
        }
    }

    /// The path of a file that is never written, so that it may share it.
    pub(super) fn unwritten(&self, components: &[String]) -> PathBuf {
        let root = std::iter::once(&self.root);
        root.chain(components).collect()
    }
}

/// What a file system may take for the same name: case is ignored on macOS and Windows, trailing
/// dots and spaces on Windows.
fn folded(name: &str) -> String {
    let name = match name.trim_end_matches(['.', ' ']) {
        "" => name,
        trimmed => trimmed,
    };
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    let upper = name.chars().flat_map(char::to_uppercase);
    upper.flat_map(char::to_lowercase).collect()
}

/// The name before its extension, and the extension with its dot. A dot in front makes a hidden
/// file, not an extension, and what is long is none.
fn split_extension(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(dot) if dot > 0 && name.len() - dot <= MAX_EXTENSION => name.split_at(dot),
        _ => (name, ""),
    }
}

/// At most `max` bytes of the front of `text`, whole characters only.
fn truncated(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// What the usual file systems allow in one component.
const MAX_COMPONENT: usize = 255;
/// Ours: half of Linux' 4096, so that the download directory has room in front.
const MAX_PATH: usize = 2048;
/// Ours: the dot and 31 bytes.
const MAX_EXTENSION: usize = 32;
/// A dot and the digits of a 32-bit number.
const MAX_SUFFIX: usize = 11;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_safe() {
        for (raw, safe) in [
            (&b"plain name.txt"[..], Some("plain name.txt")),
            (b"", None),
            (b".", None),
            (b"\0\0", None),
            (b"..", Some("_")),
            (b"...", Some("...")),
            (b".hidden", Some(".hidden")),
            (b"/etc/passwd", Some("_etc_passwd")),
            (b"..\\..\\x", Some(".._.._x")),
            (b"a\0b", Some("a_b")),
            (b"evil\x1b]0;x\x07\n.bin", Some("evil_]0;x__.bin")),
            ("a\u{202e}b".as_bytes(), Some("a_b")),
            (b"a\xffb", Some("a\u{fffd}b")),
            (b"CON.txt", Some("CON.txt")),
        ] {
            assert_eq!(component(raw).as_deref(), safe, "{}", raw.escape_ascii());
        }
    }

    #[test]
    fn long_names_keep_their_extension_and_whole_characters() {
        let long = component(format!("{}.tar", "é".repeat(200)).as_bytes()).unwrap();
        assert_eq!(long, format!("{}.tar", "é".repeat(125)));
        let none = component(format!("a.{}", "b".repeat(300)).as_bytes()).unwrap();
        assert_eq!(none.len(), 255);
    }

    #[test]
    fn deep_paths_lose_inner_directories() {
        let deep = components(std::iter::repeat_n(&b"ab"[..], 100_000).chain([&b"name"[..]]));
        assert_eq!((deep.len(), deep.last().unwrap().as_str()), (683, "name"));
        assert_eq!(components([&b""[..], b"."].into_iter()), ["_"]);
    }

    fn unique(files: &[&str]) -> Vec<String> {
        let split = |path: &str| path.split('/').map(String::from).collect::<Vec<_>>();
        let mut paths = UniquePaths::new("t".into());
        let directories: Vec<_> = files
            .iter()
            .map(|file| paths.add_directories(&split(file)))
            .collect();
        let files = files.iter().zip(directories);
        let paths = files.map(|(file, directory)| paths.add_file(directory, split(file)));
        paths
            .map(|path| path.to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn collisions_get_a_number() {
        assert_eq!(
            unique(&["a.txt", "A.TXT", "a.1.txt", "a.txt", "d/x", "D/X", "é", "É"]),
            [
                "t/a.txt",
                "t/A.1.TXT",
                "t/a.1.1.txt",
                "t/a.2.txt",
                "t/d/x",
                "t/D/X.1",
                "t/é",
                "t/É.1"
            ]
        );
    }

    #[test]
    fn a_file_gives_way_to_a_directory() {
        assert_eq!(unique(&["a", "a/b", "A"]), ["t/a.1", "t/a/b", "t/A.2"]);
        assert_eq!(unique(&["a/b", "a/b/c"]), ["t/a/b.1", "t/a/b/c"]);
    }

    #[test]
    fn many_collisions_cost_little() {
        let long = "x".repeat(255);
        let files = vec![long.as_str(); 100_000];
        let paths = unique(&files);
        assert!(paths.iter().all(|path| path.len() <= 2 + 255));
        let set: std::collections::BTreeSet<_> = paths.iter().collect();
        assert_eq!(set.len(), files.len());
    }
}
