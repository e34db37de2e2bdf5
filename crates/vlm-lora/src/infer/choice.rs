use crate::{Error, Result, Sample};

/// One choice within an answer, such as `Clarity: ` followed by one of `1` to `5`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The fixed text before the choice.
    pub prefix: String,
    /// What can be chosen; each must be one token of the tokenizer.
    pub choices: Vec<String>,
}

impl Slot {
    /// The position of the choice, and the tokens of all choices but the first. `changed` gives the position and the token that
    /// alone differ between the answer with a choice and that with the first one.
    fn tokens(
        &self,
        mut changed: impl FnMut(usize) -> Result<Option<(usize, u32)>>,
    ) -> Result<(usize, Vec<u32>)> {
        let mut found = None;
        for pick in 1..self.choices.len() {
            let changed = changed(pick)?;
            let (position, ids) = found.get_or_insert_with(|| (changed.map(|(at, _)| at), vec![]));
            match (changed, *position) {
                (Some((at, id)), Some(position)) if at == position && !ids.contains(&id) => ids.push(id),
                _ => return Err(not_a_token(self, pick)),
            }
        }
        match found {
            Some((Some(position), ids)) => Ok((position, ids)),
            _ => Err(not_a_token(self, 0)),
        }
    }
}

/// An answer that is fixed text but for a few choices: slots joined by a separator.
///
/// ```
/// use vlm_lora::ChoiceAnswer;
///
/// let answer = ChoiceAnswer::lines(&["Clarity", "Design"], &["1", "2", "3", "4", "5"])?;
/// assert_eq!(answer.text(&[Some(3), Some(0)]), "Clarity: 4\nDesign: 1");
/// assert_eq!(answer.text(&[None, Some(0)]), "Design: 1"); // a slot that does not apply is left out
/// # Ok::<(), vlm_lora::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChoiceAnswer {
    slots: Vec<Slot>,
    separator: String,
}

impl ChoiceAnswer {
    /// An answer of these slots with `separator` between them.
    ///
    /// # Errors
    /// When there is no slot, or one has fewer than two choices or the same one twice.
    pub fn new(slots: Vec<Slot>, separator: impl Into<String>) -> Result<Self> {
        let refuse = |reason: String| Err(Error::Text { reason });
        if slots.is_empty() {
            return refuse("an answer needs at least one slot".to_owned());
        }
        for Slot { prefix, choices } in &slots {
            let is_repeated =
                |(i, choice): (usize, &String)| choice.is_empty() || choices[..i].contains(choice);
            if choices.len() < 2 || choices.iter().enumerate().any(is_repeated) {
                return refuse(format!("the slot `{prefix}` needs at least two different choices"));
            }
        }
        Ok(Self { slots, separator: separator.into() })
    }

    /// One line `Name: choice` for each name, all with the same choices.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn lines(names: &[impl AsRef<str>], choices: &[impl AsRef<str>]) -> Result<Self> {
        let choices: Vec<String> = choices.iter().map(|choice| choice.as_ref().to_owned()).collect();
        let slot = |name| Slot { prefix: format!("{name}: "), choices: choices.clone() };
        Self::new(names.iter().map(|name| slot(name.as_ref())).collect(), "\n")
    }

    /// The slots.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The answer with choice `picks[i]` in slot `i`; slots without a pick, or beyond the end of `picks`, are left out.
    ///
    /// # Panics
    /// When a pick is not the index of a choice.
    pub fn text(&self, picks: &[Option<usize>]) -> String {
        let picked = self.slots.iter().zip(picks).filter_map(|(slot, pick)| Some((slot, (*pick)?)));
        let lines = picked.map(|(slot, pick)| format!("{}{}", slot.prefix, slot.choices[pick]));
        lines.collect::<Vec<_>>().join(&self.separator)
    }

    /// Finds the tokens of the slots that are `asked`. `tokenize` gives the ids of a whole answer as they follow the prompt, the
    /// end of the turn included; each choice must change one token and leave the others alone.
    ///
    /// # Errors
    /// When no slot is asked, a choice is not a single token of its own, or `tokenize` fails.
    pub fn tokens(
        &self,
        asked: &[bool],
        mut tokenize: impl FnMut(&str) -> Result<Vec<u32>>,
    ) -> Result<ChoiceTokens> {
        let first: Vec<Option<usize>> = asked.iter().map(|asked| asked.then_some(0)).collect();
        let base = tokenize(&self.text(&first))?;
        let mut tokens =
            ChoiceTokens { slots: Vec::new(), positions: Vec::new(), choices: Vec::new(), ids: base };
        for (index, slot) in self.slots.iter().enumerate().filter(|(i, _)| asked.get(*i) == Some(&true)) {
            let changed = |pick| {
                let mut picks = first.clone();
                picks[index] = Some(pick);
                Ok(single_change(&tokens.ids, &tokenize(&self.text(&picks))?))
            };
            let (position, mut ids) = slot.tokens(changed)?;
            if tokens.positions.last().is_some_and(|last| *last >= position) {
                return Err(not_a_token(slot, 0));
            }
            ids.insert(0, tokens.ids[position]);
            tokens.slots.push(index);
            tokens.positions.push(position);
            tokens.choices.push(ids);
        }
        if tokens.slots.is_empty() {
            return Err(Error::Text { reason: "none of the answer's slots is asked".to_owned() });
        }
        Ok(tokens)
    }
}

