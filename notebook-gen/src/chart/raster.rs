//! From the drawing to a small picture: resvg at twice the size, a palette of few colours, no chunk
//! that tells time or program.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{Arc, OnceLock};

use resvg::tiny_skia::{IntSize, Pixmap, Transform};
use resvg::usvg::{self, fontdb};

use crate::chart::canvas::{FONT, FONT_NAME};
use crate::chart::{ChartKind, Picture, scene};
use crate::{Error, Result};

/// How many pixels of the picture stand for one of the page.
const DENSITY: u32 = 2;

/// How many rows of a picture are drawn at once. A pixel that is drawn takes four bytes; kept of it is that it goes on
/// with a colour, which takes next to nothing: most of a picture is areas.
const BAND: u32 = 256;

/// The most pixels of pictures that are not larger than most.
const MOST: usize = (scene::WIDTH * 800 * DENSITY * DENSITY) as usize;

/// How many compressed bytes of a picture are put together into a chunk of its file.
const CHUNK: usize = 1 << 15;

/// How many pixels of one colour are handed on at once.
const AT_ONCE: usize = 1 << 10;

/// How hard a picture is compressed, from 1 to 9: harder takes several times as long and gains little.
const LEVEL: u8 = 7;

/// Colours of a palette at most, those of areas apart: shades of edges are the others, and few of them do.
const MOST_SHADES: usize = 64;

/// A shade that is nearer to a colour of the palette than this (14 of 255 in each of red, green and blue) is drawn in it.
const NEAR: u32 = 3 * 14 * 14;

/// A colour of more than one pixel of so many is that of an area: it stays as it is.
const AREA: usize = 1000;

type Rgb = [u8; 3];

fn fonts() -> Arc<fontdb::Database> {
    static FONTS: OnceLock<Arc<fontdb::Database>> = OnceLock::new();
    let fonts = FONTS.get_or_init(|| {
        let mut fonts = fontdb::Database::new();
        fonts.load_font_source(fontdb::Source::Binary(Arc::new(FONT)));
        fonts.set_sans_serif_family(FONT_NAME);
        Arc::new(fonts)
    });
    Arc::clone(fonts)
}

/// What one picture after the other is drawn in. It is megabytes: whoever makes several pictures asks for it once.
#[derive(Debug)]
pub struct Raster {
    /// How many pixels of a picture stand for one of the page.
    density: u32,
    /// The pixels of the rows that are drawn.
    band: Vec<u8>,
    /// The pixels of the picture, row by row.
    stretches: Vec<Stretch>,
}

/// Pixels of one colour that follow each other.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    /// The place of the colour among those of the picture.
    place: u16,
    pixels: u16,
}

impl Default for Raster {
    fn default() -> Self {
        Self::of(DENSITY)
    }
}

impl Raster {
    /// Returns what draws sketches: pictures that stand for a moment, in a fourth of the work.
    pub fn of_sketches() -> Self {
        Self::of(1)
    }

    fn of(density: u32) -> Self {
        Self {
            density,
            band: Vec::new(),
            stretches: Vec::new(),
        }
    }

    /// Turns a drawing of `width` times `height` into a picture.
    pub(super) fn picture(
        &mut self,
        kind: ChartKind,
        svg: String,
        (width, height): (u32, u32),
    ) -> Result<Arc<Picture>> {
        let failed = |what: String| Error::Drawing {
            chart: kind.name().to_owned(),
            what,
        };
        let options = usvg::Options {
            font_family: FONT_NAME.to_owned(),
            fontdb: fonts(),
            ..usvg::Options::default()
        };
        let tree = usvg::Tree::from_str(&svg, &options);
        let tree = tree.map_err(|error| failed(error.to_string()))?;
        let size = IntSize::from_wh(width * self.density, height * self.density);
        let size = size.ok_or_else(|| failed("it has no size".into()))?;
        let colours = self.draw(&tree, size, BAND);
        let colours = colours.ok_or_else(|| failed("it has no size".into()))?;
        drop(tree);
        let png = encode(&self.stretches, &colours, (size.width(), size.height()));
        Ok(Arc::new(Picture {
            svg,
            png: png.map_err(|error| failed(error.to_string()))?,
            width,
            height,
        }))
    }

