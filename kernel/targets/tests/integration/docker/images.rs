//! Images that are built, and what a release keeps of one whose name comes to mean another.

use code_deploy_engine::target::{Image, ImageSource, ImageWanted, Target as _};
use code_deploy_targets::DockerTarget;

use super::engine::{COMPOSE, GRACE, Stage, docker, inspect};
use crate::stage::{release, wanted};

/// The commit of the sources, where they are in a repository.
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Has the image of `api` 1.0.0 made ready, of sources of that commit.
async fn provided(target: &DockerTarget, revision: Option<&str>) -> Image {
    // The folder of the project is what the builder is given.
    let apart = tempfile::tempdir().unwrap();
    let (release, log) = (release("1.0.0"), apart.path().join("build.log"));
    let wanted = ImageWanted {
        service: "api",
        release: &release,
        revision,
        as_before: false,
        push: false,
        log: &log,
    };
    let provided = target.provide_image(&wanted, &|_: &str| {}).await;
    provided.unwrap().unwrap()
}

#[tokio::test]
async fn a_built_image_is_named_by_release_and_commit_and_says_what_it_is() {
    let compose = "services:
  api:
    build:
      context: .
      dockerfile_inline: |
        FROM IMAGE
    command: ['serve']
    expose: ['8080']
  web:
    image: IMAGE
    command: ['serve']
    expose: ['8080']
";
    let stage = Stage::with(compose).await;
    let built = provided(&stage.target(), Some(COMMIT)).await;
    assert_eq!(built.source, ImageSource::Built { stages: 1 });
    assert_eq!(built.revision.as_deref(), Some(COMMIT));
    let repository = format!("{}-dev-api", stage.application);
    let named = |tag: &str| built.tags.contains(&format!("{repository}:{tag}"));
    assert!(named("1.0.0") && named(&COMMIT[..12]), "{:?}", built.tags);
    let label = |name: &str| {
        let name = format!("org.opencontainers.image.{name}");
        let format = format!("{{{{index .Config.Labels \"{name}\"}}}}");
        docker(&["image", "inspect", "--format", &format, &built.id])
    };
    assert_eq!(label("title"), "api");
    assert_eq!(label("version"), "1.0.0");
    assert_eq!(label("revision"), COMMIT);
    for tag in &built.tags {
        docker(&["rmi", tag]);
    }
}

#[tokio::test]
async fn a_release_is_started_from_its_own_image_also_when_the_tag_has_moved() {
    let stage = Stage::with(COMPOSE).await;
    let target = stage.opened().await;
    let first = provided(&target, None).await;
    target.start(&wanted("api", "1.0.0", 1)).await.unwrap();

    let (tag, maker) = (
        format!("{}:1", stage.application),
        format!("{}-maker", stage.application),
    );
    docker(&["create", "--name", &maker, &tag, "/bin/code-deploy", "idle"]);
    let other = docker(&["commit", "--change", "LABEL moved=yes", &maker, &tag]);
    docker(&["rm", &maker]);
    assert_ne!(other, first.id);
    let meant = ["image", "inspect", "--format", "{{.Id}}", &tag];
    assert_eq!(docker(&meant), other);

    target.start(&wanted("api", "1.0.0", 2)).await.unwrap();
    for index in [1, 2] {
        let name = stage.container("api", "1.0.0", index);
        assert_eq!(inspect(&name, "{{.Image}}"), first.id);
    }
    target.remove_all(GRACE).await.unwrap();
    let own = format!("code-deploy/{}-api:", stage.application);
    for tag in first.tags.iter().filter(|tag| tag.starts_with(&own)) {
        docker(&["rmi", tag]);
    }
}
