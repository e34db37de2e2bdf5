use vlm_eval::Override;

/// A condition that is set aside, as in `max_mae=a first trial`.
pub(crate) fn parse(text: &str) -> Result<Override, String> {
    const NAMES: [&str; 4] = ["min_human_agreement", "max_mae", "champion_margin", "human_ceiling"];
    let (name, reason) = text.split_once('=').unwrap_or((text, ""));
    if !NAMES.contains(&name) {
        return Err(format!("`{name}` cannot be set aside, only {}", NAMES.join(", ")));
    }
    if reason.trim().is_empty() {
        return Err(format!("say why, as in `{name}=a first trial in one team`"));
    }
    Ok(Override { name: name.to_owned(), reason: reason.trim().to_owned() })
}
