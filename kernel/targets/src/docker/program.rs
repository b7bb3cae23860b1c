//! The program itself as an image from scratch: it, its loader and the libraries that it is linked
//! with.
//!
//! A program that is linked dynamically finds no library in an image from scratch. Which ones it
//! needs and where they are, the system knows of the running program: they are mapped into it. So
//! the image holds exactly the files that run now, whatever distribution they are of, and nothing
//! has to be built in another way for containers.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use bollard::query_parameters::{CreateImageOptionsBuilder, TagImageOptionsBuilder};
use code_deploy_engine::target::TargetError;
use code_deploy_record::Digest;
use code_deploy_router::Program;
use futures::TryStreamExt as _;
use object::read::elf::{Dyn as _, FileHeader, ProgramHeader as _};
use object::{Endianness, elf};

use super::engine::{Engine, Refusal};
use crate::disk::create_private;
use crate::failure::{code, failed};

/// The repository of images of the program.
const REPOSITORY: &str = "code-deploy-program";

/// The program's path in its image.
pub const PROGRAM: &str = "/bin/code-deploy";

/// The demonstration's program in the image: the same file.
const SHOP: &str = "bin/shop";

/// Where the image keeps libraries.
const LIBRARIES: &str = "lib/code-deploy";

/// Returns the reference of the image of the program, which runs as that user; makes the image when
/// the engine does not have it.
pub async fn image(engine: &Engine, program: &Path, user: &str) -> Result<String, TargetError> {
    let (path, user) = (program.to_owned(), user.to_owned());
    let read = tokio::task::spawn_blocking(move || Parts::of(&path, user)).await;
    let parts = read
        .unwrap_or_else(|error| Err(error.to_string()))
        .map_err(|what| {
            let what = format!(
                "{} cannot be put into an image: {what}; nothing was started",
                program.display()
            );
            let next = "Make sure that this program and its libraries can be read.";
            failed(code::PROGRAM_IMAGE, None, what, next)
        })?;
    let tag = parts.digest().short();
    let reference = format!("{REPOSITORY}:{tag}");
    let known = engine
        .ask(|docker| {
            let reference = reference.clone();
            async move { docker.inspect_image(&reference).await }
        })
        .await;
    match known {
        Ok(_) => return Ok(reference),
        Err(refusal) if refusal.is_missing() => {}
        Err(refusal) => return Err(refusal.into_error(None, "look for an image")),
    }
    import(engine, parts, &tag)
        .await
        .map_err(|refusal| refusal.into_error(None, "take the image of this program"))?;
    Ok(reference)
}

/// Puts the program with its loader and its libraries into a folder of its own below that one, from which a
/// container starts it whatever the container's image holds. One that is there is taken as it is.
pub async fn unpack(program: &Path, below: &Path) -> Result<Program, String> {
    let (program, below) = (program.to_owned(), below.to_owned());
    let unpacked = tokio::task::spawn_blocking(move || {
        let parts = Parts::of(&program, String::new())?;
        parts.unpack(&below).map_err(|error| error.to_string())
    });
    let unpacked = unpacked.await;
    unpacked.unwrap_or_else(|error| Err(error.to_string()))
}

/// Gives the image of the program another name.
pub async fn name(engine: &Engine, reference: &str, wanted: &str) -> Result<(), TargetError> {
    let (repository, tag) = wanted.rsplit_once(':').unwrap_or((wanted, "latest"));
    let options = TagImageOptionsBuilder::default()
        .repo(repository)
        .tag(tag)
        .build();
    engine
        .ask(|docker| {
            let (reference, options) = (reference.to_owned(), options.clone());
            async move { docker.tag_image(&reference, Some(options)).await }
        })
        .await
        .map_err(|refusal| refusal.into_error(None, &format!("name an image {wanted}")))
}