    /// Draws a picture, one band of so many rows below the other, and takes note of its colours.
    fn draw(&mut self, tree: &usvg::Tree, size: IntSize, band: u32) -> Option<Colours> {
        let number = size.width() as usize * size.height() as usize;
        self.stretches.clear();
        // Memory that is made larger would be there twice, and what is not written to costs nothing.
        let most = if self.density == DENSITY { MOST } else { 0 };
        self.stretches.reserve_exact(number.max(most));
        let mut colours = Colours::default();
        for top in (0..size.height()).step_by(band as usize) {
            let rows = IntSize::from_wh(size.width(), band.min(size.height() - top))?;
            let mut pixels = std::mem::take(&mut self.band);
            pixels.clear();
            pixels.resize(rows.width() as usize * rows.height() as usize * 4, u8::MAX);
            let mut pixels = Pixmap::from_vec(pixels, rows)?;
            #[expect(
                clippy::cast_precision_loss,
                reason = "a picture has some thousand rows"
            )]
            let (scale, up) = (self.density as f32, -(top as f32));
            let place = Transform::from_scale(scale, scale).post_translate(0.0, up);
            resvg::render(tree, place, &mut pixels.as_mut());
            self.band = pixels.take();
            colours.note(&self.band, &mut self.stretches);
        }
        Some(colours)
    }
}

/// The colours of a picture, with how many pixels have each.
#[derive(Debug, Default)]
struct Colours {
    places: HashMap<Rgb, u16>,
    counts: Vec<(Rgb, u32)>,
}

impl Colours {
    /// Adds pixels of four bytes each to `stretches`.
    fn note(&mut self, pixels: &[u8], stretches: &mut Vec<Stretch>) {
        let mut colours = pixels.chunks_exact(4).map(colour).peekable();
        while let Some(first) = colours.next() {
            let mut pixels = 1;
            while pixels < u16::MAX && colours.next_if_eq(&first).is_some() {
                pixels += 1;
            }
            let place = self.place(first);
            if let Some((_, count)) = self.counts.get_mut(usize::from(place)) {
                *count += u32::from(pixels);
            }
            stretches.push(Stretch { place, pixels });
        }
    }

    fn place(&mut self, colour: Rgb) -> u16 {
        if let Some(place) = self.places.get(&colour) {
            return *place;
        }
        // No drawing of ours has so many colours; the nearest one would do for a picture of 256.
        let place = u16::try_from(self.counts.len()).unwrap_or_else(|_| {
            let known = self.counts.iter().enumerate();
            let nearest = known.min_by_key(|(_, (other, _))| distance(&colour, other));
            nearest.map_or(0, |(place, _)| u16::try_from(place).unwrap_or(0))
        });
        if usize::from(place) == self.counts.len() {
            self.counts.push((colour, 0));
        }
        self.places.insert(colour, place);
        place
    }

    /// Returns the colours that are drawn, at most 256 and the frequent ones first, and, for the place of each colour,
    /// that of the nearest one among them.
    fn palette(&self) -> (Vec<Rgb>, Vec<u8>) {
        let mut frequent = self.counts.clone();
        frequent.sort_by_key(|(colour, count)| (std::cmp::Reverse(*count), *colour));
        let pixels: usize = frequent.iter().map(|(_, count)| *count as usize).sum();
        let mut palette: Vec<Rgb> = Vec::new();
        for (colour, count) in &frequent {
            let is_area = *count as usize > pixels / AREA;
            let is_apart = || palette.iter().all(|other| distance(colour, other) >= NEAR);
            if is_area && palette.len() < 256 || palette.len() < MOST_SHADES && is_apart() {
                palette.push(*colour);
            }
        }
        let nearest = |colour: &Rgb| {
            let distances = palette.iter().map(|other| distance(colour, other));
            let best = distances.enumerate().min_by_key(|(_, distance)| *distance);
            best.and_then(|(place, _)| u8::try_from(place).ok())
                .unwrap_or(0)
        };
        let places = self.counts.iter().map(|(colour, _)| nearest(colour));
        let places = places.collect();
        (palette, places)
    }
}

