//! The runner's side of the control socket.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use code_deploy_record::{Digest, EventBody, SignedConsent, Steering, said};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::message::{Control, LONGEST_LINE, Line};
use super::{Asking, Told, consent};
use crate::context::Answer;
use crate::runner::Person;
use crate::spec::ApprovalRule;
use crate::{Context, Error, Result};

/// How long somebody may take to say what they want.
const LIMIT: Duration = Duration::from_secs(5);

/// Listens for who wants to steer a run. The files go when this is dropped.
pub(crate) struct Server {
    listener: UnixListener,
    context: Context,
    person: Person,
    token: String,
    files: Files,
}

struct Files {
    socket: PathBuf,
    control: PathBuf,
    token: String,
}

impl Drop for Files {
    fn drop(&mut self) {
        // A runner that was asleep and is fenced off leaves alone what its successor wrote.
        let own = Control::read(&self.control).is_some_and(|now| now.token == self.token);
        let control = Some(&self.control).filter(|_| own);
        for path in control.into_iter().chain([&self.socket]) {
            if let Err(error) = std::fs::remove_file(path) {
                tracing::debug!(%error, path = %path.display(), "a control file was not removed");
            }
        }
    }
}

impl Server {
    /// Binds the socket and says in the run's folder where it is.
    ///
    /// # Errors
    /// [`Error::Record`] when the files cannot be made.
    pub(crate) async fn bind(context: &Context, person: &Person) -> Result<Self> {
        let folder = socket_folder()?;
        let control = Control::path(&context.run);
        remove_predecessor(&control, &folder);
        let token = format!("{:032x}", context.surroundings.chance.bits());
        let name = Digest::of(token.as_bytes()).short();
        let socket = folder.join(format!("{name}.sock"));
        let listener = UnixListener::bind(&socket).map_err(io("bind", &socket))?;
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&socket, private).map_err(io("protect", &socket))?;
        let files = Files {
            socket: socket.clone(),
            control: control.clone(),
            token: token.clone(),
        };
        let content = Control {
            socket,
            token: token.clone(),
            pid: std::process::id(),
        };
        write_private(&control, &content)?;
        let (context, person) = (context.clone(), person.clone());
        Ok(Self {
            listener,
            context,
            person,
            token,
            files,
        })
    }

    /// Answers one after the other for as long as it is not dropped.
    pub(crate) async fn serve(self) {
        let Self {
            listener,
            context,
            person,
            token,
            files,
        } = self;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let served = serve_one(stream, &context, &person, &token);
                    match tokio::time::timeout(LIMIT, served).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => tracing::debug!(%error, "a steering connection broke"),
                        Err(_) => {
                            tracing::debug!(limit = ?LIMIT, "somebody connected and was slow")
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, path = %files.socket.display(), "cannot accept");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

/// Removes the socket of a process that carried the run out before and was killed. The lock of the
/// run is held here: whoever made that socket is dead or fenced off.
fn remove_predecessor(control: &Path, folder: &Path) {
    let Some(before) = Control::read(control) else {
        return;
    };
    let ours = before.socket.parent() == Some(folder)
        && before.socket.extension().is_some_and(|end| end == "sock");
    if !ours {
        return;
    }
    if let Err(error) = std::fs::remove_file(&before.socket) {
        tracing::debug!(%error, path = %before.socket.display(), "a socket was not removed");
    }
}

async fn serve_one(
    stream: UnixStream,
    context: &Context,
    person: &Person,
    token: &str,
) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut text = String::new();
    BufReader::new(read.take(LONGEST_LINE))
        .read_line(&mut text)
        .await?;
    let told = match serde_json::from_str::<Line>(&text) {
        Ok(line) if same(&line.token, token) => {
            carry_out(&line.asking, (&line.by, &line.reason), context, person).await
        }
        Ok(_) => refuse("the token is not that of this run"),
        Err(error) => refuse(&format!("this is not a request to steer a run: {error}")),
    };
    let mut answer = serde_json::to_vec(&told)?;
    answer.push(b'\n');
    write.write_all(&answer).await
}

/// Compares without telling by its time how much was right.
fn same(one: &str, other: &str) -> bool {
    Digest::of(one.as_bytes()) == Digest::of(other.as_bytes())
}

fn refuse(text: &str) -> Told {
    Told {
        ok: false,
        text: text.to_owned(),
    }
}

/// Does what somebody asks of a run that is alive.
pub(crate) async fn carry_out(
    asking: &Asking,
    (by, reason): (&str, &str),
    context: &Context,
    person: &Person,
) -> Told {
    let asked = Asked { by, reason };
    let done = match asking {
        Asking::Status => Ok(status(context)),
        Asking::Approve { go, signed } => {
            approve(&asked, (*go, signed.as_deref()), context, person).await
        }
        Asking::Pause => steer(&asked, Steering::Pause, context).await,
        Asking::Resume => steer(&asked, Steering::Resume, context).await,
        Asking::Rollback => steer(&asked, Steering::Rollback, context).await,
    };
    done.unwrap_or_else(|error| refuse(&crate::error::with_sources(&error)))
}

