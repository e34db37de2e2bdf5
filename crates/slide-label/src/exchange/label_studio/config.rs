//! The configuration of Label Studio's page for a rubric.

use std::fmt::Write;

use slide_data::Rubric;

use super::NOT_APPLICABLE;

/// The labelling configuration (`config.xml`) whose controls an import knows: stars and "not applicable" for each criterion, notes.
pub fn config_xml(rubric: &Rubric) -> String {
    let mut xml = String::from(
        "<View>\n  <Image name=\"image\" value=\"$image\" zoom=\"true\" zoomControl=\"true\"/>\n",
    );
    for criterion in &rubric.criteria {
        let (key, question) = (&criterion.key, escaped(&criterion.question));
        let _ = write!(
            xml,
            "  <Header value=\"{}\" size=\"4\"/>\n  <Header value=\"{question}\" size=\"6\"/>\n  <Rating name=\"{key}\" \
             toName=\"image\" maxRating=\"5\"/>\n  <Choices name=\"{key}_na\" toName=\"image\" choice=\"single-radio\" \
             showInline=\"true\">\n    <Choice value=\"{NOT_APPLICABLE}\"/>\n  </Choices>\n",
            escaped(&criterion.name),
        );
    }
    xml.push_str("  <TextArea name=\"notes\" toName=\"image\" rows=\"2\" maxSubmissions=\"1\" placeholder=\"Notes\"/>\n</View>\n");
    xml
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '$' => escaped.push_str("&#36;"), // names a task's data elsewhere
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_criterion_has_its_controls_and_text_is_escaped() {
        let mut rubric = Rubric::default();
        rubric.criteria[0].question = "Is a < b & \"c\" $d?".to_owned();
        let xml = config_xml(&rubric);
        for key in rubric.keys() {
            let (stars, not_applicable) =
                (format!("<Rating name=\"{key}\""), format!("<Choices name=\"{key}_na\""));
            assert!(xml.contains(&stars) && xml.contains(&not_applicable), "{key}: {xml}");
        }
        assert!(xml.contains("a &lt; b &amp; &quot;c&quot; &#36;d?"), "{xml}");
        assert_eq!(xml.matches("<Choices").count(), xml.matches("</Choices>").count());
    }
}
