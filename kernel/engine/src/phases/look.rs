//! Looks at files and at what runs that several phases share.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use code_deploy_record::verify_folder;
use tokio::net::TcpStream;

use crate::http::HttpClient;
use crate::inventory::{self, Inventory};
use crate::section::blocking;
use crate::step::StepError;
use crate::target::{Balancing, Instance, Observed};
use crate::{Context, Error};

/// How long a request of the phases that follow the release may take.
pub(crate) const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// How long one connection or request of these looks may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(5);

/// Takes the inventory from the files and from what runs.
pub(crate) async fn inventory(context: &Context) -> Result<(Inventory, Observed), StepError> {
    let observed = context.target.observe().await?;
    let (spec, seen) = (Arc::clone(&context.spec), observed.clone());
    let taken = blocking("taking the inventory", move || {
        inventory::take(&spec, Some(&seen))
    })
    .await?;
    let mut taken = taken.map_err(|error| refused(&error))?;
    let client = HttpClient::new();
    let running = observed.instances.iter().any(|instance| instance.running);
    if running && !context.goes_back() {
        inventory::confirm_live(
            &mut taken,
            &context.spec,
            &observed.addresses,
            &client,
            LIMIT,
        )
        .await;
    }
    Ok((taken, observed))
}

fn refused(error: &Error) -> StepError {
    let problem = error.problem();
    StepError::permanent(&problem.code, problem.what, problem.next)
}

/// Returns whether somebody listens there, or why not.
pub(crate) async fn connects(address: SocketAddr) -> Result<(), String> {
    match tokio::time::timeout(LIMIT, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no connection within {} s", LIMIT.as_secs())),
    }
}

/// Returns where each service is reached.
pub(crate) fn addresses(observed: &Observed) -> BTreeMap<&str, SocketAddr> {
    let places = observed.addresses.iter();
    places
        .map(|place| (place.service.as_str(), place.address))
        .collect()
}

/// What became of connections to the services' addresses.
#[derive(Debug, Default)]
pub(crate) struct Reached {
    /// Addresses that answered.
    pub answered: usize,
    /// Addresses that refuse connections because nobody serves them yet.
    pub unserved: usize,
    /// The first that did not answer, and why.
    pub failed: Option<String>,
}

impl Reached {
    /// Returns how many addresses are as they should be.
    pub(crate) fn well(&self) -> usize {
        self.answered + self.unserved
    }

    /// Returns what was seen, in words.
    pub(crate) fn text(&self) -> String {
        if let Some(failed) = &self.failed {
            return failed.clone();
        }
        match self.unserved {
            0 => format!("{} addresses answer", self.answered),
            unserved => format!(
                "{} addresses answer, {unserved} lead to nobody yet",
                self.answered
            ),
        }
    }
}

/// Returns whether an address refuses connections because nobody serves it, as it should.
pub(crate) fn is_unserved(observed: &Observed, balancing: Balancing, service: &str) -> bool {
    let shares = observed.traffic.get(service);
    balancing == Balancing::Connections && shares.is_none_or(BTreeMap::is_empty)
}

/// Connects to the address of every service that has one, up to the first that does not answer.
pub(crate) async fn reach_all(context: &Context, observed: &Observed) -> Reached {
    let mut reached = Reached::default();
    for place in &observed.addresses {
        if is_unserved(observed, context.target.balancing(), &place.service) {
            reached.unserved += 1;
            continue;
        }
        match connects(place.address).await {
            Ok(()) => reached.answered += 1,
            Err(why) => {
                reached.failed = Some(format!("{} at {}: {why}", place.service, place.address));
                return reached;
            }
        }
    }
    reached
}

/// Follows the record's chain and searches it for known secrets; returns how many events it has,
/// what of it does not verify, and the name of the first secret found.
pub(crate) async fn record(
    context: &Context,
) -> Result<(u64, Vec<String>, Option<String>), StepError> {
    let (run, redactor) = (context.run.clone(), context.redactor.clone());
    let looked = blocking("reading the record", move || {
        let verified = verify_folder(&run)?;
        let path = run.journal_path();
        let unread = || code_deploy_record::Error::io("read", &path);
        let journal = std::fs::File::open(&path).map_err(unread())?;
        let mut leaked = None;
        for line in BufReader::new(journal).lines() {
            leaked = leaked.or(redactor.find(&line.map_err(unread())?));
        }
        let broken = verified
            .findings
            .iter()
            .map(|one| format!("{}: {}", one.place, one.what))
            .collect();
        Ok::<_, code_deploy_record::Error>((verified.events, broken, leaked))
    });
    Ok(looked.await??)
}

/// Returns bytes in words: `12.3 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    let count = count as f64;
    for (unit, size) in [
        ("GiB", 1024.0 * 1024.0 * 1024.0),
        ("MiB", 1024.0 * 1024.0),
        ("KiB", 1024.0),
    ] {
        if count >= size {
            return format!("{:.1} {unit}", count / size);
        }
    }
    format!("{count} bytes")
}

/// Returns a number with its noun: `1 backup`, `2 entries`.
pub(crate) fn counted(number: impl std::fmt::Display, noun: &str) -> String {
    let number = number.to_string();
    if number == "1" {
        return format!("1 {noun}");
    }
    let many = match noun.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None if noun.ends_with(['x', 's']) => format!("{noun}es"),
        None => format!("{noun}s"),
    };
    format!("{number} {many}")
}

/// Returns a text, or what stands in its first so many characters, with an ellipsis behind them, where it is longer.
/// It is cut behind a word, unless a single word is most of it.
pub(crate) fn cut(text: &str, longest: usize) -> String {
    let Some((end, next)) = text.char_indices().nth(longest) else {
        return text.to_owned();
    };
    let kept = text.get(..end).unwrap_or(text);
    let words = kept.rsplit_once(' ').map(|(words, _)| words);
    let words = words.filter(|words| next != ' ' && words.len() > kept.len() / 2);
    let kept = words.unwrap_or(kept);
    format!("{} …", kept.trim_end_matches([',', ';', ':', ' ']))
}

/// What items on dependencies say where none is pinned by a file.
pub(crate) const NO_LOCK_FILE: &str = "no lock file was found in the project or its workspace";

/// Returns a list in words, or `none`.
pub(crate) fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let texts: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    if texts.is_empty() {
        "none".to_owned()
    } else {
        texts.join(", ")
    }
}

/// Returns the running instances of the release that is deployed.
pub(crate) fn instances<'a>(
    observed: &'a Observed,
    context: &'a Context,
) -> impl Iterator<Item = &'a Instance> {
    let to = &context.to;
    observed
        .instances
        .iter()
        .filter(move |instance| instance.running && instance.release == *to)
}

/// Returns an identifier that nothing else has: of a marker, a trace, a request.
pub(crate) fn fresh_id() -> uuid::Uuid {
    uuid::Builder::from_random_bytes(rand::random()).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn a_text_is_cut_before_a_word() {
        assert_eq!(cut("two words", 9), "two words");
        assert_eq!(cut("status 502: no backend", 13), "status 502 …");
        assert_eq!(cut("größer, als es passt", 7), "größer …");
        assert_eq!(cut("withoutanyspace", 4), "with …");
        assert_eq!(
            cut("at https://shop.example.com/cart", 20),
            "at https://shop.exam …"
        );
    }
}
