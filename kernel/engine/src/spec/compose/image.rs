//! The image that a service of a Compose file is started from.

use code_deploy_record::Release;

use super::ComposeService;

/// What stands in an image in place of the release.
pub(super) const RELEASE: &str = "{release}";

impl ComposeService {
    /// Returns the image that a release is started from, where the Compose file names one.
    #[must_use]
    pub fn image_of(&self, release: &Release) -> Option<String> {
        let image = self.image_by_release.as_ref()?;
        Some(image.replace(RELEASE, release.as_str()))
    }
}

/// Returns whether what a reference leads to may change without the reference changing: it has no digest, and no tag
/// or the tag `latest`.
pub(crate) fn is_unpinned(reference: &str) -> bool {
    if reference.contains('@') {
        return false;
    }
    // A colon before the last slash is that of the registry's port.
    let last = reference.rsplit('/').next().unwrap_or(reference);
    last.split_once(':')
        .is_none_or(|(_, tag)| matches!(tag, "" | "latest"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_or_a_tag_other_than_latest_pins_an_image() {
        for pinned in [
            "web:1",
            "web:latest-1",
            "localhost:5000/team/web:1.0",
            "web@sha256:00",
            "web:latest@sha256:00",
        ] {
            assert!(!is_unpinned(pinned), "{pinned}");
        }
        for unpinned in [
            "web",
            "web:",
            "web:latest",
            "localhost:5000/team/web",
            "localhost:5000/web:latest",
        ] {
            assert!(is_unpinned(unpinned), "{unpinned}");
        }
    }
}
