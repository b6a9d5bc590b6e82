//! Reports of made-up outcomes: what must be on a page and in a figure, and what must never be.
//!
//! The pages stay in the target directory (`tmp/report-*`), to be looked at.

mod fake;

use std::{
    fs,
    path::{Path, PathBuf},
};

use mainswarm_testnet::{
    outcome::{Bounds, CaseOutcome, Completion, CopiesAt, Hop, Outcome, Run, Series, Unchoked},
    report::{self, ReportError},
};
use resvg::tiny_skia::Pixmap;

fn place(name: &str) -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("report-{name}"));
    let _ = fs::remove_dir_all(&place);
    place
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Files with an ending, sorted.
fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == ending))
        .collect();
    files.sort();
    files
}

/// The words in a figure, and that it is a whole document.
fn words(svg: &Path) -> String {
    let source = text(svg);
    let document = roxmltree::Document::parse(&source)
        .unwrap_or_else(|error| panic!("{}: {error}", svg.display()));
    let texts = document.descendants().filter(|node| node.is_text());
    texts
        .map(|node| format!("{} ", node.text().unwrap_or("").trim()))
        .collect()
}

/// Every bitmap is one, large enough, and has many colours.
fn bitmaps_are_drawn(dir: &Path) {
    let bitmaps = files(dir, "png");
    assert_eq!(bitmaps.len(), files(dir, "svg").len());
    for path in bitmaps {
        let bytes = fs::read(&path).unwrap();
        assert!(
            bytes.starts_with(b"\x89PNG\r\n\x1a\n"),
            "{}",
            path.display()
        );
        let pixels = Pixmap::decode_png(&bytes).unwrap();
        assert!(
            pixels.width() >= 1400 && pixels.height() >= 300,
            "{}",
            path.display()
        );
        let white = pixels
            .pixels()
            .iter()
            .filter(|pixel| pixel.red() == 255 && pixel.blue() == 255);
        let share = white.count() as f64 / pixels.pixels().len() as f64;
        assert!(
            (0.3..0.995).contains(&share),
            "{}: {share} is white",
            path.display()
        );
    }
}

/// A page by itself: nothing is loaded, and it is balanced.
fn page_stands_alone(page: &str) {
    let named = page.replace("http://www.w3.org/2000/svg", "");
    for load in [
        "http://", "https://", "<script", "<link", "<img", "@import", "url(",
    ] {
        assert!(!named.contains(load), "the page has {load}");
    }
    for tag in [
        "table",
        "figure",
        "figcaption",
        "svg",
        "ul",
        "div",
        "details",
        "tr",
        "td",
    ] {
        let opened =
            page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
    }
    assert!(!page.contains("NaN") && !page.contains("inf<"));
}