/// Who asks, and why.
struct Asked<'a> {
    by: &'a str,
    reason: &'a str,
}

async fn steer(line: &Asked<'_>, verb: Steering, context: &Context) -> Result<Told> {
    let state = context.state();
    if state.finished.is_some() {
        return Ok(refuse("the run is ended"));
    }
    if state.rollback.is_some() && verb != Steering::Rollback {
        return Ok(refuse(
            "the run is going back, and a rollback is not stopped",
        ));
    }
    if context.interruption.is_closed() {
        return Ok(refuse("the run is ending"));
    }
    let (by, reason) = (line.by.to_owned(), line.reason.to_owned());
    let body = EventBody::SteeringAsked { verb, by, reason };
    context
        .journal
        .append(&format!("person:{}", line.by), body)
        .await?;
    context.interruption.ask(verb, line.by, line.reason);
    if context.interruption.is_closed() {
        return Ok(refuse("the run ended while this was asked"));
    }
    Ok(Told {
        ok: true,
        text: said::steered(verb).to_owned(),
    })
}

async fn approve(
    line: &Asked<'_>,
    (go, signed): (bool, Option<&SignedConsent>),
    context: &Context,
    person: &Person,
) -> Result<Told> {
    let policy = &context.spec.policy;
    if policy.approval == ApprovalRule::SomebodyElse && line.by == person.name {
        return Ok(refuse(&format!(
            "{} runs the deployment; the policy of {} asks for somebody else",
            line.by, context.spec.environment
        )));
    }
    let named = &context.spec.file.approvals.by;
    if !named.is_empty() && !named.iter().any(|one| one == line.by) {
        let may = named.join(", ");
        return Ok(refuse(&format!("{} may not approve; {may} may", line.by)));
    }
    let Some((gate, plan)) = context.state().approval_asked.clone() else {
        return Ok(refuse("nothing waits for an approval"));
    };
    let answer = Answer {
        by: line.by.to_owned(),
        go,
        reason: line.reason.to_owned(),
    };
    if let Err(why) = consent::check(context, &gate, plan, &answer, signed) {
        return Ok(refuse(&why));
    }
    let actor = format!("person:{}", line.by);
    if let Some(signed) = signed {
        let body = EventBody::ConsentSigned(signed.clone());
        context.journal.append(&actor, body).await?;
    }
    let (by, reason) = (line.by.to_owned(), line.reason.to_owned());
    let body = EventBody::ApprovalGiven {
        gate: gate.clone(),
        plan,
        by,
        go,
        reason,
    };
    context.journal.append(&actor, body).await?;
    let word = if go { "go" } else { "no-go" };
    Ok(Told {
        ok: true,
        text: format!("{word} for {gate} is recorded"),
    })
}

fn status(context: &Context) -> Told {
    let state = context.state();
    let phase = state.present_phase().map_or_else(
        || "between two phases".to_owned(),
        |phase| format!("in phase {phase} ({})", phase.verb()),
    );
    let course = match (&state.finished, &state.rollback) {
        (Some((outcome, ..)), _) => outcome.words().to_owned(),
        (None, Some((_, reason))) => format!("going back: {reason}"),
        (None, None) if state.paused => format!("paused {phase}"),
        (None, None) => phase,
    };
    Told {
        ok: true,
        text: format!("{course}; {} events", state.events),
    }
}

/// Returns a private folder for sockets with a short path: the system allows about 100 bytes.
fn socket_folder() -> Result<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let runtime = runtime.filter(|path| path.is_dir() && path.as_os_str().len() < 60);
    let folder = match runtime {
        Some(runtime) => runtime.join("code-deploy"),
        None => PathBuf::from(format!("/tmp/code-deploy-{}", nix::unistd::getuid())),
    };
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(&folder).map_err(io("create", &folder))?;
    refuse_foreign_folder(&folder)?;
    Ok(folder)
}

/// A folder that somebody else made in a shared place is not used.
fn refuse_foreign_folder(folder: &Path) -> Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::symlink_metadata(folder).map_err(io("read", folder))?;
    let own = metadata.is_dir() && metadata.uid() == nix::unistd::getuid().as_raw();
    if own && metadata.mode() & 0o077 == 0 {
        return Ok(());
    }
    let what = format!("{} is not a private folder of this user", folder.display());
    Err(Error::refused(
        "CD0441",
        what,
        "Remove it, or set XDG_RUNTIME_DIR.",
    ))
}

fn write_private(path: &Path, content: &Control) -> Result<()> {
    let temporary = path.with_extension("part");
    let text = serde_json::to_vec(content).map_err(code_deploy_record::Error::from)?;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&temporary).map_err(io("create", &temporary))?;
    file.write_all(&text).map_err(io("write", &temporary))?;
    file.sync_all().map_err(io("flush", &temporary))?;
    std::fs::rename(&temporary, path).map_err(io("name", path))?;
    Ok(())
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let wrapped = code_deploy_record::Error::io(action, path);
    move |error| Error::Record(wrapped(error))
}
