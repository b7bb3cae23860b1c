use super::*;

fn panel() -> Panel {
    Panel {
        left: 74.0,
        top: 100.0,
        right: 826.0,
        bottom: 300.0,
        across: (0.0, 44.0),
        up: (0.0, 1.0),
        logarithmic: false,
    }
}

fn markers(marks: &[(f64, &str)]) -> Vec<Marker> {
    let marker = |(at, label): &(f64, &str)| Marker {
        at: *at,
        until: None,
        label: (*label).to_owned(),
        note: String::new(),
        sort: if label.contains("failed") {
            Sort::Alarm
        } else {
            Sort::Traffic
        },
    };
    marks.iter().map(marker).collect()
}

/// A label is covered by no other label, and no line runs through it.
fn assert_legible(placed: &[Placed]) {
    for one in placed.iter().filter(|one| one.lane.is_some()) {
        assert!(
            one.left >= 74.0 && one.right <= 860.0,
            "{} is cut",
            one.label
        );
        for other in placed.iter().filter(|other| other.at() != one.at()) {
            let apart = other.right <= one.left || one.right <= other.left;
            assert!(
                other.lane != one.lane || apart,
                "{} on {}",
                one.label,
                other.label
            );
            let reaches = other.lane >= one.lane;
            let through = other
                .lines
                .iter()
                .any(|(x, _)| *x > one.left && *x < one.right);
            assert!(
                !(reaches && through),
                "the line of {} runs through {}",
                other.label,
                one.label
            );
        }
    }
}

#[test]
fn labels_of_a_canary_stand_beside_their_lines_and_are_all_shown() {
    let marks = markers(&[
        (13.2, "5 %"),
        (20.8, "rehearsal 0 %"),
        (21.3, "again 5 %"),
        (21.35, "25 %"),
        (27.0, "50 %"),
        (32.5, "promotion 100 %"),
    ]);
    let (placed, lanes) = place(&marks, &panel());
    assert_legible(&placed);
    let shown: Vec<&str> = placed
        .iter()
        .filter(|one| one.lane.is_some())
        .map(|one| one.label.as_str())
        .collect();
    assert_eq!(
        shown,
        [
            "5 %",
            "rehearsal 0 %",
            "again 5 %, 25 %",
            "50 %",
            "promotion 100 %"
        ]
    );
    assert!(lanes <= 3, "{lanes}");
}

#[test]
fn marks_of_one_moment_at_the_right_edge_keep_all_their_words() {
    let marks = markers(&[
        (5.0, "5 %"),
        (43.5, "✕ analysis gate failed"),
        (43.55, "rollback begins"),
        (43.6, "back 0 %"),
    ]);
    let (placed, _) = place(&marks, &panel());
    assert_legible(&placed);
    let last = placed
        .last()
        .map(|one| (one.label.as_str(), one.lane.is_some()));
    let whole = "✕ analysis gate failed, rollback begins, back 0 %";
    assert_eq!(last, Some((whole, true)));
}

#[test]
fn labels_at_the_right_edge_stand_inside_and_on_no_line() {
    let marks = markers(&[
        (26.0, "5 %"),
        (32.0, "rehearsal 0 %"),
        (34.0, "25 %"),
        (38.0, "✕ analysis gate failed"),
        (38.4, "rollback begins"),
        (38.8, "back 0 %"),
        (42.0, "rolled back"),
    ]);
    let (placed, _) = place(&marks, &panel());
    assert_legible(&placed);
    assert_all_shown(&placed);
}

#[track_caller]
fn assert_all_shown(placed: &[Placed]) {
    let hidden = placed.iter().filter(|one| one.lane.is_none());
    let hidden: Vec<&str> = hidden.map(|one| one.label.as_str()).collect();
    assert_eq!(hidden, Vec::<&str>::new());
}

#[test]
fn what_failed_keeps_its_label_beside_the_promotion_that_it_ended() {
    let marks = markers(&[
        (21.56, "25 %"),
        (28.92, "goes on"),
        (45.63, "rehearsal 0 %"),
        (46.55, "again 25 %"),
        (46.6, "50 %"),
        (56.24, "promotion 100 %"),
        (60.75, "✕ analysis gate failed"),
        (60.77, "rollback begins"),
        (60.8, "back 0 %"),
        (68.9, "rolled back"),
    ]);
    let panel = Panel {
        across: (0.0, 69.2),
        ..panel()
    };
    let (placed, _) = place(&marks, &panel);
    assert_legible(&placed);
    assert_all_shown(&placed);
}