#[test]
fn a_swarm_has_its_figures() {
    let dir = place("swarm");
    let outcome = fake::swarm(&["fast", "middling", "slow"], 5);
    let page = report::write(&outcome, &dir).unwrap();
    assert_eq!(page, dir.join("index.html"));
    let html = text(&page);
    page_stands_alone(&html);
    for wanted in [
        "Fast, middling and slow peers",
        "time of the last of all over LB: at most 1.08",
        "rank correlation: at least 0.6",
        "✓ pass",
        "✗ fail",
        "0.41",
        "testnet run classes --seeds 5",
        "0.953",
        "412 MiB",
        "seeds 1, 2, 3, 4, 5",
        "The choker decides every 10 s",
    ] {
        assert!(html.contains(wanted), "the page lacks {wanted}");
    }
    for (name, titles) in [
        (
            "completion",
            [
                "time since joining [min]",
                "peers that have the whole file [%]",
            ],
        ),
        ("copies", ["time [min]", "copies of a piece in the swarm"]),
        ("utilisation", ["time [min]", "upload capacity in use [%]"]),
        (
            "unchoked",
            ["class that was given the slot", "class that gave it"],
        ),
        ("population", ["time [min]", "nodes present"]),
        ("engine", ["virtual time [min]", "resident memory [MiB]"]),
    ] {
        let words = words(&dir.join(format!("{name}.svg")));
        for title in titles {
            assert!(words.contains(title), "{name} lacks {title}");
        }
        for said in [
            "pieces = 1,600",
            "random seeds 1, 2, 3, 4, 5",
            "Scenario classes, simulated",
            "seed upload = 10 u",
        ] {
            assert!(words.contains(said), "{name} lacks {said}");
        }
    }
    // A paper sets them itself: they are in the file, and beside it, not in the picture.
    let captions = text(&dir.join("captions.txt"));
    assert!(captions.contains("completion: Completion. ") && captions.contains("pieces = 1,600"));
    let drawn = text(&dir.join("completion.svg"));
    let (_, drawn) = drawn.split_once("</desc>").unwrap();
    assert!(drawn.contains("time since joining [min]") && !drawn.contains("1,600"));
    let words = words(&dir.join("completion.svg"));
    assert!(words.contains("bound with pieces (LB) 47.5 min") && words.contains("middling"));
    bitmaps_are_drawn(&dir);
    // Floats may lose their last bit on the way through JSON.
    let back: Outcome = serde_json::from_str(&text(&dir.join("outcome.json"))).unwrap();
    let run = |outcome: &Outcome| outcome.cases[0].runs[4].series.completions.len();
    assert_eq!((run(&back), &back.verdicts), (90, &outcome.verdicts));
}

#[test]
fn a_dht_has_its_figures() {
    let dir = place("dht");
    let outcome = fake::dht(&[1e2, 1e3, 1e4, 1e5, 1e6], 3);
    let html = text(&report::write(&outcome, &dir).unwrap());
    page_stands_alone(&html);
    let hops = words(&dir.join("over-hops.svg"));
    for wanted in [
        "1,000,000",
        "nodes",
        "mean hops to the first peer [hops]",
        "0.70 log10 n − 0.24",
        "reference fit",
        "goal 4.1",
        "gate 4.5",
        "lookups = 2,000",
    ] {
        assert!(hops.contains(wanted), "hops lack {wanted}");
    }
    assert!(words(&dir.join("over-queries.svg")).contains("1.8 log10 n + 7"));
    // The first, the middle and the last of five cases.
    for name in ["latency", "paths", "occupancy", "health", "population"] {
        for case in 1..=5 {
            let file = dir.join(format!("{name}-case-{case}.svg"));
            assert_eq!(
                file.exists(),
                matches!(case, 1 | 3 | 5),
                "{}",
                file.display()
            );
        }
    }
    let latency = words(&dir.join("latency-case-5.svg"));
    for wanted in [
        "p50 ",
        "p90 ",
        "p99 ",
        "time since the lookup began [ms]",
        "nodes = 1,000,000",
    ] {
        assert!(latency.contains(wanted), "latency lacks {wanted}");
    }
    bitmaps_are_drawn(&dir);
}

#[test]
fn figure_2_23_has_both_engines_on_both_curves() {
    let dir = place("textbook");
    let all: Vec<usize> = (0..=35).collect();
    let outcomes = [
        fake::textbook("sim", &all, 0.012),
        fake::textbook("live", &[1, 5, 10, 20, 35], 0.06),
    ];
    let page = report::figure_2_23(&outcomes, &dir).unwrap();
    let html = text(&page);
    page_stands_alone(&html);
    assert!(html.contains("0.7778"), "Eq. 2.2 at N = 35");
    let words = words(&dir.join("figure-2-23.svg"));
    for wanted in [
        "number of peers N",
        "distribution time [units of F/u]",
        "u_s = 10 u, u_i = u, d_min unlimited",
        "P2P with pieces, LB",
        "client-server, Eq. 2.1",
        "P2P fluid, Eq. 2.2",
        "gate, sim 1.05",
        "gate, live 1.15",
        "goal 1.02",
        "seeds 1, 2, 3, 4, 5",
        "F/u = 63 s",
        "The choker decides every 10 s",
        "at most 41 % of all cores",
    ] {
        assert!(words.contains(wanted), "the figure lacks {wanted}");
    }
    bitmaps_are_drawn(&dir);
}

