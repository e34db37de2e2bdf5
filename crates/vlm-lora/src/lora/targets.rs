//! Which modules get an adapter: PEFT's matching (`check_target_module_exists`, `get_pattern_key` of peft 0.21).

use std::collections::BTreeSet;

use fancy_regex::Regex;
use serde::{Deserialize, Serialize};

use super::{LoraConfig, OneOrMany};
use crate::{Error, ModelConfig, Result};

/// A linear layer that an adapter can be put on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Full name in the model, as in `model.text_model.layers.0.self_attn.q_proj`.
    pub name: String,
    /// Width of the input.
    pub in_features: usize,
    /// Width of the output.
    pub out_features: usize,
}

/// The adapter of one module, everything resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdapterSpec {
    /// Full name of the module.
    pub module: String,
    /// Width of the input of `A`.
    pub in_features: usize,
    /// Width of the output of `B`.
    pub out_features: usize,
    /// Rank.
    pub r: usize,
    /// Factor of the update: `lora_alpha / r`, or `lora_alpha / √r` with rsLoRA.
    pub scale: f64,
    /// Probability of dropping an element of the input in training.
    pub dropout: f64,
    /// Whether there is a magnitude vector.
    pub use_dora: bool,
}

const HEAD: &str = "lm_head";

/// Modules that are no linears but that PEFT would put an adapter on.
const OTHERS: [&str; 3] = [
    "model.text_model.embed_tokens",
    "model.vision_model.embeddings.patch_embedding",
    "model.vision_model.embeddings.position_embedding",
];

impl LoraConfig {
    /// The adapters of a model, in the order of [`ModelConfig::linears`].
    ///
    /// # Errors
    /// As [`targets`](Self::targets); also when the configuration names an embedding or the patch convolution, which PEFT
    /// would adapt and this crate does not.
    pub fn adapters(&self, model: &ModelConfig) -> Result<Vec<AdapterSpec>> {
        let matcher = Matcher::new(self)?;
        if !matcher.all_linear {
            for name in OTHERS {
                if matcher.matches(name)? {
                    return Err(Error::Unsupported {
                        what: format!("an adapter on `{name}`, which is no linear layer"),
                    });
                }
            }
        }
        self.targets(&model.linears())
    }

    /// Whether a model with this adapter sees images otherwise than its base: something of the vision tower or the connector is trained,
    /// so features that were computed before do not hold ([`Model::trains_vision`](crate::Model::trains_vision)).
    ///
    /// # Errors
    /// As [`adapters`](Self::adapters).
    pub fn changes_vision(&self, model: &ModelConfig) -> Result<bool> {
        let specs = self.adapters(model)?;
        let biases = self.trained_biases(model, &specs);
        let mut trained = specs.iter().map(|spec| &spec.module).chain(biases.iter().map(|(name, _)| name));
        Ok(trained.any(|name| !name.starts_with("model.text_model.") && name != HEAD))
    }

    /// Name and length of each bias that is trained beside these adapters, in alphabetical order.
    pub(crate) fn trained_biases(&self, model: &ModelConfig, specs: &[AdapterSpec]) -> Vec<(String, usize)> {
        let is_adapted =
            |bias: &str| specs.iter().any(|spec| bias.strip_suffix(".bias") == Some(&spec.module));
        let is_trained = |name: &str| match self.bias.as_str() {
            "all" => true,
            "lora_only" => is_adapted(name),
            _ => false,
        };
        let biases =
            model.tensors().into_iter().filter(|(name, _)| name.ends_with("bias") && is_trained(name));
        let mut biases: Vec<_> = biases.map(|(name, shape)| (name, shape.iter().product())).collect();
        biases.sort();
        biases
    }

    /// The modules that the configuration takes, in their order, with rank and scale resolved.
    ///
    /// # Errors
    /// When the configuration is not valid, a pattern is no regular expression, or nothing matches; the error then lists what
    /// could have been named.
    pub fn targets(&self, modules: &[Module]) -> Result<Vec<AdapterSpec>> {
        let matcher = Matcher::new(self)?;
        let ranks = Patterns::new("lora.rank_pattern", self.rank_pattern.iter())?;
        let alphas = Patterns::new("lora.alpha_pattern", self.alpha_pattern.iter())?;
        let mut specs = Vec::new();
        for module in modules {
            if matcher.matches(&module.name)? {
                let r = ranks.get(&module.name)?.unwrap_or(self.r);
                let alpha = alphas.get(&module.name)?.unwrap_or(self.lora_alpha);
                specs.push(AdapterSpec {
                    module: module.name.clone(),
                    in_features: module.in_features,
                    out_features: module.out_features,
                    r,
                    scale: alpha / if self.use_rslora { (r as f64).sqrt() } else { r as f64 },
                    dropout: self.lora_dropout,
                    use_dora: self.use_dora,
                });
            }
        }
        if specs.is_empty() { Err(self.nothing_matched(modules)) } else { Ok(specs) }
    }

