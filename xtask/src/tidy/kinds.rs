//! Kind numbers live in recordings: two kinds with one number could never be told apart again.

use std::collections::BTreeMap;

use super::source::Source;

pub fn check(source: &Source) -> Vec<String> {
    let mut names: BTreeMap<u16, &str> = BTreeMap::new();
    let mut broken = Vec::new();
    let kinds = numbers(&source.code);
    for (name, number) in &kinds {
        if let Some(first) = names.insert(*number, name) {
            let path = &source.path;
            broken.push(format!(
                "{path}: kinds {first} and {name} have the same number {number}"
            ));
        }
    }
    // A rule that finds nothing to check protects nothing.
    if kinds.is_empty() {
        broken.push(format!(
            "{}: there is no kind number in `mod kind`",
            source.path
        ));
    }
    broken
}

/// The constants of `mod kind`, in their order.
fn numbers(code: &str) -> Vec<(&str, u16)> {
    let module = code.split_once("mod kind {").map_or("", |(_, rest)| rest);
    let module = module.split_once('}').map_or("", |(module, _)| module);
    let constants = module.lines().filter_map(|line| {
        let (name, number) = line
            .trim()
            .strip_prefix("pub const ")?
            .split_once(": u16 = ")?;
        Some((name, number.trim_end_matches(';').parse().ok()?))
    });
    constants.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(text: &str) -> Vec<String> {
        check(&Source::new("record.rs", text))
    }

    #[test]
    fn each_kind_has_a_number_of_its_own() {
        let fine = "pub mod kind {\n    pub const A: u16 = 1;\n    pub const B: u16 = 2;\n}\n\
                    pub mod flags {\n    pub const C: u16 = 1;\n}";
        assert!(complaints(fine).is_empty());
        let twice = fine.replacen("= 2", "= 1", 1);
        assert_eq!(
            complaints(&twice),
            ["record.rs: kinds A and B have the same number 1"]
        );
    }

    #[test]
    fn kinds_that_cannot_be_found_are_a_complaint() {
        assert_eq!(complaints("pub mod kinds {}").len(), 1);
    }
}
