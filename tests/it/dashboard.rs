//! The dashboard and the alerts ask for metrics that exist, and the picture is of today's dashboard.
//!
//! The group `dashboard` of `real` shows that the panels have data, and that the alerts fire.

use std::collections::HashSet;
use std::fs;

use serde_json::Value;

use kinesis::metrics::{Kind, PREFIX, TABLE};
use testing::sources::{read, root};

/// The dashboard's panels, without the titles of its rows.
fn panels() -> Vec<Value> {
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/kinesis.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    panels.filter(|panel| panel["type"] != "row").cloned().collect()
}

fn text<'a>(panel: &'a Value, pointer: &str) -> &'a str {
    panel.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no {pointer} in {panel}"))
}

#[test]
fn only_metrics_that_exist_are_asked_for() {
    let histogram = |name: &str| {
        let base = ["_bucket", "_sum", "_count"].into_iter().find_map(|end| name.strip_suffix(end));
        TABLE.iter().any(|family| Some(family.name) == base && matches!(family.kind, Kind::Histogram))
    };
    for (path, least) in [("deploy/grafana/kinesis.json", 30), ("deploy/prometheus/kinesis.rules.yaml", 7)] {
        let content = read(path);
        let words = content.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let names: Vec<&str> = words.filter_map(|word| word.strip_prefix(PREFIX)).collect();
        for name in &names {
            let exists = TABLE.iter().any(|family| family.name == *name && !matches!(family.kind, Kind::Histogram));
            assert!(exists || histogram(name), "{path}: there is no metric {name}");
        }
        assert!(names.len() >= least, "{path}: {} were found", names.len());
    }
}

/// A legend without the label that tells its lines apart would show them all under one name.
#[test]
fn each_legend_names_the_labels_that_its_query_keeps() {
    for panel in panels() {
        for target in panel["targets"].as_array().unwrap() {
            let (query, legend) = (text(target, "/expr"), text(target, "/legendFormat"));
            let kept = query.split(" by (").skip(1).map(|rest| rest.split(')').next().unwrap());
            let kept: HashSet<&str> = kept.filter(|label| *label != "le").collect();
            let named: HashSet<&str> = legend.split("{{").skip(1).map(|rest| rest.split('}').next().unwrap()).collect();
            assert_eq!(named, kept, "{}: {query}", text(&panel, "/title"));
        }
    }
}

#[test]
fn each_panel_has_its_place_a_unit_and_a_sentence() {
    let (mut ids, mut taken) = (HashSet::new(), HashSet::new());
    for panel in panels() {
        let title = text(&panel, "/title");
        assert!(text(&panel, "/description").ends_with('.'), "{title}");
        assert!(!text(&panel, "/fieldConfig/defaults/unit").is_empty(), "{title}");
        assert!(ids.insert(panel["id"].as_u64()), "{title}: its id is taken");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
        assert!(x + w <= 24, "{title}: it is too far to the right");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{title}: another panel is there");
        }
        let steps = panel.pointer("/fieldConfig/defaults/thresholds/steps").and_then(Value::as_array);
        assert!(panel["type"] != "stat" || steps.is_some_and(|steps| !steps.is_empty()), "{title}: no colour");
    }
}

/// `make picture` draws it again, and writes into it which panels it shows.
#[test]
fn the_picture_shows_panels_of_today() {
    let all: Vec<String> = panels().iter().map(|panel| text(panel, "/title").to_owned()).collect();
    for mode in ["light", "dark"] {
        let picture = fs::read(root().join(format!("docs/images/dashboard-{mode}.png"))).unwrap();
        assert!(picture.len() <= 300_000, "{mode}: {} bytes", picture.len());
        let picture = String::from_utf8_lossy(&picture);
        let (_, titles) = picture.split_once("Panels: ").expect("it does not say what it shows");
        let titles: Vec<&str> = titles.split('.').next().unwrap().split("; ").collect();
        let mut rest = all.iter();
        for title in &titles {
            assert!(
                rest.any(|panel| panel == title),
                "{mode}: the dashboard has no {title}, or elsewhere: make picture"
            );
        }
        assert!(titles.len() >= 15, "{mode}: {titles:?}");
        assert!(read("docs/metrics.md").contains(&format!("images/dashboard-{mode}.png")), "{mode} is not shown");
    }
}
