#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use sqlx::migrate::Migrator;
use tempfile::TempDir;

use super::backup::compare;
use super::sqlite::Sqlite;

async fn migrator(folder: &TempDir) -> Migrator {
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write(
        "0001_base.up.sql",
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, what TEXT NOT NULL);",
    );
    write("0001_base.down.sql", "DROP TABLE orders;");
    write(
        "0002_notes.up.sql",
        "ALTER TABLE orders ADD COLUMN note TEXT;",
    );
    write(
        "0002_notes.down.sql",
        "ALTER TABLE orders DROP COLUMN note;",
    );
    Migrator::new(folder.path().to_owned()).await.unwrap()
}

#[tokio::test]
async fn a_backup_taken_before_migrations_agrees_after_them_and_after_the_way_back() {
    let folder = TempDir::new().unwrap();
    let all = migrator(&folder).await;
    let path = folder.path().join("shop.db");
    let mut live = Sqlite::open("shop", &path, true).await.unwrap();
    live.migrate_to(&all, 1).await.unwrap();
    live.execute("INSERT INTO orders (what) VALUES ('kettle'), ('it''s | tea')")
        .await
        .unwrap();
    let backup = folder.path().join("backup.db");
    live.copy_to(&backup).await.unwrap();
    let tables = live.contents("main").await.unwrap();
    assert_eq!(tables["orders"].rows, 2);
    live.attach(&backup, "before").await.unwrap();

    live.migrate_to(&all, 2).await.unwrap();
    live.execute("INSERT INTO orders (what, note) VALUES ('cup', 'blue')")
        .await
        .unwrap();
    assert_eq!(live.version().await.unwrap(), 2);
    assert_eq!(compare(&mut live, "before", &tables).await.unwrap(), None);

    live.back_to(&all, 1).await.unwrap();
    assert_eq!(live.version().await.unwrap(), 1);
    assert_eq!(compare(&mut live, "before", &tables).await.unwrap(), None);
    live.back_to(&all, 1).await.unwrap();
    assert_eq!(live.number("SELECT count(*) FROM orders").await.unwrap(), 3);
}

#[tokio::test]
async fn a_changed_or_lost_row_is_found_by_the_comparison() {
    let folder = TempDir::new().unwrap();
    let all = migrator(&folder).await;
    let mut live = Sqlite::open("shop", &folder.path().join("shop.db"), true)
        .await
        .unwrap();
    live.migrate_to(&all, 2).await.unwrap();
    live.execute("INSERT INTO orders (what) VALUES ('kettle'), ('tea')")
        .await
        .unwrap();
    let backup = folder.path().join("backup.db");
    live.copy_to(&backup).await.unwrap();
    let tables = live.contents("main").await.unwrap();
    live.attach(&backup, "before").await.unwrap();
    live.execute("UPDATE main.orders SET what = 'coffee' WHERE id = 2")
        .await
        .unwrap();
    assert!(
        compare(&mut live, "before", &tables)
            .await
            .unwrap()
            .is_some()
    );
    live.execute("UPDATE main.orders SET what = 'tea' WHERE id = 2")
        .await
        .unwrap();
    assert_eq!(compare(&mut live, "before", &tables).await.unwrap(), None);
    live.execute("DELETE FROM main.orders WHERE id = 1")
        .await
        .unwrap();
    assert!(
        compare(&mut live, "before", &tables)
            .await
            .unwrap()
            .is_some()
    );
}

#[tokio::test]
async fn orphans_are_counted() {
    let folder = TempDir::new().unwrap();
    let mut live = Sqlite::open("shop", &folder.path().join("a.db"), true)
        .await
        .unwrap();
    live.execute("PRAGMA foreign_keys = OFF").await.unwrap();
    live.execute(
        "CREATE TABLE a (id INTEGER PRIMARY KEY); CREATE TABLE b (a INTEGER REFERENCES a (id))",
    )
    .await
    .unwrap();
    live.execute("INSERT INTO b (a) VALUES (7)").await.unwrap();
    assert_eq!(live.orphans().await.unwrap(), 1);
    assert_eq!(live.integrity().await.unwrap(), "ok");
}
