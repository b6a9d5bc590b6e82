//! Bencode from strangers: a bounded, iterative scan, and borrowed views of what it checked.
//!
//! serde_bencode recurses without a limit, ignores trailing bytes and cannot give the raw bytes of
//! a value, so nothing from outside reaches it (or any other reader) before [`scan`] has walked
//! the whole input with an explicit stack: depth, token count, lengths and the exact end. What
//! passes is a [`Value`], which borrows the input and allocates nothing; [`Value::raw`] gives the
//! bytes that an info-hash or a signature is computed over. [`from_bytes`] is scan plus
//! serde_bencode, for typed values off the hot path.

use serde::de::DeserializeOwned;

/// What a scan may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many lists and dictionaries may be open at once.
    pub depth: usize,
    /// How many values, keys included, the input may hold.
    pub tokens: usize,
}

impl Limits {
    /// A KRPC datagram.
    pub const KRPC: Self = Self {
        depth: 8,
        tokens: 512,
    };
    /// An extension message of the peer wire protocol.
    pub const EXTENSION: Self = Self {
        depth: 8,
        tokens: 4_096,
    };
    /// A .torrent file, fetched metadata, or a state file of ours. Half a million files, each with
    /// a path of a few components, fit.
    pub const FILE: Self = Self {
        depth: 32,
        tokens: 6_000_000,
    };
}

/// What is wrong with an input, and at which byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The input stops inside a value.
    #[error("bencode ends early: a value that starts at or before byte {at} is not complete")]
    Truncated {
        /// The length of the input.
        at: usize,
    },
    /// A byte that cannot stand where it stands.
    #[error("not bencode: unexpected byte at offset {at}")]
    Unexpected {
        /// Its offset.
        at: usize,
    },
    /// More open containers than [`Limits::depth`].
    #[error("bencode nested deeper than allowed at offset {at}")]
    TooDeep {
        /// Where the container that was one too many starts.
        at: usize,
    },
    /// More values than [`Limits::tokens`].
    #[error("bencode with more values than allowed")]
    TooManyTokens,
    /// Bytes after the value, where there must be none.
    #[error("{count} stray bytes after the bencoded value")]
    Trailing {
        /// How many.
        count: usize,
    },
    /// Well formed, but not of the expected shape.
    #[error("bencode of the wrong shape")]
    Shape,
}

/// The result of [`scan`].
#[derive(Debug, Clone, Copy)]
pub struct Scan<'a> {
    /// The first value of the input.
    pub value: Value<'a>,
    /// The input after it. `ut_metadata` puts a block of metadata here.
    pub rest: &'a [u8],
    /// Whether the value is in canonical form: keys sorted and unique, no leading zeros, no `-0`.
    pub canonical: bool,
}

/// Checks the first value of `input` in one pass, without recursion or allocation in proportion to
/// any claimed length.
///
/// Refused: what is outside the grammar and what exceeds `limits`. Tolerated, as every other
/// client does, and reported through [`Scan::canonical`]: leading zeros, `-0`, unsorted and
/// repeated keys.
pub fn scan(input: &[u8], limits: Limits) -> Result<Scan<'_>, Error> {
    let mut scanner = Scanner {
        input,
        at: 0,
        tokens: limits.tokens,
        canonical: true,
    };
    scanner.value(limits.depth)?;
    let (raw, rest) = input.split_at(scanner.at);
    Ok(Scan {
        value: Value { raw },
        rest,
        canonical: scanner.canonical,
    })
}

/// As [`scan`], and the value must be all of the input.
pub fn scan_exact(input: &[u8], limits: Limits) -> Result<Value<'_>, Error> {
    let scan = scan(input, limits)?;
    match scan.rest.len() {
        0 => Ok(scan.value),
        count => Err(Error::Trailing { count }),
    }
}

/// Scans, then lets serde_bencode build a `T`.
pub fn from_bytes<T: DeserializeOwned>(input: &[u8], limits: Limits) -> Result<T, Error> {
    let value = scan_exact(input, limits)?;
    serde_bencode::from_bytes(value.raw()).map_err(|_| Error::Shape)
}

