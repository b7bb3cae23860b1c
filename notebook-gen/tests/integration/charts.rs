use std::collections::BTreeMap;

use code_deploy_notebook_gen::{ChartKind, chart};

use code_deploy_synthetic::{self as synthetic, Story};

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

/// Returns how far right a chart writes the label that begins with that.
fn x_of(svg: &str, label: &str) -> i32 {
    let (before, _) = svg.split_once(&format!(">\n{label}")).unwrap();
    let (_, text) = before.rsplit_once("<text x=\"").unwrap();
    text.split('"').next().unwrap().parse().unwrap()
}

#[test]
fn a_mark_stands_where_it_happened_on_an_axis_that_begins_with_a_whole_second() {
    let project = crate::folder();
    let label = |name: &str, later: i64| {
        let begin = synthetic::start() + chrono::TimeDelta::milliseconds(later);
        let run = synthetic::run_of(project.path(), name, Story::Succeeded, 90.0, begin);
        let svg = chart(&run, ChartKind::Latency)
            .unwrap()
            .picture
            .unwrap()
            .svg
            .clone();
        x_of(&svg, "promotion")
    };
    let (on_the_second, later) = (label("run-1", 0), label("run-2", 595));
    assert!(later > on_the_second, "{later} and {on_the_second}");
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
        assert!(counts.len() > 10, "{kind}: {} colours", counts.len());
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
fn every_drawing_says_in_itself_what_its_picture_on_a_page_is_said_to_show() {
    let project = crate::folder();
    let run = synthetic::run(project.path(), "run-1", Story::Succeeded);
    let mut ids = std::collections::BTreeSet::new();
    for kind in ChartKind::ALL {
        let chart = chart(&run, kind).unwrap();
        let svg = chart.picture.as_ref().unwrap().svg.clone();
        let document = resvg::usvg::roxmltree::Document::parse(&svg).unwrap();
        let root = document.root_element();
        assert_eq!(root.attribute("role"), Some("img"), "{kind}");
        let text = |name: &str| {
            let mut own = root
                .children()
                .filter(|node| node.tag_name().name() == name);
            let node = own.next().unwrap_or_else(|| panic!("{kind} has no {name}"));
            assert!(own.next().is_none(), "{kind}: one {name}");
            let id = node.attribute("id").unwrap().to_owned();
            (id, node.text().unwrap().to_owned())
        };
        let ((title_id, title), (words_id, words)) = (text("title"), text("desc"));
        assert_eq!(format!("{title}: {words}"), chart.alternative());
        let by = root.attribute("aria-labelledby");
        assert_eq!(by, Some(format!("{title_id} {words_id}").as_str()));
        assert!(ids.insert(title_id) && ids.insert(words_id), "{kind}");
    }
}

#[test]
fn every_axis_of_time_has_the_marks_of_the_run() {
    let project = crate::folder();
    let run = synthetic::run(project.path(), "run-1", Story::RolledBack);
    for kind in [
        ChartKind::Latency,
        ChartKind::Errors,
        ChartKind::Traffic,
        ChartKind::Health,
        ChartKind::Gates,
        ChartKind::Steps,
        ChartKind::Rollout,
    ] {
        let chart = chart(&run, kind).unwrap();
        let notes = chart.notes.concat();
        assert!(notes.contains("Marked (UTC): "), "{kind}: {notes}");
        assert!(notes.contains("rollback begins"), "{kind}: {notes}");
        let svg = chart.picture.unwrap().svg.clone();
        assert!(svg.contains("failed gate, rollback"), "{kind}");
    }
}

#[test]
fn health_and_rollout_say_alike_where_an_instance_ends() {
    let project = crate::folder();
    let run = synthetic::run(project.path(), "run-1", Story::RolledBack);
    let ends = "An instance that a step stopped ends where a probe of it first failed meanwhile";
    for kind in [ChartKind::Health, ChartKind::Rollout] {
        let notes = chart(&run, kind).unwrap().notes.concat();
        assert!(notes.contains(ends), "{kind}: {notes}");
    }
}

#[test]
fn releases_keep_their_colour_in_all_charts() {
    let project = crate::folder();
    let run = synthetic::run(project.path(), "run-1", Story::Succeeded);
    for kind in [
        ChartKind::Latency,
        ChartKind::Errors,
        ChartKind::Traffic,
        ChartKind::Services,
        ChartKind::Network,
        ChartKind::Rollout,
    ] {
        let svg = chart(&run, kind).unwrap().picture.unwrap().svg.clone();
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

/// Writes charts where a developer can look at them, when asked to.
fn keep(name: &str, picture: &code_deploy_notebook_gen::Picture) {
    if let Some(folder) = std::env::var_os("CODE_DEPLOY_KEEP_PAGES") {
        let folder = std::path::Path::new(&folder);
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), &picture.png).unwrap();
    }
}

/// Returns whether a picture's outermost two pixels are all white.
pub(crate) fn has_a_white_border(png: &[u8]) -> bool {
    let decoder = png::Decoder::new(std::io::Cursor::new(png));
    let mut reader = decoder.read_info().unwrap();
    let (width, height) = (reader.info().width as usize, reader.info().height as usize);
    let palette = reader.info().palette.as_ref().unwrap().to_vec();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut pixels).unwrap();
    let white = |x: usize, y: usize| {
        let place = usize::from(pixels[y * width + x]) * 3;
        palette[place..place + 3] == [255; 3]
    };
    let upright = (0..height).all(|y| {
        [0, 1, width - 2, width - 1]
            .into_iter()
            .all(|x| white(x, y))
    });
    upright
        && (0..width).all(|x| {
            [0, 1, height - 2, height - 1]
                .into_iter()
                .all(|y| white(x, y))
        })
}