fn not_a_token(slot: &Slot, pick: usize) -> Error {
    let choice = &slot.choices[pick];
    Error::Text {
        reason: format!("`{choice}` after `{}` is not a single token of the tokenizer", slot.prefix),
    }
}

/// Where two sequences of the same length differ, if it is one place, and what stands there in the second.
fn single_change(base: &[u32], other: &[u32]) -> Option<(usize, u32)> {
    let mut changes = base.iter().zip(other).enumerate().filter(|(_, (a, b))| a != b);
    match (base.len() == other.len(), changes.next(), changes.next()) {
        (true, Some((at, (_, id))), None) => Some((at, *id)),
        _ => None,
    }
}

/// The tokens of an answer with choices: what is fixed, where the choices stand and what they can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChoiceTokens {
    /// The asked slots, by their index in the answer.
    slots: Vec<usize>,
    /// Position of each asked slot's choice, counted from the first token of the answer.
    positions: Vec<usize>,
    /// Token of each choice of each asked slot.
    choices: Vec<Vec<u32>>,
    /// The answer with the first choice everywhere.
    ids: Vec<u32>,
}

impl ChoiceTokens {
    /// The asked slots, by their index in the answer.
    pub fn slots(&self) -> &[usize] {
        &self.slots
    }

    /// Position of each asked slot's choice, counted from the first token of the answer.
    pub fn positions(&self) -> &[usize] {
        &self.positions
    }

    /// Token of each choice of each asked slot.
    pub fn choices(&self) -> &[Vec<u32>] {
        &self.choices
    }

    /// The fixed tokens between the choice of the slot before and that of asked slot `at`.
    pub(super) fn piece(&self, at: usize) -> &[u32] {
        let start = at.checked_sub(1).map_or(0, |before| self.positions[before] + 1);
        &self.ids[start..self.positions[at]]
    }

    /// Replaces what a sample is to predict at the choices by distributions over them, and their weight by `weight`.
    ///
    /// `sample` is supervised on exactly this answer, with any choices in it; `distributions` holds one distribution for each
    /// asked slot. The input stays what it is: later slots see the choices that the answer's text has, whatever the distributions.
    ///
    /// # Errors
    /// When the sample's answer is another one, or a distribution does not fit its slot or does not sum to 1.
    pub fn set_soft_targets(
        &self,
        sample: &mut Sample,
        distributions: &[Vec<f32>],
        weight: f32,
    ) -> Result<()> {
        let refuse = |reason: &str| Err(Error::Text { reason: reason.to_owned() });
        let Some(start) = sample.targets.first().map(|target| target.position) else {
            return refuse("the sample is not supervised");
        };
        if distributions.len() != self.slots.len() {
            return refuse("there must be one distribution for each asked slot");
        }
        if !self.is_answer_of(sample, start) {
            return refuse("the sample's answer is not this one");
        }
        for ((position, choices), distribution) in self.positions.iter().zip(&self.choices).zip(distributions)
        {
            let Some(tokens) = soft_target(choices, distribution) else {
                return refuse("a distribution must hold one probability for each choice, which sum to 1");
            };
            let at = start + position;
            let Some(target) = sample.targets.iter_mut().find(|target| target.position == at) else {
                return refuse("the sample is not supervised at every choice");
            };
            (target.tokens, target.weight) = (tokens, weight);
        }
        Ok(())
    }

    /// Whether the supervised part of a sample, from `start` on, is this answer with any choices.
    fn is_answer_of(&self, sample: &Sample, start: usize) -> bool {
        let is_answer = |(offset, id): (usize, &u32)| {
            let actual = sample.input_ids.get(start + offset);
            match self.positions.binary_search(&offset) {
                Ok(at) => actual.is_some_and(|actual| self.choices[at].contains(actual)),
                Err(_) => actual == Some(id),
            }
        };
        self.ids.iter().enumerate().take(sample.targets.len()).all(is_answer)
    }
}

