use std::io::Write;

use code_deploy_record::{Latency, Sample, SampleReader, SampleWriter, Source};
use proptest::prelude::*;

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

#[test]
fn short_histograms_are_packed_as_they_are_and_deflated_ones_are_read_as_well() {
    // Four requests of a second, deflated, as versions before wrote every histogram.
    let deflated = "HISTFAAAADJ4nC2GsQ0AIAgEn6e1s3UXl3MDh7NyB9iAELhccrfOnQAGCu1Kl9tqXPkk/WQAdPEGEw";
    let read = Latency::unpack(deflated).unwrap();
    assert_eq!(read.len(), 4);
    let packed = read.pack().unwrap();
    assert!(packed.starts_with("HISTEw"), "{packed}");
    assert_eq!(Latency::unpack(&packed).unwrap(), read);
    let long = counted(
        &(0..1_000)
            .map(|number| 100 + number * 37)
            .collect::<Vec<_>>(),
    );
    let packed = long.pack().unwrap();
    assert!(packed.starts_with("HISTFA"), "{packed}");
    assert_eq!(Latency::unpack(&packed).unwrap(), long);
}

fn counted(values: &[u64]) -> Latency {
    let mut latency = Latency::new();
    values.iter().for_each(|value| latency.count(*value));
    latency
}

/// Microseconds of every size, up to more than is told from others.
fn latencies() -> impl Strategy<Value = Vec<u64>> {
    let one = (0_u32..30, any::<u64>()).prop_map(|(bits, value)| value % (1 << bits));
    proptest::collection::vec(one, 0..200)
}

proptest! {
    #[test]
    fn a_histogram_that_was_packed_says_the_same(values in latencies(), others in latencies()) {
        let latency = counted(&values);
        let read = Latency::unpack(&latency.pack().unwrap()).unwrap();
        prop_assert_eq!(&read, &latency);
        prop_assert_eq!((read.len(), read.is_empty()), (latency.len(), latency.is_empty()));
        prop_assert_eq!(read.max_us(), latency.max_us());
        for share in [0.0, 0.5, 0.99, 1.0] {
            prop_assert_eq!(read.quantile_us(share), latency.quantile_us(share));
        }
        prop_assert_eq!(read.longer_than_us(5000), latency.longer_than_us(5000));
        prop_assert_eq!(read.buckets(100, 2.0), latency.buckets(100, 2.0));
        prop_assert_eq!(read.pack().unwrap(), latency.pack().unwrap());

        let (mut one, mut other) = (counted(&others), counted(&others));
        one.add(&read);
        other.add(&latency);
        prop_assert_eq!(&one, &other);
        prop_assert_eq!(one.max_us(), other.max_us());
        let mut grown = read;
        grown.add(&counted(&others));
        prop_assert_eq!(grown, other);
    }

    #[test]
    fn a_packed_histogram_that_was_damaged_is_refused_or_read_and_no_more(
        values in latencies(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut packed = counted(&values).pack().unwrap().into_bytes();
        let at = at.index(packed.len());
        packed[at] = byte;
        if let Ok(text) = String::from_utf8(packed)
            && let Ok(read) = Latency::unpack(&text)
        {
            prop_assert_eq!(read.quantile_us(0.5).is_none(), read.is_empty());
        }
    }
}

#[test]
fn a_hidden_file_among_the_samples_is_not_read() {
    let place = Place::new();
    let mut writer = SampleWriter::open(&place.run.samples_path(), "router").unwrap();
    writer.append(&[sample(1)]).unwrap();
    let hidden = place.run.samples_path().join(".tmpAbCdEf.jsonl");
    std::fs::copy(writer.path(), hidden).unwrap();
    let read = SampleReader::open_folder(&place.run.samples_path(), "").unwrap();
    assert_eq!(read.count(), 1);
}
