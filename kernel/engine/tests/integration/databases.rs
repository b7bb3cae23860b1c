use std::sync::Arc;

use code_deploy_engine::plan::Inputs;
use code_deploy_engine::{Ended, Runner, Step, phases, release};
use code_deploy_record::{Direction, EventBody, Verdict};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, SqliteConnection};

use crate::stage::Stage;

const BASE: (&str, &str) = (
    "CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT NOT NULL); \
     CREATE TABLE orders (id INTEGER PRIMARY KEY, state TEXT NOT NULL, \
     product INTEGER REFERENCES products (id) ON DELETE CASCADE);",
    "DROP TABLE orders; DROP TABLE products;",
);

const NOTES: (&str, &str) = (
    "ALTER TABLE orders ADD COLUMN note TEXT;",
    "ALTER TABLE orders DROP COLUMN note;",
);

fn steps(inputs: &Inputs) -> Vec<Arc<dyn Step>> {
    let mut steps = phases::migrate::steps(inputs);
    steps.extend(release::steps(inputs));
    steps
}

/// A stage with a database: products and orders of release 1.0.0, and this migration for 1.1.0.
async fn stage(migration: (&str, &str), waived: &[&str]) -> Stage {
    let mut stage = Stage::canary().await;
    stage.steps = steps;
    let folder = stage.spec.project.join("migrations");
    std::fs::create_dir_all(&folder).unwrap();
    for (name, (up, down)) in [("0001_base", BASE), ("0002_next", migration)] {
        std::fs::write(folder.join(format!("{name}.up.sql")), up).unwrap();
        std::fs::write(folder.join(format!("{name}.down.sql")), down).unwrap();
    }
    let waivers: Vec<_> = waived
        .iter()
        .map(|item| serde_json::json!({ "item": item, "by": "Ada", "reason": "nobody uses it", "expires": "2999-01-01" }))
        .collect();
    let file = serde_json::json!({
        "application": "shop",
        "environments": { "dev": {} },
        "waivers": waivers,
        "databases": { "shop": {
            "url": "sqlite:{data}/shop.db",
            "used_by": ["shop"],
            "migrations": "migrations",
            "release_migrations": { "1.0.0": 1, "1.1.0": 2 },
            "checks": [{ "name": "all orders", "query": "SELECT count(*) FROM orders", "expect": "2" }],
        } },
    });
    stage.spec.file = serde_json::from_value(file).unwrap();
    std::fs::create_dir_all(stage.spec.data_folder()).unwrap();
    let mut live = connect(&stage).await;
    let all = sqlx::migrate::Migrator::new(folder).await.unwrap();
    all.run_to(1, &mut live).await.unwrap();
    live.close().await.unwrap();
    execute(&stage, "INSERT INTO products VALUES (1, 'kettle')").await;
    execute(
        &stage,
        "INSERT INTO orders VALUES (1, 'paid', 1), (2, 'new', 1)",
    )
    .await;
    stage
}

async fn connect(stage: &Stage) -> SqliteConnection {
    let path = stage.spec.data_folder().join("shop.db");
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true);
    options.connect().await.unwrap()
}

async fn execute(stage: &Stage, statement: &'static str) {
    let mut live = connect(stage).await;
    sqlx::raw_sql(statement).execute(&mut live).await.unwrap();
    live.close().await.unwrap();
}

async fn number(stage: &Stage, query: &str) -> i64 {
    let mut live = connect(stage).await;
    let query = AssertSqlSafe(query.to_owned());
    let number = sqlx::query_scalar(query)
        .fetch_one(&mut live)
        .await
        .unwrap();
    live.close().await.unwrap();
    number
}

async fn version(stage: &Stage) -> i64 {
    number(stage, "SELECT max(version) FROM _sqlx_migrations").await
}

async fn come_to_migrate(stage: &Stage) -> Runner {
    come_to_migrate_to(stage, "1.1.0").await
}

async fn come_to_migrate_to(stage: &Stage, to: &str) -> Runner {
    let mut runner = stage.open(to).await;
    for verb in ["inventory", "plan", "preflight", "build", "provision"] {
        assert!(
            runner.run_verb(verb, None).await.unwrap().is_done(),
            "{verb}"
        );
    }
    runner
}

fn verdict(stage: &Stage, item: &str) -> (Verdict, String) {
    let state = stage.last_run().state().unwrap();
    let item = state.items.get(&item.parse().unwrap()).unwrap();
    (item.verdict.clone(), item.reason.clone())
}