async fn import(engine: &Engine, parts: Parts, tag: &str) -> Result<(), Refusal> {
    let changes = vec![
        "ENV PATH=/bin".to_owned(),
        format!("ENV LD_LIBRARY_PATH=/{LIBRARIES}"),
        "LABEL org.opencontainers.image.title=code-deploy".to_owned(),
        format!("USER {}", parts.user),
        format!(
            "LABEL org.opencontainers.image.version={}",
            env!("CARGO_PKG_VERSION")
        ),
        format!("LABEL code-deploy.program={}", parts.digest()),
    ];
    let archive = tokio::task::spawn_blocking(move || parts.archive()).await;
    let archive = archive
        .map_err(|error| Refusal::Away(error.to_string()))?
        .map_err(|error| Refusal::Away(error.to_string()))?;
    let options = CreateImageOptionsBuilder::default()
        .from_src("-")
        .repo(REPOSITORY)
        .tag(tag)
        .changes(changes)
        .build();
    let body = bollard::body_full(archive.into());
    let docker = engine.docker().await?;
    let steps = docker.create_image(Some(options), Some(body), None);
    steps.try_collect::<Vec<_>>().await?;
    Ok(())
}

/// What the image is made of.
struct Parts {
    user: String,
    program: Vec<u8>,
    /// The loader that the program names, with that path.
    loader: Option<(String, Vec<u8>)>,
    /// Libraries by the name under which they are looked for.
    libraries: BTreeMap<String, Vec<u8>>,
}

impl Parts {
    fn of(program: &Path, user: String) -> Result<Self, String> {
        let content = read(program)?;
        let loader = loader(&content)?;
        let mut libraries = BTreeMap::new();
        if loader.is_some() {
            for path in mapped(program)? {
                let library = read(&path)?;
                let name = soname(&library)?.or_else(|| {
                    path.file_name()
                        .map(|name| name.to_string_lossy().into_owned())
                });
                libraries.insert(name.unwrap_or_default(), library);
            }
        }
        let loader = loader
            .map(|path| Ok::<_, String>((path.clone(), read(Path::new(&path))?)))
            .transpose()?;
        Ok(Self {
            user,
            program: content,
            loader,
            libraries,
        })
    }

    fn digest(&self) -> Digest {
        let mut lines = vec![self.user.clone(), Digest::of(&self.program).to_string()];
        for (name, content) in self.files() {
            lines.push(format!("{name} {}", Digest::of(content)));
        }
        Digest::of(lines.join("\n").as_bytes())
    }

    fn files(&self) -> impl Iterator<Item = (String, &[u8])> {
        let loader = self.loader.iter();
        let loader = loader
            .map(|(path, content)| (path.trim_start_matches('/').to_owned(), content.as_slice()));
        let libraries = self.libraries.iter();
        loader.chain(
            libraries.map(|(name, content)| (format!("{LIBRARIES}/{name}"), content.as_slice())),
        )
    }

    fn unpack(&self, below: &Path) -> std::io::Result<Program> {
        let name = self.digest().short();
        let (folder, beside) = (below.join(&name), below.join(format!("{name}.part")));
        if !folder.exists() {
            // What was left by somebody who was ended while writing it is written anew.
            create_private(&beside.join("lib"))?;
            write_program(&beside.join("code-deploy"), &self.program)?;
            if let Some((_, content)) = &self.loader {
                write_program(&beside.join("loader"), content)?;
            }
            for (name, content) in &self.libraries {
                write_program(&beside.join("lib").join(name), content)?;
            }
            std::fs::rename(&beside, &folder)?;
        }
        let file = folder.join("code-deploy");
        // The loader of this machine, because the image's may be too old for these libraries.
        let command = match &self.loader {
            Some(_) => vec![
                folder.join("loader"),
                PathBuf::from("--library-path"),
                folder.join("lib"),
                file.clone(),
            ],
            None => vec![file.clone()],
        };
        Ok(Program { command, file })
    }

    fn archive(&self) -> std::io::Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        let program = PROGRAM.trim_start_matches('/');
        append(&mut archive, program, &self.program)?;
        let mut link = header(0, 0o777, tar::EntryType::Symlink);
        archive.append_link(&mut link, SHOP, PROGRAM)?;
        for (path, content) in self.files() {
            append(&mut archive, &path, content)?;
        }
        let mut folder = header(0, 0o1777, tar::EntryType::Directory);
        archive.append_data(&mut folder, "tmp/", std::io::empty())?;
        archive.into_inner()
    }
}

fn write_program(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o700);
    let mut file = options.open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn append(archive: &mut tar::Builder<Vec<u8>>, path: &str, content: &[u8]) -> std::io::Result<()> {
    let mut header = header(content.len() as u64, 0o755, tar::EntryType::Regular);
    archive.append_data(&mut header, path, content)
}

