//! What git says of the source: commit, branch, what is not committed, what is pushed.

use std::path::{Path, PathBuf};

use gix::bstr::ByteSlice as _;

/// Commits of the branch that are looked at at most.
const MOST_COMMITS: usize = 50;

/// Changes that are listed at most.
const MOST_CHANGES: usize = 50;

/// What this program itself writes beside a deployment file is no change of the source.
const OWN: [&str; 2] = [".code-deploy", "deployments"];

/// What git says of a source folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repository {
    /// The folder of the working tree.
    pub root: PathBuf,
    /// The commit that is checked out.
    pub commit: String,
    /// The branch, if one is checked out.
    pub branch: Option<String>,
    /// The development branch, if there is one.
    pub development: Option<String>,
    /// Whether branch and development branch have a commit in common.
    pub from_development: bool,
    /// The branch of the same name at a remote.
    pub pushed: Option<Pushed>,
    /// The commits that the development branch does not have, newest first; the newest alone when
    /// there is no development branch.
    pub commits: Vec<Commit>,
    /// Files of the source folder that are changed, added or deleted and not committed.
    pub changed: Vec<String>,
    /// The submodules.
    pub submodules: Vec<Submodule>,
    /// The tracked files of the source folder, relative to it.
    pub tracked: Vec<PathBuf>,
}

/// A branch at a remote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// Its name: `origin/feature/x`.
    pub name: String,
    /// Whether it has the commit that is checked out.
    pub same: bool,
}

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its name.
    pub id: String,
    /// The first line of its message.
    pub title: String,
    /// How many commits it follows.
    pub parents: usize,
}

/// A submodule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submodule {
    /// Its path.
    pub path: String,
    /// The commit that the repository records.
    pub recorded: Option<String>,
    /// The commit that is checked out.
    pub checked_out: Option<String>,
}

fn word(error: impl std::fmt::Display) -> String {
    format!("the git repository cannot be read: {error}")
}

impl Repository {
    /// Reads the repository that a folder stands in; nothing when it stands in none, or when
    /// nothing is committed yet.
    pub(super) fn read(folder: &Path, development: Option<&str>) -> Result<Option<Self>, String> {
        let Ok(repository) = gix::discover(folder) else {
            return Ok(None);
        };
        let Some(root) = repository.workdir().map(Path::to_owned) else {
            return Ok(None);
        };
        let Ok(head) = repository.head_id() else {
            return Ok(None);
        };
        let head = head.detach();
        let prefix = prefix(&root, folder)?;
        let branch = repository.head_name().map_err(word)?;
        let branch = branch.map(|name| name.shorten().to_string());
        let mut read = Self {
            root,
            commit: head.to_string(),
            branch,
            ..Self::default()
        };
        read.read_development(&repository, head, development)?;
        read.pushed = read
            .branch
            .as_ref()
            .and_then(|branch| pushed(&repository, branch, head));
        read.changed = changed(&repository, &prefix)?;
        read.submodules = submodules(&repository)?;
        read.tracked = tracked(&repository, &prefix)?;
        // A folder that is ignored or not added yet is in no repository as far as it is deployed.
        Ok((!read.tracked.is_empty()).then_some(read))
    }

    fn read_development(
        &mut self,
        repository: &gix::Repository,
        head: gix::ObjectId,
        development: Option<&str>,
    ) -> Result<(), String> {
        let named: Vec<&str> = development.map_or_else(
            || vec!["development", "develop", "main", "master"],
            |one| vec![one],
        );
        let candidates = named.iter().flat_map(|name| {
            [
                format!("refs/heads/{name}"),
                format!("refs/remotes/origin/{name}"),
            ]
        });
        for full in candidates {
            let Ok(Some(mut reference)) = repository.try_find_reference(full.as_str()) else {
                continue;
            };
            let Ok(id) = reference.peel_to_id() else {
                continue;
            };
            let id = id.detach();
            let name = full
                .trim_start_matches("refs/heads/")
                .trim_start_matches("refs/remotes/");
            self.development = Some(name.to_owned());
            self.from_development = matches!(repository.merge_base(head, id), Ok(Some(_)));
            let walk = repository
                .rev_walk([head])
                .with_hidden([id])
                .all()
                .map_err(word)?;
            for found in walk.take(MOST_COMMITS) {
                let found = found.map_err(word)?;
                self.commits.push(commit(&found.object().map_err(word)?));
            }
            return Ok(());
        }
        self.commits = vec![commit(&repository.head_commit().map_err(word)?)];
        Ok(())
    }
}