#[test]
fn nothing_reaches_the_border_of_a_chart_however_long_the_run() {
    for (story, seconds) in [
        (Story::Succeeded, 90.0),
        (Story::Succeeded, 100.0),
        (Story::RolledBack, 92.0),
        (Story::RolledBack, 102.4),
    ] {
        let project = crate::folder();
        let begin = synthetic::start();
        let run = synthetic::run_of(project.path(), "run-1", story, seconds, begin);
        for kind in ChartKind::ALL {
            let Some(picture) = chart(&run, kind).unwrap().picture else {
                continue;
            };
            keep(&format!("{story:?}-{seconds}-{kind}"), &picture);
            let whole = has_a_white_border(&picture.png);
            assert!(whole, "{kind} of {story:?} in {seconds} s is cut");
        }
    }
}

#[test]
fn the_record_shown_gives_charts_that_nothing_is_cut_from() {
    let shown = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../notebooks/record");
    let run = code_deploy_record::RunFolder::at(&shown).unwrap();
    for kind in ChartKind::ALL {
        let chart = chart(&run, kind).unwrap();
        let picture = chart.picture.unwrap();
        keep(&format!("shown-{kind}"), &picture);
        assert!(has_a_white_border(&picture.png), "{kind}");
        assert!(!picture.svg.contains('…'), "{kind}: a name is shortened");
    }
}

#[test]
fn a_second_that_was_not_seen_whole_stands_open_and_beside_the_lines() {
    let project = crate::folder();
    let run = synthetic::run(project.path(), "run-1", Story::Succeeded);
    for kind in [ChartKind::Latency, ChartKind::Errors, ChartKind::Traffic] {
        let chart = chart(&run, kind).unwrap();
        let svg = chart.picture.unwrap().svg.clone();
        assert!(svg.contains("a second seen in part"), "{kind}");
        for colour in ["#0072B2", "#D55E00"] {
            let open = format!("fill=\"none\" stroke=\"{colour}\"");
            let rings = svg
                .lines()
                .filter(|line| line.starts_with("<circle") && line.contains(&open))
                .count();
            assert!(rings > 0, "{kind}: one end is of {colour}");
        }
        assert!(chart.notes.concat().contains("drawn open"), "{kind}");
    }
}

#[test]
fn a_load_test_is_marked_where_it_ran_and_told_in_the_caption() {
    let project = crate::folder();
    let run = synthetic::run(project.path(), "run-1", Story::Succeeded);
    for kind in [ChartKind::Latency, ChartKind::Errors, ChartKind::Traffic] {
        let chart = chart(&run, kind).unwrap();
        let notes = chart.notes.concat();
        assert!(
            notes.contains("from 14:01:08 to 14:01:18 UTC 2 load tests ran as well"),
            "{kind}: {notes}"
        );
        let svg = chart.picture.unwrap().svg.clone();
        assert!(svg.matches(">\nload test").count() >= 2, "{kind}");
    }
    let run = synthetic::run(project.path(), "run-2", Story::RolledBack);
    let svg = chart(&run, ChartKind::Latency)
        .unwrap()
        .picture
        .unwrap()
        .svg
        .clone();
    assert!(!svg.contains("load test"));
}

#[test]
fn the_legend_of_a_chart_names_every_line_in_its_own_colour() {
    let project = crate::folder();
    let run = synthetic::run(project.path(), "run-1", Story::RolledBack);
    let svg = chart(&run, ChartKind::Traffic)
        .unwrap()
        .picture
        .unwrap()
        .svg
        .clone();
    let lines = |colour: &str| {
        let style = format!("stroke=\"{colour}\"");
        let lines = svg.lines().filter(|line| line.contains(&style));
        lines.count()
    };
    assert_eq!(lines("#BEBEBE"), 2, "the share as set, and its entry");
    for entry in [
        "share of 1.1.0 as set",
        "change of traffic",
        "failed gate, rollback",
    ] {
        assert!(svg.contains(entry), "{entry}");
    }
}