#[test]
fn what_is_not_figure_2_23_is_refused() {
    let dir = place("refused");
    let refused = |outcomes: &[Outcome], why: &str| {
        let error = report::figure_2_23(outcomes, &dir).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    };
    refused(&[], "testnet figure 2.23");
    let mut nameless = fake::textbook("sim", &[5], 0.01);
    nameless.cases[0].settings.clear();
    refused(&[nameless], "architecture");
    let mut countless = fake::textbook("sim", &[5], 0.01);
    countless.cases[0].settings.remove(0);
    refused(&[countless], "number of peers");
    // A seed that is as fast as a peer has another bound.
    let mut weak = fake::textbook("sim", &[5, 10], 0.01);
    weak.cases[3].runs[0]
        .figures
        .insert("bound_seconds".into(), 3600.0);
    refused(&[weak], "one file and the same rates for every N");
    let mut other = fake::textbook("live", &[5, 10], 0.01);
    other.parameters[2].1 = "5x".into();
    refused(
        &[fake::textbook("sim", &[5], 0.01), other],
        "not those of their rates",
    );
    let mut rateless = fake::textbook("sim", &[5], 0.01);
    rateless.parameters[2].1 = "4MiB/s".into();
    refused(&[rateless], "rates in units of u");
    assert!(!dir.exists(), "nothing was written");
}

#[test]
fn points_that_do_not_count_say_so() {
    let mut live = fake::textbook("live", &[1, 5], 0.05);
    for run in &mut live.cases[1].runs {
        run.cost.cpu = 0.93;
    }
    live.cases[2].runs[0].figures.insert("complete".into(), 0.8);
    let dir = place("void");
    let html = text(&report::figure_2_23(&[live], &dir).unwrap());
    assert_eq!(html.matches(">void<").count(), 2);
    assert!(html.contains("93"));
    assert!(words(&dir.join("figure-2-23.svg")).contains("Crosses do not count"));
}

#[test]
fn everything_is_escaped() {
    const BAD: &str = "<b>&\"'\u{0}\u{8}]]>--><script>";
    let mut outcome = fake::swarm(&[BAD, "fine"], 2);
    outcome.scenario = BAD.into();
    outcome.title = BAD.into();
    outcome.engine = BAD.into();
    outcome.replay = BAD.into();
    outcome.notes = vec![BAD.into()];
    outcome.parameters = fake::pairs(&[(BAD, BAD)]);
    outcome.verdicts = vec![fake::verdict(BAD, 1.0, 2.0, BAD)];
    outcome.verdicts[0].scenario = BAD.into();
    let mut other = outcome.cases[0].clone();
    outcome.cases[0].settings = fake::pairs(&[(BAD, "1"), ("x", BAD)]);
    other.settings = fake::pairs(&[(BAD, "2"), ("x", BAD)]);
    outcome.cases.push(other);
    for run in outcome.cases.iter_mut().flat_map(|case| &mut case.runs) {
        run.figures.insert(BAD.into(), 1.0);
        run.cost.trace = BAD.into();
    }
    let dir = place("escaped");
    let html = text(&report::write(&outcome, &dir).unwrap());
    page_stands_alone(&html);
    assert!(!html.contains("<b>&\"") && !html.contains('\u{0}') && !html.contains('\u{8}'));
    assert!(html.contains("&lt;b&gt;&amp;&quot;&#39;"));
    for svg in files(&dir, "svg") {
        words(&svg);
    }
    let index = report::index(std::slice::from_ref(&dir), &place("escaped-index")).unwrap();
    page_stands_alone(&text(&index));
}

