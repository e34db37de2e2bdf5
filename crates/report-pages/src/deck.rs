use std::collections::BTreeMap;

use jiff::Timestamp;
use minijinja::{Value, context};
use slide_data::{Criterion, Prediction, Rubric, Score, expected_score};

use crate::corrections::CorrectionForm;
use crate::format::{number, time};
use crate::page::render;
use crate::plots::sparkline;
use crate::versions::OlderVersion;
use crate::{Image, Result};

/// One slide of a deck report.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredSlide {
    /// Its place in the deck, from 1.
    pub number: usize,
    /// The deck it belongs to; shown only where slides of several decks share the page. May be empty.
    pub title: String,
    /// The slide as an image.
    pub image: Option<Image>,
    /// The model's distributions.
    pub prediction: Prediction,
    /// What is known of slides like it.
    pub familiar: Familiar,
}

/// What people gave slides that look like a scored one. It names no slide: those are of other people's decks.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Familiar {
    /// For each criterion the ratings of the most similar rated slides, the most similar first; empty where none is known.
    pub ratings: BTreeMap<String, Vec<Score>>,
    /// Whether it is farther from all rated slides than 99 in 100 of these are from those of other decks.
    pub is_unlike: bool,
}

/// What a deck's author gets to see.
#[derive(Debug, Clone, Copy)]
pub struct DeckReport<'a> {
    /// The page's title, usually the deck's name.
    pub title: &'a str,
    /// Names, questions and anchors of the criteria.
    pub rubric: &'a Rubric,
    /// The slides in the order of the deck.
    pub slides: &'a [ScoredSlide],
    /// What rated them.
    pub model_version: &'a str,
    /// What the reader must know about the model, as a sentence or two; empty for none.
    pub caveat: &'a str,
    /// How good the model was on decks that it had not seen, in a sentence; empty where nobody measured it.
    pub quality: &'a str,
    /// An older version of the deck that it is compared with.
    pub older: Option<&'a OlderVersion>,
    /// Pages and files that could not be rated, each with the reason.
    pub failed: &'a [String],
    /// How its reader corrects scores. Give a form only where the slides were logged: otherwise nobody knows what was corrected.
    pub corrections: CorrectionForm,
    /// When the page was made.
    pub generated_at: Timestamp,
}

/// How many slides and criteria the summary points at.
const WORST: usize = 3;
/// From this mean on a criterion needs no advice.
const FINE: f64 = 4.0;
/// Where the likely scores of one more rater lie this far apart, people disagree about a slide.
const DISAGREE: u8 = 3;
/// A first or last slide with less than this share of the deck's median density of edges is a cover or a farewell.
const FRAME: f64 = 0.6;

/// One self-contained page for a deck's author: the deck's means, what to work on, and every slide with its scores.
///
/// Criteria that a prediction leaves out are left out of the page's means too.
///
/// # Errors
/// When a template fails, which no input should cause.
pub fn render_deck_report(report: &DeckReport<'_>) -> Result<String> {
    let deck = Deck::new(report);
    let at = report.generated_at.as_nanosecond().to_string();
    let slides = report.slides.iter().map(|slide| slide.prediction.slide_id.as_str());
    let parts: Vec<&str> = [report.title, report.model_version, &at].into_iter().chain(slides).collect();
    render(
        "deck.html",
        context! {
            title => report.title,
            model_version => report.model_version,
            caveat => report.caveat,
            generated_at => time(report.generated_at),
            summary => report.rubric.criteria.iter().map(|c| deck.summary(c)).collect::<Vec<_>>(),
            advice => deck.advice(),
            quality => report.quality,
            older => report.older.map(|older| older.shown(report.rubric, &|number| deck.numbered(number))),
            failed => report.failed,
            form => report.corrections.context(&parts),
            weakest => deck.weakest(|_, mean| mean),
            rows => (0..report.slides.len()).map(|index| deck.slide(index)).collect::<Vec<_>>(),
            slides => deck.in_order_of_need().into_iter().map(|index| deck.slide(index)).collect::<Vec<_>>(),
        },
    )
}

