use super::*;

fn touch(root: &Path, names: &[&str]) {
    for name in names {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, b"\x89PNG").unwrap();
    }
}

#[test]
fn folders_series_and_single_files_become_decks() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("in");
    touch(&root, &["acme-10.png", "acme-2.png", "lone.png", "deck 🚀/b.png", "deck 🚀/a.png", ".hidden.png"]);
    std::fs::write(root.join("notes.txt"), "not a slide").unwrap();
    let found = find_inputs(&root, Some(&root)).unwrap();
    let rows: Vec<_> = found.iter().map(|f| (f.origin.as_str(), f.deck.0.as_str(), f.number)).collect();
    let wanted = [
        ("acme-2.png", "acme", 1),
        ("acme-10.png", "acme", 2),
        ("deck 🚀/a.png", "deck 🚀", 1),
        ("deck 🚀/b.png", "deck 🚀", 2),
        ("lone.png", "lone", 1),
    ];
    assert_eq!(rows, wanted);
}

#[test]
fn a_folder_is_one_deck_however_it_is_named_and_two_of_one_name_are_two() {
    let dir = tempfile::tempdir().unwrap();
    touch(
        dir.path(),
        &["alpha/slides/2.png", "alpha/slides/10.png", "alpha/slides/cover.png", "beta/slides/1.png"],
    );
    let folder = find_inputs(&dir.path().join("alpha/slides"), None).unwrap();
    let rows: Vec<_> = folder.iter().map(|f| (f.origin.as_str(), f.deck.title(), f.number)).collect();
    let wanted =
        [("slides/2.png", "slides", 1), ("slides/10.png", "slides", 2), ("slides/cover.png", "slides", 3)];
    assert_eq!(rows, wanted);
    assert!(folder.iter().all(|input| input.deck == folder[0].deck));
    for name in ["alpha/slides/2.png", "alpha/slides", "alpha", ""] {
        let found = find_inputs(&dir.path().join(name), None).unwrap();
        assert_eq!(found[0].deck.id(), folder[0].deck.id(), "{name}");
    }
    let other = find_inputs(&dir.path().join("beta/slides"), None).unwrap();
    assert_eq!(other[0].origin, "slides/1.png");
    assert_ne!(other[0].deck.id(), folder[0].deck.id());
}

#[cfg(unix)]
#[test]
fn names_that_are_not_utf8_stay_apart() {
    use std::os::unix::ffi::OsStrExt;
    let names = [b"caf\xe9.png".as_slice(), b"caf\xe8.png", "café.png".as_bytes()];
    let readable = names.map(|name| readable(OsStr::from_bytes(name)));
    assert_eq!(readable, ["caf\\xE9.png", "caf\\xE8.png", "café.png"]);
}

#[test]
fn a_part_of_the_upload_folder_has_the_names_it_has_in_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    touch(dir.path(), &["a/1.png", "b/1.png"]);
    let whole = find_inputs(dir.path(), Some(dir.path())).unwrap();
    let part = find_inputs(&dir.path().join("b"), Some(dir.path())).unwrap();
    assert_eq!(part[..], whole[1..]);
}

#[test]
fn folders_of_one_name_are_told_apart_by_those_above() {
    let dir = tempfile::tempdir().unwrap();
    touch(dir.path(), &["a/deck/1.png", "b/deck/1.png", "c/other.png"]);
    let paths =
        ["a/deck", "b/deck", "c/other.png", "a/deck/1.png", "b/deck"].map(|name| dir.path().join(name));
    let found = find_all_inputs(&paths, None).unwrap();
    let origins: Vec<_> = found.iter().map(|input| input.origin.as_str()).collect();
    assert_eq!(origins, ["a/deck/1.png", "b/deck/1.png", "other.png"]);
    assert_ne!(found[0].deck.id(), found[1].deck.id());
}

/// The names of what is passed over, with words of the reason.
fn passed(survey: &Survey) -> Vec<(String, String)> {
    let row = |item: &PassedOver| {
        let name = item.origin.split_once('/').map_or(item.origin.as_str(), |(_, rest)| rest);
        (name.to_owned(), item.reason.to_string())
    };
    survey.passed_over.iter().map(row).collect()
}

#[cfg(unix)]
#[test]
fn a_loop_of_links_ends_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    touch(dir.path(), &["deck/1.png"]);
    std::os::unix::fs::symlink(dir.path(), dir.path().join("deck/up")).unwrap();
    std::os::unix::fs::symlink("nowhere.png", dir.path().join("dangling.png")).unwrap();
    let found = survey(&[dir.path()], None).unwrap();
    assert_eq!(found.inputs.len(), 1);
    let rows = passed(&found);
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert!(rows[0].0 == "dangling.png" && rows[0].1.contains("a link to nothing"), "{rows:?}");
    assert!(rows[1].0 == "deck/up" && rows[1].1.contains("leads back up"), "{rows:?}");
}

#[test]
fn every_file_is_in_one_list() {
    let dir = tempfile::tempdir().unwrap();
    touch(
        dir.path(),
        &["1.png", "~$a.pptx", "a.pdf.part", ".git/config", "deck.key/Data/st1.jpg", ".hidden.png"],
    );
    for (name, bytes) in [
        ("notes.txt", b"words".as_slice()),
        ("old.xls", b"\xd0\xcf\x11\xe0\xa1"),
        ("x.wmf", b"\xd7\xcd\xc6\x9a"),
    ] {
        std::fs::write(dir.path().join(name), bytes).unwrap();
    }
    let found = survey(&[dir.path()], None).unwrap();
    let inputs: Vec<_> = found.inputs.iter().map(|input| input.path.file_name().unwrap()).collect();
    assert_eq!(inputs, ["1.png", "old.xls"]);
    let rows = passed(&found);
    let wanted = [
        (".git", "hidden folder"),
        (".hidden.png", "hidden"),
        ("a.pdf.part", "has not ended"),
        ("deck.key", "Keynote"),
        ("notes.txt", "a text"),
        ("x.wmf", "WMF"),
        ("~$a.pptx", "lock file"),
    ];
    assert_eq!(rows.len(), wanted.len(), "{rows:?}");
    for ((name, reason), (wanted, words)) in rows.iter().zip(wanted) {
        assert!(name == wanted && reason.contains(words), "{name}: {reason}");
    }
}

#[test]
fn what_is_named_itself_is_read_although_it_is_passed_over_in_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    touch(dir.path(), &["1.png", ".hidden/2.png"]);
    let found = survey(&[dir.path().to_owned(), dir.path().join(".hidden")], None).unwrap();
    assert_eq!((found.inputs.len(), found.passed_over.len()), (2, 1));
    let found = survey(&[dir.path().to_owned(), dir.path().join(".hidden/2.png")], None).unwrap();
    assert_eq!(found.inputs.len(), 2);
}

#[test]
fn composed_and_decomposed_names_are_one_deck() {
    assert_eq!(DeckName("Caf\u{e9}".to_owned()).id(), DeckName("Cafe\u{301}".to_owned()).id());
}

#[test]
fn the_nearest_terms_hold() {
    let dir = tempfile::tempdir().unwrap();
    touch(dir.path(), &["open/a/1.png", "mine/1.png"]);
    std::fs::write(dir.path().join("open/source.toml"), "license = \"CC-BY-4.0\"").unwrap();
    let found = find_inputs(dir.path(), None).unwrap();
    assert_eq!(found[0].license, None);
    assert_eq!(found[1].license.as_deref(), Some("CC-BY-4.0"));
}
