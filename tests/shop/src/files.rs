//! The files of the demonstration, for laying it out in an empty folder.

/// Relative path and content of each file that belongs to the demonstration.
pub const FILES: &[(&str, &str)] = &[
    ("compose.yaml", include_str!("../compose.yaml")),
    ("deploy.yaml", include_str!("../deploy.yaml")),
    (
        "journeys/browse.yaml",
        include_str!("../journeys/browse.yaml"),
    ),
    ("journeys/buy.yaml", include_str!("../journeys/buy.yaml")),
    (
        "journeys/order-lookup.yaml",
        include_str!("../journeys/order-lookup.yaml"),
    ),
    (
        "migrations/0001_base.up.sql",
        include_str!("../migrations/0001_base.up.sql"),
    ),
    (
        "migrations/0001_base.down.sql",
        include_str!("../migrations/0001_base.down.sql"),
    ),
    (
        "migrations/0002_gift_notes_and_reviews.up.sql",
        include_str!("../migrations/0002_gift_notes_and_reviews.up.sql"),
    ),
    (
        "migrations/0002_gift_notes_and_reviews.down.sql",
        include_str!("../migrations/0002_gift_notes_and_reviews.down.sql"),
    ),
];
