//! What a section keeps as evidence, and reads back.

use code_deploy_record::{Digest, EvidenceRef};
use serde_json::{Value, json};

use super::{Section, Seen, blocking};
use crate::phases::look::counted;
use crate::step::StepError;

/// The name under which a step's result lists what it kept.
const KEPT: &str = "kept";

/// What a step kept: name, media type and digest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Kept(pub Vec<(String, String, Digest)>);

impl Kept {
    /// Returns what a step's result lists.
    pub(crate) fn of(result: &Value) -> Self {
        let listed = result.get(KEPT).cloned().unwrap_or_default();
        Self(serde_json::from_value(listed).unwrap_or_default())
    }

    /// Returns the digest of the kept file of that name.
    pub(crate) fn digest(&self, name: &str) -> Option<Digest> {
        self.0.iter().find(|kept| kept.0 == name).map(|kept| kept.2)
    }

    /// Adds the list to a step's result.
    pub(crate) fn into_result(self, mut result: Value) -> Value {
        if let Some(object) = result.as_object_mut() {
            object.insert(KEPT.to_owned(), json!(self.0));
        }
        result
    }
}

impl Section<'_> {
    /// Keeps content as evidence and notes it for the step's result.
    pub(crate) async fn keep(
        &self,
        kept: &mut Kept,
        name: &str,
        media_type: &str,
        content: impl Into<Vec<u8>>,
    ) -> Result<EvidenceRef, StepError> {
        let digest = self.context.keep(name, media_type, content.into()).await?;
        kept.0
            .push((name.to_owned(), media_type.to_owned(), digest));
        Ok(EvidenceRef::File(digest))
    }

    /// Reads a kept file as it stands in the evidence folder; its digest is checked.
    pub(crate) async fn read(&self, digest: Digest) -> Result<Vec<u8>, StepError> {
        let store = self.context.run.evidence();
        let what = format!("reading {digest}");
        Ok(blocking(&what, move || store.read(&digest)).await??)
    }

    /// Reads everything back that the step kept, by digest, and parses it as what it claims to be;
    /// nothing where it kept nothing.
    pub(super) async fn read_back(&self, result: &Value) -> Result<Option<Seen>, StepError> {
        let kept = Kept::of(result);
        if kept.0.is_empty() {
            return Ok(None);
        }
        let mut wrong = Vec::new();
        for (name, media_type, digest) in &kept.0 {
            match self.read(*digest).await {
                Ok(content) => wrong.extend(malformed(name, media_type, &content)),
                Err(error) => wrong.push(format!("{name}: {error}")),
            }
        }
        let count = kept.0.len();
        Ok(Some(match wrong.is_empty() {
            true => Seen::new(
                true,
                format!("{} read back by digest", counted(count, "kept file")),
            ),
            false => Seen::new(false, wrong.join("; ")),
        }))
    }
}

fn malformed(name: &str, media_type: &str, content: &[u8]) -> Option<String> {
    let wrong = match media_type {
        "application/json" => serde_json::from_slice::<Value>(content)
            .err()
            .map(|e| e.to_string()),
        "application/yaml" => {
            let text = String::from_utf8_lossy(content);
            serde_saphyr::from_str::<Value>(&text)
                .err()
                .map(|e| e.to_string())
        }
        _ => content.is_empty().then(|| "it is empty".to_owned()),
    };
    wrong.map(|wrong| format!("{name}: {wrong}"))
}
