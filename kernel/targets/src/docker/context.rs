//! The context of a build: the files that the engine's builder is sent.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use code_deploy_record::RunsFolder;
use futures::Stream;
use globset::{GlobBuilder, GlobMatcher};
use tokio::sync::mpsc::{self, Sender};
use tokio_util::bytes::Bytes;

/// The file of a context that names what is not sent.
const IGNORE: &str = ".dockerignore";

/// The name under which a Dockerfile is sent that does not stand in its context.
const OUTSIDE: &str = ".code-deploy.Dockerfile";

/// How many bytes are sent at once.
const PIECE: usize = 64 * 1024;

/// How many pieces wait for the engine at most.
const WAITING: usize = 16;

/// What is sent to the builder.
pub struct Context {
    folder: PathBuf,
    ignored: Ignored,
    /// The Dockerfile's name in the context.
    pub dockerfile: String,
    /// Its text, where it does not stand in the context.
    outside: Option<String>,
}

impl Context {
    /// Returns a context whose Dockerfile is that file.
    ///
    /// # Errors
    /// When the folder is none or what is ignored cannot be read; in words.
    pub fn of(folder: &Path, dockerfile: &Path, text: &str) -> Result<Self, String> {
        let beside = with_suffix(dockerfile, ".dockerignore");
        let ignored = Ignored::read(folder, Some(&beside))?;
        let inside = dockerfile.strip_prefix(folder).ok();
        let inside = inside.filter(|path| !ignored.is_ignored(path));
        let name = inside.and_then(Path::to_str).map(str::to_owned);
        Ok(Self {
            folder: folder.to_owned(),
            ignored,
            outside: name.is_none().then(|| text.to_owned()),
            dockerfile: name.unwrap_or_else(|| OUTSIDE.to_owned()),
        })
    }

    /// Returns a context with a Dockerfile that no file holds.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn inline(folder: &Path, text: &str) -> Result<Self, String> {
        Ok(Self {
            folder: folder.to_owned(),
            ignored: Ignored::read(folder, None)?,
            dockerfile: OUTSIDE.to_owned(),
            outside: Some(text.to_owned()),
        })
    }

    /// Returns the context as an archive, and where it says why it could not be read. It is read
    /// while it is sent, so that its size does not matter; an error of reading is its last piece,
    /// which the engine knows only as an archive that ends too early.
    pub fn pieces(self) -> (impl Stream<Item = std::io::Result<Bytes>> + Send, Unread) {
        let (pieces, sent) = mpsc::channel::<std::io::Result<Bytes>>(WAITING);
        let unread = Unread::default();
        let told = unread.clone();
        tokio::task::spawn_blocking(move || {
            let pipe = std::io::BufWriter::with_capacity(PIECE, Pipe(pieces.clone()));
            if let Err(error) = self.write(pipe) {
                // A builder that gave up reads no further, and has said why itself.
                if error.kind() != std::io::ErrorKind::BrokenPipe {
                    told.0.get_or_init(|| error.to_string());
                }
                pieces.blocking_send(Err(error)).ok();
            }
        });
        let next = |mut sent: mpsc::Receiver<_>| async move { Some((sent.recv().await?, sent)) };
        (futures::stream::unfold(sent, next), unread)
    }

    fn write(&self, to: impl Write) -> std::io::Result<()> {
        let mut archive = tar::Builder::new(to);
        archive.follow_symlinks(false);
        archive.mode(tar::HeaderMode::Complete);
        self.append(&mut archive, Path::new(""))?;
        if let Some(text) = &self.outside {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, &self.dockerfile, text.as_bytes())?;
        }
        archive.into_inner()?.flush()
    }

    /// Appends what is in a folder of the context, by name, so that the same files give the same
    /// bytes.
    fn append<W: Write>(&self, archive: &mut tar::Builder<W>, under: &Path) -> std::io::Result<()> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.folder.join(under))? {
            let entry = entry?;
            names.push((entry.file_name(), entry.file_type()?));
        }
        names.sort_by(|one, other| one.0.cmp(&other.0));
        for (name, kind) in names {
            // The record of the run is written while the context is read.
            if name == RunsFolder::NAME {
                continue;
            }
            let path = under.join(name);
            let full = self.folder.join(&path);
            let is_ignored = self.ignored.is_ignored(&path);
            if kind.is_dir() {
                if !is_ignored {
                    archive.append_dir(&path, &full)?;
                }
                if !is_ignored || self.ignored.has_exceptions {
                    self.append(archive, &path)?;
                }
            } else if !is_ignored && (kind.is_file() || kind.is_symlink()) {
                let appended = if kind.is_file() {
                    append_file(archive, &path, &full)
                } else {
                    archive.append_path_with_name(&full, &path)
                };
                appended.map_err(|error| {
                    std::io::Error::new(error.kind(), format!("{}: {error}", full.display()))
                })?;
            }
        }
        Ok(())
    }
}

