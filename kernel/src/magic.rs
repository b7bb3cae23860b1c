//! Cells that are commands: what stands in them, what could stand at the cursor, and help.

mod complete;

use clap::CommandFactory as _;
use clap::error::ErrorKind;

use crate::commands::{Command, CommandLine, FOR_TERMINALS, magic_words, nearest};
use crate::failure::Failure;

pub use complete::{Known, complete};

/// What a cell is.
#[derive(Debug)]
pub enum CellKind {
    /// Commands, one after the other.
    Commands(Vec<Asked>),
    /// Rust.
    Rust,
}

/// What a line of a cell asks for.
#[derive(Debug)]
pub enum Asked {
    /// A command with its options.
    Command(Box<CommandLine>),
    /// Help, as text.
    Help(String),
}

/// Commands whose body, in a cell that begins with `%%`, is the reason.
const WITH_BODY: [&str; 7] = [
    "abandon", "approve", "pause", "resume", "retry", "rollback", "skip",
];

/// Reads a cell.
///
/// # Errors
/// When it begins with `%` and something in it is not a command.
pub fn read(code: &str) -> Result<CellKind, Failure> {
    if let Some((line, body)) = body_of(code) {
        return read_with_body(line, body.trim()).map(|asked| CellKind::Commands(vec![asked]));
    }
    let mut lines = worded(code).peekable();
    // No Rust begins with a question mark: it is how other consoles are asked for help.
    if (lines.peek()).is_some_and(|first| !first.starts_with(['%', '?'])) {
        return Ok(CellKind::Rust);
    }
    lines
        .map(read_line)
        .collect::<Result<_, _>>()
        .map(CellKind::Commands)
}

/// Returns whether a cell has nothing to do: one of comments alone, for which no compiler is started.
pub fn is_idle(code: &str) -> bool {
    worded(code).next().is_none()
}

/// Returns the lines of a cell that are neither empty nor a comment.
fn worded(code: &str) -> impl Iterator<Item = &str> {
    let lines = code.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with("//"))
}

/// Returns whether a cell whose command takes a body is still being typed: its body ends with an empty
/// line, as in other consoles.
pub fn waits_for_body(code: &str) -> bool {
    let Some((line, body)) = body_of(code) else {
        return false;
    };
    let word = line.split_whitespace().next().unwrap_or_default();
    WITH_BODY.contains(&word) && !body.ends_with('\n')
}

/// Returns the line of a cell that begins with `%%`, and what is below it.
fn body_of(code: &str) -> Option<(&str, &str)> {
    let rest = code.trim_start().strip_prefix("%%")?;
    Some(rest.split_once('\n').unwrap_or((rest, "")))
}

fn read_line(line: &str) -> Result<Asked, Failure> {
    if let Some(word) = line.strip_prefix('?') {
        return asked_for_help(word);
    }
    let Some(rest) = line.strip_prefix('%') else {
        let what = format!("`{line}` is not a command, and the cell begins with one");
        return Err(Failure::usage(what, "Put Rust into a cell of its own."));
    };
    if let Some(word) = rest.strip_suffix('?') {
        return asked_for_help(word);
    }
    parse(split(rest)?)
}

/// Returns the help of a command, or that of all when no word is given.
fn asked_for_help(word: &str) -> Result<Asked, Failure> {
    let word = word.trim().trim_start_matches('%');
    help(word).map(Asked::Help).ok_or_else(|| unknown(word))
}

fn read_with_body(line: &str, body: &str) -> Result<Asked, Failure> {
    let mut words = split(line)?;
    if !body.is_empty() {
        let word = words.first().cloned().unwrap_or_default();
        if !magic_words().contains(&word) {
            return Err(unknown(&word));
        }
        if !WITH_BODY.contains(&word.as_str()) {
            let what = format!("`%%{word}` takes no body, and there is one");
            let next = format!("Write `%{word}` on a line, and put the rest into another cell.");
            return Err(Failure::usage(what, next));
        }
        words.push("--reason".to_owned());
        words.push(body.to_owned());
    }
    parse(words)
}

