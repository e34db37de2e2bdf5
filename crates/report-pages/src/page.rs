use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};

use crate::{Error, Result};

/// All templates: the pages and what they share.
const TEMPLATES: [(&str, &str); 8] = [
    ("style.css", include_str!("../templates/style.css")),
    ("page.html", include_str!("../templates/page.html")),
    ("plots.html", include_str!("../templates/plots.html")),
    ("deck.html", include_str!("../templates/deck.html")),
    ("versions.html", include_str!("../templates/versions.html")),
    ("validation.html", include_str!("../templates/validation.html")),
    ("drift.html", include_str!("../templates/drift.html")),
    ("contact_sheet.html", include_str!("../templates/contact_sheet.html")),
];

/// Renders a page. Every value is escaped, and a name that the context lacks is an error rather than nothing.
pub(crate) fn render(page: &'static str, context: Value) -> Result<String> {
    let render = || {
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        for (name, source) in TEMPLATES {
            environment.add_template(name, source)?;
        }
        environment.get_template(page)?.render(context)
    };
    render().map_err(|source| Error::Template { page, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use minijinja::context;

    #[test]
    fn a_value_that_a_page_lacks_is_an_error() {
        let error = render("drift.html", context! { title => "Drift report" }).unwrap_err();
        assert_eq!(error.to_string(), "cannot render `drift.html`");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("undefined"), "{cause}");
    }
}