fn header(size: u64, mode: u32, kind: tar::EntryType) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode);
    header.set_mtime(0);
    header
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Returns the libraries that are mapped into this process, which runs the program.
fn mapped(program: &Path) -> Result<Vec<PathBuf>, String> {
    let maps = std::fs::read_to_string("/proc/self/maps");
    let maps = maps.map_err(|error| format!("/proc/self/maps: {error}"))?;
    let mut paths: Vec<PathBuf> = maps.lines().filter_map(executable).collect();
    paths.sort();
    paths.dedup();
    paths.retain(|path| path != program);
    Ok(paths)
}

/// Returns the file of a line of `/proc/self/maps`, when code of it may run.
fn executable(line: &str) -> Option<PathBuf> {
    let (access, rest) = line.split_once(' ')?.1.split_once(' ')?;
    let path = rest.get(rest.find('/')?..)?;
    access.contains('x').then(|| PathBuf::from(path))
}

/// Returns the loader that a program names; none when it is linked statically.
fn loader(content: &[u8]) -> Result<Option<String>, String> {
    let failed = |error: object::read::Error| error.to_string();
    let header = elf::FileHeader64::<Endianness>::parse(content).map_err(failed)?;
    let endian = header.endian().map_err(failed)?;
    for segment in header.program_headers(endian, content).map_err(failed)? {
        if let Some(path) = segment.interpreter(endian, content).map_err(failed)? {
            return Ok(Some(String::from_utf8_lossy(path).into_owned()));
        }
    }
    Ok(None)
}

/// Returns the name under which programs look for a library.
fn soname(content: &[u8]) -> Result<Option<String>, String> {
    let failed = |error: object::read::Error| error.to_string();
    let header = elf::FileHeader64::<Endianness>::parse(content).map_err(failed)?;
    let endian = header.endian().map_err(failed)?;
    let sections = header.sections(endian, content).map_err(failed)?;
    let Some((entries, strings)) = sections.dynamic(endian, content).map_err(failed)? else {
        return Ok(None);
    };
    let strings = sections.strings(endian, content, strings).map_err(failed)?;
    let entry = entries
        .iter()
        .find(|entry| entry.d_tag(endian) == elf::DT_SONAME);
    let name = entry.map(|entry| entry.string(endian, strings)).transpose();
    let name = name.map_err(|error| error.to_string())?;
    Ok(name.map(|name| String::from_utf8_lossy(name).into_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn this_test_is_made_of_itself_its_loader_and_its_libraries() {
        let program = std::env::current_exe().unwrap();
        let parts = Parts::of(&program, "0:0".to_owned()).unwrap();
        let names: Vec<_> = parts.libraries.keys().map(String::as_str).collect();
        assert!(names.contains(&"libc.so.6"), "{names:?}");
        assert!(parts.loader.as_ref().unwrap().0.contains("ld-linux"));
        let again = Parts::of(&program, "0:0".to_owned()).unwrap();
        assert_eq!(parts.digest(), again.digest());
    }

    #[test]
    fn what_is_unpacked_runs_by_its_own_loader_and_is_not_written_twice() {
        let program = std::env::current_exe().unwrap();
        let parts = Parts::of(&program, String::new()).unwrap();
        let below = tempfile::tempdir().unwrap();
        let below = below.path().join("programs");
        let unpacked = parts.unpack(&below).unwrap();
        let (loader, words) = unpacked.command.split_first().unwrap();
        let mut command = std::process::Command::new(loader);
        let ran = command.args(words).arg("--list").env_clear().output();
        let ran = ran.unwrap();
        assert!(ran.status.success(), "{ran:?}");
        let name = b"what_is_unpacked_runs_by_its_own_loader";
        assert!(ran.stdout.windows(name.len()).any(|part| part == name));
        let written = |path: &Path| std::fs::metadata(path).unwrap().modified().unwrap();
        let first = written(&unpacked.file);
        assert_eq!(parts.unpack(&below).unwrap(), unpacked);
        assert_eq!(written(&unpacked.file), first);
        assert_eq!(std::fs::read_dir(&below).unwrap().count(), 1);
    }
}
