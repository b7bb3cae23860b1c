use code_deploy_shop::Service;
use serde_json::json;

use crate::kit::{Running, get, migrate, post_json, sqlite_url};

pub async fn orders(release: &str, database: &str, catalog: &str) -> Running {
    let env = [
        ("SHOP_RELEASE", release),
        ("DATABASE_URL", database),
        ("CATALOG_URL", catalog),
    ];
    Running::start(Service::Orders, &env).await
}

#[tokio::test]
async fn release_1_0_works_before_during_and_after_the_migration_of_1_1() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.db");
    let database = sqlite_url(&file);
    migrate(&file, 1).await;
    let env = [("DATABASE_URL", database.as_str())];
    let catalog = Running::start(Service::Catalog, &env).await;
    let old = orders("1.0.0", &database, &catalog.url).await;
    let new = orders("1.1.0", &database, &catalog.url).await;
    let ready = async |service: &Running| get(&format!("{}/readyz", service.url)).await;

    let early = ready(&new).await;
    assert_eq!(early.status, 503);
    assert!(
        early.text().contains("0002_gift_notes_and_reviews"),
        "{}",
        early.text()
    );
    assert_eq!(place(&old, "before").await["gift_note"], json!(null));

    migrate(&file, 2).await;
    assert_eq!(
        (
            ready(&old).await.status.as_u16(),
            ready(&new).await.status.as_u16()
        ),
        (200, 200)
    );
    let between = place(&old, "between").await;
    let gift = place(&new, "gift").await;
    assert_eq!(
        (&between["gift_note"], &gift["gift_note"]),
        (&json!(null), &json!("Cheers"))
    );
    let id = gift["id"].as_str().unwrap();
    let seen_by_old = get(&format!("{}/api/orders/{id}", old.url)).await;
    assert_eq!(
        (
            seen_by_old.status.as_u16(),
            seen_by_old.json().get("gift_note")
        ),
        (200, None)
    );
    let stats = get(&format!("{}/api/orders/stats", new.url)).await.json();
    assert_eq!(
        (&stats["orders"], &stats["with_gift_note"]),
        (&json!(4), &json!(1))
    );
    assert_eq!(
        get(&format!("{}/api/orders/stats", old.url)).await.status,
        404
    );

    new.stop.cancel();
    new.ended().await.unwrap();
    migrate(&file, 1).await;
    place(&old, "after").await;
    let left = get(&format!("{}/api/orders", old.url)).await.json();
    assert_eq!(left["orders"].as_array().unwrap().len(), 5);
}

pub async fn place(service: &Running, key: &str) -> serde_json::Value {
    let order =
        json!({ "product_id": 1, "quantity": 1, "customer": "Grace", "gift_note": "Cheers" });
    let url = format!("{}/api/orders", service.url);
    let answer = post_json(&url, &[("idempotency-key", key)], &order).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()
}
