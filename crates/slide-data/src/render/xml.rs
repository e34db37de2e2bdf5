//! Reading of XML that other programs write: tags one after the other, without a tree.

use std::borrow::Cow;

/// Largest part of a package that is looked at, in bytes.
pub(super) const MAX_PART: u64 = 32 << 20;

/// The tags of a text, each with what stands behind it up to the next one.
pub(super) fn tokens(xml: &str) -> impl Iterator<Item = (&str, &str)> {
    xml.split('<').skip(1).map(|piece| piece.split_once('>').unwrap_or((piece, "")))
}

/// The name of a tag with its prefix, also of one that closes.
pub(super) fn name_of(tag: &str) -> &str {
    tag.split(|c: char| c.is_whitespace() || c == '/').find(|part| !part.is_empty()).unwrap_or_default()
}

/// The name of a tag without its prefix, also of one that closes.
pub(super) fn local_name(tag: &str) -> &str {
    let name = name_of(tag);
    name.rsplit_once(':').map_or(name, |(_, name)| name)
}

/// The insides of the tags of a local name, whatever their prefix.
pub(super) fn tags<'a>(xml: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    xml.split('<').skip(1).filter_map(move |tag| {
        let inside = tag.split('>').next()?;
        let end = inside.find(|c: char| c.is_whitespace() || c == '/').unwrap_or(inside.len());
        let (tag, rest) = inside.split_at(end);
        (tag.rsplit(':').next()? == name).then_some(rest)
    })
}

/// What an attribute says.
pub(super) fn attribute(tag: &str, name: &str) -> Option<String> {
    let mut from = 0;
    while let Some(found) = tag[from..].find(name) {
        let at = from + found;
        from = at + name.len();
        let is_whole = tag[..at].ends_with(char::is_whitespace);
        let Some(value) = tag[from..].trim_start().strip_prefix('=').map(str::trim_start) else { continue };
        let quote = value.chars().next()?;
        if is_whole && (quote == '"' || quote == '\'') {
            return value[1..].split(quote).next().map(|value| value.replace("&amp;", "&"));
        }
    }
    None
}

/// The number that an attribute says.
pub(super) fn number(tag: &str, name: &str) -> Option<f64> {
    attribute(tag, name)?.trim().parse().ok()
}

/// A text with its entities resolved.
pub(super) fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('&') {
        return Cow::Borrowed(text);
    }
    let mut parts = text.split('&');
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let resolved = part.split_once(';').and_then(|(entity, rest)| Some((character(entity)?, rest)));
        if let Some((character, rest)) = resolved {
            whole.push(character);
            whole.push_str(rest);
        } else {
            whole.push('&');
            whole.push_str(part);
        }
    }
    Cow::Owned(whole)
}

fn character(entity: &str) -> Option<char> {
    match entity {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = entity.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(digits) => u32::from_str_radix(digits, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_attributes_are_read_whatever_their_prefix() {
        let xml = "<a:p><x:off x=\"1\" cx = '25' /><off></off>a</a:p>";
        assert_eq!(tags(xml, "off").count(), 2);
        let tag = tags(xml, "off").next().unwrap();
        assert_eq!((number(tag, "x"), number(tag, "cx"), attribute(tag, "y")), (Some(1.0), Some(25.0), None));
        let names: Vec<_> = tokens(xml).map(|(tag, _)| local_name(tag)).collect();
        assert_eq!(names, ["p", "off", "off", "off", "p"]);
    }

    #[test]
    fn entities_stand_for_their_characters() {
        assert_eq!(
            unescaped("R&amp;D &lt;5 &#169;&#xE9; &unknown; & &#xD800;"),
            "R&D <5 ©é &unknown; & &#xD800;"
        );
        assert_eq!(unescaped("plain"), "plain");
    }
}
