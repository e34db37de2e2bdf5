use std::collections::{BTreeMap, BTreeSet};

use durable_files::hash_bytes;
use project_files::{
    Comparison, Gain, HumanCeiling, Interval, Manifest, Override, RunRecord, Slice, TrainingSummary,
    ValidationResults,
};
use serde_json::{Value, json};

use super::*;

struct Example {
    manifest: Manifest,
    results: ValidationResults,
    record: RunRecord,
    settings: toml::Table,
    base: Base,
    facts: CardFacts,
}

fn numbers(values: &[(&str, f64)]) -> BTreeMap<String, f64> {
    values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
}

impl Example {
    /// A release of which little is known.
    fn bare() -> Self {
        let record = json!({
            "schema_version": 2, "run_id": "r1", "started_at": "2026-01-02T03:04:05Z", "base_model": "/home/ann/tiny",
            "data": {"slides": 400, "decks": 40, "raters_per_slide_at_most": 2, "train_slides": 280, "val_slides": 60, "test_slides": 60},
        });
        let manifest = Manifest {
            version: "v1.2.0".to_owned(),
            run_id: "r1".to_owned(),
            files: [("run.json".to_owned(), hash_bytes(b"x"))].into(),
            ..Manifest::default()
        };
        let settings = "[rubric]\nprompt = \"Rate \\\"this\\\".\"\n[[rubric.criteria]]\nkey = \"clarity\"\nname = \"Clarity\"\n";
        Self {
            manifest,
            results: ValidationResults::sample(),
            record: serde_json::from_value(record).unwrap(),
            settings: settings.parse().unwrap(),
            base: Base { name: "tiny".to_owned(), ..Base::default() },
            facts: CardFacts::default(),
        }
    }

    /// One of which everything is.
    #[expect(clippy::too_many_lines, reason = "one value of each kind that a card can tell")]
    fn full() -> Self {
        let mut example = Self::bare();
        let results = &mut example.results;
        let gain = Gain { value: 0.12, interval: Some(Interval { low: 0.02, high: 0.21 }) };
        results.champion = Some(Comparison {
            name: "v1.1.0".to_owned(),
            metrics: numbers(&[("overall_mae", 0.52)]),
            gains: [("overall_mae".to_owned(), gain)].into(),
            ..Comparison::default()
        });
        results.human_ceiling = Some(HumanCeiling {
            metrics: numbers(&[("overall_mae", 0.25), ("clarity_mae", 0.26)]),
            person: numbers(&[("overall_mae", 0.49), ("clarity_mae", 0.48)]),
            noise: numbers(&[("clarity", 0.65)]),
            ratings: 110,
            ..HumanCeiling::default()
        });
        results.metrics.extend(numbers(&[("overall_ece", 0.08), ("clarity_ece", 0.11)]));
        let slice = |by: &str, name: &str, mae: f64| Slice {
            by: by.to_owned(),
            name: name.to_owned(),
            slides: 40,
            groups: 9,
            ratings: 40,
            metrics: numbers(&[("mae", mae)]),
            ..Slice::default()
        };
        results.slices =
            vec![slice("chart", "with chart", 0.44), slice("deck", "d1", 0.31), slice("deck", "d2", 0.61)];
        let set_aside =
            [("champion_margin", "slides of a *new* kind"), (Override::RECHECK, "released elsewhere")];
        results.overrides = set_aside
            .map(|(name, reason)| Override { name: name.to_owned(), reason: reason.to_owned() })
            .into();
        results.warnings = vec!["only 8 decks were evaluated".to_owned()];
        results.power = vec!["these 12 decks can show a difference of 0.07".to_owned()];
        results.sizes.not_applicable.insert("clarity".to_owned(), 7);
        example.record.training =
            Some(TrainingSummary { steps: 320, epochs: 6.96, ..TrainingSummary::default() });
        example.settings.extend("[lora]\nr = 16\n[training]\nseed = 42\n".parse::<toml::Table>().unwrap());
        example.base = Base {
            name: "team/tiny".to_owned(),
            is_hub_id: true,
            revision: Some("0a".repeat(20)),
            class: Some(("idefics3".to_owned(), "Idefics3ForConditionalGeneration".to_owned())),
            ..Base::default()
        };
        example.manifest.files.insert("tokenizer.json".to_owned(), hash_bytes(b"{}"));
        example.manifest.signed_by = Some("ab".repeat(32));
        let license = Some(License { id: "cc-by-4.0".to_owned(), name: None, link: None });
        let criterion = CriterionFacts {
            scores: [1, 2, 3, 4, 5],
            pairs: 10,
            equal: 5,
            within_one: 9,
            ..Default::default()
        };
        let data = DataFacts {
            splits: [("test".to_owned(), SplitFacts { slides: 60, decks: 6, groups: 5 })].into(),
            sources: [("pages of PDF files".to_owned(), 400)].into(),
            licenses: [("none stated".to_owned(), 400)].into(),
            collected: Some(("2026-01-01".to_owned(), "2026-01-02".to_owned())),
            raters: Some(3),
            raters_of_a_slide: [(2, 400)].into(),
            criteria: [("clarity".to_owned(), criterion)].into(),
        };
        example.facts = CardFacts { repo: Some("team/rater".to_owned()), license, data: Some(data) };
        example
    }