/// One well-formed value inside a scanned input.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Value<'a> {
    raw: &'a [u8],
}

impl<'a> Value<'a> {
    /// The value's own bytes, exactly as they stand in the input.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// The integer, if this is one and it fits.
    pub fn as_int(&self) -> Option<i64> {
        let digits = self.raw.strip_prefix(b"i")?.strip_suffix(b"e")?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    /// The string's bytes, if this is a string.
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        if !self.raw.first()?.is_ascii_digit() {
            return None;
        }
        let colon = self.raw.iter().position(|byte| *byte == b':')?;
        self.raw.get(colon + 1..)
    }

    /// The string, if this is one and valid UTF-8.
    pub fn as_str(&self) -> Option<&'a str> {
        std::str::from_utf8(self.as_bytes()?).ok()
    }

    /// The items, if this is a list.
    pub fn as_list(&self) -> Option<List<'a>> {
        Some(List {
            rest: self.raw.strip_prefix(b"l")?.strip_suffix(b"e")?,
        })
    }

    /// The entries, if this is a dictionary.
    pub fn as_dict(&self) -> Option<Dict<'a>> {
        Some(Dict {
            rest: self.raw.strip_prefix(b"d")?.strip_suffix(b"e")?,
        })
    }
}

impl std::fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Value({})", self.raw.escape_ascii())
    }
}

/// The items of a list, in order.
#[derive(Debug, Clone, Copy)]
pub struct List<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for List<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        take_value(&mut self.rest)
    }
}

/// The entries of a dictionary, in the order they stand.
#[derive(Debug, Clone, Copy)]
pub struct Dict<'a> {
    rest: &'a [u8],
}

impl<'a> Dict<'a> {
    /// The value of the first entry with this key.
    pub fn get(&self, key: &[u8]) -> Option<Value<'a>> {
        { *self }.find_map(|(found, value)| (found == key).then_some(value))
    }

    /// [`Self::get`], then [`Value::as_int`].
    pub fn int(&self, key: &[u8]) -> Option<i64> {
        self.get(key)?.as_int()
    }

    /// [`Self::get`], then [`Value::as_bytes`].
    pub fn bytes(&self, key: &[u8]) -> Option<&'a [u8]> {
        self.get(key)?.as_bytes()
    }

    /// [`Self::get`], then [`Value::as_dict`].
    pub fn dict(&self, key: &[u8]) -> Option<Dict<'a>> {
        self.get(key)?.as_dict()
    }

    /// [`Self::get`], then [`Value::as_list`].
    pub fn list(&self, key: &[u8]) -> Option<List<'a>> {
        self.get(key)?.as_list()
    }
}

impl<'a> Iterator for Dict<'a> {
    type Item = (&'a [u8], Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = take_string(&mut self.rest)?;
        Some((key, take_value(&mut self.rest)?))
    }
}

/// Appends a byte string.
pub fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write_decimal(out, bytes.len() as u64);
    out.push(b':');
    out.extend_from_slice(bytes);
}

/// Appends an integer.
pub fn write_int(out: &mut Vec<u8>, value: i64) {
    out.push(b'i');
    if value < 0 {
        out.push(b'-');
    }
    write_decimal(out, value.unsigned_abs());
    out.push(b'e');
}

fn write_decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// Splits one value off `rest`, which an earlier scan found well formed.
fn take_value<'a>(rest: &mut &'a [u8]) -> Option<Value<'a>> {
    if rest.is_empty() {
        return None;
    }
    let mut scanner = Scanner::known(rest);
    scanner.skip().ok()?;
    let (raw, after) = rest.split_at(scanner.at);
    *rest = after;
    Some(Value { raw })
}

/// Splits one string off `rest` and gives its bytes.
fn take_string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    if rest.is_empty() {
        return None;
    }
    let mut scanner = Scanner::known(rest);
    let bytes = scanner.string().ok()?;
    *rest = &rest[scanner.at..];
    Some(bytes)
}

struct Scanner<'a> {
    input: &'a [u8],
    at: usize,
    tokens: usize,
    canonical: bool,
}

