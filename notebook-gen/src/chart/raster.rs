//! From the drawing to a small picture: resvg at twice the size, a palette of few colours, no chunk
//! that tells time or program.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use resvg::tiny_skia::{IntSize, Pixmap, Transform};
use resvg::usvg::{self, fontdb};

use crate::chart::canvas::{FONT, FONT_NAME};
use crate::chart::{ChartKind, Picture, scene};
use crate::{Error, Result};

/// How many pixels of the picture stand for one of the page.
const DENSITY: u32 = 2;

/// How many rows of a picture are drawn at once. A pixel that is drawn takes four bytes; kept of it is the place of its
/// colour, which takes two.
const BAND: u32 = 256;

/// The bytes that are kept of pictures that are not larger than most.
const MOST: usize = (scene::WIDTH * 800 * DENSITY * DENSITY * 2) as usize;

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
    /// The place of each pixel's colour among those of the picture: two bytes, the lower one first.
    places: Vec<u8>,
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
            places: Vec::new(),
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
        let png = encode(&mut self.places, &colours, (size.width(), size.height()));
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
        self.places.clear();
        // Memory that is made larger would be there twice, and what is not written to costs nothing.
        let most = if self.density == DENSITY { MOST } else { 0 };
        self.places.reserve_exact((number * 2).max(most));
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
            colours.note(&self.band, &mut self.places);
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
    /// Adds the place of each pixel's colour to `places`.
    fn note(&mut self, pixels: &[u8], places: &mut Vec<u8>) {
        let mut last = None;
        for colour in pixels.chunks_exact(4).map(colour) {
            let place = match last {
                Some((before, place)) if before == colour => place,
                _ => self.place(colour),
            };
            last = Some((colour, place));
            if let Some((_, count)) = self.counts.get_mut(usize::from(place)) {
                *count += 1;
            }
            places.extend_from_slice(&place.to_le_bytes());
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

/// Writes a picture with a palette. The places in the palette are put where those among all colours stood: a picture
/// has millions of them.
fn encode(
    places: &mut [u8],
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
    let number = places.len() / 2;
    for at in 0..number {
        let [low, high] = match places.get(at * 2..at * 2 + 2) {
            Some([low, high]) => [*low, *high],
            _ => [0, 0],
        };
        let place = usize::from(u16::from_le_bytes([low, high]));
        let place = nearest.get(place).copied().unwrap_or(0);
        if let Some(one) = places.get_mut(at) {
            *one = place;
        }
    }
    writer.write_image_data(places.get(..number).unwrap_or_default())?;
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
            let places = raster.places.chunks_exact(2);
            let place = |bytes: &[u8]| usize::from(u16::from_le_bytes([bytes[0], bytes[1]]));
            places.map(|bytes| found[place(bytes)]).collect::<Vec<_>>()
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