fn commit(commit: &gix::Commit<'_>) -> Commit {
    let message = commit.message_raw_sloppy().to_str_lossy().into_owned();
    let title = message.lines().next().unwrap_or_default().to_owned();
    Commit {
        id: commit.id().to_string(),
        title,
        parents: commit.parent_ids().count(),
    }
}

/// Returns where a folder stands in a working tree, as git writes paths.
fn prefix(root: &Path, folder: &Path) -> Result<String, String> {
    let (root, folder) = (
        root.canonicalize().map_err(word)?,
        folder.canonicalize().map_err(word)?,
    );
    let below = folder.strip_prefix(&root).map_err(word)?;
    let mut text = below.to_string_lossy().into_owned();
    if !text.is_empty() {
        text.push('/');
    }
    Ok(text)
}

fn pushed(repository: &gix::Repository, branch: &str, head: gix::ObjectId) -> Option<Pushed> {
    let references = repository.references().ok()?;
    let mut found: Option<Pushed> = None;
    for reference in references.prefixed("refs/remotes/").ok()? {
        let Ok(mut reference) = reference else {
            continue;
        };
        let name = reference.name().shorten().to_string();
        if name.split_once('/').map(|(_, name)| name) != Some(branch) {
            continue;
        }
        let same = reference.peel_to_id().is_ok_and(|id| id.detach() == head);
        if found.as_ref().is_none_or(|found| !found.same) {
            found = Some(Pushed { name, same });
        }
    }
    found
}

fn changed(repository: &gix::Repository, prefix: &str) -> Result<Vec<String>, String> {
    let status = repository.status(gix::progress::Discard).map_err(word)?;
    let status = status.untracked_files(gix::status::UntrackedFiles::Files);
    let mut changed = Vec::new();
    for item in status.into_iter(None).map_err(word)? {
        let item = item.map_err(word)?;
        let path = item.location().to_str_lossy().into_owned();
        let Some(below) = path.strip_prefix(prefix) else {
            continue;
        };
        let own = OWN.iter().any(|own| below.split('/').next() == Some(own));
        if !own && changed.len() < MOST_CHANGES && !changed.contains(&path) {
            changed.push(path);
        }
    }
    changed.sort();
    Ok(changed)
}

fn submodules(repository: &gix::Repository) -> Result<Vec<Submodule>, String> {
    let Some(submodules) = repository.submodules().map_err(word)? else {
        return Ok(Vec::new());
    };
    let all = submodules.map(|submodule| {
        let path = submodule
            .path()
            .map(|path| path.to_string())
            .unwrap_or_default();
        let recorded = submodule.index_id().ok().flatten().map(|id| id.to_string());
        let opened = submodule.open().ok().flatten();
        let checked_out =
            opened.and_then(|repository| repository.head_id().ok().map(|id| id.to_string()));
        Submodule {
            path,
            recorded,
            checked_out,
        }
    });
    Ok(all.collect())
}

fn tracked(repository: &gix::Repository, prefix: &str) -> Result<Vec<PathBuf>, String> {
    let index = repository.index_or_empty().map_err(word)?;
    let paths = index
        .entries()
        .iter()
        .map(|entry| entry.path(&index).to_str_lossy().into_owned());
    let below = paths.filter_map(|path| path.strip_prefix(prefix).map(PathBuf::from));
    Ok(below.collect())
}