/// A container that is open while scanning.
enum Open<'a> {
    List,
    /// Between entries; holds the last key, to see whether keys are sorted.
    DictKey(Option<&'a [u8]>),
    /// After a key.
    DictValue(&'a [u8]),
}

impl<'a> Scanner<'a> {
    /// For what an earlier scan has counted.
    fn known(input: &'a [u8]) -> Self {
        Self {
            input,
            at: 0,
            tokens: usize::MAX,
            canonical: true,
        }
    }

    /// Walks one value, container by container.
    fn value(&mut self, depth: usize) -> Result<(), Error> {
        let mut open: Vec<Open<'a>> = Vec::new();
        loop {
            let byte = self.peek()?;
            let closing = match open.last_mut() {
                Some(Open::List) => byte == b'e',
                Some(Open::DictKey(_)) if byte == b'e' => true,
                Some(top @ Open::DictKey(_)) => {
                    let Open::DictKey(last) = top else {
                        unreachable!("matched above")
                    };
                    let key = self.string()?;
                    if last.is_some_and(|last| last >= key) {
                        self.canonical = false;
                    }
                    *top = Open::DictValue(key);
                    continue;
                }
                Some(top @ Open::DictValue(_)) => {
                    let Open::DictValue(key) = top else {
                        unreachable!("matched above")
                    };
                    *top = Open::DictKey(Some(key));
                    false
                }
                None => false,
            };
            if closing {
                self.at += 1;
                open.pop();
            } else if byte == b'l' || byte == b'd' {
                if open.len() == depth {
                    return Err(Error::TooDeep { at: self.at });
                }
                self.token()?;
                self.at += 1;
                open.push(if byte == b'l' {
                    Open::List
                } else {
                    Open::DictKey(None)
                });
            } else if byte == b'i' {
                self.integer()?;
            } else {
                self.string()?;
            }
            if open.is_empty() {
                return Ok(());
            }
        }
    }

    /// Walks one value that is known to be well formed: only brackets and lengths matter.
    fn skip(&mut self) -> Result<(), Error> {
        let mut open = 0usize;
        loop {
            match self.peek()? {
                b'l' | b'd' => {
                    open += 1;
                    self.at += 1;
                }
                b'e' => {
                    open = open
                        .checked_sub(1)
                        .ok_or(Error::Unexpected { at: self.at })?;
                    self.at += 1;
                }
                b'i' => self.integer()?,
                _ => {
                    self.string()?;
                }
            }
            if open == 0 {
                return Ok(());
            }
        }
    }

    fn peek(&self) -> Result<u8, Error> {
        self.input.get(self.at).copied().ok_or(Error::Truncated {
            at: self.input.len(),
        })
    }

    fn token(&mut self) -> Result<(), Error> {
        self.tokens = self.tokens.checked_sub(1).ok_or(Error::TooManyTokens)?;
        Ok(())
    }

    /// `i`, digits with at most one leading minus, `e`. Longer than any 64-bit integer is refused.
    fn integer(&mut self) -> Result<(), Error> {
        self.token()?;
        self.at += 1;
        let negative = self.peek()? == b'-';
        self.at += usize::from(negative);
        let digits = self.digits(MAX_DIGITS)?;
        if self.peek()? != b'e' {
            return Err(Error::Unexpected { at: self.at });
        }
        if digits.len() > 1 && digits[0] == b'0' || negative && digits == b"0" {
            self.canonical = false;
        }
        self.at += 1;
        Ok(())
    }

    /// A decimal length, `:`, and as many bytes.
    fn string(&mut self) -> Result<&'a [u8], Error> {
        self.token()?;
        // Nearly all lengths have one or two digits.
        let len = match self.input.get(self.at..) {
            Some([len @ b'0'..=b'9', b':', ..]) => {
                self.at += 2;
                Some(usize::from(len - b'0'))
            }
            Some([ten @ b'1'..=b'9', one @ b'0'..=b'9', b':', ..]) => {
                self.at += 3;
                Some(usize::from(ten - b'0') * 10 + usize::from(one - b'0'))
            }
            _ => self.length()?,
        };
        let end = len.and_then(|len| self.at.checked_add(len));
        let bytes = end.and_then(|end| self.input.get(self.at..end));
        let bytes = bytes.ok_or(Error::Truncated {
            at: self.input.len(),
        })?;
        self.at += bytes.len();
        Ok(bytes)
    }

    /// A decimal length and `:`; `None` if it is beyond all memory.
    fn length(&mut self) -> Result<Option<usize>, Error> {
        let digits = self.digits(MAX_DIGITS)?;
        if self.peek()? != b':' {
            return Err(Error::Unexpected { at: self.at });
        }
        self.at += 1;
        self.canonical &= digits.len() == 1 || digits[0] != b'0';
        Ok(digits.iter().try_fold(0usize, |len, digit| {
            len.checked_mul(10)?.checked_add(usize::from(digit - b'0'))
        }))
    }

    /// One to `max` decimal digits.
    fn digits(&mut self, max: usize) -> Result<&'a [u8], Error> {
        let rest = &self.input[self.at..];
        let count = rest
            .iter()
            .take(max + 1)
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        if count == rest.len() && count <= max {
            return Err(Error::Truncated {
                at: self.input.len(),
            });
        }
        if count == 0 || count > max {
            return Err(Error::Unexpected {
                at: self.at + count.min(max),
            });
        }
        self.at += count;
        Ok(&rest[..count])
    }
}

