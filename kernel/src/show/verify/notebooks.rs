//! `verify` of notebooks against the rendering that their record gives.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error, ErrorKind};
use std::path::{Component, Path, PathBuf};

use code_deploy_notebook_gen::{self as notebook_gen, Origin, Page};
use code_deploy_record::disk::{NoFile, open_file, read_at_most};
use code_deploy_record::{Digest, LARGEST_STATEMENT, PublicKey, RunFolder, SealFolder};

use super::foreign::{capped, foreign};
use super::unlike::{Tally, judged};
use super::{Kind, Row, paths};
use crate::face::Face;
use crate::failure::Failure;
use crate::project::Project;
use crate::publish;

pub(super) const NOT_AS_SIGNED: &str = "changed: not the bytes that were signed";

/// What is said of a file that is not there.
pub(super) const GONE: &str = "not here";

/// What is said of what is called as a file is, and is none.
pub(super) const NO_FILE: &str = "it is a folder or a device, and no file";

/// The largest notebook or chart that is read, in bytes: many times what one of ours has.
pub(super) const LARGEST: u64 = 256 * 1024 * 1024;

pub(super) const LINK: &str = "is a link, which is not followed: what it leads to was not checked";

/// Notebooks in a folder.
pub(super) struct Notebooks {
    pub folder: PathBuf,
    /// The one that is meant, where not all are.
    pub only: Option<PathBuf>,
    /// The record that was named with them.
    pub of: Option<RunFolder>,
    /// Whether nobody named them: a run has left them, whose record is checked.
    pub is_left: bool,
    /// Whether a run has left them in a project that keeps no record of it.
    pub is_unrecorded: bool,
}

impl Notebooks {
    /// All notebooks of a folder.
    pub(super) fn whole(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            only: None,
            of: None,
            is_left: false,
            is_unrecorded: false,
        }
    }

    /// Reads a file of the folder. A list that came with it may name anything: what lies elsewhere, and what is no
    /// file of its own, is not read.
    ///
    /// # Errors
    /// What the system says; `InvalidInput` for what is not read, `FileTooLarge` also for that, `Unsupported` for a link.
    pub(super) fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        let refused = |what: &str| Error::new(ErrorKind::InvalidInput, what);
        let is_normal = |part: Component<'_>| matches!(part, Component::Normal(_));
        if !path.components().all(is_normal) {
            return Err(refused("it names a file outside of its folder"));
        }
        // The folder that was named may be a link; what is in it is not followed elsewhere.
        let mut file = self.folder.clone();
        for part in path.components() {
            file.push(part);
            if file.is_symlink() {
                return Err(Error::new(ErrorKind::Unsupported, LINK));
            }
        }
        let most = match path.starts_with(SealFolder::NAME) {
            true => LARGEST_STATEMENT,
            false => LARGEST,
        };
        match open_file(&file) {
            Err(error) if NoFile::is(&error) => Err(refused(NO_FILE)),
            opened => read_at_most(opened?, most),
        }
    }

    /// Says why a file was not read. What a link leads to may be another thing tomorrow, and is as good as not here.
    pub(super) fn unread(&self, path: &Path, error: &Error) -> Row {
        let (kind, what) = match error.kind() {
            ErrorKind::NotFound => (Kind::NotHere, GONE.to_owned()),
            ErrorKind::Unsupported => (Kind::NotHere, error.to_string()),
            _ => (Kind::Different, error.to_string()),
        };
        self.row(kind, path, None, what)
    }

    /// The folder with what is signed over them, where something is.
    pub(super) fn seal(&self) -> PathBuf {
        self.folder.join(SealFolder::NAME)
    }

    /// Whether that folder stands there. A link to one is none: what it leads to is not theirs.
    fn has_seal(&self) -> bool {
        std::fs::symlink_metadata(self.seal()).is_ok_and(|found| found.is_dir())
    }

    pub(super) fn row(
        &self,
        kind: Kind,
        place: &Path,
        cell: Option<&str>,
        what: impl Into<String>,
    ) -> Row {
        let mut place = place.display().to_string();
        if let Some(cell) = cell {
            place = format!("{place}#{cell}");
        }
        Row {
            kind,
            record: self.folder.display().to_string(),
            place,
            what: what.into(),
        }
    }
}