    fn cards(&self) -> [String; 2] {
        let Self { manifest, results, record, settings, base, facts } = self;
        let data = data_card(&Subject { manifest, results, record, settings, base, facts });
        let mut manifest = manifest.clone();
        manifest.files.insert("DATA_CARD.md".to_owned(), hash_bytes(data.as_bytes()));
        [model_card(&Subject { manifest: &manifest, results, record, settings, base, facts }), data]
    }

    fn problems(&self) -> Vec<CardProblem> {
        let [card, data] = self.cards();
        let mut files: BTreeSet<String> = self.manifest.files.keys().cloned().collect();
        files.extend(["README.md", "DATA_CARD.md", "release.json"].map(str::to_owned));
        files.extend(self.manifest.signed_by.as_ref().map(|_| "model.sig".to_owned()));
        lint(&[("README.md".to_owned(), card), ("DATA_CARD.md".to_owned(), data)].into(), &files)
    }
}

/// The metadata of a card, as YAML that is JSON value by value.
fn metadata(card: &str) -> BTreeMap<String, Value> {
    let text = card.strip_prefix("---\n").unwrap().split("\n---\n").next().unwrap();
    let entry = |line: &str| {
        let (key, value) = line.split_once(": ").unwrap();
        (key.to_owned(), serde_json::from_str(value).unwrap())
    };
    text.lines().map(entry).collect()
}

#[test]
fn whatever_is_known_or_not_the_cards_pass_their_own_lint() {
    assert_eq!(Example::bare().problems(), []);
    assert_eq!(Example::full().problems(), []);
    let without: [fn(&mut Example); 9] = [
        |example| example.results.champion = None,
        |example| example.results.human_ceiling = None,
        |example| example.results.baseline = None,
        |example| example.results.slices.clear(),
        |example| example.results.metrics.clear(),
        |example| example.results = ValidationResults::default(),
        |example| example.facts.data = None,
        |example| example.settings = toml::Table::new(),
        |example| example.record.training = None,
    ];
    for (at, change) in without.into_iter().enumerate() {
        let mut example = Example::full();
        change(&mut example);
        assert_eq!(example.problems(), [], "change {at}");
    }
}

#[test]
fn the_card_says_what_was_measured_with_interval_and_size() {
    let [card, _] = Example::full().cards();
    for text in [
        "120 ratings by people of 120 slides from 12 decks",
        "0.40 [0.35,\u{a0}0.45]",
        "v1.1.0, in use before",
        "one person against the others",
        "smaller by 0.12 [0.02,\u{a0}0.21] points than that of v1.1.0",
        "smaller by 0.60 [0.50,\u{a0}0.70] points than that of always giving",
        "| chart: with chart | 40 | 9 | 40 | 0.44 |",
        "over 2 decks, the mean absolute error lies between 0.31 and 0.61",
        "differs from how often that is people's score by 0.08",
        "`champion_margin`: slides of a \\*new\\* kind",
        "its numbers were not made again from predictions and labels): released elsewhere",
        "| raters | 3 people, at most 2 a slide |",
        "only 8 decks were evaluated",
        "these 12 decks can show a difference of 0.07",
        "People said of 7 of the 120 evaluated slides that clarity does not apply",
        "| rank r | 16 |",
        "| seed | 42 |",
        "| optimizer steps | 320 |",
        "Licence: cc-by-4.0.",
        "by the key whose PEM text has the SHA-256 `abab",
    ] {
        assert!(card.contains(text), "{text} is not in\n{card}");
    }
    assert!(!card.contains("| deck: d1"), "single decks are nobody's business");
}

