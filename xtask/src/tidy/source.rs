//! A source file as the rules see it: without comments, literals and tests, line for line.

/// One file below the root.
pub struct Source {
    /// From the root of the repository, with `/`.
    pub path: String,
    pub text: String,
    /// The text with comments and literals blanked out.
    pub code: String,
    /// `code` with all that is only compiled for tests blanked out as well.
    pub shipped: String,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Source {
        let code = code_only(text);
        let shipped = if is_test(path) {
            blank(&code)
        } else {
            without_tests(&code)
        };
        Source {
            path: path.to_owned(),
            text: text.to_owned(),
            code,
            shipped,
        }
    }

    /// Lines that are not part of tests; comments count, they are read too.
    pub fn length(&self) -> usize {
        if is_test(&self.path) {
            return 0;
        }
        let tests = self.code.lines().zip(self.shipped.lines());
        let tests = tests.filter(|(code, shipped)| code != shipped).count();
        self.text.lines().count() - tests
    }

    /// Whether this is one of the modules: `engine` is `engine.rs` and all of `engine/`.
    pub fn is_in(&self, crate_src: &str, modules: &[&str]) -> bool {
        let Some(rest) = self
            .path
            .strip_prefix(crate_src)
            .and_then(|p| p.strip_prefix('/'))
        else {
            return false;
        };
        modules.iter().any(|module| {
            rest.strip_prefix(module)
                .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        })
    }
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs") || path.ends_with("_tests.rs")
}

fn blank(code: &str) -> String {
    code.chars()
        .map(|c| if c == '\n' { '\n' } else { ' ' })
        .collect()
}

/// Blanks comments, strings and characters. Lines keep their numbers.
fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = skipped(&chars, at);
        if end == at {
            code.push(chars[at]);
            at += 1;
        } else {
            let literal: String = chars[at..end].iter().collect();
            code.push_str(&blank(&literal));
            at = end;
        }
    }
    code
}