/// A series of numbers that are none, or none to draw.
fn wild(seed: u64, value: f64) -> Run {
    let lines = vec![(0.0, 1.0), (value, value), (1.0, value), (value, 0.5)];
    let odd = vec![value, 1.0, -value, 0.0];
    Run {
        seed,
        figures: fake::figures(&[("ratio", value), ("seconds", value), ("hops", -value)]),
        series: Series {
            completions: vec![
                Completion {
                    class: "peer".into(),
                    seconds: Some(value),
                },
                Completion {
                    class: "peer".into(),
                    seconds: None,
                },
            ],
            bounds: Some(Bounds {
                fluid: value,
                lb: -value,
            }),
            copies: vec![
                CopiesAt {
                    time: value,
                    min: 0,
                    p10: 0,
                    median: 0,
                    p90: u32::MAX,
                    max: u32::MAX,
                },
                CopiesAt {
                    time: -value,
                    min: 9,
                    p10: 8,
                    median: 7,
                    p90: 6,
                    max: 5,
                },
            ],
            utilisation: lines.clone(),
            unchoked: vec![Unchoked {
                from: "a".into(),
                to: "b".into(),
                seconds: value,
            }],
            paths: vec![
                vec![
                    Hop {
                        time: value,
                        bits: 3,
                    },
                    Hop {
                        time: 1.0,
                        bits: 160,
                    },
                ],
                Vec::new(),
            ],
            first_peer: odd.clone(),
            lookup_done: odd.clone(),
            success: lines.clone(),
            occupancy: odd,
            stale: lines.clone(),
            present: lines.clone(),
            population: lines,
            progress: vec![
                (value, u64::MAX, value),
                (0.0, 0, 0.0),
                (1.0, 9, 1.0),
                (value, 1, 2.0),
            ],
            memory: vec![(value, u64::MAX), (1.0, 1)],
        },
        cost: Default::default(),
    }
}

#[test]
fn no_number_breaks_a_report() {
    let values = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        1e308,
        -1e308,
        1e-308,
        0.0,
    ];
    let mut outcome = fake::swarm(&[], 1);
    outcome.cases.clear();
    for (index, value) in values.iter().enumerate() {
        outcome.cases.push(CaseOutcome {
            settings: fake::pairs(&[("n", &format!("{}", 10f64.powi(index as i32 * 50)))]),
            runs: vec![wild(1, *value), wild(2, 1.0), wild(3, *value)],
        });
    }
    outcome.verdicts = vec![
        fake::verdict("ratio at most 1e400", f64::NAN, f64::INFINITY, "fail"),
        fake::verdict("hops at least", 1e308, -1e308, ""),
    ];
    let dir = place("wild");
    let html = text(&report::write(&outcome, &dir).unwrap());
    page_stands_alone(&html);
    assert!(files(&dir, "svg").len() > 10);
    for svg in files(&dir, "svg") {
        assert!(!text(&svg).contains("NaN"), "{}", svg.display());
        words(&svg);
    }
    // One by one, so that no case hides behind the first, the middle and the last.
    for value in values {
        let mut outcome = outcome.clone();
        outcome.cases = vec![CaseOutcome {
            settings: Vec::new(),
            runs: vec![wild(1, value)],
        }];
        report::write(&outcome, &dir).unwrap();
    }
    report::index(&[dir], &place("wild-index")).unwrap();
}

#[test]
fn an_empty_outcome_has_a_page() {
    let mut outcome = fake::swarm(&[], 0);
    outcome.cases.clear();
    outcome.verdicts.clear();
    outcome.notes.clear();
    outcome.parameters.clear();
    let dir = place("empty");
    let html = text(&report::write(&outcome, &dir).unwrap());
    page_stands_alone(&html);
    assert!(!html.contains("<svg") && html.contains("testnet run classes"));
    outcome.cases = vec![CaseOutcome {
        settings: Vec::new(),
        runs: vec![Run::default()],
    }];
    page_stands_alone(&text(&report::write(&outcome, &dir).unwrap()));
}