fn ended_badly(done: Ended, code: &str, stage: &Stage) {
    assert!(!done.is_done());
    let text = serde_json::to_string(&stage.events()).unwrap();
    assert!(text.contains(code), "{code} is not in the record");
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_are_journaled_and_taken_back_with_what_was_written_meanwhile() {
    let stage = stage(NOTES, &[]).await;
    let mut runner = come_to_migrate(&stage).await;
    let done = runner.run_verb("migrate", None).await.unwrap();
    assert!(done.is_done(), "{done:?}");
    assert_eq!(version(&stage).await, 2);
    for item in ["4.1.3", "4.2.1", "4.2.6", "4.3.1", "4.3.4", "4.3.6"] {
        let (verdict, reason) = verdict(&stage, item);
        assert!(
            matches!(verdict, Verdict::Met { .. }),
            "{item} {verdict:?} {reason}"
        );
    }
    execute(&stage, "INSERT INTO orders VALUES (3, 'new', 1, 'blue')").await;

    let ended = runner.rollback("anna", "to see it").await.unwrap();
    runner.close().await;
    assert!(matches!(ended, Ended::RolledBack(_)), "{ended:?}");
    assert_eq!(version(&stage).await, 1);
    assert_eq!(number(&stage, "SELECT count(*) FROM orders").await, 3);
    let columns = "SELECT count(*) FROM pragma_table_info('orders') WHERE name = 'note'";
    assert_eq!(number(&stage, columns).await, 0);
    let migrated: Vec<_> = stage
        .events()
        .into_iter()
        .filter_map(|event| match event.body {
            EventBody::Migrated {
                version,
                direction,
                rows,
                ..
            } => Some((version, direction, rows)),
            _ => None,
        })
        .collect();
    assert_eq!(
        migrated,
        [(2, Direction::Apply, 3), (2, Direction::Undo, 4)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_the_running_release_changes_after_the_backup_are_no_loss() {
    let stage = stage(NOTES, &[]).await;
    let mut runner = come_to_migrate(&stage).await;
    assert!(
        runner
            .run_verb("migrate", Some("backup"))
            .await
            .unwrap()
            .is_done()
    );
    execute(&stage, "UPDATE orders SET state = 'sent' WHERE id = 1").await;
    let done = runner.run_verb("migrate", None).await.unwrap();
    runner.close().await;
    assert!(done.is_done(), "{done:?}");
    let (verdict, reason) = verdict(&stage, "4.3.1");
    assert!(matches!(verdict, Verdict::Met { .. }), "{reason}");
    assert!(reason.contains("under the write lock"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destructive_migration_is_refused_before_anything_is_migrated() {
    let stage = stage(("DROP TABLE orders;", ""), &[]).await;
    let mut runner = come_to_migrate(&stage).await;
    let done = runner.run_verb("migrate", None).await.unwrap();
    runner.close().await;
    ended_badly(done, "CD0609", &stage);
    assert_eq!(version(&stage).await, 1);
    assert_eq!(number(&stage, "SELECT count(*) FROM orders").await, 2);
    assert_eq!(verdict(&stage, "4.2.6").0, Verdict::Failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destructive_migration_that_somebody_accepts_is_carried_out() {
    let up = "ALTER TABLE orders DROP COLUMN state;";
    let down = "ALTER TABLE orders ADD COLUMN state TEXT;";
    let stage = stage((up, down), &["4.2.6"]).await;
    let mut runner = come_to_migrate(&stage).await;
    let done = runner.run_verb("migrate", None).await.unwrap();
    runner.close().await;
    assert!(done.is_done(), "{done:?}");
    assert_eq!(version(&stage).await, 2);
    let (verdict, reason) = verdict(&stage, "4.2.6");
    assert!(matches!(verdict, Verdict::Waived { .. }), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_loses_rows_it_does_not_name_leaves_nothing_behind() {
    let stage = stage(("DELETE FROM products WHERE id = 1;", ""), &["4.2.6"]).await;
    let mut runner = come_to_migrate(&stage).await;
    let done = runner.run_verb("migrate", None).await.unwrap();
    runner.close().await;
    ended_badly(done, "CD0607", &stage);
    assert_eq!(version(&stage).await, 1);
    assert_eq!(number(&stage, "SELECT count(*) FROM products").await, 1);
    assert_eq!(number(&stage, "SELECT count(*) FROM orders").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_the_way_to_an_older_release_nothing_is_told_to_be_taken_back() {
    let stage = stage(NOTES, &[]).await;
    let folder = stage.spec.project.join("migrations");
    let all = sqlx::migrate::Migrator::new(folder).await.unwrap();
    let mut live = connect(&stage).await;
    all.run_to(2, &mut live).await.unwrap();
    live.close().await.unwrap();

    // Release 1.0.1 asks for what 1.0.0 asked for; the database is beyond that already.
    let mut runner = come_to_migrate_to(&stage, "1.0.1").await;
    let ended = runner.run_verb("migrate", None).await.unwrap();
    assert!(matches!(ended, Ended::Done(_)), "{ended:?}");
    assert_eq!(version(&stage).await, 2);
    let rows = stage
        .events()
        .into_iter()
        .find_map(|event| match event.body {
            EventBody::SectionReported {
                section, report, ..
            } if section == "rollback" => report.blocks.into_iter().find_map(|block| match block {
                code_deploy_record::Block::Table { rows, .. } => Some(rows),
                _ => None,
            }),
            _ => None,
        });
    assert_eq!(
        rows.unwrap()[0][..4],
        ["shop", "2", "2", "nothing to take back"]
    );
}
