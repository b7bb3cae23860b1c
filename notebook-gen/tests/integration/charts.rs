use std::collections::BTreeMap;

use code_deploy_notebook_gen::{ChartKind, chart};

use crate::synthetic::{self, Story};

/// Decodes an indexed PNG; returns its size and how often each palette entry is used.
fn colours(png: &[u8]) -> ((u32, u32), BTreeMap<[u8; 3], u32>) {
    let decoder = png::Decoder::new(std::io::Cursor::new(png));
    let mut reader = decoder.read_info().unwrap();
    let info = reader.info();
    assert_eq!(info.color_type, png::ColorType::Indexed);
    let palette: Vec<[u8; 3]> = info
        .palette
        .as_ref()
        .unwrap()
        .chunks_exact(3)
        .map(|rgb| [rgb[0], rgb[1], rgb[2]])
        .collect();
    let size = (info.width, info.height);
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut pixels).unwrap();
    let mut counts = BTreeMap::new();
    for pixel in pixels {
        *counts.entry(palette[usize::from(pixel)]).or_default() += 1;
    }
    (size, counts)
}

#[test]
fn every_chart_of_a_full_run_is_drawn_and_not_blank() {
    let project = crate::folder();
    let run = synthetic::run(project.path(), "run-1", Story::Succeeded);
    for kind in ChartKind::ALL {
        let chart = chart(&run, kind).unwrap();
        let picture = chart
            .picture
            .unwrap_or_else(|| panic!("{kind}: {}", chart.sentence));
        let (size, counts) = colours(&picture.png);
        assert_eq!(size, (picture.width * 2, picture.height * 2), "{kind}");
        let white = counts[&[255, 255, 255]];
        let all = size.0 * size.1;
        assert!(white > all / 2, "{kind}: the ground is white");
        assert!(white < all - all / 200, "{kind}: something is drawn");
        assert!(counts.len() > 20, "{kind}: {} colours", counts.len());
        let coloured = counts
            .iter()
            .filter(|([r, g, b], _)| r.max(g).max(b) - r.min(g).min(b) > 60);
        assert!(
            coloured.map(|(_, n)| n).sum::<u32>() > 200,
            "{kind}: data in colour"
        );
        assert!(
            chart.sentence.chars().any(|c| c.is_ascii_digit()),
            "{kind}: figures"
        );
    }
}

#[test]
fn releases_keep_their_colour_in_all_charts() {
    let project = crate::folder();
    let run = synthetic::run(project.path(), "run-1", Story::Succeeded);
    for kind in [ChartKind::Latency, ChartKind::Errors, ChartKind::Traffic] {
        let svg = chart(&run, kind).unwrap().picture.unwrap().svg;
        assert!(svg.contains("#0072B2"), "{kind}: 1.0.0 is blue");
        assert!(svg.contains("#D55E00"), "{kind}: 1.1.0 is vermillion");
    }
}

#[test]
fn without_samples_a_sentence_stands_in_place_of_a_chart() {
    let project = crate::folder();
    let run = synthetic::run(project.path(), "run-1", Story::Refused);
    for kind in [
        ChartKind::Latency,
        ChartKind::Errors,
        ChartKind::Traffic,
        ChartKind::Load,
    ] {
        let chart = chart(&run, kind).unwrap();
        assert!(chart.picture.is_none(), "{kind}");
        assert!(
            chart.sentence.starts_with("No chart: "),
            "{kind}: {}",
            chart.sentence
        );
    }
}

#[test]
fn the_sentence_of_the_latency_chart_has_the_figures_of_the_samples() {
    let project = crate::folder();
    let run = synthetic::run(project.path(), "run-1", Story::RolledBack);
    let facts = code_deploy_notebook_gen::Facts::read(&run).unwrap();
    let bins = code_deploy_notebook_gen::Bins::read(&facts).unwrap();
    let mut all = code_deploy_record::Latency::new();
    let reader = code_deploy_record::SampleReader::open_folder(&run.samples_path(), "client");
    for sample in reader.unwrap() {
        let sample = sample.unwrap();
        if sample.release == "1.1.0" {
            all.add(&sample.latency);
        }
    }
    let by_release = bins.by_release(code_deploy_record::Source::Client);
    let (_, new) = by_release
        .iter()
        .find(|(release, _)| *release == "1.1.0")
        .unwrap();
    assert_eq!(Some(new.total.unwrap().p99), all.quantile_us(0.99));
    assert_eq!(Some(new.total.unwrap().max), all.max_us());
    let longest = new
        .points
        .iter()
        .filter_map(|p| p.latency)
        .map(|q| q.max)
        .max();
    assert_eq!(longest, all.max_us(), "no spike is lost in the bins");
    let sentence = chart(&run, ChartKind::Latency).unwrap().sentence;
    let p99 = code_deploy_notebook_gen::format::duration(all.quantile_us(0.99).unwrap());
    assert!(sentence.contains(&p99), "{sentence}");
}

#[test]
fn a_chart_that_is_not_known_is_refused_with_the_ones_that_are() {
    let error = "latencies".parse::<ChartKind>().unwrap_err().to_string();
    assert!(error.contains("latency, errors, traffic"), "{error}");
}
