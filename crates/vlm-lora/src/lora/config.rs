use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The pattern that takes the seven linears of each text layer and nothing of the vision tower.
pub const TEXT_LINEARS: &str = r".*text_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)";

/// A single value or a list, as PEFT accepts both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany<T> {
    /// One value. A module name given so is a regular expression that must match the full name.
    One(T),
    /// A list. A module name in it matches the full name or its end after a dot.
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    pub(crate) fn as_slice(&self) -> &[T] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(values) => values,
        }
    }
}

/// How an adapter starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum InitLoraWeights {
    /// `true`: `A` uniform in ±1/√in, `B` zero. `false`: both as a fresh linear layer, so that the start is not the identity.
    Default(bool),
    /// `gaussian` (`A` normal with deviation 1/r, `B` zero), `pissa` (the principal part of the weight, Meng et al. 2024, which
    /// the base then lacks), or the name of another scheme of PEFT. An adapter that is to start by `pissa_niter_N` starts by
    /// `pissa`, whose decomposition it approximates; one that did in PEFT cannot be read.
    Named(String),
}

impl InitLoraWeights {
    /// Whether the base computes without the part of its weights that the adapter started from.
    pub fn is_pissa(&self) -> bool {
        let Self::Named(name) = self else { return false };
        let rounds = name.strip_prefix("pissa_niter_");
        name == "pissa" || rounds.is_some_and(|rounds| rounds.parse::<u32>().is_ok())
    }

    /// Whether PEFT's start was an approximation of PiSSA by so many rounds: what it took out of the base is then not in the file
    /// and cannot be computed again.
    pub(crate) fn is_approximate(&self) -> bool {
        matches!(self, Self::Named(name) if name != "pissa") && self.is_pissa()
    }

    /// Whether adapters that started so can be computed with.
    fn is_supported(&self) -> bool {
        match self {
            Self::Default(_) => true,
            // EVA and orthogonal starts leave the base as it is, so their finished adapters can be read.
            Self::Named(name) => {
                ["gaussian", "eva", "orthogonal"].contains(&name.as_str()) || self.is_pissa()
            }
        }
    }
}

/// Adapter hyper-parameters, under the names that PEFT gives them.
///
/// The defaults are this project's (rank 16 on the seven text linears); an `adapter_config.json` that leaves a key out takes
/// PEFT's default instead.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct LoraConfig {
    /// Rank of the update, at least 1.
    pub r: usize,
    /// Numerator of the scale `lora_alpha / r`.
    pub lora_alpha: f64,
    /// Probability of dropping an element of the input of `A` in training, in `[0, 1)`.
    pub lora_dropout: f64,
    /// Which modules get an adapter: a regular expression for the full name, `all-linear`, or a list of names and suffixes.
    pub target_modules: OneOrMany<String>,
    /// Modules that get none although `target_modules` names them; matched first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude_modules: Option<OneOrMany<String>>,
    /// With a list of targets: only these layers, by the first number in the module's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers_to_transform: Option<OneOrMany<usize>>,
    /// With `layers_to_transform`: the name that stands before the number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers_pattern: Option<OneOrMany<String>>,
    /// Rank of the modules whose name ends with the key (a regular expression) at a dot; the first match counts.
    pub rank_pattern: IndexMap<String, usize>,
    /// `lora_alpha` of the modules whose name ends with the key; as `rank_pattern`.
    pub alpha_pattern: IndexMap<String, f64>,
    /// Whether the scale is `lora_alpha / √r` (Kalajdzievski 2023).
    pub use_rslora: bool,
    /// Whether the update is weight-decomposed (Liu et al. 2024).
    pub use_dora: bool,
    /// Which biases of the base are trained: `none`, `lora_only` (those of adapted modules) or `all`. Only the vision tower has
    /// biases. Weight decay leaves them out.
    pub bias: String,
    /// Whether `B` has a bias; only `false`.
    pub lora_bias: bool,
    /// How the adapters start.
    pub init_lora_weights: InitLoraWeights,
    /// Modules trained whole; only none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modules_to_save: Option<Vec<String>>,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self {
            r: 16,
            lora_alpha: 32.0,
            lora_dropout: 0.05,
            target_modules: OneOrMany::One(TEXT_LINEARS.to_owned()),
            exclude_modules: None,
            layers_to_transform: None,
            layers_pattern: None,
            rank_pattern: IndexMap::new(),
            alpha_pattern: IndexMap::new(),
            use_rslora: false,
            use_dora: false,
            bias: "none".to_owned(),
            lora_bias: false,
            init_lora_weights: InitLoraWeights::Default(true),
            modules_to_save: None,
        }
    }
}