fn split(line: &str) -> Result<Vec<String>, Failure> {
    shlex::split(line).ok_or_else(|| {
        Failure::usage(
            format!("`{line}` has a quote that is not closed"),
            "Close the quote.",
        )
    })
}

fn parse(words: Vec<String>) -> Result<Asked, Failure> {
    let word = words.first().cloned().unwrap_or_default();
    if word.is_empty() || word == HELP {
        let of = words.get(1).map(String::as_str);
        return asked_for_help(of.unwrap_or_default());
    }
    if !magic_words().contains(&word) {
        return Err(unknown(&word));
    }
    // `%code-deploy` is the whole command line; any other word is its command.
    let program = (word != PROGRAM).then(|| PROGRAM.to_owned());
    match CommandLine::read(program.into_iter().chain(words)) {
        Ok(line) if is_for_terminals(line.command.as_ref()) => {
            let what = "this command cannot be used in a cell";
            Err(Failure::usage(what, "Use it in a terminal."))
        }
        Ok(line) => Ok(Asked::Command(Box::new(line))),
        Err(error) if is_help(&error) => Ok(Asked::Help(error.to_string())),
        Err(error) => Err(Failure::of_command_line(
            &error,
            &format!("`%{word}?` shows what it takes."),
        )),
    }
}

/// The word of the magic that is the command line itself.
const PROGRAM: &str = "code-deploy";

/// The word of the magic that shows help.
const HELP: &str = "help";

/// Returns a text in which the command lines between backticks are those of a cell: `%status` for
/// `code-deploy status`. Commands that are for terminals alone stay as they are.
pub fn as_magics(text: &str) -> String {
    // Most texts name none, and the table of commands is made anew for each that does.
    if !text.contains(COMMAND_LINE) {
        return text.to_owned();
    }
    let mut parts = text.split(COMMAND_LINE);
    let mut told = parts.next().unwrap_or_default().to_owned();
    let magics = magic_words();
    for part in parts {
        let mut words = part.split(|letter: char| letter == '`' || letter.is_whitespace());
        let word = words.next().unwrap_or_default();
        if word == "--help" {
            told.push_str(&format!("`%{HELP}"));
            told.push_str(&part[word.len()..]);
            continue;
        }
        let is_magic = magics.iter().any(|magic| magic == word);
        told.push_str(match (is_magic, FOR_TERMINALS.contains(&word)) {
            (true, _) => "`%",
            (false, true) => COMMAND_LINE,
            (false, false) => concat!('`', "%code-deploy "),
        });
        told.push_str(part);
    }
    told
}

/// How a command line begins in a text.
const COMMAND_LINE: &str = concat!('`', "code-deploy ");

fn is_for_terminals(command: Option<&Command>) -> bool {
    matches!(
        command,
        Some(
            Command::Internal(_)
                | Command::Kernel(_)
                | Command::Completions(_)
                | Command::Schema
                | Command::Open(_)
        )
    )
}

/// Returns whether reading a command line ended with help that is to be shown.
pub fn is_help(error: &clap::Error) -> bool {
    let kind = error.kind();
    !error.use_stderr() || kind == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
}

fn unknown(word: &str) -> Failure {
    if FOR_TERMINALS.contains(&word) && word != "internal" {
        let what = format!("`{word}` is for terminals, and is not given in a cell");
        return Failure::usage(what, format!("In a terminal: `code-deploy {word} --help`."));
    }
    let words = magic_words();
    let near = nearest(word, &words).map(|near| format!("Did you mean `%{near}`? "));
    let words = words.iter().map(String::as_str).chain([HELP]);
    let all: Vec<_> = words.map(|word| format!("%{word}")).collect();
    let next = format!("{}There are: {}.", near.unwrap_or_default(), all.join(" "));
    Failure::usage(format!("there is no command `%{word}`"), next)
}

