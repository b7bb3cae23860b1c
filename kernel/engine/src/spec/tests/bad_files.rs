//! Files that are not what they must be.

use super::*;

#[test]
fn a_folder_without_a_deployment_file_says_how_to_get_one() {
    let project = Project::new();
    std::fs::remove_file(project.path(FILE_NAME)).unwrap();
    let error = find(&project.path("")).unwrap_err();
    assert_eq!(error.code, "CD0101");
    insta::assert_snapshot!(error.help, @r#"Write one with `code-deploy init`, name one with `--file`, or change to its folder; `code-deploy dev local --demo` needs none."#);
}

#[test]
fn the_nearest_deployment_file_above_is_found() {
    let project = Project::new();
    project.write("a/b/file", "");
    assert_eq!(find(&project.path("a/b")).unwrap(), project.path(FILE_NAME));
}

#[test]
fn a_missing_file_is_named() {
    let project = Project::new();
    std::fs::remove_file(project.path(FILE_NAME)).unwrap();
    insta::assert_snapshot!(project.refused(), @r#"
    CD0102 deploy.yaml: the deployment file does not exist
    Check the path; paths in a deployment file are relative to its folder.
    "#);
}

#[test]
fn a_folder_in_place_of_the_file_is_refused() {
    let project = Project::new();
    std::fs::remove_file(project.path(FILE_NAME)).unwrap();
    std::fs::create_dir(project.path(FILE_NAME)).unwrap();
    insta::assert_snapshot!(project.refused(), @r#"
    CD0102 deploy.yaml: the deployment file cannot be read: it is not a file
    Check the path and the permissions.
    "#);
}

#[test]
fn an_empty_file_is_refused() {
    let project = Project::new();
    project.write(FILE_NAME, "\n  \n");
    insta::assert_snapshot!(project.refused(), @r#"
    CD0105 deploy.yaml: the deployment file is empty
    Write the keys it needs; `code-deploy init` writes a commented deployment file.
    "#);
}

#[test]
fn a_file_of_comments_only_is_refused() {
    let project = Project::new();
    project.write(FILE_NAME, "# nothing yet\n");
    insta::assert_snapshot!(project.refused(), @r#"
    CD0105 deploy.yaml: the deployment file says nothing
    Write the keys it needs; `code-deploy init` writes a commented deployment file.
    "#);
}

#[test]
fn a_file_that_is_not_utf8_is_refused_with_the_line() {
    let project = Project::new();
    project.write(FILE_NAME, b"application: app\nrelease: \xff\xfe\n");
    insta::assert_snapshot!(project.refused(), @r#"
    CD0104 deploy.yaml:2: the deployment file is not UTF-8: byte 26 does not belong to any character
    Save it as UTF-8 without a byte order mark.
    "#);
}

#[test]
fn a_file_of_50_megabytes_is_refused_by_its_size() {
    let project = Project::new();
    let file = std::fs::File::create(project.path(FILE_NAME)).unwrap();
    file.set_len(50 * 1024 * 1024).unwrap();
    insta::assert_snapshot!(project.refused(), @r#"
    CD0103 deploy.yaml: the deployment file has 52428800 bytes, more than the 4194304 that are read
    This is hardly the file that was meant: check the path.
    "#);
}

#[test]
fn a_file_that_is_a_list_is_refused() {
    let project = Project::new();
    project.write(FILE_NAME, "- application: app\n");
    insta::assert_snapshot!(project.refused(), @r#"
    CD0109 deploy.yaml:1:1: the deployment file is a list, not a mapping of keys
    Write `key: value` lines.
    "#);
}

#[test]
fn what_is_not_yaml_is_refused_with_the_place() {
    let project = Project::new();
    project.write(FILE_NAME, "application: app\nenvironments: {dev: [}\n");
    insta::assert_snapshot!(project.refused(), @r#"
    CD0106 deploy.yaml:2:21: this is not YAML: mismatched bracket '[' closed by '}'
    Check indentation, quotes and colons at this place.
    "#);
}

#[test]
fn a_key_given_twice_is_refused() {
    insta::assert_snapshot!(with_deploy("application: other\n"), @r#"
    CD0106 deploy.yaml:8:1: `application` stands here a second time
    Keep one of the two.
    "#);
}

#[test]
fn a_yaml_bomb_is_refused_soon() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let before = format!("*a{}, ", level - 1).repeat(10);
        bomb.push_str(&format!("a{level}: &a{level} [{before}]\n"));
    }
    insta::assert_snapshot!(with_deploy(&bomb), @r#"
    CD0106 deploy.yaml:12:45: the file nests or repeats itself more than any real one does
    Write values out instead of repeating them by aliases (`*name`).
    "#);
}

#[test]
fn a_file_that_nests_without_end_is_refused() {
    let deep = format!("journeys: {}\n", "[".repeat(50_000));
    insta::assert_snapshot!(with_deploy(&deep), @r#"
    CD0106 deploy.yaml:8:266: the file nests or repeats itself more than any real one does
    Write values out instead of repeating them by aliases (`*name`).
    "#);
}

#[test]
fn a_missing_compose_file_is_refused_where_it_is_named() {
    insta::assert_snapshot!(with_deploy("compose: docker/compose.yml\n"), @r#"
    CD0102 deploy.yaml:8:10: the Compose file `docker/compose.yml` does not exist (at `compose`)
    Write `compose:` with its path, relative to this file.
    "#);
}

#[test]
fn a_journey_with_a_syntax_error_is_refused_in_its_own_file() {
    let project = Project::new();
    project.write(
        FILE_NAME,
        format!("{DEPLOY}journeys: [journeys/buy.yaml]\n"),
    );
    insta::assert_snapshot!(project.refused(), @r#"
    CD0102 deploy.yaml:8:12: the journey `journeys/buy.yaml` does not exist (at `journeys[0]`)
    Write its path, relative to this file.
    "#);
    project.write(
        "journeys/buy.yaml",
        "name: buy\nservice: web\nsteps:\n  - name: [a\n",
    );
    insta::assert_snapshot!(project.refused(), @r#"
    CD0106 journeys/buy.yaml:4:11: this is not YAML: unclosed bracket '['
    Check indentation, quotes and colons at this place.
    "#);
    project.write("journeys/buy.yaml", "name: buy\nservice: web\nsteps: []\n");
    insta::assert_snapshot!(project.refused(), @r#"
    CD0117 journeys/buy.yaml:3:1: the journey `buy` has no steps (at `steps`)
    Write at least one step with its `path` and what to `expect`.
    "#);
    project.write(
        "journeys/buy.yaml",
        "name: buy\nservice: web\nsteps:\n  - name: a\n    path: /order/{order}\n    \
         expect: {status: 200}\n",
    );
    insta::assert_snapshot!(project.refused(), @r#"
    CD0117 journeys/buy.yaml:5:11: `{order}` was not saved by an earlier step (at `steps[0].path`)
    The values here are `uuid`.
    "#);
    project.write(
        "journeys/buy.yaml",
        "name: buy\nservice: web\nsteps:\n  - name: a\n    path: /\n    expect: {stauts: 200}\n",
    );
    insta::assert_snapshot!(project.refused(), @r#"
    CD0107 journeys/buy.yaml:6:14: there is no key `stauts` here (at `steps[0].expect.stauts`)
    Did you mean `status`?
    "#);
}

#[test]
fn a_terminal_shows_the_lines_around_the_place() {
    let project = Project::new();
    project.write(FILE_NAME, format!("{DEPLOY}journies: []\n"));
    let error = project.load().unwrap_err();
    assert_eq!(
        error.excerpt().unwrap(),
        [
            "   7 |     probes: {readiness: /readyz}",
            "   8 | journies: []",
            "     | ^^^^^^^^",
        ]
    );
}