/// What the record gives, against which notebooks are held.
pub(super) struct Given {
    pub(super) record: RunFolder,
    pub(super) pages: Vec<Page>,
    pub(super) files: Vec<(PathBuf, Vec<u8>)>,
    /// The files that the key of the record signed, with their digests.
    pub(super) listed: BTreeMap<PathBuf, String>,
    pub(super) is_signed: bool,
    /// Whether notebooks of the record were signed, and nothing of that is beside those here.
    pub(super) signed_elsewhere: bool,
    /// Whether these are in the folder in which the run has left them, and a key seals its record: what is
    /// signed is then the record's to say, also where nothing of it is beside them.
    pub(super) is_own: bool,
    /// The key that seals the record, by the half that signs checkpoints.
    pub(super) key: Option<PublicKey>,
}

impl Given {
    /// Makes the notebooks of a record, and reads what was signed over them. The files of that are asked
    /// for only in a folder that has some: notebooks that were made anew elsewhere, by another version or
    /// beside other runs, have none.
    pub(super) fn by(
        project: Option<&Project>,
        record: &RunFolder,
        notebooks: &Notebooks,
    ) -> Result<Self, Failure> {
        let own = paths::project_of(record);
        let published = publish::publish(own.as_ref().or(project), record, None)?;
        let mut files = notebook_gen::files(&published.pages);
        let key = published.key;
        let signed = match published.signed {
            Some(signed) => Some(signed),
            None => publish::kept_and_signed(record, key.as_ref())?,
        };
        let listed = signed.as_ref().map(|(_, signed)| publish::listed(signed));
        let was_signed = signed.is_some();
        let is_here = notebooks.has_seal();
        if let Some((keys, signed)) = signed.as_ref().filter(|_| is_here) {
            files.extend(publish::beside(keys, signed));
        } else if has_guide(notebooks) {
            files.extend(key.as_ref().map(publish::guide));
        }
        let signed = signed.filter(|_| is_here);
        Ok(Self {
            record: record.clone(),
            pages: published.pages,
            files,
            listed: listed.unwrap_or_default(),
            is_signed: signed.is_some(),
            signed_elsewhere: was_signed && signed.is_none(),
            is_own: notebooks.own_record().is_some() && key.is_some(),
            key: key.map(|keys| keys.ed25519()),
        })
    }
}

/// Returns whether a guide to verifying stands beside notebooks: it says what to run, and is looked at also where what
/// was signed is gone.
fn has_guide(notebooks: &Notebooks) -> bool {
    std::fs::symlink_metadata(notebooks.folder.join(publish::VERIFY_FILE)).is_ok()
}

/// Holds notebooks and charts against those that the record gives.
pub(super) fn compare(
    given: &Given,
    notebooks: &Notebooks,
    face: &dyn Face,
) -> Result<Vec<Row>, Failure> {
    let meant = |path: &Path| notebooks.only.as_deref().is_none_or(|only| only == path);
    let files: Vec<_> = given.files.iter().filter(|(path, _)| meant(path)).collect();
    let (mut rows, mut tally) = (Vec::new(), Tally::default());
    for (path, expected) in &files {
        match notebooks.read(path) {
            Ok(found) if found == *expected => {}
            Ok(found) => {
                let pair = (found.as_slice(), expected.as_slice());
                rows.extend(judged(given, notebooks, path, pair, &mut tally));
            }
            Err(error) => rows.push(notebooks.unread(path, &error)),
        }
    }
    let gone = seal_not_here(notebooks, given);
    if gone.is_some() || (given.is_own && given.signed_elsewhere) {
        rows.iter_mut().for_each(|row| not_as_listed(given, row));
    }
    if notebooks.only.is_none() {
        gather_gone(notebooks, given, &mut rows);
        rows.extend(others(notebooks, &given.pages)?);
        rows.extend(signed_otherwise(notebooks, given.is_signed)?);
        rows.extend(linked_seal(notebooks).or(gone));
        rows.extend(foreign_to(given, notebooks, face)?);
    } else if files.is_empty() {
        let only = notebooks.only.as_deref().unwrap_or(Path::new(""));
        rows.push(notebooks.row(
            Kind::Different,
            only,
            None,
            "nothing of this name is made of the run",
        ));
    }
    tell(given, notebooks, &files, &tally, face);
    Ok(rows)
}