    /// Whether each entry of `target_modules`, `rank_pattern` and `alpha_pattern` takes part: one that matches nothing is a
    /// slip that would otherwise train half of what was meant. PEFT says nothing of it, so that files that PEFT wrote are read
    /// without this check.
    ///
    /// # Errors
    /// Names the first entry that matches no module, or for a pattern no module that gets an adapter.
    pub fn check_all_match(&self, model: &ModelConfig) -> Result<()> {
        let modules = model.linears();
        let names = |modules: &[Module]| modules.iter().map(|module| module.name.clone()).collect::<Vec<_>>();
        if let OneOrMany::Many(targets) = &self.target_modules {
            each_matches("lora.target_modules", targets.iter(), &names(&modules), |target| {
                Ok(Names::List(std::slice::from_ref(target)))
            })?;
        }
        let adapted: Vec<String> = self.targets(&modules)?.into_iter().map(|spec| spec.module).collect();
        for (key, patterns) in [
            ("lora.rank_pattern", self.rank_pattern.keys().collect::<Vec<_>>()),
            ("lora.alpha_pattern", self.alpha_pattern.keys().collect()),
        ] {
            each_matches(key, patterns.into_iter(), &adapted, |ending| {
                Ok(Names::Pattern(Box::new(ending_with(key, ending)?)))
            })?;
        }
        Ok(())
    }

    fn nothing_matched(&self, modules: &[Module]) -> Error {
        let suffixes: BTreeSet<&str> = modules.iter().filter_map(|m| m.name.rsplit('.').next()).collect();
        let suffixes: Vec<String> = suffixes.iter().map(|name| format!("`{name}`")).collect();
        Error::InvalidConfig {
            key: "lora.target_modules".to_owned(),
            expected: format!(
                "a name of this model's modules ({}) that is not excluded",
                suffixes.join(", ")
            ),
            actual: format!("{:?}", self.target_modules.as_slice()),
        }
    }
}

/// `target_modules`, `exclude_modules` and the layer options, compiled.
struct Matcher<'a> {
    all_linear: bool,
    target: Names<'a>,
    exclude: Option<Names<'a>>,
    layers: Option<Layers<'a>>,
}

impl<'a> Matcher<'a> {
    fn new(config: &'a LoraConfig) -> Result<Self> {
        config.validate()?;
        let all_linear = matches!(&config.target_modules,
            OneOrMany::One(name) if name.eq_ignore_ascii_case("all-linear"));
        let exclude = config.exclude_modules.as_ref().filter(|names| match names {
            OneOrMany::One(pattern) => !pattern.is_empty(),
            OneOrMany::Many(names) => !names.is_empty(),
        });
        Ok(Self {
            all_linear,
            target: if all_linear {
                Names::List(&[])
            } else {
                Names::new("lora.target_modules", &config.target_modules)?
            },
            exclude: exclude.map(|names| Names::new("lora.exclude_modules", names)).transpose()?,
            layers: Layers::new(config)?,
        })
    }

    fn matches(&self, name: &str) -> Result<bool> {
        if let Some(exclude) = &self.exclude
            && exclude.matches(name)?
        {
            return Ok(false);
        }
        if self.all_linear {
            return Ok(name != HEAD);
        }
        if self.target.is_exactly(name) {
            return Ok(true); // a full name in the list is taken whatever its layer
        }
        Ok(self.target.matches(name)?
            && self.layers.as_ref().map_or(Ok(true), |layers| layers.matches(name))?)
    }
}

enum Names<'a> {
    Pattern(Box<Regex>),
    List(&'a [String]),
}

impl<'a> Names<'a> {
    fn new(key: &str, names: &'a OneOrMany<String>) -> Result<Self> {
        match names {
            OneOrMany::One(pattern) => {
                Ok(Self::Pattern(Box::new(compile(key, &format!(r"\A(?:{pattern})\z"))?)))
            }
            OneOrMany::Many(names) => Ok(Self::List(names)),
        }
    }