/// The expected scores: `scores[slide][criterion]`.
struct Deck<'a> {
    report: &'a DeckReport<'a>,
    scores: Vec<Vec<Option<f64>>>,
}

fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    statistics::mean(&values.flatten().collect::<Vec<_>>())
}

/// By the tenths that are shown, so that equal numbers have one colour and one word.
fn tone(score: Option<f64>) -> &'static str {
    match score.map(|score| (10.0 * score).round() / 10.0) {
        Some(score) if score < 2.5 => "weak",
        Some(score) if score < 3.5 => "fair",
        _ => "good",
    }
}

fn word(score: Option<f64>) -> &'static str {
    match score {
        None => "not rated",
        Some(_) => match tone(score) {
            "weak" => "weak",
            "fair" => "fair",
            _ => "good",
        },
    }
}

/// Where a score stands on the track, in percent of its width.
fn position(score: f64) -> f64 {
    (25.0 * (score - 1.0)).clamp(0.0, 100.0)
}

/// A bar for a score of 1 must still be seen.
fn width(score: Option<f64>) -> String {
    number(score.map(|score| position(score).max(2.0)), 1)
}

impl<'a> Deck<'a> {
    fn new(report: &'a DeckReport<'a>) -> Self {
        let expected = |slide: &ScoredSlide, key: &str| {
            let mean = expected_score(slide.prediction.distributions.get(key)?);
            mean.is_finite().then_some(mean)
        };
        let row = |slide| report.rubric.keys().map(|key| expected(slide, key)).collect();
        Self { report, scores: report.slides.iter().map(row).collect() }
    }

    /// Whether it is the first or the last slide of a deck of at least four and far emptier than most: a cover or a farewell, which is not
    /// what a deck is judged by.
    fn is_frame(&self, slide: usize) -> bool {
        let slides = self.report.slides;
        let own: Vec<usize> =
            (0..slides.len()).filter(|other| slides[*other].title == slides[slide].title).collect();
        let edges = |slide: usize| slides[slide].prediction.features.get("edge_density").copied();
        let is_end = [own.first(), own.last()].contains(&Some(&slide));
        let median = statistics::median(own.iter().filter_map(|other| edges(*other)).collect());
        let is_empty = edges(slide).zip(median).is_some_and(|(edges, median)| edges < FRAME * median);
        own.len() >= 4 && is_end && is_empty
    }

