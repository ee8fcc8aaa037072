//! Finding the line of a key in JSON text.

use crate::config::path::Path;

/// A place in a text, both counted from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

impl Position {
    /// The place of a byte.
    #[must_use]
    pub fn of_byte(text: &str, byte: usize) -> Self {
        let mut end = byte.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &text[..end];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

/// Where the key (or the item of a list) at `path` begins; when it is not there, the deepest
/// place on the way to it. None for a text that is no JSON.
#[must_use]
pub fn find(text: &str, path: &Path) -> Option<Position> {
    let mut scanner = Scanner { bytes: text.as_bytes(), place: 0 };
    let mut best = scanner.start()?;
    for wanted in path.keys() {
        match scanner.enter(wanted)? {
            Step::Found(place) => best = place,
            Step::Absent => break,
        }
    }
    Some(Position::of_byte(text, best))
}

/// Where a step of the way led.
enum Step {
    Found(usize),
    Absent,
}

/// Walks over JSON that a parser has accepted. Anything else ends in none, never in a panic.
struct Scanner<'t> {
    bytes: &'t [u8],
    place: usize,
}

impl Scanner<'_> {
    fn start(&mut self) -> Option<usize> {
        self.skip_space();
        self.peek().map(|_| self.place)
    }

    /// Steps to the value of `wanted` in the object or list that begins here.
    fn enter(&mut self, wanted: &str) -> Option<Step> {
        self.skip_space();
        let open = self.peek()?;
        if open != b'{' && open != b'[' {
            return Some(Step::Absent);
        }
        self.place += 1;
        let mut found = None;
        let mut index = 0usize;
        loop {
            self.skip_space();
            match self.peek()? {
                b'}' | b']' => break,
                b',' => self.place += 1,
                _ if open == b'[' => {
                    if wanted.parse() == Ok(index) {
                        return Some(Step::Found(self.place));
                    }
                    self.skip_value()?;
                    index += 1;
                }
                _ => {
                    let start = self.place;
                    let key = self.string()?;
                    self.skip_space();
                    self.expect(b':')?;
                    self.skip_space();
                    if key == wanted {
                        // Of a key that is there twice the last counts, as for the parser.
                        found = Some((start, self.place));
                    }
                    self.skip_value()?;
                }
            }
        }
        let Some((start, value)) = found else {
            return Some(Step::Absent);
        };
        self.place = value;
        Some(Step::Found(start))
    }

    fn skip_value(&mut self) -> Option<()> {
        let mut depth = 0usize;
        loop {
            self.skip_space();
            match self.peek()? {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.place += 1;
                    continue;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.place += 1;
                }
                b',' | b':' if depth > 0 => {
                    self.place += 1;
                    continue;
                }
                b',' | b':' => return None,
                _ => self.skip_word(),
            }
            if depth == 0 {
                return Some(());
            }
        }
    }

    /// A number, `true`, `false` or `null`.
    fn skip_word(&mut self) {
        while self.peek().is_some_and(|byte| !b",:]} \t\r\n".contains(&byte)) {
            self.place += 1;
        }
    }

    fn string(&mut self) -> Option<String> {
        let start = self.place;
        self.expect(b'"')?;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => self.place += 2,
                _ => self.place += 1,
            }
        }
        self.place += 1;
        serde_json::from_slice(self.bytes.get(start..self.place)?).ok()
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.place += 1)
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|byte| b" \t\r\n".contains(&byte)) {
            self.place += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.place).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{
  "a": {"b": [1, {"c": "}\"]"}], "ä\"x": 2},
  "mesh": {
    "rings": 3
  },
  "a.b": null
}"#;

    fn position(path: &str) -> (usize, usize) {
        let position = find(TEXT, &path.parse().unwrap()).unwrap();
        (position.line, position.column)
    }

    #[test]
    fn finds_keys_items_and_the_deepest_place_there_is() {
        for (path, line, column) in [
            ("", 1, 1),
            ("a", 2, 3),
            ("a.b", 2, 9),
            ("a.b.1", 2, 18),
            ("a.b.1.c", 2, 19),
            (r#"a."ä\"x""#, 2, 34),
            ("mesh.rings", 4, 5),
            ("mesh.lissten", 3, 3),
            ("mesh.rings.deeper", 4, 5),
            (r#""a.b""#, 6, 3),
            ("nowhere", 1, 1),
        ] {
            assert_eq!(position(path), (line, column), "{path}");
        }
    }

    #[test]
    fn no_text_panics() {
        let path = "a.b.1".parse().unwrap();
        bolero::check!().with_iterations(2000).for_each(|bytes: &[u8]| {
            let _ = find(&String::from_utf8_lossy(bytes), &path);
        });
        for end in 0..TEXT.len() {
            if TEXT.is_char_boundary(end) {
                let _ = find(&TEXT[..end], &path);
            }
        }
    }
}
