//! What a run would change in the cluster: what the server makes of each object in a dry run, beside what is there.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use code_deploy_engine::target::{Change, ChangeState, TargetError};
use code_deploy_record::{Digest, Release};
use kube::core::{ApiResource, DynamicObject};
use serde_json::Value;
use tokio::time::Instant;

use super::KubernetesTarget;
use super::admission::as_one;
use super::cluster::{Connection, try_side_by_side};
use super::difference::{Rules, VALUES, differences, summary};
use super::names;
use super::objects::Tried;

/// The fields of an object that are told.
const MOST: usize = 200;

/// How long answers of a dry run stand for what the server would say now.
const FRESH: Duration = Duration::from_secs(60);

/// What the server made of an object in a dry run.
pub(super) struct Answer {
    /// The service that it is for, if it is for one.
    pub service: Option<String>,
    pub resource: ApiResource,
    pub name: String,
    /// Whether nobody is to see its values.
    pub hides: bool,
    /// The object as it would be; nothing where the server cannot judge it beforehand.
    pub object: Option<Value>,
}

impl Answer {
    pub(super) fn new(
        service: Option<&str>,
        resource: ApiResource,
        tried: Tried<'_>,
        object: Option<&DynamicObject>,
    ) -> Self {
        let hides = tried.hides || resource.kind == "Secret";
        Self {
            service: service.map(str::to_owned),
            resource,
            name: tried.manifest.name.clone(),
            hides,
            object: object.and_then(|object| value_of(object, hides)),
        }
    }
}

/// Returns an object as it is compared. Of values that nobody is to see only their digests are kept.
fn value_of(object: &DynamicObject, hides: bool) -> Option<Value> {
    let mut value = serde_json::to_value(object).ok()?;
    for key in VALUES.iter().filter(|_| hides) {
        let values = value.get_mut(*key).and_then(Value::as_object_mut);
        for value in values.into_iter().flat_map(|values| values.values_mut()) {
            *value = Digest::of(value.to_string().as_bytes()).to_string().into();
        }
    }
    Some(value)
}

/// The answers that an admission got, until somebody asks what they mean.
#[derive(Default)]
pub(super) struct Answers(Mutex<Option<Kept>>);

struct Kept {
    release: Release,
    replicas: BTreeMap<String, u32>,
    since: Instant,
    answers: Vec<Answer>,
}

impl Answers {
    pub(super) fn keep(
        &self,
        release: &Release,
        replicas: &BTreeMap<String, u32>,
        answers: Vec<Answer>,
    ) {
        let kept = Kept {
            release: release.clone(),
            replicas: replicas.clone(),
            since: Instant::now(),
            answers,
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
    }

    fn take(&self, release: &Release, replicas: &BTreeMap<String, u32>) -> Option<Vec<Answer>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let kept = kept.filter(|kept| {
            kept.release == *release && kept.replicas == *replicas && kept.since.elapsed() < FRESH
        });
        kept.map(|kept| kept.answers)
    }
}

/// From which release to which one a run goes.
#[derive(Clone, Copy)]
struct Way<'a> {
    from: Option<&'a Release>,
    to: &'a Release,
}

impl KubernetesTarget {
    /// Returns what a run would change, object by object, in the order in which they are stated. What an admission has
    /// just asked is not asked again.
    ///
    /// # Errors
    /// What the cluster refuses or says.
    pub(super) async fn changes_between(
        &self,
        from: Option<&Release>,
        to: &Release,
        replicas: &BTreeMap<String, u32>,
    ) -> Result<Vec<Change>, TargetError> {
        let connection = self.cluster.connect().await?;
        let answers = match self.answers.take(to, replicas) {
            Some(answers) => answers,
            None => {
                let tried = self.try_all(connection, to, replicas).await?;
                if let Some(error) = as_one(tried.refused) {
                    return Err(error);
                }
                tried.answers
            }
        };
        let way = Way { from, to };
        let asked: Vec<_> = answers
            .iter()
            .map(|answer| self.change_of(connection, answer, way))
            .collect();
        try_side_by_side(asked).await
    }