/// The end of the comment or literal that begins here; `at` itself when none does.
fn skipped(chars: &[char], at: usize) -> usize {
    let rest = &chars[at..];
    let in_word = at > 0 && is_word(chars[at - 1]);
    match rest {
        ['/', '/', ..] => at + rest.iter().take_while(|c| **c != '\n').count(),
        ['/', '*', ..] => at + block_comment(rest),
        ['"', ..] => at + quoted(rest),
        ['r', ..] if !in_word => at + raw_string(rest, 1),
        ['b' | 'c', 'r', ..] if !in_word => at + raw_string(rest, 2),
        ['\'', '\\', ..] => at + 2 + rest.iter().skip(3).take_while(|c| **c != '\'').count() + 2,
        // Anything else behind a quote is a lifetime.
        ['\'', _, '\'', ..] => at + 3,
        _ => at,
    }
    .min(chars.len())
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != '"' {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// `r"..."`, `r#"..."#`: 0 when what begins here is a name.
fn raw_string(rest: &[char], prefix: usize) -> usize {
    let hashes = rest[prefix..].iter().take_while(|c| **c == '#').count();
    let open = prefix + hashes;
    if rest.get(open) != Some(&'"') {
        return 0;
    }
    let close: Vec<char> = std::iter::once('"')
        .chain(std::iter::repeat_n('#', hashes))
        .collect();
    let body = &rest[open + 1..];
    let length = body.windows(close.len()).position(|window| window == close);
    length.map_or(rest.len(), |length| open + 1 + length + close.len())
}

/// Blanks every item behind `#[cfg(test)]`, from the attribute to its closing brace or semicolon.
fn without_tests(code: &str) -> String {
    let mut shipped = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = ["#[cfg(test)]", "#[cfg(all(test"]
        .iter()
        .filter_map(|a| rest.find(a))
        .min()
    {
        shipped.push_str(&rest[..at]);
        let end = at + item_end(&rest[at..]);
        shipped.push_str(&blank(&rest[at..end]));
        rest = &rest[end..];
    }
    shipped + rest
}

fn item_end(item: &str) -> usize {
    let mut depth = 0;
    for (at, c) in item.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 && (c == '}' || c == ';') {
            return at + c.len_utf8();
        }
    }
    item.len()
}

/// All names and paths of the code, with the line they are on. `use` lists are spelled out:
/// `use std::{fs, io}` gives `std::fs` and `std::io`.
pub fn paths(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut prefixes: Vec<String> = vec![String::new()];
    let mut current = String::new();
    let mut after_colons = false;
    let mut line = 1;
    let mut chars = code.chars().peekable();
    while let Some(c) = chars.next() {
        if is_word(c) {
            let mut word = String::from(c);
            while let Some(next) = chars.next_if(|next| is_word(*next)) {
                word.push(next);
            }
            if !after_colons {
                finish(&mut current, &mut found, line);
                current.clone_from(prefixes.last().unwrap_or(&String::new()));
            }
            current.push_str(&word);
            after_colons = false;
        } else if c == ':' && chars.next_if_eq(&':').is_some() {
            current.push_str("::");
            after_colons = true;
        } else if c == '{' {
            // Braces behind `::` continue the path in front of them; others begin afresh.
            let prefix = if after_colons {
                std::mem::take(&mut current)
            } else {
                String::new()
            };
            finish(&mut current, &mut found, line);
            prefixes.push(prefix);
            after_colons = false;
        } else {
            if c == '\n' {
                line += 1;
            }
            if !c.is_whitespace() {
                finish(&mut current, &mut found, line);
                after_colons = false;
            }
            if c == '}' {
                prefixes.pop();
            }
        }
    }
    finish(&mut current, &mut found, line);
    found
}

fn finish(current: &mut String, found: &mut Vec<(usize, String)>, line: usize) {
    if !current.is_empty() {
        found.push((line, std::mem::take(current)));
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_not_code() {
        let text = "a // b\n/* c /* d */ e */ f \"g\\\"h\" r#\"i\"j\"# 'k' '\\'' b\"l\" m<'n>";
        let words: Vec<_> = paths(&code_only(text))
            .into_iter()
            .map(|(_, word)| word)
            .collect();
        assert_eq!(words, ["a", "f", "b", "m", "n"]);
    }

    #[test]
    fn lines_keep_their_numbers() {
        let text = "/*\n\n*/ \"\n\" here";
        assert_eq!(paths(&code_only(text)), [(4, "here".to_owned())]);
    }

    #[test]
    fn what_is_compiled_for_tests_does_not_ship() {
        let source = Source::new(
            "tracer/src/a.rs",
            "kept\n#[cfg(test)]\nmod tests {\n  fn a() { gone }\n}\nkept_too\n",
        );
        let words: Vec<_> = paths(&source.shipped)
            .into_iter()
            .map(|(_, word)| word)
            .collect();
        assert_eq!(words, ["kept", "kept_too"]);
        assert_eq!(source.length(), 2);
    }

    #[test]
    fn lists_are_spelled_out() {
        let words: Vec<_> =
            paths("use std::{\n  fs,\n  io::{self, Read as R},\n};\nfn f() { a::b(c) }")
                .into_iter()
                .map(|(_, word)| word)
                .collect();
        let expected = [
            "use",
            "std::fs",
            "std::io::self",
            "std::io::Read",
            "std::io::as",
            "std::io::R",
        ];
        assert_eq!(words[..6], expected);
        assert_eq!(words[6..], ["fn", "f", "a::b", "c"]);
    }

    #[test]
    fn a_module_is_its_file_and_its_directory() {
        let is_in = |path| Source::new(path, "").is_in("tracer/src", &["engine"]);
        assert!(is_in("tracer/src/engine.rs"));
        assert!(is_in("tracer/src/engine/cpu.rs"));
        assert!(!is_in("tracer/src/engine_room.rs"));
        assert!(!is_in("tracer/src/cmd/engine.rs"));
    }
}