#[test]
fn an_earlier_report_is_replaced_and_nothing_else() {
    let dir = place("replaced");
    report::write(&fake::swarm(&["peer"], 1), &dir).unwrap();
    assert!(dir.join("copies.png").exists());
    fs::write(dir.join("notes.txt"), "mine").unwrap();
    fs::write(dir.join("latency.svg"), "mine").unwrap();
    let mut small = fake::swarm(&["peer"], 1);
    small.cases[0].runs[0].series.copies.clear();
    report::write(&small, &dir).unwrap();
    assert!(!dir.join("copies.png").exists() && !dir.join("copies.svg").exists());
    assert!(dir.join("completion.svg").exists());
    assert_eq!(text(&dir.join("notes.txt")), "mine");
    // A file that we would write and did not: somebody else's.
    let error = report::write(&fake::dht(&[1000.0], 1), &dir).unwrap_err();
    assert!(
        matches!(&error, ReportError::Foreign(path) if path.ends_with("latency.svg")),
        "{error}"
    );
    assert_eq!(text(&dir.join("latency.svg")), "mine");
    assert!(error.to_string().contains("choose an empty directory"));
    assert!(
        dir.join("completion.svg").exists(),
        "the earlier report is whole"
    );

    let page = place("foreign").join("index.html");
    fs::create_dir_all(page.parent().unwrap()).unwrap();
    fs::write(&page, "<html>mine</html>").unwrap();
    let error = report::write(&small, page.parent().unwrap()).unwrap_err();
    assert!(matches!(error, ReportError::Foreign(_)), "{error}");
    assert_eq!(text(&page), "<html>mine</html>");

    // A directory where a file is.
    let error = report::write(&small, &page).unwrap_err().to_string();
    assert!(
        error.contains("cannot create") && error.contains("choose a directory"),
        "{error}"
    );
}

#[test]
fn a_page_cannot_have_files_elsewhere_removed() {
    let root = place("elsewhere");
    let (dir, victim) = (root.join("report"), root.join("victim.svg"));
    report::write(&fake::swarm(&["peer"], 1), &dir).unwrap();
    fs::write(&victim, "mine").unwrap();
    let page = text(&dir.join("index.html"));
    let page = page.replacen("outcome.json", "../victim.svg .. outcome.json", 1);
    fs::write(dir.join("index.html"), page).unwrap();
    report::write(&fake::swarm(&["peer"], 1), &dir).unwrap_err();
    assert_eq!(text(&victim), "mine");
}

#[test]
fn words_added_to_a_page_are_kept() {
    let dir = place("edited");
    let page = report::write(&fake::swarm(&["peer"], 1), &dir).unwrap();
    report::prepare(&dir, report::PAGE).unwrap();
    let edited = text(&page).replacen("</body>", "<p>What I think of it.</p></body>", 1);
    fs::write(&page, &edited).unwrap();
    let early = report::prepare(&dir, report::PAGE).unwrap_err();
    let late = report::write(&fake::swarm(&["peer"], 1), &dir).unwrap_err();
    for error in [early, late] {
        assert!(matches!(&error, ReportError::Edited(_)), "{error}");
        assert!(error.to_string().contains("choose an empty directory"));
    }
    assert_eq!(text(&page), edited);
}

#[test]
fn an_index_links_what_it_lists() {
    let root = place("index");
    let reports = [root.join("a b"), root.join("dht"), root.join("textbook")];
    report::write(&fake::swarm(&["peer"], 1), &reports[0]).unwrap();
    report::write(&fake::dht(&[1000.0], 1), &reports[1]).unwrap();
    report::figure_2_23(&[fake::textbook("sim", &[5, 10], 0.01)], &reports[2]).unwrap();
    let index = report::index(&reports, &root.join("all")).unwrap();
    let html = text(&index);
    page_stands_alone(&html);
    for wanted in [
        "href=\"../a%20b/index.html\"",
        "href=\"../dht/index.html\"",
        "href=\"../textbook/figure-2-23.html\"",
        "share of lookups that succeed: at least 0.99",
        "5 gates held, 1 not, 1 not run",
    ] {
        assert!(html.contains(wanted), "the index lacks {wanted}");
    }
    let error = report::index(std::slice::from_ref(&root), &root.join("all"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("outcome.json") && error.contains("--report"),
        "{error}"
    );
}