    async fn change_of(
        &self,
        connection: &Connection,
        answer: &Answer,
        way: Way<'_>,
    ) -> Result<Change, TargetError> {
        let mut change = Change {
            kind: answer.resource.kind.clone(),
            name: answer.name.clone(),
            state: ChangeState::Unknown,
            beside: None,
            summary: "the server does not try it out".to_owned(),
            fields: Vec::new(),
            more: 0,
        };
        let Some(object) = &answer.object else {
            return Ok(change);
        };
        change.summary = String::new();
        if let Some(there) = self.there(connection, answer, &answer.name).await? {
            self.compare(&mut change, answer, (&there, object), &[]);
            change.state = match change.fields.is_empty() {
                true => ChangeState::Unchanged,
                false => ChangeState::Changed,
            };
            return Ok(change);
        }
        change.state = ChangeState::New;
        if let Some((name, old)) = self.beside(answer, way)
            && let Some(there) = self.there(connection, answer, &name).await?
        {
            let named = named(&name, old, answer, way.to);
            self.compare(&mut change, answer, (&there, object), &named);
            change.beside = Some(name);
            return Ok(change);
        }
        let text = summary(&change.kind, object, answer.hides);
        change.summary = self.settings.redactor.clean(&text);
        Ok(change)
    }

    fn compare(
        &self,
        change: &mut Change,
        answer: &Answer,
        (before, after): (&Value, &Value),
        named: &[(String, String)],
    ) {
        let rules = Rules {
            hides: answer.hides,
            named,
            redactor: &self.settings.redactor,
        };
        change.fields = differences(before, after, rules);
        change.more = change.fields.len().saturating_sub(MOST);
        change.fields.truncate(MOST);
    }

    /// Returns an object as it is there.
    async fn there(
        &self,
        connection: &Connection,
        answer: &Answer,
        name: &str,
    ) -> Result<Option<Value>, TargetError> {
        let objects = connection.described(&answer.resource);
        let service = answer.service.as_deref();
        let found = objects.ours(&self.names, service, name).await?;
        Ok(found.and_then(|found| value_of(&found, answer.hides)))
    }

    /// Returns the name of the object whose place a new one takes, and its release: each release has objects of its own.
    fn beside<'a>(&self, answer: &Answer, way: Way<'a>) -> Option<(String, &'a Release)> {
        let service = answer.service.as_deref()?;
        let from = way.from.filter(|from| *from != way.to)?;
        let own = self.names.release(service, way.to).ok()?;
        if own != answer.name {
            return None;
        }
        Some((self.names.release(service, from).ok()?, from))
    }
}

/// Returns what names an object and its release on both sides.
fn named(name: &str, from: &Release, answer: &Answer, to: &Release) -> Vec<(String, String)> {
    let (old, new) = (from.as_str(), to.as_str());
    vec![
        (name.to_owned(), answer.name.clone()),
        (old.to_owned(), new.to_owned()),
        (names::label(old), names::label(new)),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn of_values_that_nobody_is_to_see_only_digests_are_kept() {
        let object = |data: &str| -> DynamicObject {
            let value = json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "api" },
                "data": { "key": data },
            });
            serde_json::from_value(value).unwrap()
        };
        let (one, other) = (object("b25l"), object("b3RoZXI="));
        let kept = value_of(&one, true).unwrap();
        assert!(!kept.to_string().contains("b25l"), "{kept}");
        assert_eq!(value_of(&one, true).unwrap(), kept);
        assert_ne!(value_of(&other, true).unwrap(), kept);
        assert_eq!(value_of(&one, false).unwrap()["data"]["key"], "b25l");
    }

    #[test]
    fn answers_are_used_once_and_only_for_what_was_asked() {
        let (one, other): (Release, Release) = ("1.0.0".parse().unwrap(), "1.1.0".parse().unwrap());
        let replicas = |count| BTreeMap::from([("api".to_owned(), count)]);
        let answers = Answers::default();
        answers.keep(&one, &replicas(1), Vec::new());
        assert!(answers.take(&one, &replicas(1)).is_some());
        assert!(answers.take(&one, &replicas(1)).is_none());
        answers.keep(&one, &replicas(1), Vec::new());
        assert!(answers.take(&other, &replicas(1)).is_none());
        answers.keep(&one, &replicas(1), Vec::new());
        assert!(answers.take(&one, &replicas(2)).is_none());
    }
}
