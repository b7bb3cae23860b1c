//! What the statements of a migration do to data and schema, as far as their words say it.

/// What one statement does that a person should know before it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Statement {
    /// The statement without comments, its blanks made one.
    pub text: String,
    /// What kind of thing it does.
    pub does: Does,
}

/// What a statement does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Does {
    /// Loses data or structure that exists; why.
    Destroys(&'static str),
    /// Builds an index on that table.
    Indexes(String),
    /// Creates that table.
    Creates(String),
    /// Changes rows that exist, however many.
    ChangesRows,
    /// Adds rows that stand in the file.
    AddsRows,
    /// Adds a constraint to a table that exists.
    Constrains,
    /// Makes or removes a trigger.
    Triggers,
    /// Anything else.
    Other,
}

/// Splits a migration into its statements and says what each does.
pub(crate) fn read(sql: &str) -> Vec<Statement> {
    split(sql)
        .into_iter()
        .map(|text| Statement {
            does: does(&text),
            text,
        })
        .collect()
}

/// Splits at semicolons outside quotes, leaves comments out and makes blanks one. The body of a
/// trigger stays with its head.
fn split(sql: &str) -> Vec<String> {
    let (mut all, mut current) = (Vec::new(), String::new());
    let mut letters = sql.chars().peekable();
    let mut quote: Option<char> = None;
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), _) => {
                current.push(letter);
                if letter == open {
                    quote = None;
                }
            }
            (None, '\'' | '"' | '`') => {
                quote = Some(letter);
                current.push(letter);
            }
            (None, '-') if letters.peek() == Some(&'-') => {
                for skipped in letters.by_ref() {
                    if skipped == '\n' {
                        break;
                    }
                }
                current.push(' ');
            }
            (None, '/') if letters.peek() == Some(&'*') => {
                let mut before = ' ';
                for skipped in letters.by_ref() {
                    if before == '*' && skipped == '/' {
                        break;
                    }
                    before = skipped;
                }
                current.push(' ');
            }
            (None, ';') if !inside_trigger(&current) => {
                all.push(std::mem::take(&mut current));
            }
            (None, _) => current.push(letter),
        }
    }
    all.push(current);
    let clean = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    all.into_iter()
        .map(clean)
        .filter(|text| !text.is_empty())
        .collect()
}

fn inside_trigger(text: &str) -> bool {
    let words = words(text);
    let creates = words.first().is_some_and(|word| word == "CREATE");
    creates
        && words.iter().take(4).any(|word| word == "TRIGGER")
        && words.last() != Some(&"END".to_owned())
}

/// Returns whether a statement names that table, whatever the case and the quotes.
pub(super) fn names(text: &str, table: &str) -> bool {
    let plain = |word: &str| word.trim_matches(['"', '`', '\'', '[', ']']).to_uppercase();
    let table = table.to_uppercase();
    words(text)
        .iter()
        .flat_map(|word| word.split('.'))
        .any(|word| plain(word) == table)
}

fn words(text: &str) -> Vec<String> {
    let parts = text.split(|letter: char| {
        letter.is_whitespace() || matches!(letter, '(' | ')' | ',' | ';' | '=')
    });
    parts
        .filter(|word| !word.is_empty())
        .map(str::to_uppercase)
        .collect()
}

fn does(text: &str) -> Does {
    let words = words(text);
    let has = |wanted: &str| words.iter().any(|word| word == wanted);
    let word = |index: usize| words.get(index).map_or("", String::as_str);
    match (word(0), word(1)) {
        ("DROP", "TABLE") => Does::Destroys("a table is dropped with its rows"),
        ("DROP", "SCHEMA" | "DATABASE") => Does::Destroys("a whole schema is dropped"),
        ("DROP", "TRIGGER") => Does::Triggers,
        ("TRUNCATE", _) => Does::Destroys("all rows of a table are removed"),
        ("DELETE", _) if !has("WHERE") => Does::Destroys("all rows of a table are removed"),
        ("DELETE", _) => Does::Destroys("rows are removed"),
        ("ALTER", "TABLE") => alters(&words),
        ("UPDATE", _) => Does::ChangesRows,
        ("INSERT" | "REPLACE", _) if has("SELECT") => Does::ChangesRows,
        ("REPLACE", _) => Does::ChangesRows,
        ("INSERT", _) if word(1) == "OR" && word(2) == "REPLACE" => Does::ChangesRows,
        ("INSERT", _) => Does::AddsRows,
        ("CREATE", _) => creates(text, &words),
        _ => Does::Other,
    }
}

