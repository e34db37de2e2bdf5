//! The variables that the service's own client obeys. Whoever reads them passes a look-up: the library reads no environment.

use super::settings::{WandbConfig, WandbMode};

/// A variable that holds no value it can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} cannot be `{value}`: {expected}")]
pub struct EnvironmentError {
    /// The variable.
    pub name: &'static str,
    /// What it holds.
    pub value: String,
    /// What it can hold.
    pub expected: &'static str,
}

/// What the variables say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Environment {
    /// The configuration with what the variables change of it.
    pub config: WandbConfig,
    /// The id that the run is to have at the service: `WANDB_RUN_ID`.
    pub id: Option<String>,
}

impl Environment {
    /// Lets `WANDB_MODE`, `WANDB_DISABLED`, `WANDB_PROJECT`, `WANDB_ENTITY`, `WANDB_NAME`, `WANDB_RUN_GROUP`, `WANDB_NOTES`,
    /// `WANDB_TAGS` and `WANDB_RUN_ID` come before the configuration.
    ///
    /// # Errors
    /// When a variable holds no value it can have.
    pub fn over(
        mut config: WandbConfig,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, EnvironmentError> {
        if let Some(value) = variable("WANDB_MODE") {
            config.mode = mode(value)?;
        }
        if variable("WANDB_DISABLED").is_some_and(|value| is_true(&value)) {
            config.mode = WandbMode::Disabled;
        }
        take_names(&mut config, variable);
        if let Some(tags) = variable("WANDB_TAGS") {
            config.tags =
                tags.split(',').map(|tag| tag.trim().to_owned()).filter(|tag| !tag.is_empty()).collect();
        }
        let id = variable("WANDB_RUN_ID").map(run_id).transpose()?;
        Ok(Self { config, id })
    }
}

fn mode(value: String) -> Result<WandbMode, EnvironmentError> {
    match value.to_lowercase().as_str() {
        "online" | "run" | "shared" => Ok(WandbMode::Online),
        "offline" | "dryrun" => Ok(WandbMode::Offline),
        "disabled" => Ok(WandbMode::Disabled),
        _ => {
            let expected = "it is online, offline or disabled";
            Err(EnvironmentError { name: "WANDB_MODE", value, expected })
        }
    }
}

/// Whose the run is, and what it is called.
fn take_names(config: &mut WandbConfig, variable: &dyn Fn(&str) -> Option<String>) {
    for (name, value) in [
        ("WANDB_PROJECT", &mut config.project),
        ("WANDB_ENTITY", &mut config.entity),
        ("WANDB_NAME", &mut config.name),
        ("WANDB_RUN_GROUP", &mut config.group),
        ("WANDB_NOTES", &mut config.notes),
    ] {
        if let Some(named) = variable(name) {
            *value = named;
        }
    }
}

fn run_id(value: String) -> Result<String, EnvironmentError> {
    let cannot_be = |c: char| "/\\#?%:".contains(c) || c.is_whitespace();
    if value.contains(cannot_be) || value.len() > 128 {
        let expected = "an id has at most 128 characters and none of / \\ # ? % :";
        return Err(EnvironmentError { name: "WANDB_RUN_ID", value, expected });
    }
    Ok(value)
}

fn is_true(value: &str) -> bool {
    ["1", "true", "t", "yes", "y", "on"].iter().any(|word| value.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(set: &[(&str, &str)]) -> Result<Environment, EnvironmentError> {
        let variable =
            |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Environment::over(WandbConfig::default(), &variable)
    }

    #[test]
    fn the_services_variables_come_before_the_configuration() {
        assert_eq!(over(&[]).unwrap().config, WandbConfig::default());
        for (mode, expected) in [
            ("offline", WandbMode::Offline),
            ("dryrun", WandbMode::Offline),
            ("DISABLED", WandbMode::Disabled),
            ("online", WandbMode::Online),
        ] {
            assert_eq!(over(&[("WANDB_MODE", mode)]).unwrap().config.mode, expected);
        }
        let off = [("WANDB_MODE", "online"), ("WANDB_DISABLED", "true")];
        assert_eq!(over(&off).unwrap().config.mode, WandbMode::Disabled);
        assert_eq!(over(&[("WANDB_DISABLED", "false")]).unwrap().config.mode, WandbMode::Online);
        for wrong in [("WANDB_MODE", "ofline"), ("WANDB_RUN_ID", "a/b")] {
            let error = over(&[wrong]).unwrap_err();
            assert!(error.to_string().contains(wrong.1) && error.to_string().contains(wrong.0), "{error}");
        }
        let all = over(&[
            ("WANDB_PROJECT", "p"),
            ("WANDB_ENTITY", "e"),
            ("WANDB_NAME", "n"),
            ("WANDB_TAGS", "a, b,"),
            ("WANDB_RUN_GROUP", "g"),
            ("WANDB_NOTES", "why"),
            ("WANDB_RUN_ID", "r1"),
        ]);
        let config = WandbConfig {
            project: "p".to_owned(),
            entity: "e".to_owned(),
            name: "n".to_owned(),
            tags: vec!["a".to_owned(), "b".to_owned()],
            group: "g".to_owned(),
            notes: "why".to_owned(),
            ..WandbConfig::default()
        };
        assert_eq!(all.unwrap(), Environment { config, id: Some("r1".to_owned()) });
    }
}
