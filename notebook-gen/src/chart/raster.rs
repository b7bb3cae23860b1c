//! From the drawing to a small picture: resvg at twice the size, at most 256 colours, no chunk
//! that tells time or program.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use resvg::tiny_skia::{IntSize, Pixmap, Transform};
use resvg::usvg::{self, fontdb};

use crate::chart::canvas::{FONT, FONT_NAME};
use crate::chart::{ChartKind, Picture, scene};
use crate::{Error, Result};

/// How many pixels of the picture stand for one of the page.
const DENSITY: u32 = 2;

/// The bytes of pictures that are not larger than most.
const MOST: usize = (scene::WIDTH * 800 * DENSITY * DENSITY * 4) as usize;

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

/// The pixels of one picture after the other. They are megabytes: whoever makes several pictures asks for them once.
#[derive(Debug, Default)]
pub struct Raster(Vec<u8>);

impl Raster {
    /// Turns a drawing of `width` times `height` into a picture.
    pub(super) fn picture(
        &mut self,
        kind: ChartKind,
        svg: String,
        (width, height): (u32, u32),
    ) -> Result<Picture> {
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
        let size = IntSize::from_wh(width * DENSITY, height * DENSITY);
        let size = size.ok_or_else(|| failed("it has no size".into()))?;
        let white = Pixmap::from_vec(self.white(size), size);
        let mut pixels = white.ok_or_else(|| failed("it has no size".into()))?;
        #[expect(clippy::cast_precision_loss, reason = "the density is a small number")]
        let scale = Transform::from_scale(DENSITY as f32, DENSITY as f32);
        resvg::render(&tree, scale, &mut pixels.as_mut());
        drop(tree);
        self.0 = pixels.take();
        let png = encode(&mut self.0, (size.width(), size.height()));
        Ok(Picture {
            svg,
            png: png.map_err(|error| failed(error.to_string()))?,
            width,
            height,
        })
    }

    /// Returns the pixels of a white picture, in the memory of the one before where that is large enough.
    fn white(&mut self, size: IntSize) -> Vec<u8> {
        let length = size.width() as usize * size.height() as usize * 4;
        let mut pixels = std::mem::take(&mut self.0);
        if pixels.capacity() < length {
            // Memory that is made larger would be there twice, and what is not written to costs nothing.
            drop(pixels);
            pixels = Vec::with_capacity(length.max(MOST));
        }
        pixels.clear();
        pixels.resize(length, u8::MAX);
        pixels
    }
}

/// Writes pixels of four bytes as a picture with a palette. The places in the palette are put where the pixels
/// stood: a picture has millions of them.
fn encode(pixels: &mut [u8], (width, height): (u32, u32)) -> Result<Vec<u8>, png::EncodingError> {
    let (palette, places) = palette(pixels);
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_filter(png::Filter::NoFilter);
    encoder.set_compression(png::Compression::Balanced);
    encoder.set_palette(palette.concat());
    let mut writer = encoder.write_header()?;
    let mut last = ([255; 3], places.get(&[255; 3]).copied().unwrap_or(0));
    let number = pixels.len() / 4;
    for at in 0..number {
        let colour = colour(pixels.get(at * 4..).unwrap_or_default());
        if colour != last.0 {
            last = (colour, places.get(&colour).copied().unwrap_or(0));
        }
        if let Some(place) = pixels.get_mut(at) {
            *place = last.1;
        }
    }
    writer.write_image_data(pixels.get(..number).unwrap_or_default())?;
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

/// Returns the 256 most frequent colours and, for each colour, the place of the nearest one.
fn palette(pixels: &[u8]) -> (Vec<Rgb>, HashMap<Rgb, u8>) {
    let mut counts: BTreeMap<Rgb, u32> = BTreeMap::new();
    let mut run = ([255; 3], 0);
    for colour in pixels.chunks_exact(4).map(colour) {
        if colour == run.0 {
            run.1 += 1;
            continue;
        }
        *counts.entry(run.0).or_default() += run.1;
        run = (colour, 1);
    }
    *counts.entry(run.0).or_default() += run.1;
    let mut frequent: Vec<(Rgb, u32)> = counts.into_iter().collect();
    frequent.sort_by_key(|(colour, count)| (std::cmp::Reverse(*count), *colour));
    let palette: Vec<Rgb> = frequent
        .iter()
        .take(256)
        .map(|(colour, _)| *colour)
        .collect();
    let nearest = |colour: &Rgb| {
        let distances = palette.iter().map(|other| distance(colour, other));
        let best = distances.enumerate().min_by_key(|(_, distance)| *distance);
        best.and_then(|(place, _)| u8::try_from(place).ok())
            .unwrap_or(0)
    };
    let places = frequent
        .iter()
        .map(|(colour, _)| (*colour, nearest(colour)))
        .collect();
    (palette, places)
}

fn distance(one: &Rgb, other: &Rgb) -> u32 {
    let pairs = one.iter().zip(other);
    pairs.map(|(a, b)| u32::from(a.abs_diff(*b)).pow(2)).sum()
}
