//! The stable codes of errors: one meaning each.

use std::collections::BTreeMap;

use super::{files, root};

#[test]
fn every_code_of_an_error_stands_once_in_the_source() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in files().into_iter().filter(|file| is_product(file)) {
        let text = std::fs::read_to_string(root().join(&file)).unwrap();
        for (index, line) in without_tests(&text).lines().enumerate() {
            for code in codes(line) {
                let place = format!("{file}:{}", index + 1);
                places.entry(code).or_default().push(place);
            }
        }
    }
    assert!(places.len() > 60, "{places:?}");
    places.retain(|_, places| places.len() > 1);
    assert_eq!(places, BTreeMap::new(), "name such a code in one place");
}

#[test]
fn a_code_is_told_from_other_text() {
    assert_eq!(
        codes("of(\"CD0412\", \"CD0001\") // CD0002"),
        ["CD0412", "CD0001"]
    );
    assert_eq!(codes("\"CD030\", \"XCD0123\""), Vec::<String>::new());
    assert_eq!(without_tests("a\n#[cfg(test)]\nb"), "a\n");
}

fn is_product(file: &str) -> bool {
    let of_program = file.starts_with("kernel/") || file.starts_with("notebook-gen/");
    of_program && file.ends_with(".rs") && !file.contains("/tests/") && !file.ends_with("tests.rs")
}

fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or_default()
}

/// Returns the codes that stand in a line as texts of their own.
fn codes(line: &str) -> Vec<String> {
    let digits = |word: &&str| {
        word.strip_prefix("CD")
            .is_some_and(|rest| rest.len() == 4 && rest.bytes().all(|b| b.is_ascii_digit()))
    };
    let words = line.split('"').skip(1).step_by(2);
    words.filter(digits).map(str::to_owned).collect()
}