/// Ours: as many digits as the largest 64-bit number has, with room for a few leading zeros.
const MAX_DIGITS: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(input: &[u8]) -> Result<Value<'_>, Error> {
        scan_exact(input, Limits::KRPC)
    }

    #[test]
    fn views_give_what_stands_there() {
        let value = exact(b"d1:ai-7e1:bl3:xyzi0ee1:cd1:x0:ee").unwrap();
        let dict = value.as_dict().unwrap();
        assert_eq!(dict.int(b"a"), Some(-7));
        let items: Vec<_> = dict.list(b"b").unwrap().map(|item| item.raw()).collect();
        assert_eq!(items, [&b"3:xyz"[..], b"i0e"]);
        assert_eq!(dict.dict(b"c").unwrap().bytes(b"x"), Some(&b""[..]));
        assert_eq!(dict.get(b"d"), None);
        assert_eq!(dict.get(b"c").unwrap().raw(), b"d1:x0:e");
    }

    #[test]
    fn canonical_form_is_reported() {
        let canonical = |input: &'static [u8]| scan(input, Limits::KRPC).unwrap().canonical;
        assert!(canonical(b"d1:ai0e1:bi-1ee"));
        for odd in [
            &b"i-0e"[..],
            b"i007e",
            b"03:abc",
            b"00:",
            b"d1:bi1e1:ai2ee",
            b"d1:ai1e1:ai2ee",
        ] {
            assert!(!canonical(odd), "{}", odd.escape_ascii());
        }
    }

    #[test]
    fn limits_hold_without_recursion() {
        let nest = [b"l".repeat(100_000), b"e".repeat(100_000)].concat();
        assert_eq!(exact(&nest), Err(Error::TooDeep { at: 8 }));
        let wide = [&b"l"[..], &b"i0e".repeat(600), b"e"].concat();
        assert_eq!(exact(&wide), Err(Error::TooManyTokens));
        assert_eq!(exact(b"i1ee"), Err(Error::Trailing { count: 1 }));
        assert_eq!(scan(b"i1etail", Limits::KRPC).unwrap().rest, b"tail");
    }

    #[test]
    fn lengths_never_wrap() {
        for input in [
            &b"18446744073709551617:a"[..],
            b"99999999999:a",
            b"4294967296:a",
        ] {
            assert!(matches!(exact(input), Err(Error::Truncated { .. })));
        }
        assert!(matches!(
            exact(&b"1".repeat(40)),
            Err(Error::Unexpected { .. })
        ));
    }

    #[test]
    fn written_values_are_canonical() {
        let mut out = b"l".to_vec();
        write_int(&mut out, i64::MIN);
        write_int(&mut out, 0);
        write_bytes(&mut out, b"spam");
        out.push(b'e');
        assert_eq!(out, b"li-9223372036854775808ei0e4:spame");
        assert!(scan(&out, Limits::KRPC).unwrap().canonical);
    }
}
