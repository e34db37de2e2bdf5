use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use slide_data::{Contract as _, Correction, KeptSlide, Prediction, Scores};

use crate::{Disagreement, Error, Latents, Quality, Rater, Result};

/// Simulated users who correct what is wrong, and only that: of each scored slide in turn the criteria whose rounded score is not that of
/// the latent quality, until so many slides are corrected.
///
/// # Errors
/// When a slide is not among the latents.
pub fn correct_slides(
    kept: &[KeptSlide],
    scored: &[Prediction],
    latents: &Latents,
    latents_path: &Path,
    slides: usize,
    now: Timestamp,
) -> Result<Vec<Correction>> {
    let user = Rater::draw(0, 0, Disagreement { severity: 0.0, leaning: 0.0, noise: 0.0 });
    let by_slide: BTreeMap<&str, &Prediction> =
        scored.iter().map(|prediction| (prediction.slide_id.as_str(), prediction)).collect();
    let mut corrections = Vec::new();
    for slide in kept {
        let Some(prediction) = by_slide.get(slide.slide_id.as_str()) else { continue };
        let quality = latents.quality(&slide.source.origin, slide.source.page).ok_or_else(|| {
            let (origin, page) = (slide.source.origin.clone(), slide.source.page.unwrap_or(slide.number));
            Error::UnknownSlide { origin, page, path: latents_path.to_owned() }
        })?;
        let scores = wrong(prediction, &user.rate(&slide.slide_id, &quality));
        if scores.is_empty() {
            continue;
        }
        corrections.push(Correction {
            schema_version: Correction::VERSION,
            id: format!("user-{}", slide.slide_id),
            slide_id: slide.slide_id.clone(),
            model_version: prediction.model_version.clone(),
            annotator: "user".to_owned(),
            corrected_at: now,
            predicted: prediction.expected.clone(),
            scores,
            notes: String::new(),
        });
        if corrections.len() == slides {
            break;
        }
    }
    Ok(corrections)
}

/// The criteria that a user says something else of.
fn wrong(prediction: &Prediction, said: &[Option<slide_data::Score>; 5]) -> Scores {
    let each = Quality::KEYS.iter().zip(said);
    let differs = |(key, score): &(&&str, &Option<slide_data::Score>)| {
        let foretold = prediction.expected.get(**key).map(|expected| (expected + 0.5).floor());
        foretold != score.map(|score| f64::from(score.get()))
    };
    each.filter(differs).map(|(key, score)| ((*key).to_owned(), *score)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Deck;
    use slide_data::{SlideRecord, Source};

    #[test]
    fn users_correct_what_is_wrong_and_only_that() {
        let quality: Vec<Quality> = Deck::draw(4, 1).slides.iter().map(|slide| slide.quality).collect();
        let latents =
            Latents { schema_version: 1, seed: 4, decks: [("a.pdf".to_owned(), quality.clone())].into() };
        let kept = |number: usize| KeptSlide {
            schema_version: 1,
            slide_id: format!("s{number}"),
            deck_id: "d".to_owned(),
            deck: "a.pdf".to_owned(),
            number,
            source: Source {
                origin: "x/a.pdf".to_owned(),
                page: Some(number),
                ..SlideRecord::sample("d", number).source
            },
            sha256: String::new(),
            scored_at: Timestamp::UNIX_EPOCH,
        };
        let truth = |number: usize| -> BTreeMap<String, f64> {
            let values = Quality::KEYS.iter().zip(quality[number - 1].values());
            values
                .filter_map(|(key, value)| Some(((*key).to_owned(), value?.round().clamp(1.0, 5.0))))
                .collect()
        };
        let mut scored: Vec<Prediction> = [1, 2, 3]
            .map(|number| Prediction { expected: truth(number), ..Prediction::sample(&format!("s{number}")) })
            .into();
        let all = [1, 2, 3].map(kept);
        let path = Path::new("latents.json");
        let correct = |scored: &[Prediction], most| {
            correct_slides(&all, scored, &latents, path, most, Timestamp::UNIX_EPOCH).unwrap()
        };
        assert_eq!(correct(&scored, 9), []);
        let right = scored[1].expected["clarity"];
        scored[1].expected.insert("clarity".to_owned(), if right > 2.0 { right - 1.0 } else { right + 1.0 });
        scored[2].expected.clear();
        let found = correct(&scored, 9);
        assert_eq!(found.len(), 2);
        let scores: Vec<(&str, f64)> = found[0]
            .scores
            .iter()
            .map(|(key, score)| (key.as_str(), f64::from(score.unwrap().get())))
            .collect();
        assert_eq!(scores, [("clarity", right)]);
        assert_eq!(found[1].scores.len(), truth(3).len());
        assert_eq!(correct(&scored, 1).len(), 1);
        let unknown = Latents { decks: BTreeMap::new(), ..latents.clone() };
        assert!(correct_slides(&all, &scored, &unknown, path, 1, Timestamp::UNIX_EPOCH).is_err());
    }
}