#[test]
fn what_is_not_known_is_not_said() {
    let [card, data] = Example::bare().cards();
    for text in [
        "apache",
        "license:",
        "base_model",
        "in use before",
        "dropout",
        "seed",
        "home",
        "signature",
        "revision=",
    ] {
        assert!(!card.contains(text), "{text} is in\n{card}");
    }
    assert!(card.contains("No licence was given"));
    assert!(card.contains("| raters | at most 2 a slide; how many in all is not known |"), "{card}");
    assert!(card.contains("a checkpoint in a folder called `tiny`, which is not published"));
    assert!(data.contains("sources and ratings could not be counted"), "{data}");
    assert!(!states_license(&card) && states_license(&Example::full().cards()[0]));
}

#[test]
fn the_metadata_has_intervals_sizes_and_the_hashes_of_the_data() {
    let example = Example::full();
    let metadata = metadata(&example.cards()[0]);
    assert_eq!(metadata["license"], "cc-by-4.0");
    assert_eq!(
        (&metadata["base_model"], &metadata["base_model_relation"]),
        (&json!("team/tiny"), &json!("adapter"))
    );
    assert!(metadata["tags"].as_array().unwrap().contains(&json!("idefics3")));
    let result = &metadata["model-index"][0]["results"][0];
    assert_eq!(result["dataset"]["args"]["slides"], 120);
    assert_eq!(result["dataset"]["args"]["labels_sha256"], "00".repeat(32));
    let metrics = result["metrics"].as_array().unwrap();
    let mae = metrics.iter().find(|metric| metric["type"] == "mae").unwrap();
    assert_eq!((&mae["value"], &mae["verified"]), (&json!(0.4), &json!(false)));
    assert_eq!(mae["args"], json!({"ratings": 120, "low": 0.35, "high": 0.45, "confidence": 0.95}));
    let mut example = Example::bare();
    example.facts.license =
        Some(License { id: "other".to_owned(), name: Some("a: \"b\"\n---".to_owned()), link: None });
    let metadata = self::metadata(&example.cards()[0]);
    assert_eq!(metadata["license_name"], "a: \"b\"\n---", "what a person writes ends nothing");
    assert!(!metadata.contains_key("base_model"), "a folder is not put into metadata");
}

#[test]
fn the_programs_have_the_release_in_them() {
    let [card, _] = Example::full().cards();
    assert!(
        card.contains("AutoPeftModel.from_pretrained(repo, revision=\"v1.2.0\", dtype=torch.float32)"),
        "{card}"
    );
    assert!(card.contains("AutoProcessor.from_pretrained(repo, revision=\"v1.2.0\")"));
    assert!(
        card.contains("prompt = \"Rate \\\"this\\\".\"")
            && card.contains("&tiles, \"Rate \\\"this\\\".\", None")
    );
    assert!(card.contains("let criteria = [\"Clarity\"];") && card.contains("&[true; 1]"));
    let [card, _] = Example::bare().cards();
    assert!(card.contains("repo = \".\"  # the folder of this version"));
    assert!(card.contains("model = PeftModel.from_pretrained(model, repo).eval()"), "{card}");
    assert!(card.contains("processor = AutoProcessor.from_pretrained(\"tiny\")"), "no processor was copied");
    let mut example = Example::full();
    example.settings.extend("[processor]\nlongest_edge = 768\n".parse::<toml::Table>().unwrap());
    let [card, _] = example.cards();
    assert!(
        card.contains("size={\"longest_edge\": 768}") && card.contains("Processor::open(&base, Some(768))")
    );
}

#[test]
fn the_data_card_counts_and_names_nobody() {
    let [_, data] = Example::full().cards();
    for text in [
        "400 slides of 40 decks",
        "3 people rated the labelled slides.",
        "| test | 60 | 6 | 5 |",
        "| pages of PDF files | 400 |",
        "Collected from 2026-01-01 to 2026-01-02",
        "| Clarity | 1 | 2 | 3 | 4 | 5 | 0 | 0 | 15 |",
        "| Clarity | 10 | 50.0\u{a0}% | 90.0\u{a0}% |",
        "| Clarity | 0.48 | 0.65 |",
    ] {
        assert!(data.contains(text), "{text} is not in\n{data}");
    }
}
