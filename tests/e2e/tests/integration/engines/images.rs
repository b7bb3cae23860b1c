//! An image that is pulled by a name that comes to mean another, and one that is gone when a release is gone back to.

use std::path::Path;

use super::deployed;
use crate::docker::{CONTAINERS, docker, images_of, standing};
use crate::kit::Place;
use crate::registry::Registry;
use crate::stage;
use crate::steering::Deploying;

/// How an image of 1.1.0 is built here.
const BUILD: &str = "    build:
      context: .
      dockerfile_inline: |
        FROM shop:1.1.0 AS base
        FROM base
        COPY deploy.yaml /built-from.yaml
";

#[test]
fn a_release_keeps_the_image_that_was_pulled_for_it_and_one_that_is_gone_is_told() {
    let place = Place::with_docker();
    place.lay_out_upgrade();
    let registry = Registry::start(&place);
    let name = format!("{}/shop/catalog:1.1.0", registry.address);
    docker(&["tag", "shop:1.1.0", &name]);
    docker(&["push", "--quiet", &name]);
    docker(&["rmi", &name]);
    let pulled = name.replace("1.1.0", "${CODE_DEPLOY_RELEASE:-1.0.0}");
    let compose = place.demo().join("compose.yaml");
    comes_by(&compose, "catalog", &format!("    image: {pulled}\n"));
    comes_by(&compose, "orders", BUILD);

    let mut first = Deploying::begin_in(&place, &place.demo(), &["dev", "docker-desktop"]);
    first.until("[04] provision");
    first.kill();
    let moved = another_image(&name);
    let resumed = place.run_in(&place.demo(), &["resume"]);
    let state = deployed(&place, &resumed, "1.1.0");
    let mut images = images_of(&state).into_iter();
    let catalog = images.find(|one| one["service"] == "catalog").unwrap();
    assert_eq!(catalog["source"], "pulled", "{catalog}");
    let kept = catalog["id"].as_str().unwrap();
    assert_ne!(kept, moved);
    for container in &CONTAINERS[..2] {
        let runs = docker(&["inspect", "--format", "{{.Image}}", container]);
        assert_eq!(runs, kept, "{container}");
    }

    let own = own_name("orders", "1.0.0");
    docker(&["rmi", &own]);
    let before = standing(&stage::docker(), "dev");
    let back = place.run_in(&place.demo(), &["rollback", "--reason", "a drill"]);
    let words = [own.as_str(), "is not there any more", "nothing was started"];
    back.refused(1, "CD0525", &words);
    assert_eq!(standing(&stage::docker(), "dev"), before);
}

/// Has a service come by its image in another way.
#[track_caller]
fn comes_by(compose: &Path, service: &str, way: &str) {
    let file = std::fs::read_to_string(compose).unwrap();
    let command = format!("    command: [\"shop\", \"{service}\"]\n");
    let image = format!("    image: shop:${{CODE_DEPLOY_RELEASE:-1.0.0}}\n{command}");
    assert!(file.contains(&image), "{file}");
    let other = format!("{way}{command}");
    std::fs::write(compose, file.replacen(&image, &other, 1)).unwrap();
}

/// Gives another image that name, here and in its registry; returns its digest.
#[track_caller]
fn another_image(name: &str) -> String {
    let maker = "somebodys-maker";
    docker(&["create", "--name", maker, "shop:1.0.0", "probe"]);
    let made = docker(&["commit", "--change", "LABEL moved=yes", maker, name]);
    docker(&["rm", maker]);
    docker(&["push", "--quiet", name]);
    made
}

/// Returns the name under which this project keeps the image of a release: its tag ends as that of what runs.
#[track_caller]
fn own_name(service: &str, release: &str) -> String {
    let project = "{{index .Config.Labels \"code-deploy.project\"}}";
    let project = docker(&["inspect", "--format", project, CONTAINERS[0]]);
    let whose = code_deploy_record::Digest::of(format!("{project}\ndev").as_bytes());
    format!("code-deploy/shop-{service}:{release}-dev-{}", whose.short())
}
