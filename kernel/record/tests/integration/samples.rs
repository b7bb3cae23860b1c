use std::io::Write;

use code_deploy_record::{Latency, Sample, SampleReader, SampleWriter, Source};

use crate::Place;

fn sample(second: i64) -> Sample {
    let mut sample = Sample::empty(second, "catalog", "1.0.0", Source::Router);
    sample.count = 1000;
    sample.errors.insert("5xx".to_owned(), 3);
    for latency in 1..=997 {
        sample.latency.count(latency * 10);
    }
    sample
}

#[test]
fn samples_are_read_back_as_written() {
    let place = Place::new();
    let mut writer = SampleWriter::open(&place.run.samples_path(), "router").unwrap();
    writer.append(&[sample(1), sample(2)]).unwrap();
    writer.append(&[sample(3)]).unwrap();
    writer.sync().unwrap();
    let read: Vec<_> = SampleReader::open_folder(&place.run.samples_path(), "")
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(read, [sample(1), sample(2), sample(3)]);
    assert_eq!(read[0].failed(), 3);
    let median = read[0].latency.quantile_us(0.5).unwrap();
    assert!(
        median.abs_diff(4990) <= 5,
        "three significant digits: {median}"
    );
}

#[test]
fn a_sample_is_bounded_however_many_requests_it_counts() {
    let mut latency = Latency::new();
    for number in 0..1_000_000_u64 {
        latency.count(number % 50_000);
    }
    assert!(latency.pack().unwrap().len() < 16 * 1024);
}

#[test]
fn a_line_torn_by_a_crash_is_left_out_and_damages_no_other() {
    let place = Place::new();
    let mut writer = SampleWriter::open(&place.run.samples_path(), "router").unwrap();
    writer.append(&[sample(1)]).unwrap();
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(writer.path())
        .unwrap();
    file.write_all(b"{\"second\":2,\"serv").unwrap();
    let path = writer.path().to_owned();
    drop(writer);
    let seconds = || -> Vec<_> {
        SampleReader::open(&path)
            .unwrap()
            .map(|sample| sample.unwrap().second)
            .collect()
    };
    assert_eq!(seconds(), [1]);
    let mut writer = SampleWriter::open(&place.run.samples_path(), "router").unwrap();
    writer.append(&[sample(3)]).unwrap();
    assert_eq!(seconds(), [1, 3]);
}

#[test]
fn a_histogram_of_nothing_has_no_quantiles() {
    let latency = Latency::new();
    assert_eq!(
        (latency.quantile_us(0.5), latency.max_us(), latency.len()),
        (None, None, 0)
    );
    assert_eq!(Latency::unpack(&latency.pack().unwrap()).unwrap(), latency);
    assert!(Latency::unpack("no histogram").is_err());
}

#[test]
fn a_latency_is_counted_as_what_it_is_however_short_those_before_were() {
    let mut latency = Latency::new();
    for microseconds in [1, 2_000, 2_048, 250_000, 299_000_000, 400_000_000] {
        latency.count(microseconds);
        let most = latency.max_us().unwrap();
        let shown = microseconds.min(300_000_000);
        assert!(most.abs_diff(shown) * 1_000 <= shown, "{most} for {shown}");
    }
    let again = Latency::unpack(&latency.pack().unwrap()).unwrap();
    assert_eq!(again, latency);
    assert_eq!(latency.longer_than_us(100_000), 3);
}
