//! Which release of the application a process behaves as.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// A release of the shop, `1.0.x` or `1.1.x`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    text: String,
    minor: u8,
}

impl Release {
    /// Returns the release as it appears in headers, logs and metrics.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Tells whether this release has reviews, gift notes and order statistics, and so needs
    /// migration 0002.
    pub fn has_gift_notes(&self) -> bool {
        self.minor >= 1
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Release {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let unknown = || Error::Setting {
            name: "SHOP_RELEASE",
            value: text.chars().take(64).collect(),
            expected: "a release this program can behave as: 1.0.x or 1.1.x, such as 1.1.0",
        };
        let (minor, patch) = match text.split('.').collect::<Vec<_>>()[..] {
            ["1", "0", patch] => (0, patch),
            ["1", "1", patch] => (1, patch),
            _ => return Err(unknown()),
        };
        patch.parse::<u16>().map_err(|_| unknown())?;
        Ok(Release {
            text: text.to_owned(),
            minor,
        })
    }
}
