//! A face that shows names of files which somebody else gave as a terminal may show them.

use async_trait::async_trait;
use code_deploy_engine::Notice;
use code_deploy_engine::context::Answer;
use code_deploy_notebook_gen::Chart;
use code_deploy_record::{Report, plain};

use crate::face::Face;

/// A face whose lines hold nothing that steers a terminal or looks like a line of their own. Machines get
/// values as they are.
pub(super) struct Plain<'a>(pub(super) &'a dyn Face);

#[async_trait]
impl Face for Plain<'_> {
    fn report(&self, title: &str, report: &Report) {
        self.0.report(title, report);
    }

    fn chart(&self, chart: &Chart) {
        self.0.chart(chart);
    }

    fn text(&self, text: &str) {
        self.0.text(&plain(text));
    }

    fn width(&self) -> Option<usize> {
        self.0.width()
    }

    fn is_for_machines(&self) -> bool {
        self.0.is_for_machines()
    }

    fn value(&self, kind: &str, value: &serde_json::Value) -> bool {
        self.0.value(kind, value)
    }

    fn notice(&self, notice: &Notice) {
        self.0.notice(notice);
    }

    async fn ask(&self, summary: &str) -> Option<Answer> {
        self.0.ask(summary).await
    }
}
