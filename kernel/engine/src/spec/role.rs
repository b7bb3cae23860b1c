//! What a service probably is, from its image, name and ports.

use code_deploy_record::Role;

const DATABASES: &[&str] = &[
    "postgres",
    "postgis",
    "timescale",
    "mysql",
    "mariadb",
    "percona",
    "mongo",
    "cockroach",
    "cassandra",
    "scylla",
    "clickhouse",
    "influxdb",
    "neo4j",
    "elasticsearch",
    "opensearch",
    "mssql",
    "oracle",
    "couchdb",
    "dynamodb",
    "etcd",
    "surrealdb",
];
const CACHES: &[&str] = &[
    "redis",
    "valkey",
    "memcached",
    "keydb",
    "dragonfly",
    "varnish",
];
const QUEUES: &[&str] = &[
    "rabbitmq",
    "kafka",
    "redpanda",
    "nats",
    "activemq",
    "artemis",
    "pulsar",
    "mosquitto",
    "zookeeper",
    "elasticmq",
    "nsq",
];
const FRONTENDS: &[&str] = &[
    "frontend",
    "front-end",
    "storefront",
    "web",
    "www",
    "ui",
    "webapp",
    "portal",
    "site",
    "dashboard",
    "nginx",
    "httpd",
    "caddy",
];

/// Returns what a service probably is.
pub(crate) fn guess(name: &str, image: Option<&str>, ports: &[u16]) -> Role {
    let image = image.map(repository).unwrap_or_default();
    let has = |words: &[&str], text: &str| words.iter().any(|word| text.contains(word));
    if has(DATABASES, &image) {
        return Role::Database;
    }
    if has(CACHES, &image) {
        return Role::Cache;
    }
    if has(QUEUES, &image) {
        return Role::Queue;
    }
    let name = name.to_lowercase();
    let parts = || name.split(['-', '_', '.']);
    if FRONTENDS.contains(&image.as_str())
        || FRONTENDS.contains(&name.as_str())
        || parts().any(|part| FRONTENDS.contains(&part))
    {
        return Role::Frontend;
    }
    match ports.first() {
        Some(5432 | 3306 | 27017 | 1433 | 9042 | 26257) => Role::Database,
        Some(6379 | 11211) => Role::Cache,
        Some(5672 | 9092 | 4222 | 1883) => Role::Queue,
        Some(80 | 443) => Role::Frontend,
        _ => Role::Backend,
    }
}

/// Returns an image's last name: `postgres` of `docker.io/library/postgres:16@sha256:...`.
fn repository(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split([':', '@']).next().unwrap_or(last).to_lowercase()
}

#[cfg(test)]
mod tests {
    #![allow(missing_docs)]
    use super::*;

    #[test]
    fn roles_are_guessed_from_image_name_and_port() {
        for (name, image, port, role) in [
            (
                "db",
                Some("docker.io/library/postgres:16"),
                5432,
                Role::Database,
            ),
            ("sessions", Some("valkey/valkey:8"), 6379, Role::Cache),
            ("bus", Some("nats:2"), 4222, Role::Queue),
            ("storefront", Some("shop:1"), 8080, Role::Frontend),
            ("shop-web", None, 8080, Role::Frontend),
            ("webhooks", None, 8080, Role::Backend),
            ("store", None, 5432, Role::Database),
            ("api", Some("api:1"), 8080, Role::Backend),
        ] {
            assert_eq!(guess(name, image, &[port]), role, "{name}");
        }
    }
}
