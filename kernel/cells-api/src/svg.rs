use std::io::Write;

/// A picture in SVG, shown as one where it is the value of a cell.
///
/// With the crate `plotters`: draw into a `String` with `SVGBackend::with_string(&mut text, (640, 360))`, and end
/// the cell with `code_deploy::svg(&text)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Svg(
    /// The document, from `<svg` to `</svg>`.
    pub String,
);

impl Svg {
    /// Shows the picture: called by the notebook.
    pub fn evcxr_display(&self) {
        let text = format!(
            "EVCXR_BEGIN_CONTENT image/svg+xml\n{}\nEVCXR_END_CONTENT\n",
            self.0.trim()
        );
        let mut out = std::io::stdout().lock();
        // Where nobody reads there is nobody to tell.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

/// Returns a picture of that text. A value that takes a cell's own variable away cannot be shown by evcxr as what it is.
#[must_use]
pub fn svg(text: &str) -> Svg {
    Svg(text.to_owned())
}

impl From<String> for Svg {
    fn from(text: String) -> Self {
        Self(text)
    }
}
