use url::Url;

/// The address under which a site hands out the file behind a page that shows it: the PDF of a Google presentation, the file behind
/// a share link of Google Drive or Dropbox. None where the address is no such page.
pub(super) fn file_behind(url: &Url) -> Option<Url> {
    let parts: Vec<&str> = url.path_segments()?.collect();
    let mut file = url.clone();
    file.set_fragment(None);
    match (url.host_str()?, parts.as_slice()) {
        // `/presentation/u/1/d/…` is the same for the second of several accounts.
        ("docs.google.com", ["presentation", "u", _, "d", id, ..] | ["presentation", "d", id, ..])
            if *id != "e" && !parts.contains(&"export") =>
        {
            file.set_path(&format!("/presentation/d/{id}/export/pdf"));
            file.set_query(None);
        }
        ("drive.google.com", ["file", "d", id, ..] | ["file", "u", _, "d", id, ..]) => {
            file.set_path("/uc");
            file.set_query(Some(&format!("export=download&id={id}")));
        }
        ("www.dropbox.com" | "dropbox.com", ["s" | "scl", ..]) => {
            let others: Vec<(String, String)> =
                url.query_pairs().filter(|(key, _)| key != "dl").map(|(k, v)| (k.into(), v.into())).collect();
            file.query_pairs_mut().clear().extend_pairs(others).append_pair("dl", "1");
        }
        _ => return None,
    }
    (file != *url).then_some(file)
}

/// What to do with an address that gave a web page and no deck.
pub(super) fn remedy(url: &Url) -> &'static str {
    match url.host_str() {
        Some("docs.google.com" | "drive.google.com") => {
            "let anybody with the link see it (Share, General access), or download it as PDF (File, Download) and collect the file"
        }
        _ => "list pages under `[sources.web]`",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_shows_a_file_is_turned_into_the_file() {
        let cases = [
            (
                "https://docs.google.com/presentation/d/1a-B_c/edit?usp=sharing#slide=id.p",
                Some("https://docs.google.com/presentation/d/1a-B_c/export/pdf"),
            ),
            (
                "https://docs.google.com/presentation/d/1a-B_c",
                Some("https://docs.google.com/presentation/d/1a-B_c/export/pdf"),
            ),
            (
                "https://docs.google.com/presentation/u/1/d/1a-B_c/view",
                Some("https://docs.google.com/presentation/d/1a-B_c/export/pdf"),
            ),
            ("https://docs.google.com/presentation/d/1a-B_c/export/pdf", None),
            // Published to the web under another number, of which there is no export.
            ("https://docs.google.com/presentation/d/e/2PACX-1v/pub", None),
            ("https://docs.google.com/document/d/1a/edit", None),
            (
                "https://drive.google.com/file/d/1a/view?usp=sharing",
                Some("https://drive.google.com/uc?export=download&id=1a"),
            ),
            (
                "https://www.dropbox.com/s/ab/deck.pdf?dl=0",
                Some("https://www.dropbox.com/s/ab/deck.pdf?dl=1"),
            ),
            (
                "https://www.dropbox.com/scl/fi/ab/deck.pdf?rlkey=x&dl=0",
                Some("https://www.dropbox.com/scl/fi/ab/deck.pdf?rlkey=x&dl=1"),
            ),
            ("https://www.dropbox.com/s/ab/deck.pdf?dl=1", None),
            ("https://example.org/presentation/d/1a/edit", None),
        ];
        for (page, wanted) in cases {
            let found = file_behind(&Url::parse(page).unwrap());
            assert_eq!(found.as_ref().map(Url::as_str), wanted, "{page}");
        }
    }
}