/// Returns the help of a command, the same text as `--help` gives; nothing when there is none.
pub fn help(word: &str) -> Option<String> {
    let word = word.trim_start_matches('%').trim();
    let mut table = CommandLine::command().term_width(96);
    if word.is_empty() || word == HELP {
        return Some(table.render_long_help().to_string());
    }
    table.build();
    let command = table.find_subcommand_mut(word)?;
    if !magic_words().contains(&command.get_name().to_owned()) {
        return None;
    }
    let help = command.render_long_help().to_string();
    let sections = code_deploy_notebook_gen::sections(word);
    if sections.is_empty() {
        return Some(help);
    }
    let sections = sections.join(", ");
    Some(format!("{}\n\nSections: {sections}\n", help.trim_end()))
}

/// Returns the command word on the line of the cursor, for help.
pub fn word_at(code: &str, cursor: usize) -> Option<String> {
    let before: String = code.chars().take(cursor).collect();
    let line_start = before.rsplit('\n').next().unwrap_or_default();
    let skipped = before.len() - line_start.len();
    let line = code.get(skipped..)?.lines().next()?.trim_start();
    let rest = line.strip_prefix("%%").or_else(|| line.strip_prefix('%'))?;
    let word = rest.split_whitespace().next().unwrap_or_default();
    Some(word.trim_end_matches('?').to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Words;

    impl Known for Words {
        fn environments(&self) -> Vec<String> {
            vec!["dev".to_owned(), "prod".to_owned()]
        }
        fn targets(&self) -> Vec<String> {
            vec!["local".to_owned()]
        }
        fn sections(&self, verb: &str) -> Vec<String> {
            if verb == "preflight" {
                vec!["resources".to_owned()]
            } else {
                Vec::new()
            }
        }
        fn runs(&self) -> Vec<String> {
            vec!["run-1".to_owned()]
        }
        fn notebooks(&self) -> Vec<String> {
            vec!["01_Deployment_Plan".to_owned()]
        }
        fn charts(&self) -> Vec<String> {
            vec!["latency".to_owned()]
        }
        fn views(&self) -> Vec<String> {
            vec!["gates".to_owned()]
        }
        fn steps(&self) -> Vec<String> {
            vec!["release.traffic.1".to_owned()]
        }
        fn releases(&self) -> Vec<String> {
            vec!["1.0.0".to_owned(), "1.1.0".to_owned()]
        }
    }

    fn texts(code: &str) -> Vec<String> {
        let found = complete(code, code.chars().count(), &Words)
            .unwrap_or_default()
            .found;
        found.into_iter().map(|(text, _)| text).collect()
    }

    #[test]
    fn the_command_table_is_well_formed() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn a_cell_without_a_magic_is_rust() {
        assert!(matches!(read("let x = 5 % 2;"), Ok(CellKind::Rust)));
        assert!(matches!(read("  %status"), Ok(CellKind::Commands(asked)) if asked.len() == 1));
        assert!(
            matches!(read("// now\n%status"), Ok(CellKind::Commands(asked)) if asked.len() == 1)
        );
        assert!(matches!(read("// later\n"), Ok(CellKind::Commands(asked)) if asked.is_empty()));
    }

    #[test]
    fn a_text_in_a_cell_names_magics() {
        for (text, told) in [
            (
                "`code-deploy status` asks, `code-deploy skip STEP --reason TEXT` goes on.",
                "`%status` asks, `%skip STEP --reason TEXT` goes on.",
            ),
            ("`code-deploy --help` lists all.", "`%help` lists all."),
            ("`code-deploy dev local`", "`%code-deploy dev local`"),
            (
                "`code-deploy kernel install`",
                "`code-deploy kernel install`",
            ),
            ("code-deploy, `status`", "code-deploy, `status`"),
        ] {
            assert_eq!(as_magics(text), told);
        }
    }

    #[test]
    fn a_body_is_typed_until_an_empty_line() {
        for code in ["%%approve", "%%approve\nlooks good"] {
            assert!(waits_for_body(code), "{code}");
        }
        for code in [
            "%%approve\nlooks good\n",
            "%approve",
            "%%status",
            "let x = 1;",
        ] {
            assert!(!waits_for_body(code), "{code}");
        }
    }

    #[test]
    fn a_command_for_terminals_says_so() {
        for cell in ["%kernel list", "%help schema"] {
            let failure = read(cell).unwrap_err();
            assert!(failure.problem.what.contains("is for terminals"), "{cell}");
        }
    }

    #[test]
    fn an_unknown_magic_names_the_nearest() {
        let failure = read("%preflihgt resources").unwrap_err();
        assert!(
            failure.problem.next.contains("`%preflight`"),
            "{}",
            failure.problem.next
        );
    }

    #[test]
    fn a_body_where_none_belongs_is_refused() {
        let failure = read("%%status\nlet x = 1;").unwrap_err();
        assert!(failure.problem.what.contains("takes no body"));
        let asked = read("%%approve\nlooks good to me").unwrap();
        let CellKind::Commands(asked) = asked else {
            panic!("no command")
        };
        let Asked::Command(line) = &asked[0] else {
            panic!("no command")
        };
        let Some(Command::Approve(arguments)) = &line.command else {
            panic!("another command")
        };
        assert_eq!(arguments.reason, "looks good to me");
    }

    #[track_caller]
    fn commands(cell: &str) -> Box<CommandLine> {
        match read(cell) {
            Ok(CellKind::Commands(mut asked)) => match asked.pop() {
                Some(Asked::Command(line)) => line,
                other => panic!("{cell}: {other:?}"),
            },
            other => panic!("{cell}: {other:?}"),
        }
    }

    #[test]
    fn options_of_every_command_stand_before_and_behind_its_word() {
        let options = ["-f x.yaml", "--json", "-e dev", "-t local"];
        for option in options {
            let lines = [
                format!("code-deploy {option} status"),
                format!("code-deploy status {option}"),
            ];
            let read = lines.map(|line| CommandLine::read(line.split(' ')).unwrap());
            assert!(
                read.iter()
                    .all(|line| matches!(line.command, Some(Command::Status(_))))
            );
            let [before, behind] = read.map(|line| format!("{:?}", line.global));
            assert_eq!(before, behind);
            let cells = [
                commands(&format!("%code-deploy {option} status")),
                commands(&format!("%status {option}")),
            ];
            assert!(
                cells
                    .iter()
                    .all(|line| format!("{:?}", line.global) == before)
            );
            assert!(
                cells
                    .iter()
                    .all(|line| matches!(line.command, Some(Command::Status(_))))
            );
        }
        let run = commands("%code-deploy -f x.yaml dev local --yes");
        assert_eq!(run.run.target.as_deref(), Some("local"));
        assert!(run.global.file.is_some() && run.command.is_none());
    }

    #[test]
    fn what_belongs_to_a_whole_run_cannot_stand_before_a_command() {
        for line in [
            "code-deploy dev local status",
            "code-deploy --to 1.1.0 plan",
        ] {
            let error = CommandLine::read(line.split(' ')).unwrap_err();
            assert!(error.to_string().contains("before a command"), "{error}");
        }
    }

    #[test]
    fn what_only_a_terminal_can_do_is_refused_in_a_cell() {
        for cell in [
            "%code-deploy kernel list",
            "%code-deploy internal rust-cells",
        ] {
            let failure = read(cell).unwrap_err();
            assert!(failure.problem.what.contains("cannot be used in a cell"));
        }
    }

    #[test]
    fn words_arguments_and_options_are_completed() {
        assert_eq!(texts("%pre"), ["preflight"]);
        assert_eq!(texts("%code-deploy "), ["dev", "prod"]);
        assert_eq!(texts("%code-deploy dev l"), ["local"]);
        assert_eq!(texts("%preflight re"), ["resources"]);
        assert_eq!(texts("%chart "), ["latency"]);
        assert_eq!(texts("%status --run r"), ["run-1"]);
        assert!(texts("%status --w").contains(&"--watch".to_owned()));
        assert_eq!(texts("%release --to 1.1"), ["1.1.0"]);
        assert_eq!(texts("%status -e d"), ["dev"]);
        assert_eq!(texts("%status --target "), ["local"]);
        assert_eq!(texts("%record --kind gate"), ["gate_evaluated"]);
        assert_eq!(texts("%skip rel"), ["release.traffic.1"]);
        assert_eq!(texts("%record --last "), [""; 0]);
        assert_eq!(texts("%code-deploy --to 1.1.0 "), ["dev", "prod"]);
        assert_eq!(complete("let x = 1;", 4, &Words), None);
    }

    #[test]
    fn help_is_asked_for_in_the_ways_of_other_consoles() {
        let shown = |code: &str| match read(code) {
            Ok(CellKind::Commands(asked)) => match asked.as_slice() {
                [Asked::Help(text)] => text.clone(),
                _ => panic!("{code} is no help"),
            },
            _ => panic!("{code} is no help"),
        };
        for code in [
            "%help status",
            "%status?",
            "?status",
            "?%status",
            "%help %status",
        ] {
            assert_eq!(shown(code), help("status").unwrap(), "{code}");
        }
        for code in ["%help", "%", "%?", "?", "%help?", "%code-deploy --help"] {
            assert!(shown(code).contains("rollback"), "{code}");
        }
        let refused = read("?statsu").unwrap_err();
        assert!(
            refused.problem.next.contains("%status"),
            "{}",
            refused.problem.next
        );
        assert_eq!(texts("%he"), ["help"]);
        assert!(texts("%help rollb").contains(&"rollback".to_owned()));
    }

    #[test]
    fn help_is_the_same_as_on_the_command_line() {
        assert!(help("status").unwrap().contains("--watch"));
        let preflight = help("preflight").unwrap();
        assert!(
            preflight.contains("Sections: health, resources"),
            "{preflight}"
        );
        assert!(help("internal").is_none());
        assert_eq!(word_at("%status --watch", 3).as_deref(), Some("status"));
        assert_eq!(word_at("let y = 1;", 3), None);
    }

    /// Text of signs and words that readers stumble over, mostly beginning like a command.
    fn cells() -> impl Strategy<Value = String> {
        let pieces = prop::sample::select(vec![
            "%",
            "%%",
            "%status",
            "%code-deploy ",
            "%record ",
            "approve",
            " --",
            "--w",
            "-",
            "?",
            " ",
            "\n",
            "\t",
            "'",
            "\"",
            "\\",
            "// x",
            "\u{e9}",
            "\u{1f600}",
            "\u{2028}",
            "\u{0}",
            "=",
            "dev",
            "\r\n",
        ]);
        prop::collection::vec(pieces, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn no_text_whatever_breaks_the_reader(code in cells(), any in any::<String>()) {
            for code in [&code, &any, &format!("%{any}"), &format!("%%approve\n{any}")] {
                let _ = read(code);
                let _ = waits_for_body(code);
            }
        }

        #[test]
        fn what_is_completed_lies_inside_the_text(code in cells(), cursor in 0_usize..200) {
            let _ = word_at(&code, cursor);
            if let Some(found) = complete(&code, cursor, &Words) {
                let end = cursor.min(code.chars().count());
                prop_assert!(found.start <= end);
                let typed: String = code.chars().take(end).skip(found.start).collect();
                prop_assert!(found.found.iter().all(|(text, _)| text.starts_with(&typed)));
            }
        }

        #[test]
        fn what_is_offered_is_taken(
            word in prop::sample::select(magic_words()),
            kept in 0_usize..8,
            option in any::<bool>(),
        ) {
            let typed = if option {
                format!("%{word} --")
            } else {
                format!("%{}", word.chars().take(kept).collect::<String>())
            };
            let found = complete(&typed, typed.chars().count(), &Words).unwrap_or_default();
            prop_assert!(!found.found.is_empty());
            for (text, kind) in found.found {
                let line = typed.chars().take(found.start).collect::<String>() + &text;
                let refused = read(&line).err().map(|failure| failure.problem.what);
                let refused = refused.unwrap_or_default();
                let unknown = ["there is no command", "unexpected argument", "unrecognized"];
                prop_assert!(unknown.iter().all(|part| !refused.contains(part)), "{kind} {line}: {refused}");
            }
        }
    }
}
