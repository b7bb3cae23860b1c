//! What no file of the tree may hold.

use super::{files, root};

/// The one script, which CI starts.
const SCRIPT: &str = ".ci/run";
const SCRIPT_ENDINGS: &[&str] = &[".sh", ".bash", ".zsh", ".fish", ".bat", ".cmd", ".ps1"];

#[test]
fn the_tree_has_no_script_but_the_one_that_ci_starts() {
    let scripts: Vec<String> = files()
        .into_iter()
        .filter(|file| file != SCRIPT && is_script(file, &start_of(file)))
        .collect();
    assert_eq!(scripts, Vec::<String>::new());
    assert!(
        is_script(SCRIPT, &start_of(SCRIPT)),
        "{SCRIPT} is what this test takes it for"
    );
}

#[test]
fn no_file_names_a_folder_of_the_machine_on_which_it_was_written() {
    let mut found = Vec::new();
    for file in files() {
        let bytes = std::fs::read(root().join(&file)).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        for (index, line) in text.lines().enumerate() {
            if let Some(folder) = private_folder(line) {
                found.push(format!("{file}:{}: {folder}", index + 1));
            }
        }
    }
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn a_private_folder_is_told_from_a_word_inside_a_path() {
    let [root, home, ..] = private_folders();
    assert!(private_folder(&format!("see {root}notes")).is_some());
    assert!(private_folder(&format!("\"{home}ann/app\"")).is_some());
    assert!(private_folder(&format!("deployments{root}x and a{home}y")).is_none());
}

#[test]
fn a_shell_is_recognised_without_an_ending() {
    assert!(is_script("tools/go", "#!/usr/bin/env bash"));
    assert!(is_script("a.ps1", ""));
    assert!(!is_script("a.py", "#!/usr/bin/env python3"));
    assert!(!is_script("push", "shell"));
}

fn start_of(file: &str) -> String {
    let bytes = std::fs::read(root().join(file)).unwrap();
    let line = bytes
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    String::from_utf8_lossy(&line[..line.len().min(200)]).into_owned()
}

fn is_script(file: &str, first_line: &str) -> bool {
    let interpreter = first_line.strip_prefix("#!").unwrap_or_default();
    let shell = interpreter
        .split([' ', '/'])
        .any(|word| ["sh", "bash", "dash", "zsh", "fish", "ksh"].contains(&word));
    shell || SCRIPT_ENDINGS.iter().any(|ending| file.ends_with(ending))
}

/// Returns the beginnings of private paths, put together so that this file does not hold them.
fn private_folders() -> [String; 4] {
    ["root", "home", "Users", "work"].map(|name| format!("/{name}/"))
}

/// Returns the private folder that a line names, if it names one as the beginning of a path.
fn private_folder(line: &str) -> Option<String> {
    private_folders().into_iter().find(|folder| {
        line.match_indices(folder.as_str()).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            before.is_none_or(|c| !c.is_alphanumeric() && !"._-~/}$)>*".contains(c))
        })
    })
}
