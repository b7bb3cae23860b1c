//! What a command shows, whatever shows it.

use std::sync::Arc;

use async_trait::async_trait;
use code_deploy_engine::context::Answer;
use code_deploy_engine::{Approver, Notice};
use code_deploy_notebook_gen::Chart;
use code_deploy_record::Report;

/// Shows what a command has to show: a terminal or a notebook cell.
#[async_trait]
pub trait Face: Send + Sync {
    /// Shows a report under a heading.
    fn report(&self, title: &str, report: &Report);

    /// Shows a chart.
    fn chart(&self, chart: &Chart);

    /// Shows a line of text.
    fn text(&self, text: &str);

    /// Returns how wide lines may be, in characters, where a person reads them in a terminal, also by a pager.
    fn width(&self) -> Option<usize> {
        None
    }

    /// Returns whether machines look on, so that words are left out where values say the same.
    fn is_for_machines(&self) -> bool {
        false
    }

    /// Shows a value of that kind to machines. Returns whether machines look on: the same in words
    /// is then left out.
    fn value(&self, kind: &str, value: &serde_json::Value) -> bool;

    /// Shows what a run has just done or is waiting for.
    fn notice(&self, notice: &Notice);

    /// Asks a person for go or no-go; nothing when nobody can be asked here.
    async fn ask(&self, summary: &str) -> Option<Answer>;
}

/// Lets the engine ask a person through a face.
pub struct FaceApprover {
    face: Arc<dyn Face>,
    in_advance: Option<Answer>,
}

impl FaceApprover {
    /// Returns an approver that gives the answer given in advance, if there is one, and asks the
    /// person at the face otherwise.
    pub fn new(face: Arc<dyn Face>, in_advance: Option<Answer>) -> Self {
        Self { face, in_advance }
    }
}

#[async_trait]
impl Approver for FaceApprover {
    async fn ask(&self, summary: &str) -> Option<Answer> {
        if let Some(answer) = &self.in_advance {
            return Some(answer.clone());
        }
        self.face.ask(summary).await
    }
}
