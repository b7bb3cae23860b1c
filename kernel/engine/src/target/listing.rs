//! What a target has beside what is deployed to it, as tables for the inventory.

/// What a target has of one sort.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// What it answers beside being shown.
    pub topic: Topic,
    /// What is listed: `Ingresses`.
    pub title: String,
    /// The columns from left to right.
    pub columns: Vec<String>,
    /// The rows; each has one entry per column.
    pub rows: Vec<Vec<String>>,
    /// What the rows come to, in words, where an item of the catalogue is answered by that; otherwise empty.
    pub summary: String,
    /// What is missing in the rows and why, in words. Without that, the rows are all there is.
    pub gap: Option<String>,
}

/// Which item of the catalogue a listing answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Topic {
    /// None: it is shown.
    #[default]
    Shown,
    /// The certificates that the target keeps, with issuer and expiry.
    Certificates,
    /// The rules by which the target lets connections through.
    FirewallRules,
}