    /// The weakest slides first, then covers and farewells, then what has no score.
    fn in_order_of_need(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.scores.len()).collect();
        let mean = |slide: usize| mean(self.scores[slide].iter().copied());
        order.sort_by(|a, b| {
            let of = |slide: usize| (mean(slide).is_none(), self.is_frame(slide));
            let means = mean(*a).unwrap_or_default().total_cmp(&mean(*b).unwrap_or_default());
            of(*a).cmp(&of(*b)).then(means)
        });
        order
    }

    /// The slide that stands at a place of the deck: where it is among those of the page, and its image.
    fn numbered(&self, number: usize) -> Option<(usize, Option<&'a Image>)> {
        let slides = self.report.slides;
        let at = slides.iter().position(|slide| slide.number == number)?;
        Some((at, slides[at].image.as_ref()))
    }

    fn index(&self, criterion: &Criterion) -> usize {
        self.report.rubric.keys().position(|key| key == criterion.key).unwrap_or(0)
    }

    fn criterion_mean(&self, criterion: &Criterion) -> Option<f64> {
        let index = self.index(criterion);
        mean(self.scores.iter().map(|row| row[index]))
    }

    fn title(&self, slide: usize) -> String {
        let slides = self.report.slides;
        let ScoredSlide { title, number, .. } = &slides[slide];
        let is_one_deck = slides.iter().all(|other| other.title == *title);
        if is_one_deck || title.is_empty() {
            format!("Slide {number}")
        } else {
            format!("{title}, slide {number}")
        }
    }

    fn summary(&self, criterion: &Criterion) -> Value {
        let (score, index) = (self.criterion_mean(criterion), self.index(criterion));
        let (rated, all) = (self.scores.iter().filter(|row| row[index].is_some()).count(), self.scores.len());
        context! {
            name => criterion.name,
            extent => (0 < rated && rated < all).then(|| format!("on {rated} of {all} slides")),
            value => number(score, 1),
            width => width(score),
            tone => tone(score),
            word => word(score),
        }
    }

    /// The slides with the lowest `value` (given the slide and its mean), the lowest first.
    fn weakest(&self, value: impl Fn(usize, Option<f64>) -> Option<f64>) -> Vec<Value> {
        let mut slides: Vec<(f64, usize)> = (0..self.scores.len())
            .filter(|slide| !self.is_frame(*slide))
            .filter_map(|slide| Some((value(slide, mean(self.scores[slide].iter().copied()))?, slide)))
            .collect();
        slides.sort_by(|a, b| a.0.total_cmp(&b.0));
        slides
            .into_iter()
            .take(WORST)
            .map(|(value, slide)| {
                context! { anchor => slide + 1, title => self.title(slide), value => number(Some(value), 1) }
            })
            .collect()
    }

    /// What a criterion's mean over all slides would rise by if each slide that lies below the anchor reached it, by the model's own
    /// probabilities: a slide that it is sure of counts more, and one that the criterion does not apply to not at all.
    fn expected_gain(&self, criterion: &Criterion, aim: u8) -> f64 {
        let slides =
            self.report.slides.iter().filter_map(|slide| slide.prediction.distributions.get(&criterion.key));
        let missing = |distribution: &[f64; Score::LEVELS]| {
            let total: f64 = distribution.iter().sum();
            let below = distribution.iter().zip(1..aim).map(|(p, score)| p * f64::from(aim - score));
            Some(below.sum::<f64>() / total).filter(|points| points.is_finite()).unwrap_or_default()
        };
        slides.map(missing).sum::<f64>() / self.report.slides.len().max(1) as f64
    }

    /// The criteria by which the deck gains most, with what they look like now and one step up, in the rubric's words.
    fn advice(&self) -> Vec<Value> {
        let criteria = self.report.rubric.criteria.iter();
        let step = |mean: f64| if mean < 2.0 { (0, 1) } else { (1, 2) };
        let gain =
            |mean: f64, criterion: &Criterion| self.expected_gain(criterion, 2 * step(mean).1 as u8 + 1);
        let mut weak: Vec<(f64, f64, &Criterion)> = criteria
            .filter_map(|criterion| Some((self.criterion_mean(criterion)?, criterion)))
            .filter(|(mean, _)| *mean < FINE)
            .map(|(mean, criterion)| (gain(mean, criterion), mean, criterion))
            .collect();
        weak.sort_by(|a, b| b.0.total_cmp(&a.0));
        let item = |(gain, mean, criterion): (f64, f64, &Criterion)| {
            let (now, aim) = step(mean);
            let index = self.index(criterion);
            context! {
                name => criterion.name,
                value => number(Some(mean), 1),
                gain => number(Some(gain), 1),
                tone => tone(Some(mean)),
                question => criterion.question,
                now => criterion.anchors[now],
                aim => criterion.anchors[aim],
                slides => self.weakest(|slide, _| self.scores[slide][index].filter(|score| *score < FINE)),
            }
        };
        weak.into_iter().take(WORST).map(item).collect()
    }

    fn slide(&self, slide: usize) -> Value {
        let scored = &self.report.slides[slide];
        let row = &self.scores[slide];
        let cell = |score: &Option<f64>| {
            let heat = score.map_or(0.0, |score| position(score) / 100.0);
            context! { value => number(*score, 1), heat => number(Some(heat), 2) .parse::<f64>().unwrap_or(0.0) }
        };
        let criteria = self.report.rubric.criteria.iter();
        context! {
            anchor => slide + 1,
            id => scored.prediction.slide_id,
            choices => self.report.corrections.choices(self.report.rubric, &scored.prediction),
            model_version => scored.prediction.model_version,
            title => self.title(slide),
            image => scored.image.as_ref().map(Image::data_uri),
            mean => number(mean(row.iter().copied()), 1),
            cells => row.iter().map(cell).collect::<Vec<_>>(),
            scores => criteria.filter_map(|c| bar(c, &scored.prediction)).collect::<Vec<_>>(),
            is_frame => self.is_frame(slide),
            inapplicable => self.inapplicable(slide),
            hint => self.hint(slide),
            is_unlike => scored.familiar.is_unlike,
            alike => self.alike(&scored.familiar),
        }
    }

    /// What people gave similar slides, in the rubric's order.
    fn alike(&self, familiar: &Familiar) -> Vec<Value> {
        let criteria = self.report.rubric.criteria.iter();
        let of = |criterion: &Criterion| {
            let given = familiar.ratings.get(&criterion.key)?;
            let given: Vec<String> = given.iter().map(|score| score.get().to_string()).collect();
            Some(context! { name => criterion.name, given => given.join(", ") })
        };
        criteria.filter_map(of).collect()
    }

    /// The criteria that do not apply to a slide, by name.
    fn inapplicable(&self, slide: usize) -> String {
        let applies = &self.report.slides[slide].prediction.applies;
        let criteria = self.report.rubric.criteria.iter().zip(&self.scores[slide]);
        let lacks =
            criteria.filter(|(criterion, score)| score.is_none() && applies.contains_key(&criterion.key));
        lacks.map(|(criterion, _)| criterion.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// One sentence about the slide's weakest criterion, where it is weak.
    fn hint(&self, slide: usize) -> Option<String> {
        let criteria = self.report.rubric.criteria.iter().zip(&self.scores[slide]);
        let (criterion, score) = criteria
            .filter_map(|(criterion, score)| Some((criterion, (*score)?)))
            .min_by(|a, b| a.1.total_cmp(&b.1))?;
        let [low, mid, high] = &criterion.anchors;
        let (now, aim) = if score < 2.0 { (low, mid) } else { (mid, high) };
        (score < 3.0 && !aim.is_empty())
            .then(|| format!("{}: closest to “{now}”; aim for “{aim}”.", criterion.name))
    }
}

fn bar(criterion: &Criterion, prediction: &Prediction) -> Option<Value> {
    let distribution = prediction.distributions.get(&criterion.key)?;
    let expected = expected_score(distribution);
    if !expected.is_finite() {
        return None;
    }
    let spread = standard_deviation(distribution, expected);
    let (low, high) = (position(expected - spread), position(expected + spread));
    let people = prediction.interval.get(&criterion.key).map(|ends| ends.map(Score::get));
    let disputed = people.filter(|[low, high]| high.saturating_sub(*low) >= DISAGREE);
    let chances = distribution.iter().zip(1..).map(|(p, score)| format!("{score}: {:.0} %", 100.0 * p));
    Some(context! {
        name => criterion.name,
        value => number(Some(expected), 1),
        disputed => disputed.map(|[low, high]| format!("{low} to {high}")),
        spread => number(Some(spread), 1),
        tone => tone(Some(expected)),
        width => width(Some(expected)),
        low => number(Some(low), 1),
        range => number(Some(high - low), 1),
        spark => sparkline(distribution),
        chances => chances.collect::<Vec<_>>().join(", "),
    })
}

fn standard_deviation(distribution: &[f64; Score::LEVELS], mean: f64) -> f64 {
    let total: f64 = distribution.iter().sum();
    let square = |(p, score): (&f64, u8)| p / total * (f64::from(score) - mean).powi(2);
    distribution.iter().zip(1u8..).map(square).sum::<f64>().sqrt()
}
