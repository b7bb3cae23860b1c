//! Where an axis has its ticks and what they say.

use chrono::{DateTime, Utc};

/// A tick: its value and its label.
pub(super) type Tick = (f64, String);

/// Returns ticks of a linear axis from 0 to at least `highest`, at most seven.
pub(super) fn linear(highest: f64, unit: &str) -> (f64, Vec<Tick>) {
    let step = nice_step(highest.max(f64::MIN_POSITIVE) / 5.0);
    let steps = (highest / step).ceil().max(1.0);
    let digits = if step < 0.1 {
        2
    } else {
        usize::from(step < 1.0)
    };
    let mut ticks = Vec::new();
    let mut number = 0.0;
    while number <= steps {
        let value = number * step;
        ticks.push((value, format!("{value:.digits$}{unit}")));
        number += 1.0;
    }
    (steps * step, ticks)
}

fn nice_step(rough: f64) -> f64 {
    let power = 10_f64.powf(rough.log10().floor());
    let factor = rough / power;
    let nice = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|nice| factor <= nice * 1.000_001);
    nice.unwrap_or(10.0) * power
}

/// Returns ticks of a logarithmic axis over `lowest..=highest` at 1, 2 and 5 of each decade, or
/// only at 1 when there are many decades; and the axis' bounds.
pub(super) fn logarithmic(lowest: f64, highest: f64) -> ((f64, f64), Vec<Tick>) {
    let lowest = lowest.max(1e-3);
    let highest = highest.max(lowest * 1.5);
    let low = step_down(lowest);
    let high = step_up(highest);
    let many = (high / low).log10() > 3.2;
    let mut ticks = Vec::new();
    let mut decade = 10_f64.powf(low.log10().floor());
    while decade <= high * 1.001 {
        for factor in [1.0, 2.0, 5.0] {
            let value = decade * factor;
            let wanted = !many || factor < 1.5;
            if wanted && value >= low * 0.999 && value <= high * 1.001 {
                ticks.push((value, plain(value)));
            }
        }
        decade *= 10.0;
    }
    ((low, high), ticks)
}

fn decade_steps(value: f64) -> [f64; 4] {
    let decade = 10_f64.powf(value.log10().floor());
    [decade, decade * 2.0, decade * 5.0, decade * 10.0]
}

fn step_down(value: f64) -> f64 {
    let steps = decade_steps(value);
    let below = steps
        .into_iter()
        .rev()
        .find(|step| *step <= value * 1.000_001);
    below.unwrap_or(value)
}

fn step_up(value: f64) -> f64 {
    let steps = decade_steps(value);
    let above = steps.into_iter().find(|step| *step >= value * 0.999_999);
    above.unwrap_or(value)
}

fn plain(value: f64) -> String {
    let digits = if value < 0.01 {
        3
    } else if value < 0.1 {
        2
    } else {
        usize::from(value < 1.0)
    };
    format!("{value:.digits$}")
}

/// Returns ticks over the seconds from `start` (a Unix time) to `start + span`, labelled with the
/// time of the day in UTC; their values are seconds since `start`.
pub(super) fn time(start: i64, span: f64) -> Vec<Tick> {
    const STEPS: [i64; 17] = [
        1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200,
    ];
    #[expect(clippy::cast_precision_loss, reason = "seconds of one run")]
    let fits = |step: &i64| span / *step as f64 <= 9.0;
    let step = STEPS.into_iter().find(|step| fits(step)).unwrap_or(86_400);
    let form = if step < 60 { "%H:%M:%S" } else { "%H:%M" };
    let mut second = start.div_euclid(step) * step;
    if second < start {
        second += step;
    }
    let mut ticks = Vec::new();
    loop {
        #[expect(clippy::cast_precision_loss, reason = "seconds of one run")]
        let since = (second - start) as f64;
        if since > span {
            return ticks;
        }
        let label = DateTime::<Utc>::from_timestamp(second, 0).map(|t| t.format(form).to_string());
        ticks.push((since, label.unwrap_or_default()));
        second += step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ticks: Vec<Tick>) -> Vec<String> {
        ticks.into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_stand_at_round_values() {
        assert_eq!(
            labels(linear(87.0, "").1),
            ["0", "20", "40", "60", "80", "100"]
        );
        let (bounds, ticks) = logarithmic(3.1, 47.0);
        assert_eq!(bounds, (2.0, 50.0));
        assert_eq!(labels(ticks), ["2", "5", "10", "20", "50"]);
        let start = 1_795_413_600;
        assert_eq!(labels(time(start, 10.0)).len(), 6);
    }
}