/// Where some of the files of a folder are those that were signed, so are all that were signed with them, or they were
/// changed: whoever writes notebooks again writes all of them. In the folder in which the run has left them none may be
/// others: what they say made them is no excuse there.
fn not_as_listed(given: &Given, row: &mut Row) {
    if row.kind == Kind::NotComparable && given.listed.contains_key(Path::new(&row.place)) {
        row.kind = Kind::Different;
        row.what = NOT_AS_SIGNED.to_owned();
    }
}

/// Returns what lies in the folder and is none of what the record gives.
fn foreign_to(given: &Given, notebooks: &Notebooks, face: &dyn Face) -> Result<Vec<Row>, Failure> {
    // What was signed over notebooks of which the record keeps no statement is judged as a whole.
    let is_judged = !given.is_signed && notebooks.has_seal();
    let beside = if is_judged {
        publish::beside_names()
    } else {
        Vec::new()
    };
    let given_paths = given.files.iter().map(|(path, _)| path);
    let known = given_paths.chain(&beside).map(PathBuf::as_path);
    let known: BTreeSet<&Path> = known.collect();
    let is_gone = seal_not_here(notebooks, given).is_some();
    let is_signed = given.is_signed || given.is_own || is_gone;
    foreign(notebooks, Some(&given.record), &known, is_signed, face)
}

/// Says what notebooks were compared with.
fn tell(
    given: &Given,
    notebooks: &Notebooks,
    files: &[&(PathBuf, Vec<u8>)],
    tally: &Tally,
    face: &dyn Face,
) {
    let name = notebooks.folder.display();
    face.text(&format!("{name}: compared with {}", counted(given, files)));
    if given.signed_elsewhere {
        face.text(&format!(
            "{name}: the run's notebooks were signed, and what was signed (`{}/`) is not here: these \
             are held against the record alone",
            SealFolder::NAME
        ));
    }
    if tally.unsigned > 0 {
        let others = match tally.unsigned {
            1 => "1 notebook says that another build of this version made it".to_owned(),
            more => {
                format!("{more} notebooks say that another build of this version made them")
            }
        };
        face.text(&format!(
            "{name}: {others}. Nothing that was signed covers such bytes, so that what this build makes is what counts: \
             verify with the program that made them, or write them again"
        ));
    }
    if tally.as_signed > 0 {
        face.text(&format!(
            "{name}: {} of them are, byte for byte, those that the key of the record signed; \
             this program, or the runs that are at hand here, would give others",
            tally.as_signed
        ));
    }
}

/// Says what was compared: what the record gives, and the files that say who signed that.
fn counted(given: &Given, files: &[&(PathBuf, Vec<u8>)]) -> String {
    let signed = files.iter().filter(|(path, _)| publish::is_beside(path));
    let signed = signed.count();
    let made = match files.len() - signed {
        1 => "the 1 notebook or chart of that name".to_owned(),
        more => format!("the {more} notebooks and charts"),
    };
    let made = format!("{made} that the record gives");
    match (given.is_signed, signed) {
        (true, 0) => format!("{made}, signed"),
        (true, signed) => {
            format!("{made}, signed, and with the {signed} files that say how they are signed")
        }
        (false, _) => made,
    }
}

