use code_deploy_shop::{FILES, Release, Service, openapi_document};
use http::Method;
use serde_json::{Value, json};

use crate::kit::{Answer, Shop, get, send};

/// One operation of an OpenAPI document with the request its examples describe.
struct Operation<'a> {
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: String,
    described: &'a Value,
}

fn operations(document: &Value) -> Vec<Operation<'_>> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, described) in item.as_object().unwrap() {
            all.push(operation(document, path, method, described));
        }
    }
    all
}

fn operation<'a>(
    document: &Value,
    path: &str,
    method: &str,
    described: &'a Value,
) -> Operation<'a> {
    let mut operation = Operation {
        method: method.to_uppercase().parse().unwrap(),
        path: path.to_owned(),
        headers: Vec::new(),
        body: String::new(),
        described,
    };
    for parameter in described["parameters"].as_array().into_iter().flatten() {
        let name = parameter["name"].as_str().unwrap();
        assert!(
            parameter["schema"].is_object(),
            "{path}: {name} has no type"
        );
        let example = match &parameter["example"] {
            Value::String(text) => text.clone(),
            Value::Null => panic!("{path}: {name} has no example"),
            other => other.to_string(),
        };
        match parameter["in"].as_str().unwrap() {
            "path" => operation.path = operation.path.replace(&format!("{{{name}}}"), &example),
            "query" => operation.path.push_str(&format!("?{name}={example}")),
            _ => operation.headers.push((name.to_owned(), example)),
        }
    }
    if let Some(schema) = described.pointer("/requestBody/content/application~1json/schema") {
        operation
            .headers
            .push(("content-type".into(), "application/json".into()));
        operation.body = example(document, schema).to_string();
    }
    operation
}

/// Builds an object from the examples of a schema's properties.
fn example(document: &Value, schema: &Value) -> Value {
    let schema = match schema["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    };
    let properties = schema["properties"].as_object().unwrap();
    properties
        .iter()
        .map(|(name, property)| (name.clone(), property["example"].clone()))
        .collect()
}

#[track_caller]
fn assert_described(document: &Value, operation: &Operation<'_>, answer: &Answer) {
    let what = format!(
        "{} {} -> {}",
        operation.method, operation.path, answer.status
    );
    let response = &operation.described["responses"][answer.status.as_str()];
    assert!(
        response.is_object(),
        "{what} is not described: {}",
        answer.text()
    );
    let Some(content) = response["content"].as_object() else {
        assert!(
            answer.body.is_empty(),
            "{what} has a body that is not described"
        );
        return;
    };
    let kind = answer.header("content-type").split(';').next().unwrap();
    let schema = &content
        .get(kind)
        .unwrap_or_else(|| panic!("{what}: {kind} is not described"))["schema"];
    assert!(schema.is_object(), "{what} has no schema");
    if kind.ends_with("json") {
        let mut schema = schema.clone();
        schema["components"] = document["components"].clone();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let errors: Vec<_> = validator
            .iter_errors(&answer.json())
            .map(|e| e.to_string())
            .collect();
        assert!(errors.is_empty(), "{what}: {errors:?}\n{}", answer.text());
    }
}

async fn live_answers_match(release: &str) -> usize {
    let shop = Shop::start(release, &[]).await;
    let mut checked = 0;
    for service in Service::ALL {
        let url = &shop.of(service).url;
        let document = get(&format!("{url}/openapi.json")).await.json();
        assert_eq!(document["openapi"], "3.1.0");
        assert_eq!(document["info"]["version"], release);
        assert_eq!(
            document,
            openapi_document(service, &release.parse::<Release>().unwrap())
        );
        for operation in operations(&document) {
            let headers: Vec<_> = operation
                .headers
                .iter()
                .map(|(n, v)| (n.as_str(), v.as_str()))
                .collect();
            let url = format!("{url}{}", operation.path);
            let answer = send(operation.method.clone(), &url, &headers, &operation.body).await;
            let answer = answer.unwrap();
            assert!(
                answer.status.is_success(),
                "{url}: {} {}",
                answer.status,
                answer.text()
            );
            assert_described(&document, &operation, &answer);
            checked += 1;
        }
    }
    checked
}

#[tokio::test]
async fn every_operation_of_1_0_answers_its_example_as_described() {
    assert_eq!(live_answers_match("1.0.0").await, 5 + 2 + 3 + 3 * 6);
}

#[tokio::test]
async fn every_operation_of_1_1_answers_its_example_as_described() {
    assert_eq!(live_answers_match("1.1.0").await, 5 + 3 + 4 + 3 * 6);
}

#[tokio::test]
async fn problems_are_as_described() {
    let shop = Shop::start("1.1.0", &[]).await;
    for (service, path, asked, status) in [
        (
            Service::Catalog,
            "/api/products",
            "/api/products?limit=0",
            400,
        ),
        (
            Service::Catalog,
            "/api/products/{id}",
            "/api/products/x",
            400,
        ),
        (
            Service::Catalog,
            "/api/products/{id}",
            "/api/products/99",
            404,
        ),
        (
            Service::Catalog,
            "/api/products/{id}/reviews",
            "/api/products/99/reviews",
            404,
        ),
        (Service::Orders, "/api/orders/{id}", "/api/orders/none", 404),
        (Service::Storefront, "/product/{id}", "/product/x", 400),
        (Service::Storefront, "/order/{id}", "/order/none", 404),
    ] {
        let document = openapi_document(service, &"1.1.0".parse().unwrap());
        let described = &document["paths"][path]["get"];
        let mut operation = operation(&document, path, "get", described);
        asked.clone_into(&mut operation.path);
        let answer = get(&format!("{}{asked}", shop.of(service).url)).await;
        assert_eq!(answer.status, status, "{asked}");
        assert_described(&document, &operation, &answer);
    }
}

#[test]
fn only_1_1_knows_gift_notes_and_statistics() {
    let document = |release: &str| openapi_document(Service::Orders, &release.parse().unwrap());
    let note = "/components/schemas/Order/properties/gift_note";
    assert!(document("1.0.0").pointer(note).is_none());
    assert_eq!(
        document("1.1.0").pointer(note).unwrap()["type"],
        json!("string")
    );
    assert!(
        document("1.0.0")["paths"]
            .get("/api/orders/stats")
            .is_none()
    );
    assert!(
        document("1.1.0")["paths"]
            .get("/api/orders/stats")
            .is_some()
    );
}

#[test]
fn the_demonstration_holds_every_migration_of_the_folder() {
    let mut names: Vec<_> = std::fs::read_dir(crate::kit::migrations())
        .unwrap()
        .map(|entry| {
            format!(
                "migrations/{}",
                entry.unwrap().file_name().to_string_lossy()
            )
        })
        .collect();
    names.sort();
    let mut held: Vec<_> = FILES
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| name.starts_with("migrations/"))
        .collect();
    held.sort_unstable();
    assert_eq!(held, names);
}