/// Writes a picture with a palette, without ever having all its pixels: there are millions of them.
fn encode(
    stretches: &[Stretch],
    colours: &Colours,
    (width, height): (u32, u32),
) -> Result<Vec<u8>, png::EncodingError> {
    let (palette, nearest) = colours.palette();
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_filter(png::Filter::NoFilter);
    encoder.set_deflate_compression(png::DeflateCompression::Level(LEVEL));
    encoder.set_palette(palette.concat());
    let mut writer = encoder.write_header()?;
    let mut image = writer.stream_writer_with_size(CHUNK)?;
    let mut some = [0; AT_ONCE];
    for stretch in stretches {
        let place = nearest.get(usize::from(stretch.place));
        let mut left = usize::from(stretch.pixels);
        while let Some(part) = some.get_mut(..left.min(AT_ONCE)).filter(|_| left > 0) {
            part.fill(place.copied().unwrap_or(0));
            image.write_all(part)?;
            left -= part.len();
        }
    }
    image.finish()?;
    writer.finish()?;
    Ok(file)
}

/// Returns the colour that a pixel begins with.
fn colour(pixel: &[u8]) -> Rgb {
    match pixel {
        [red, green, blue, ..] => [*red, *green, *blue],
        _ => [255; 3],
    }
}

fn distance(one: &Rgb, other: &Rgb) -> u32 {
    let pairs = one.iter().zip(other);
    pairs.map(|(a, b)| u32::from(a.abs_diff(*b)).pow(2)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines, text and half-transparent areas that lie across the borders of bands.
    const DRAWING: &str = r##"<svg xmlns="http://www.w3.org/2000/svg" width="120" height="90">
        <rect x="10" y="7" width="61" height="60" fill="#3366cc" fill-opacity="0.4"/>
        <circle cx="60" cy="45" r="31.5" fill="#cc3333" opacity="0.5"/>
        <line x1="3" y1="80" x2="117" y2="5" stroke="#222222" stroke-width="1.5"/>
        <text x="12" y="47" font-size="30" fill="#117733">gate</text>
    </svg>"##;

    /// Edges are shaded a little differently where a band cuts the shape; nobody sees less than this.
    const SHADE: u8 = 32;

    fn farthest(one: &Rgb, other: &Rgb) -> u8 {
        let pairs = one.iter().zip(other);
        pairs.map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
    }

    #[test]
    fn a_picture_in_bands_equals_one_that_is_drawn_whole_up_to_the_shade_of_edges() {
        let options = usvg::Options {
            font_family: FONT_NAME.to_owned(),
            fontdb: fonts(),
            ..usvg::Options::default()
        };
        let tree = usvg::Tree::from_str(DRAWING, &options).unwrap();
        let size = IntSize::from_wh(120 * DENSITY, 90 * DENSITY).unwrap();
        let drawn = |band| {
            let mut raster = Raster::default();
            let colours = raster.draw(&tree, size, band).unwrap();
            let found: Vec<_> = colours.counts.iter().map(|(colour, _)| *colour).collect();
            let stretches = raster.stretches.iter();
            let pixels = stretches.flat_map(|one| {
                let colour = found[usize::from(one.place)];
                std::iter::repeat_n(colour, usize::from(one.pixels))
            });
            pixels.collect::<Vec<_>>()
        };
        let whole = drawn(size.height());
        assert!(whole.iter().any(|pixel| *pixel != [255; 3]));
        for band in [64, 128, 179] {
            let drawn = drawn(band);
            let differ = drawn.iter().zip(&whole).filter(|(a, b)| a != b).count();
            let most = drawn.iter().zip(&whole).map(|(a, b)| farthest(a, b)).max();
            assert!(
                differ * 50 < whole.len(),
                "bands of {band} rows: {differ} pixels differ"
            );
            assert!(
                most < Some(SHADE),
                "bands of {band} rows: by {most:?} of 255"
            );
        }
    }
}