/// Why a context could not be read to its end.
#[derive(Debug, Clone, Default)]
pub struct Unread(Arc<OnceLock<String>>);

impl Unread {
    /// Returns why, in words; nothing where it was read.
    pub fn reason(&self) -> Option<String> {
        self.0.get().cloned()
    }
}

/// Appends a file with the size that it has now: what is added to it meanwhile would be read as
/// the head of the next one.
fn append_file<W: Write>(
    archive: &mut tar::Builder<W>,
    path: &Path,
    full: &Path,
) -> std::io::Result<()> {
    let file = std::fs::File::open(full)?;
    let found = file.metadata()?;
    let mut header = tar::Header::new_gnu();
    header.set_metadata(&found);
    let left = found.len();
    archive.append_data(&mut header, path, Exactly { file, left })
}

/// A file's first bytes, so many and neither more nor fewer.
struct Exactly<F> {
    file: F,
    left: u64,
}

impl<F: Read> Read for Exactly<F> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let wanted = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let read = self.file.read(&mut buffer[..wanted])?;
        if read == 0 && wanted > 0 {
            let what = "became shorter while it was read";
            return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, what));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

/// Hands what is written to the request, and waits while the engine is slower.
struct Pipe(Sender<std::io::Result<Bytes>>);

impl Write for Pipe {
    fn write(&mut self, piece: &[u8]) -> std::io::Result<usize> {
        let gone = |_| std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        let bytes = Bytes::copy_from_slice(piece);
        self.0.blocking_send(Ok(bytes)).map_err(gone)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What of a context is not sent, as a `.dockerignore` names it.
///
/// The rules are those of Docker's own client: patterns are anchored at the context, the last one
/// that matches a path or one of the folders above it counts, and `!` takes back
/// (<https://docs.docker.com/build/concepts/context/#dockerignore-files>).
struct Ignored {
    patterns: Vec<(GlobMatcher, bool)>,
    /// Whether something in a folder that is not sent may be sent all the same.
    has_exceptions: bool,
}

impl Ignored {
    /// Reads the rules that stand beside the Dockerfile, or else in the context.
    fn read(folder: &Path, beside: Option<&Path>) -> Result<Self, String> {
        let usual = folder.join(IGNORE);
        let path = beside
            .filter(|path| path.is_file())
            .unwrap_or(usual.as_path());
        match std::fs::read_to_string(path) {
            Ok(text) => Self::of(&text).map_err(|what| format!("{}: {what}", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::of(""),
            Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
        }
    }

    fn of(text: &str) -> Result<Self, String> {
        let lines = text.trim_start_matches('\u{feff}').lines();
        let lines = lines.filter(|line| !line.starts_with('#')).map(str::trim);
        let mut patterns = Vec::new();
        for line in lines {
            let (pattern, taken_back) = match line.strip_prefix('!') {
                Some(rest) => (rest.trim(), true),
                None => (line, false),
            };
            let pattern = cleaned(pattern);
            if !pattern.is_empty() {
                patterns.push((glob(&pattern)?, taken_back));
            }
        }
        let has_exceptions = patterns.iter().any(|(_, taken_back)| *taken_back);
        Ok(Self {
            patterns,
            has_exceptions,
        })
    }

    fn is_ignored(&self, path: &Path) -> bool {
        let above = |glob: &GlobMatcher| {
            let mut folders = path.ancestors();
            folders.any(|folder| !folder.as_os_str().is_empty() && glob.is_match(folder))
        };
        let last = self.patterns.iter().rev().find(|(glob, _)| above(glob));
        last.is_some_and(|(_, taken_back)| !taken_back)
    }
}

/// Returns a pattern without what says nothing: `/a/./b/` is `a/b`.
fn cleaned(pattern: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Braces mean themselves to Docker.
fn glob(pattern: &str) -> Result<GlobMatcher, String> {
    let braces = pattern.replace('{', "[{]").replace('}', "[}]");
    let glob = GlobBuilder::new(&braces)
        .literal_separator(true)
        .backslash_escape(true)
        .build();
    glob.map(|glob| glob.compile_matcher())
        .map_err(|error| format!("`{pattern}` is no pattern: {error}"))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn ignored(rules: &str, path: &str) -> bool {
        Ignored::of(rules).unwrap().is_ignored(Path::new(path))
    }

    #[test]
    fn patterns_are_anchored_cover_what_is_below_and_are_taken_back() {
        assert!(ignored("target", "target/debug/app"));
        assert!(!ignored("target", "crates/target"));
        assert!(ignored("**/target", "crates/target/app"));
        assert!(ignored("**/target", "target"));
        assert!(ignored("*.md", "README.md"));
        assert!(!ignored("*.md", "docs/README.md"));
        assert!(ignored("/a/./b/", "a/b/c"));
        assert!(!ignored("docs\n!docs/keep", "docs/keep/one"));
        assert!(ignored("docs\n!docs/keep\ndocs/keep/one", "docs/keep/one"));
        assert!(ignored("# docs\n *.tmp ", "x.tmp"));
        assert!(!ignored("# docs", "docs"));
        assert!(ignored("{a}", "{a}"));
    }

    #[test]
    fn a_file_is_sent_with_the_size_that_it_had_when_it_was_opened() {
        let mut grown = Vec::new();
        let (file, left) = (&b"journal, and more"[..], 7);
        Exactly { file, left }.read_to_end(&mut grown).unwrap();
        assert_eq!(grown, b"journal");
        let (file, left) = (&b"jour"[..], 7);
        let error = Exactly { file, left }.read_to_end(&mut grown).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_is_sent_follows_the_rules_and_the_dockerfile_is_always_there() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("Dockerfile", "FROM scratch\n");
        write("src/.code-deploy/runs/one/journal.jsonl", "{}");
        write("src/main.rs", "fn main() {}");
        write("node_modules/a/b.js", "b");
        write("node_modules/keep/c.js", "c");
        write(
            ".dockerignore",
            "Dockerfile\nnode_modules\n!node_modules/keep\n",
        );
        let path = folder.path().join("Dockerfile");
        let context = Context::of(folder.path(), &path, "FROM scratch\n").unwrap();
        assert_eq!(context.dockerfile, OUTSIDE);
        let (mut one, mut other) = (Vec::new(), Vec::new());
        context.write(&mut one).unwrap();
        context.write(&mut other).unwrap();
        assert_eq!(one, other);
        let mut archive = tar::Archive::new(one.as_slice());
        let names: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        let wanted = [
            ".dockerignore",
            "node_modules/keep",
            "node_modules/keep/c.js",
            "src",
            "src/main.rs",
            OUTSIDE,
        ];
        let names: Vec<&str> = names
            .iter()
            .map(|name| name.trim_end_matches('/'))
            .collect();
        assert_eq!(names, wanted);
    }
}