/// Largest rank; a rank beyond it is a mistake and only costs memory.
const MAX_RANK: usize = 1 << 14;

impl LoraConfig {
    /// Checks the values that do not depend on the model.
    ///
    /// # Errors
    /// Names the first key whose value is outside its domain or asks for something that is not supported.
    pub fn validate(&self) -> Result<()> {
        self.check_numbers()?;
        self.check_layers()?;
        self.check_supported()
    }

    fn check_numbers(&self) -> Result<()> {
        check(self.r >= 1 && self.r <= MAX_RANK, "lora.r", "from 1 to 16384", self.r)?;
        for (key, r) in &self.rank_pattern {
            check((1..=MAX_RANK).contains(r), &format!("lora.rank_pattern.{key}"), "from 1 to 16384", r)?;
        }
        check(positive(self.lora_alpha), "lora.lora_alpha", "a positive number", self.lora_alpha)?;
        for (key, alpha) in &self.alpha_pattern {
            check(positive(*alpha), &format!("lora.alpha_pattern.{key}"), "a positive number", alpha)?;
        }
        let dropout = self.lora_dropout;
        check((0.0..1.0).contains(&dropout), "lora.lora_dropout", "at least 0 and below 1", dropout)
    }

    /// Whether the keys that pick layers stand together as they must.
    fn check_layers(&self) -> Result<()> {
        if let OneOrMany::One(pattern) = &self.target_modules {
            let with_list = "left out unless `target_modules` is a list";
            check(self.layers_to_transform.is_none(), "lora.layers_to_transform", with_list, pattern)?;
            check(self.layers_pattern.is_none(), "lora.layers_pattern", with_list, pattern)?;
        }
        let pattern = self.layers_pattern.as_ref().is_some_and(|pattern| !pattern.as_slice().is_empty());
        if pattern && self.layers_to_transform.is_none() {
            return Err(invalid(
                "lora.layers_to_transform",
                "given together with `layers_pattern`",
                &"nothing",
            ));
        }
        Ok(())
    }

    fn check_supported(&self) -> Result<()> {
        let unsupported = |what: String| Err(Error::Unsupported { what });
        match self.bias.as_str() {
            "none" | "lora_only" | "all" => {}
            other => return Err(invalid("lora.bias", "`none`, `lora_only` or `all`", &other)),
        }
        if let InitLoraWeights::Named(name) = &self.init_lora_weights
            && !self.init_lora_weights.is_supported()
        {
            return unsupported(format!("`init_lora_weights` = `{name}`"));
        }
        if self.lora_bias {
            return unsupported("`lora_bias` = true".to_owned());
        }
        match self.modules_to_save.as_deref() {
            Some([first, ..]) => unsupported(format!("`modules_to_save` = `{first}`, …")),
            _ => Ok(()),
        }
    }
}

fn positive(number: f64) -> bool {
    number.is_finite() && number > 0.0
}

fn invalid(key: &str, expected: &str, actual: &dyn std::fmt::Display) -> Error {
    Error::InvalidConfig { key: key.to_owned(), expected: expected.to_owned(), actual: actual.to_string() }
}

fn check(holds: bool, key: &str, expected: &str, actual: impl std::fmt::Display) -> Result<()> {
    if holds { Ok(()) } else { Err(invalid(key, expected, &actual)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first key that matches counts, so a narrow key must be able to stand before a wide one.
    #[test]
    fn patterns_keep_the_order_of_the_file() {
        let text = "[rank_pattern]\n\"layers.1.mlp.down_proj\" = 7\ndown_proj = 2\n\"a.*\" = 3\n";
        let expected = ["layers.1.mlp.down_proj", "down_proj", "a.*"];
        let direct: LoraConfig = toml::from_str(text).unwrap();
        let table: toml::Table = text.parse().unwrap();
        let through_table: LoraConfig = table.try_into().unwrap();
        for config in [direct, through_table] {
            assert!(config.rank_pattern.keys().eq(expected.iter()), "{:?}", config.rank_pattern);
            let written = toml::to_string(&config).unwrap();
            let again: LoraConfig = toml::from_str(&written).unwrap();
            assert!(again.rank_pattern.keys().eq(expected.iter()));
        }
    }
}