/// The choices with their probabilities but those of 0; `None` where that is no distribution over them.
fn soft_target(choices: &[u32], distribution: &[f32]) -> Option<Vec<(u32, f32)>> {
    let sum: f32 = distribution.iter().sum();
    let is_valid = distribution.len() == choices.len() && distribution.iter().all(|p| *p >= 0.0);
    if !is_valid || (sum - 1.0).abs() > 1e-4 {
        return None;
    }
    let pairs = choices.iter().zip(distribution).filter(|(_, p)| **p > 0.0);
    Some(pairs.map(|(id, p)| (*id, p / sum)).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Target, Tiles};

    /// One token a character, but `10` is one token and `: ` another.
    fn tokenize(text: &str) -> Vec<u32> {
        let text = text.replace("10", "X").replace(": ", "_");
        text.chars().map(|c| c as u32).chain([1, 2]).collect()
    }

    fn answer() -> ChoiceAnswer {
        ChoiceAnswer::lines(&["Ab", "C", "Def"], &["1", "2", "10"]).unwrap()
    }

    fn sample(picks: &[Option<usize>]) -> Sample {
        let ids = tokenize(&answer().text(picks));
        let target =
            |(i, id): (usize, &u32)| Target { position: i + 3, tokens: vec![(*id, 1.0)], weight: 1.0 };
        let targets = ids.iter().enumerate().map(target).collect();
        let tiles = Arc::new(Tiles { rows: 0, cols: 0, side: 0, data: Vec::new() });
        Sample { input_ids: [7, 8, 9].into_iter().chain(ids.iter().copied()).collect(), tiles, targets }
    }

    #[test]
    fn the_pieces_and_choices_make_up_the_answer() {
        let tokens = answer().tokens(&[true, false, true], |text| Ok(tokenize(text))).unwrap();
        assert_eq!(tokens.slots(), [0, 2]);
        assert_eq!(tokens.positions(), [3, 9]); // "Ab_1\nDef_1"
        let ids = |text: &str| text.chars().map(|c| c as u32).collect::<Vec<_>>();
        assert_eq!(tokens.choices(), [ids("12X"), ids("12X")]);
        assert_eq!((tokens.piece(0), tokens.piece(1)), (&ids("Ab_")[..], &ids("\nDef_")[..]));
    }

    #[test]
    fn choices_that_are_no_token_of_their_own_are_refused() {
        let by_character = |text: &str| Ok(text.chars().map(|c| c as u32).collect());
        let error = answer().tokens(&[true; 3], by_character).unwrap_err().to_string();
        assert!(error.contains("`10` after `Ab: `"), "{error}");
        let merged = ChoiceAnswer::lines(&["A"], &["1", "2"]).unwrap();
        let whole =
            |text: &str| Ok(vec![5, u32::from(text.ends_with('2')) + 3, u32::from(text.ends_with('2'))]);
        assert!(merged.tokens(&[true], whole).is_err());
        // Two choices with one token, and choices that change different places.
        let same = |text: &str| Ok(vec![5, u32::from(!text.ends_with('1')), 2]);
        let three = ChoiceAnswer::lines(&["A"], &["1", "2", "3"]).unwrap();
        assert!(three.tokens(&[true], same).is_err());
        let apart = |text: &str| Ok(vec![5, u32::from(text.ends_with('2')), u32::from(text.ends_with('3'))]);
        assert!(three.tokens(&[true], apart).is_err());
        assert!(answer().tokens(&[false; 3], |text| Ok(tokenize(text))).is_err());
        assert!(ChoiceAnswer::lines(&["A"], &["1", "1"]).is_err());
        assert!(ChoiceAnswer::lines(&[""; 0], &["1", "2"]).is_err());
    }

    #[test]
    fn soft_targets_stand_at_the_choices_alone() {
        let tokens = answer().tokens(&[true, false, true], |text| Ok(tokenize(text))).unwrap();
        let mut soft = sample(&[Some(0), None, Some(1)]);
        let plain = soft.clone();
        tokens.set_soft_targets(&mut soft, &[vec![0.0, 0.25, 0.75], vec![0.0, 1.0, 0.0]], 3.0).unwrap();
        assert_eq!(soft.targets[3].tokens, [('2' as u32, 0.25), ('X' as u32, 0.75)]);
        assert_eq!((soft.targets[3].weight, soft.input_ids[6]), (3.0, '1' as u32));
        assert_eq!(
            soft.input_ids, plain.input_ids,
            "the text keeps its choice, also where it is not the most probable one"
        );
        assert_eq!(soft.targets[9].tokens, [('2' as u32, 1.0)]);
        for (at, (soft, plain)) in soft.targets.iter().zip(&plain.targets).enumerate() {
            assert!(soft == plain || at == 3 || at == 9);
        }
    }

    #[test]
    fn an_answer_or_a_distribution_that_does_not_fit_is_refused() {
        let tokens = answer().tokens(&[true, false, true], |text| Ok(tokenize(text))).unwrap();
        let good = vec![vec![0.0, 0.25, 0.75], vec![0.0, 1.0, 0.0]];
        let mut other = sample(&[Some(0), Some(0), Some(1)]);
        assert!(tokens.set_soft_targets(&mut other, &good, 1.0).is_err());
        let mut bare = Sample { targets: Vec::new(), ..sample(&[Some(0), None, Some(1)]) };
        assert!(tokens.set_soft_targets(&mut bare, &good, 1.0).is_err());
        for bad in [
            vec![good[0].clone()],
            vec![vec![0.5, 0.5], good[1].clone()],
            vec![vec![0.5; 3], good[1].clone()],
        ] {
            assert!(tokens.set_soft_targets(&mut sample(&[Some(0), None, Some(1)]), &bad, 1.0).is_err());
        }
    }
}