/// Returns the notebooks and pictures that are not of the run.
fn others(notebooks: &Notebooks, pages: &[notebook_gen::Page]) -> Result<Vec<Row>, Failure> {
    let first = pages.first().map(|page| page.text.as_bytes());
    let own = first.and_then(|text| Origin::of(text)?.run);
    let mut rows = Vec::new();
    for path in crate::pages::others(pages, &notebooks.folder)? {
        let origin = notebooks.read(&path).ok();
        let run = origin.and_then(|found| Origin::of(&found)?.run);
        let what = match run {
            Some(run) if own.as_ref() == Some(&run) => {
                "nothing of this name is made of the run".to_owned()
            }
            Some(run) => format!("not of this run: it says that it is of {run}"),
            None => "not of this run".to_owned(),
        };
        rows.push(notebooks.row(Kind::Different, &path, None, what));
    }
    Ok(capped(rows))
}

/// Says once that no notebook is here, instead of each by itself. Charts and what was signed are judged one by one.
fn gather_gone(notebooks: &Notebooks, given: &Given, rows: &mut Vec<Row>) {
    let names = given.files.iter().map(|(path, _)| path);
    let names: Vec<String> = names
        .filter(|path| paths::is_notebook(path))
        .map(|path| path.display().to_string())
        .collect();
    let is_gone =
        |row: &Row| row.kind == Kind::NotHere && row.what == GONE && names.contains(&row.place);
    if names.is_empty() || rows.iter().filter(|row| is_gone(row)).count() < names.len() {
        return;
    }
    rows.retain(|row| !is_gone(row));
    let signed = if given.is_signed || given.signed_elsewhere {
        "signed "
    } else {
        ""
    };
    let what = format!(
        "not here: the {} {signed}notebooks of the run; they were taken away, or written elsewhere (`--out`), where \
         `code-deploy verify RUN --notebooks FOLDER` looks. `code-deploy notebooks --run RUN` writes them again from \
         the record",
        names.len()
    );
    rows.push(notebooks.row(Kind::NotHere, Path::new("*.ipynb"), None, what));
}

/// What was signed over notebooks, and is not beside them any more. Those that were written again elsewhere, by another
/// program or beside other runs, have none.
fn seal_not_here(notebooks: &Notebooks, given: &Given) -> Option<Row> {
    if !given.signed_elsewhere {
        return None;
    }
    let found = |path: &PathBuf| notebooks.read(path).ok();
    // A chart does not say which version drew it, so that it may be the same in notebooks that another one made.
    let is_signed = |(path, digest): (&PathBuf, &String)| {
        let is_same = |found: Vec<u8>| Digest::of(&found).to_string() == *digest;
        paths::is_notebook(path) && found(path).is_some_and(is_same)
    };
    let is_anew = |(path, made): &(PathBuf, Vec<u8>)| {
        let is_other = |digest: &String| Digest::of(made).to_string() != *digest;
        given.listed.get(path).is_some_and(is_other)
            && found(path).is_some_and(|found| found == *made)
    };
    let were_written_again = || !given.is_own && given.files.iter().any(is_anew);
    if !given.listed.iter().any(is_signed) || were_written_again() {
        return None;
    }
    let place = format!("{}/", SealFolder::NAME);
    let what = "not here: what was signed over these notebooks, of which the record keeps a copy";
    Some(notebooks.row(Kind::NotHere, Path::new(&place), None, what))
}

/// Says that the folder with what was signed is a link.
fn linked_seal(notebooks: &Notebooks) -> Option<Row> {
    let is_link = notebooks.seal().is_symlink();
    is_link.then(|| notebooks.row(Kind::NotHere, Path::new(SealFolder::NAME), None, LINK))
}

/// A statement beside notebooks, where the record gives none over them.
fn signed_otherwise(notebooks: &Notebooks, expected: bool) -> Result<Option<Row>, Failure> {
    if expected || publish::read_signed(&notebooks.seal())?.is_none() {
        return Ok(None);
    }
    let place = Path::new(SealFolder::NAME).join("statement.json");
    let what = "the record gives no statement over these notebooks: it is of others, or was signed \
                elsewhere";
    Ok(Some(notebooks.row(Kind::NotComparable, &place, None, what)))
}