fn alters(words: &[String]) -> Does {
    let has = |wanted: &str| words.iter().any(|word| word == wanted);
    if has("DROP") && !has("DEFAULT") && !has("CONSTRAINT") {
        return Does::Destroys("a column is dropped with its values");
    }
    if has("RENAME") {
        return Does::Destroys("a name that the release before uses goes away");
    }
    if has("TYPE") {
        return Does::Destroys("values are turned into another type");
    }
    if has("CONSTRAINT") || has("CHECK") || has("REFERENCES") || has("UNIQUE") {
        return Does::Constrains;
    }
    Does::Other
}

fn creates(text: &str, words: &[String]) -> Does {
    let at = |wanted: &str| words.iter().position(|word| word == wanted);
    let plain = |name: &str| name.trim_matches(['"', '`', '\'']).to_lowercase();
    if words.iter().take(4).any(|word| word == "TRIGGER") {
        return Does::Triggers;
    }
    if words.iter().take(3).any(|word| word == "INDEX") {
        let table = at("ON").and_then(|on| words.get(on + 1));
        return Does::Indexes(table.map(|name| plain(name)).unwrap_or_default());
    }
    if let Some(table) = at("TABLE") {
        let skipped = ["IF", "NOT", "EXISTS"];
        let name = words
            .iter()
            .skip(table + 1)
            .find(|word| !skipped.contains(&word.as_str()));
        return Does::Creates(
            name.map(|name| plain(name))
                .unwrap_or_else(|| text.to_owned()),
        );
    }
    Does::Other
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destroys(sql: &str) -> bool {
        read(sql)
            .iter()
            .any(|one| matches!(one.does, Does::Destroys(_)))
    }

    #[test]
    fn statements_that_lose_data_are_recognised() {
        for sql in [
            "DROP TABLE orders",
            "drop   table if exists orders;",
            "DELETE FROM orders",
            "DELETE FROM orders WHERE id = 1",
            "TRUNCATE orders",
            "ALTER TABLE orders DROP COLUMN note",
            "ALTER TABLE orders RENAME TO old_orders",
            "ALTER TABLE orders ALTER COLUMN a TYPE int",
            "CREATE TABLE a (b int); /* now */ DROP TABLE orders;",
        ] {
            assert!(destroys(sql), "{sql}");
        }
    }

    #[test]
    fn statements_that_only_add_are_let_through() {
        for sql in [
            "-- DROP TABLE orders;\nALTER TABLE orders ADD COLUMN gift_note TEXT;",
            "INSERT INTO notes (text) VALUES ('DROP TABLE orders; really');",
            "CREATE INDEX orders_by_time ON orders (created_at);",
            "/* DELETE FROM orders; */ CREATE TABLE dropped (id int);",
            "ALTER TABLE orders ALTER COLUMN a DROP DEFAULT",
        ] {
            assert!(!destroys(sql), "{sql}");
        }
    }

    #[test]
    fn a_trigger_stays_one_statement() {
        let sql =
            "CREATE TRIGGER t AFTER INSERT ON a BEGIN UPDATE b SET n = 1; SELECT 1; END; SELECT 2;";
        let all = read(sql);
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].does, Does::Triggers);
    }

    #[test]
    fn an_index_names_its_table() {
        let all = read(
            "create unique index i on \"Orders\"(a); create table if not exists Notes(id int);",
        );
        assert_eq!(all[0].does, Does::Indexes("orders".to_owned()));
        assert_eq!(all[1].does, Does::Creates("notes".to_owned()));
    }
}
