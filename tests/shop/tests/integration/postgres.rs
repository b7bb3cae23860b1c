//! The shop on a PostgreSQL server, which the test makes and ends itself.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use code_deploy_shop::Service;
use serde_json::json;

use crate::kit::{Running, get};
use crate::releases::{orders, place};

/// A server of its own, reached through a socket in its folder; it ends with this.
struct Server {
    folder: tempfile::TempDir,
    programs: PathBuf,
}

impl Server {
    fn start() -> Self {
        const PROMISE: &str = "CODE_DEPLOY_STAGE_POSTGRES";
        let initdb = std::env::var_os(PROMISE).map(PathBuf::from);
        let initdb = initdb.unwrap_or_else(|| {
            panic!("PostgreSQL is needed here, and {PROMISE} does not say where its `initdb` is: run `cargo verify --only tests`")
        });
        assert!(
            initdb.is_file(),
            "{PROMISE} promises {}, and it is not there",
            initdb.display()
        );
        let server = Self {
            folder: tempfile::tempdir().unwrap(),
            programs: initdb.parent().unwrap().to_owned(),
        };
        if let Some(user) = other_user() {
            let (user, group) = (Some(user.uid), Some(user.gid));
            nix::unistd::chown(server.folder.path(), user, group).unwrap();
        }
        let words = [
            "--auth=trust",
            "--username=shop",
            "--no-sync",
            "--encoding=UTF8",
        ];
        server.run("initdb", &words);
        // Nothing but the socket: no port is taken.
        let options = format!(
            "-F -c listen_addresses= -k {}",
            server.folder.path().display()
        );
        server.run(
            "pg_ctl",
            &[
                "--wait",
                "--log",
                &server.data("log"),
                "--options",
                &options,
                "start",
            ],
        );
        server
    }

    fn data(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command
            .current_dir(self.folder.path())
            .args(["--pgdata", &self.data("data")]);
        if let Some(user) = other_user() {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command
    }

    #[track_caller]
    fn run(&self, program: &str, words: &[&str]) {
        // The server inherits what `pg_ctl` writes to, so that nobody waits for its end.
        let log = std::fs::File::create(Path::new(&self.data(&format!("{program}.log")))).unwrap();
        let mut command = self.command(program);
        command
            .args(words)
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let status = command.status().unwrap();
        let said = std::fs::read_to_string(self.data(&format!("{program}.log"))).unwrap();
        assert!(status.success(), "{program}: {said}");
    }

    fn url(&self) -> String {
        format!(
            "postgres://shop@localhost/postgres?host={}",
            self.folder.path().display()
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let stopped = self
            .command("pg_ctl")
            .args(["--mode", "immediate", "--wait", "stop"])
            .output();
        if !std::thread::panicking() {
            let stopped = stopped.unwrap();
            assert!(stopped.status.success(), "{stopped:?}");
        }
    }
}

/// PostgreSQL refuses to run as root.
fn other_user() -> Option<nix::unistd::User> {
    nix::unistd::Uid::effective().is_root().then(|| {
        let found = ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| nix::unistd::User::from_name(name).unwrap());
        found.expect("a user other than root")
    })
}

#[tokio::test]
async fn the_same_migrations_and_statements_work_on_postgresql() {
    let server = Server::start();
    let database = server.url();
    let pool = sqlx::PgPool::connect(&database).await.unwrap();
    let migrator = sqlx::migrate::Migrator::new(crate::kit::migrations())
        .await
        .unwrap();
    migrator.run_to(1, &pool).await.unwrap();
    let env = [("DATABASE_URL", database.as_str())];
    let catalog = Running::start(Service::Catalog, &env).await;
    let old = orders("1.0.0", &database, &catalog.url).await;
    place(&old, "before").await;

    migrator.run(&pool).await.unwrap();
    let new = orders("1.1.0", &database, &catalog.url).await;
    assert_eq!(get(&format!("{}/readyz", new.url)).await.status, 200);
    place(&old, "between").await;
    place(&new, "gift").await;
    let stats = get(&format!("{}/api/orders/stats", new.url)).await.json();
    assert_eq!(
        stats,
        json!({ "orders": 4, "items": 5, "revenue_cents": 5 * 3990, "with_gift_note": 1 })
    );
    let env = [
        ("DATABASE_URL", database.as_str()),
        ("SHOP_RELEASE", "1.1.0"),
    ];
    let catalog = Running::start(Service::Catalog, &env).await;
    let reviews = get(&format!("{}/api/products/1/reviews", catalog.url))
        .await
        .json();
    assert_eq!(reviews["reviews"].as_array().unwrap().len(), 2);

    migrator.undo(&pool, 0).await.unwrap();
    assert_eq!(get(&format!("{}/readyz", old.url)).await.status, 503);
}