    fn is_exactly(&self, name: &str) -> bool {
        matches!(self, Self::List(names) if names.iter().any(|entry| entry == name))
    }

    fn matches(&self, name: &str) -> Result<bool> {
        match self {
            Self::Pattern(pattern) => is_match(pattern, name),
            Self::List(names) => Ok(names.iter().any(|entry| {
                name.strip_suffix(entry.as_str()).is_some_and(|head| head.is_empty() || head.ends_with('.'))
            })),
        }
    }
}

struct Layers<'a> {
    indexes: &'a [usize],
    patterns: Vec<Regex>,
}

impl<'a> Layers<'a> {
    fn new(config: &'a LoraConfig) -> Result<Option<Self>> {
        let indexes = match &config.layers_to_transform {
            Some(indexes) if !indexes.as_slice().is_empty() => indexes.as_slice(),
            _ => return Ok(None),
        };
        let names = config.layers_pattern.as_ref().map_or(&[][..], OneOrMany::as_slice);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let patterns = if names.is_empty() || names == [""] {
            vec![compile("lora.layers_pattern", r"\A.*?\.[^.]*\.(?P<idx>\d+)\.")?]
        } else {
            let anchored = |name: &&str| {
                compile("lora.layers_pattern", &format!(r"\A(?:^|.*?\.){name}\.(?P<idx>\d+)\."))
            };
            names.iter().map(anchored).collect::<Result<_>>()?
        };
        Ok(Some(Self { indexes, patterns }))
    }

    fn matches(&self, name: &str) -> Result<bool> {
        for pattern in &self.patterns {
            if let Some(found) = pattern.captures(name).map_err(|error| failed(pattern, &error))? {
                let index = found.name("idx").and_then(|index| index.as_str().parse::<usize>().ok());
                return Ok(index.is_some_and(|index| self.indexes.contains(&index)));
            }
        }
        Ok(false)
    }
}

/// A table from name endings to values; the first key that matches counts.
struct Patterns<T>(Vec<(Regex, T)>);

impl<T: Copy> Patterns<T> {
    fn new<'a>(key: &str, entries: impl Iterator<Item = (&'a String, &'a T)>) -> Result<Self>
    where
        T: 'a,
    {
        let compiled = entries.map(|(name, value)| Ok((ending_with(key, name)?, *value)));
        compiled.collect::<Result<_>>().map(Self)
    }

    fn get(&self, name: &str) -> Result<Option<T>> {
        for (pattern, value) in &self.0 {
            if is_match(pattern, name)? {
                return Ok(Some(*value));
            }
        }
        Ok(None)
    }
}

/// Matches names that end, from a dot on, with the pattern.
fn ending_with(key: &str, pattern: &str) -> Result<Regex> {
    // Python's `$` also matches before a final newline, which no module name has.
    compile(key, &format!(r"\A(?:.*\.)?(?:{pattern})\z"))
}

/// Whether every entry matches one of the modules' names at least.
fn each_matches<'a>(
    key: &str,
    mut entries: impl Iterator<Item = &'a String>,
    modules: &[String],
    compiled: impl Fn(&'a String) -> Result<Names<'a>>,
) -> Result<()> {
    entries.try_for_each(|entry| {
        let names = compiled(entry)?;
        for module in modules {
            if names.matches(module)? {
                return Ok(());
            }
        }
        let ends: BTreeSet<&str> = modules.iter().filter_map(|name| name.rsplit('.').next()).collect();
        let ends: Vec<String> = ends.iter().map(|name| format!("`{name}`")).collect();
        Err(Error::InvalidConfig {
            key: key.to_owned(),
            expected: format!("entries that each match a module (they end in {})", ends.join(", ")),
            actual: format!("`{entry}`, which matches none"),
        })
    })
}

fn compile(key: &str, pattern: &str) -> Result<Regex> {
    Regex::new(pattern).map_err(|error| Error::InvalidConfig {
        key: key.to_owned(),
        expected: "a regular expression".to_owned(),
        actual: format!("`{pattern}` ({error})"),
    })
}

fn is_match(pattern: &Regex, name: &str) -> Result<bool> {
    pattern.is_match(name).map_err(|error| failed(pattern, &error))
}

/// A pattern that backtracks without end is stopped by the library.
fn failed(pattern: &Regex, error: &fancy_regex::Error) -> Error {
    Error::InvalidConfig {
        key: "lora.target_modules".to_owned(),
        expected: "a regular expression that can be matched in reasonable time".to_owned(),
        actual: format!("`{pattern}` ({error})"),
    }
}