#[test]
fn an_instance_that_a_step_stopped_is_not_shown_as_ill() {
    let project = crate::folder();
    let run = synthetic::run(project.path(), "run-1", Story::RolledBack);
    let health = chart(&run, ChartKind::Health).unwrap();
    assert!(
        health
            .sentence
            .contains("0 not alive, 3 stopped on purpose"),
        "{}",
        health.sentence
    );
    assert!(health.sentence.ends_with("health was lost 0 times."));
    let svg = health.picture.unwrap().svg.clone();
    assert!(svg.contains("stopped on purpose"));
    assert!(!svg.contains("liveness or startup probe fails"));
}

#[test]
fn no_latency_chart_judges_by_a_single_second() {
    let project = crate::folder();
    let run = synthetic::run(project.path(), "run-1", Story::RolledBack);
    let chart = chart(&run, ChartKind::Latency).unwrap();
    assert!(!chart.sentence.contains("p99 of a second"));
    let notes = chart.notes.concat();
    assert!(notes.contains("fewer than 100 answers"), "{notes}");
}

#[test]
fn traffic_that_went_back_with_the_lease_is_drawn_where_it_did() {
    let project = crate::folder();
    let run = synthetic::run(project.path(), "run-1", Story::Halted);
    let notes = chart(&run, ChartKind::Traffic).unwrap().notes.concat();
    for words in [
        "14:00:26 paused",
        "about 14:00:29 lease ran out, 0 %",
        "14:00:30 another process goes on",
        "14:00:30 5 %",
        "the record could tell it only then",
    ] {
        assert!(notes.contains(words), "no `{words}` in {notes}");
    }
    assert!(!notes.contains("goes on; 14:00:30 goes on"), "{notes}");
}

#[test]
fn time_in_which_no_process_carried_the_run_out_is_hatched_and_told() {
    let project = crate::folder();
    let begin = synthetic::start();
    let run = |name: &str, story| synthetic::run_of(project.path(), name, story, 900.0, begin);
    let (killed, whole) = (run("run-1", Story::Killed), run("run-2", Story::Succeeded));
    for kind in [
        ChartKind::Latency,
        ChartKind::Errors,
        ChartKind::Traffic,
        ChartKind::Health,
        ChartKind::Gates,
        ChartKind::Steps,
        ChartKind::Rollout,
    ] {
        let drawn = chart(&killed, kind).unwrap();
        let told = "No process carried the run out from 14:09:00 to 14:09:09 UTC (9.4 s).";
        let alternative = drawn.alternative();
        assert!(alternative.ends_with(told), "{kind}: {alternative}");
        let notes = drawn.notes.concat();
        for words in [
            "14:09:00 no process",
            "14:09:09 another process goes on",
            "Hatched is the time from the last event of a process",
        ] {
            assert!(notes.contains(words), "{kind}: no `{words}` in {notes}");
        }
        let picture = drawn.picture.unwrap();
        keep(&format!("killed-{kind}"), &picture);
        assert!(picture.svg.contains("no process carried the run out"));
        assert!(has_a_white_border(&picture.png), "{kind}");
        let other = chart(&whole, kind).unwrap();
        assert!(!other.alternative().contains("No process"), "{kind}");
        let other = other.picture.unwrap();
        assert!(!other.svg.contains("no process carried"), "{kind}");
        // The lines of the hatched band are drawn, more than those of its edges.
        let lines = |svg: &str| svg.matches("stroke=\"#5F5F5F\"").count();
        let (with, without) = (lines(&picture.svg), lines(&other.svg));
        assert!(with > without + 5, "{kind}: {with} and {without}");
    }
}

#[test]
fn no_point_of_a_release_stands_before_its_first_traffic() {
    let project = crate::folder();
    let begin = synthetic::start() + chrono::TimeDelta::milliseconds(595);
    let run = synthetic::run_of(project.path(), "run-1", Story::Succeeded, 90.0, begin);
    let svg = chart(&run, ChartKind::Errors)
        .unwrap()
        .picture
        .unwrap()
        .svg
        .clone();
    let rings = svg.lines().filter(|line| {
        line.starts_with("<circle") && line.contains("fill=\"none\" stroke=\"#D55E00\"")
    });
    let places =
        rings.filter_map(|ring| ring.split_once("cx=\"")?.1.split('"').next()?.parse().ok());
    let first: i32 = places.min().unwrap();
    // A label stands three pixels, of four units each, beside its line.
    let line = x_of(&svg, "5 %") - 12;
    assert!((line..line + 12).contains(&first), "{first} at {line}");
}
