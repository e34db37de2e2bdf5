//! The page in a real browser (Debian's chromium, driven over `WebDriver`). Where none is installed the tests say that they were left
//! out; `.ci/install-browser` installs one.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test program: it has no readers of its documentation, and stops at the first surprise"
)]

#[path = "../common/mod.rs"]
mod common;
mod driver;

use std::path::PathBuf;

use common::{Server, Site, build_dir, wait_until};
use driver::{Browser, DOWN, Driver, ENTER, ESCAPE, TAB};
use slide_data::Score;
use slide_label::Kind;

/// The driver, or nothing, said clearly.
fn driver(test: &str) -> Option<Driver> {
    let driver = Driver::start();
    if driver.is_none() {
        eprintln!("LEFT OUT: {test} needs chromium and chromedriver (.ci/install-browser installs them)");
    }
    driver
}

fn serve(site: &Site) -> Server {
    Server::start(site, &["--port", "0"])
}

#[track_caller]
fn sign_in(browser: &Browser<'_>, url: &str, name: &str) {
    browser.open(url);
    wait_until("the page asks for a name", || {
        browser
            .run("return document.activeElement?.id === 'name' && !document.getElementById('sign-in').hidden")
            == true
    });
    browser.press(name);
    browser.press(ENTER);
    wait_for_slide(browser);
}

#[track_caller]
fn wait_for_slide(browser: &Browser<'_>) {
    wait_until("a slide is shown", || {
        browser.run(
            "return !document.getElementById('rate').hidden && !document.getElementById('picture').hidden",
        ) == true
    });
}

fn slide_name(browser: &Browser<'_>) -> String {
    browser.text("#slide-name")
}

/// The slide's id, from its name on the page.
fn slide_id(browser: &Browser<'_>) -> String {
    let name = slide_name(browser);
    let (deck, rest) = name.split_once(", slide ").expect("a slide's name");
    let number: usize = rest.split(' ').next().unwrap().parse().unwrap();
    format!("{deck}-{number:03}")
}

#[track_caller]
fn wait_for_another(browser: &Browser<'_>, before: &str) {
    wait_until("the next slide", || slide_name(browser) != before);
}

#[track_caller]
fn wait_saved(browser: &Browser<'_>) {
    wait_until("all is saved", || browser.text("#status") == "All saved");
}

fn stored(site: &Site, slide: &str, who: &str, key: &str) -> Option<u8> {
    site.store().current(slide, who)?.scores.get(key).copied().flatten().map(Score::get)
}

#[test]
fn ten_slides_are_rated_with_six_keys_each() {
    let Some(driver) = driver("rating by keyboard") else { return };
    let site = Site::new(4, 4, "calibration_slides = 0");
    let mut server = serve(&site);
    let browser = driver.browser(1300, 850);
    sign_in(&browser, &server.url, "Ana");
    assert_eq!(
        browser.run("return document.querySelectorAll('input[type=radio]:checked').length"),
        0,
        "nothing is preselected"
    );
    let mut given = Vec::new();
    for round in 0..10u8 {
        let before = slide_name(&browser);
        let digit = |offset: u8| char::from(b'1' + (round + offset) % 5);
        let keys: String = [digit(0), digit(1), 'n', digit(3), digit(4)].iter().collect();
        given.push((slide_id(&browser), (round) % 5 + 1));
        browser.press(&keys);
        browser.press(ENTER);
        wait_for_another(&browser, &before);
    }
    wait_saved(&browser);
    assert!(browser.text("#progress-text").starts_with("10 of 16"), "{}", browser.text("#progress-text"));
    assert_eq!(browser.complaints(), Vec::<String>::new());
    assert_eq!(server.stop(), 0);
    for (slide, clarity) in given {
        assert_eq!(stored(&site, &slide, "Ana", "clarity"), Some(clarity), "{slide}");
        assert_eq!(site.store().current(&slide, "Ana").unwrap().scores["data_visualization"], None);
    }
    assert_eq!(site.labels().slides.len(), 10);
}

#[test]
fn what_is_missing_is_shown_and_letters_arrows_notes_and_dialogs_work() {
    let Some(driver) = driver("keys") else { return };
    let site = Site::new(3, 2, "calibration_slides = 0");
    let server = serve(&site);
    let browser = driver.browser(1300, 850);
    sign_in(&browser, &server.url, "Ana");
    let slide = slide_id(&browser);
    browser.press(ENTER);
    assert!(
        browser.text("#missing").contains("Clarity, Design, Data visualization"),
        "{}",
        browser.text("#missing")
    );
    browser.press("r5c4"); // readability by its letter, then clarity by its own
    browser.press(DOWN);
    browser.press("?");
    assert_eq!(browser.run("return document.getElementById('help').open"), true);
    browser.press(ESCAPE);
    browser.press("g");
    assert!(browser.text("#guide-body").contains("one message, seen at a glance"));
    browser.press(ESCAPE);
    browser.press("tb u s"); // in the notes these are letters
    browser.press(ESCAPE);
    browser.reload();
    wait_for_slide(&browser);
    assert_eq!(slide_id(&browser), slide, "a reload stays on the slide");
    assert_eq!(
        browser.run("return document.getElementById('notes').value"),
        "b u s",
        "and keeps what was begun"
    );
    let before = slide_name(&browser);
    browser.press(ENTER);
    browser.press_with_shift(ENTER);
    wait_for_another(&browser, &before);
    wait_saved(&browser);
    let store = site.store();
    let event = store.current(&slide, "Ana").unwrap();
    assert_eq!((event.notes.as_str(), event.scores.len()), ("b u s", 2));
    assert_eq!(stored(&site, &slide, "Ana", "readability"), Some(5));
}

#[test]
fn undo_back_and_skip_are_kept_as_events() {
    let Some(driver) = driver("undo") else { return };
    let site = Site::new(3, 2, "calibration_slides = 0");
    let server = serve(&site);
    let browser = driver.browser(1300, 850);
    sign_in(&browser, &server.url, "Ana");
    let (first, first_name) = (slide_id(&browser), slide_name(&browser));
    browser.press("11111");
    browser.press(ENTER);
    wait_for_another(&browser, &first_name);
    let second_name = slide_name(&browser);
    browser.press("s");
    wait_for_another(&browser, &second_name);
    browser.press("u"); // the skip
    wait_until("the skipped slide is back", || slide_name(&browser) == second_name);
    browser.press("u"); // the rating
    wait_until("the rated slide is back", || slide_id(&browser) == first);
    wait_until("its scores are in the form", || {
        browser.run("return document.querySelectorAll('input[value=\"1\"]:checked').length") == 5
    });
    wait_until("nothing is unsent", || site.events().len() == 4);
    assert!(site.store().current(&first, "Ana").is_none(), "undone");
    browser.press("c5");
    browser.press(ENTER);
    wait_until("the rating counts", || {
        stored(&site, &first, "Ana", "clarity").is_some_and(|score| score == 5)
    });
    browser.press("b");
    wait_until("back at the rated slide", || slide_id(&browser) == first);
    browser.press("c2");
    browser.press(ENTER);
    wait_until("the change counts", || stored(&site, &first, "Ana", "clarity") == Some(2));
    let kinds: Vec<Kind> = site.events().iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [Kind::Rated, Kind::Skipped, Kind::Undone, Kind::Undone, Kind::Rated, Kind::Changed]);
}

#[test]
fn two_people_at_once_keep_their_own_queue_and_ratings() {
    let Some(driver) = driver("two browsers") else { return };
    let site = Site::new(4, 3, "raters_per_slide = 1\nmax_raters_per_slide = 1\ncalibration_slides = 0");
    let server = serve(&site);
    let (ana, ben) = (driver.browser(1300, 850), driver.browser(1300, 850));
    sign_in(&ana, &server.url, "Ana");
    sign_in(&ben, &server.url, "Ben");
    for _ in 0..4 {
        for (browser, key) in [(&ana, "2"), (&ben, "4")] {
            let before = slide_name(browser);
            browser.press(&key.repeat(5));
            browser.press(ENTER);
            wait_for_another(browser, &before);
        }
    }
    wait_saved(&ana);
    wait_saved(&ben);
    let store = site.store();
    let (hers, his) = (store.of_annotator("Ana"), store.of_annotator("Ben"));
    assert_eq!((hers.len(), his.len()), (4, 4));
    assert!(hers.iter().all(|event| stored(&site, &event.slide_id, "Ana", "design") == Some(2)));
    assert!(his.iter().all(|event| stored(&site, &event.slide_id, "Ben", "design") == Some(4)));
    assert!(
        hers.iter().all(|event| his.iter().all(|other| other.slide_id != event.slide_id)),
        "no slide twice"
    );
}

#[test]
fn a_cut_network_loses_nothing_not_even_through_a_reload() {
    let Some(driver) = driver("a cut network") else { return };
    let site = Site::new(4, 3, "calibration_slides = 0");
    let server = serve(&site);
    let browser = driver.browser(1300, 850);
    sign_in(&browser, &server.url, "Ana");
    wait_until("the next slides are loaded", || {
        browser.run(
            "return performance.getEntriesByType('resource').filter((e) => e.name.endsWith('/image')).length",
        ) == 5
    });
    browser.set_offline(true);
    for _ in 0..3 {
        let before = slide_name(&browser);
        browser.press("33333");
        browser.press(ENTER);
        wait_for_another(&browser, &before);
        wait_for_slide(&browser);
    }
    wait_until("the page says so", || browser.text("#status").contains("3 ratings kept in this browser"));
    assert_eq!(site.events().len(), 0);
    browser.set_offline(false);
    browser.reload();
    wait_for_slide(&browser);
    wait_until("all arrive", || site.events().len() == 3);
    wait_saved(&browser);
    assert_eq!(site.store().of_annotator("Ana").len(), 3);
}

#[test]
fn a_killed_server_loses_nothing_and_the_page_goes_on() {
    let Some(driver) = driver("kill -9") else { return };
    let site = Site::new(4, 3, "calibration_slides = 0");
    let mut server = serve(&site);
    let port = server.port().to_owned();
    let browser = driver.browser(1300, 850);
    sign_in(&browser, &server.url, "Ana");
    let rate = || {
        let before = slide_name(&browser);
        browser.press("44444");
        browser.press(ENTER);
        wait_for_another(&browser, &before);
    };
    rate();
    wait_until("one arrives", || site.events().len() == 1);
    server.kill();
    rate();
    rate();
    assert_eq!(site.events().len(), 1);
    let _again = Server::start(&site, &["--port", &port]);
    wait_until("the others arrive", || site.events().len() == 3);
    wait_saved(&browser);
    rate();
    wait_until("and it goes on", || site.store().of_annotator("Ana").len() == 4);
}

#[test]
fn a_stale_tab_cannot_overwrite() {
    let Some(driver) = driver("a stale tab") else { return };
    let site = Site::new(3, 2, "calibration_slides = 0");
    let server = serve(&site);
    let browser = driver.browser(1300, 850);
    sign_in(&browser, &server.url, "Ana");
    let (stale, slide) = (browser.handle(), slide_id(&browser));
    let fresh = browser.new_tab();
    browser.switch_to(&fresh);
    browser.open(&server.url);
    wait_for_slide(&browser);
    assert_eq!(slide_id(&browser), slide);
    let before = slide_name(&browser);
    browser.press("55555");
    browser.press(ENTER);
    wait_for_another(&browser, &before);
    wait_saved(&browser);
    browser.switch_to(&stale);
    browser.press("11111");
    browser.press(ENTER);
    wait_until("the page asks", || browser.run("return document.getElementById('conflict').open") == true);
    assert_eq!(stored(&site, &slide, "Ana", "clarity"), Some(5), "what is saved stays");
    browser.click("#keep-saved");
    assert_eq!(site.events().len(), 1);
    browser.press("b");
    wait_until("the stale tab shows what is saved", || {
        browser.run("return document.querySelectorAll('input[value=\"5\"]:checked').length") == 5
    });
}

#[test]
fn the_model_speaks_only_after_the_rater() {
    let Some(driver) = driver("the model's help") else { return };
    let site = Site::new(3, 2, "calibration_slides = 0\nmodel_help = true");
    site.predict(3, 2);
    let server = serve(&site);
    let browser = driver.browser(1300, 850);
    sign_in(&browser, &server.url, "Ana");
    let (slide, before) = (slide_id(&browser), slide_name(&browser));
    assert_eq!(browser.run("return document.getElementById('model').hidden"), true);
    browser.press("55555");
    browser.press(ENTER);
    wait_until("the model's scores", || browser.text("#model").contains("Clarity: 2.0"));
    browser.click("#model button");
    wait_until("the correction is kept", || browser.text("#model").contains("was kept"));
    browser.press("c4");
    browser.press(ENTER);
    wait_for_another(&browser, &before);
    wait_saved(&browser);
    let events = site.events();
    let kinds: Vec<Kind> = events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [Kind::Rated, Kind::ModelSeen, Kind::Changed]);
    assert_eq!(events[2].model_version.as_deref(), Some("v1"));
    let text = std::fs::read_to_string(site.data().join("user_feedback/corrections.jsonl")).unwrap();
    let correction: slide_data::Correction = serde_json::from_str(text.trim()).unwrap();
    assert_eq!((correction.slide_id, correction.scores.len()), (slide, 5));
}

#[test]
fn the_page_fits_a_phone() {
    let Some(driver) = driver("the phone view") else { return };
    let site = Site::new(3, 2, "calibration_slides = 0");
    let server = serve(&site);
    let browser = driver.browser(500, 900);
    browser.emulate_phone();
    sign_in(&browser, &server.url, "Ana");
    let before = slide_name(&browser);
    assert_eq!(
        browser.run("return document.documentElement.scrollWidth <= window.innerWidth"),
        true,
        "nothing is cut off"
    );
    let small = "return [...document.querySelectorAll('.score, .actions button')].filter((e) => e.offsetParent && e.getBoundingClientRect().height < 40).length";
    assert_eq!(browser.run(small), 0, "everything is large enough for a finger");
    for key in ["clarity", "design", "data_visualization", "readability", "content_quality"] {
        browser
            .run(&format!("document.querySelector('#criterion-{key}').scrollIntoView({{block: 'center'}})"));
        browser.click(&format!("#criterion-{key} input[value='3']"));
        let is_set = format!("return document.querySelector('#criterion-{key} input[value=\"3\"]').checked");
        assert_eq!(browser.run(&is_set), true, "{key}");
    }
    browser.click("#save");
    wait_for_another(&browser, &before);
    wait_until("it arrives", || site.events().len() == 1);
}

#[test]
fn strangers_stay_out_and_invited_people_get_in() {
    let Some(driver) = driver("invitations") else { return };
    let site = Site::new(3, 2, "calibration_slides = 0");
    let server = Server::start(&site, &["--port", "0", "--host", "0.0.0.0"]);
    let link = server.lead_link.clone().unwrap().replace("0.0.0.0", "127.0.0.1");
    let url = server.url.replace("0.0.0.0", "127.0.0.1");
    let (lead, ana, stranger) =
        (driver.browser(1300, 850), driver.browser(1300, 850), driver.browser(1300, 850));
    stranger.open(&url);
    wait_until("an invitation is asked for", || stranger.text("#sign-in-text").contains("invitation link"));
    lead.open(&link);
    wait_for_slide(&lead);
    assert_eq!(
        lead.run("return location.hash + location.pathname"),
        "/",
        "the secret does not stay in the address"
    );
    lead.open(&format!("{url}/lead"));
    wait_until("the lead's page", || {
        lead.run("return !document.getElementById('invite-panel').hidden") == true
    });
    lead.click("#invite-name");
    lead.press("Ana");
    lead.press(ENTER);
    wait_until("a link", || lead.text("#invite-link").contains("/join#"));
    ana.open(&lead.text("#invite-link code"));
    wait_for_slide(&ana);
    assert_eq!(ana.text("#person"), "Ana");
    assert_eq!(ana.run("return document.cookie"), "", "scripts cannot read the session");
    ana.press("33333");
    ana.press(ENTER);
    wait_until("her rating arrives", || site.store().of_annotator("Ana").len() == 1);
}

/// Decodes base64, as `WebDriver` sends pictures.
fn decode(text: &str) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => u32::from(byte - b'A'),
        b'a'..=b'z' => u32::from(byte - b'a') + 26,
        b'0'..=b'9' => u32::from(byte - b'0') + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u32> = text.bytes().filter(|byte| *byte != b'=').map(value).collect();
    let bytes = digits.chunks(4).flat_map(|chunk| {
        let bits = chunk.iter().enumerate().fold(0, |bits, (at, digit)| bits | digit << (18 - 6 * at));
        bits.to_be_bytes()[1..chunk.len()].to_vec()
    });
    bytes.collect()
}

/// Pictures of the page for the documentation: `PICTURES=docs PROJECT=dir cargo test -p pq-label --test browser -- --ignored pictures`,
/// where `dir/data` holds collected slides and ratings.
#[test]
#[ignore = "makes pictures for the documentation"]
fn pictures() {
    let Some(driver) = driver("pictures") else { return };
    let (Some(folder), Some(project)) = (std::env::var_os("PICTURES"), std::env::var_os("PROJECT")) else {
        panic!("set PICTURES and PROJECT");
    };
    let (folder, project) = (PathBuf::from(folder), PathBuf::from(project));
    let site = Site::new(1, 1, "calibration_slides = 5");
    let data = project.join("data");
    let server = Server::start(&site, &["--port", "0", "--data", data.to_str().unwrap()]);
    let keep = |browser: &Browser<'_>, name: &str| {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), decode(&browser.screenshot())).unwrap();
    };
    let browser = driver.browser(1400, 900);
    sign_in(&browser, &server.url, "Dana");
    browser.press("23n2");
    std::thread::sleep(std::time::Duration::from_millis(400));
    keep(&browser, "label-page.png");
    browser.open(&format!("{}/lead", server.url));
    wait_until("the lead's page", || browser.run("return !document.getElementById('lead').hidden") == true);
    browser.run("window.scrollTo(0, 0)");
    std::thread::sleep(std::time::Duration::from_millis(800));
    keep(&browser, "label-lead.png");
    browser.run("document.getElementById('disputed-title').scrollIntoView()");
    std::thread::sleep(std::time::Duration::from_millis(800));
    keep(&browser, "label-dispute.png");
    let dark = driver.browser(1400, 900);
    dark.emulate_dark();
    sign_in(&dark, &server.url, "Eli");
    dark.press("23");
    dark.press(ENTER);
    std::thread::sleep(std::time::Duration::from_millis(400));
    keep(&dark, "label-dark.png");
    let phone = driver.browser(500, 900);
    phone.emulate_phone();
    sign_in(&phone, &server.url, "Finn");
    phone.press("23");
    std::thread::sleep(std::time::Duration::from_millis(400));
    keep(&phone, "label-phone.png");
}

/// Where `.ci/install-browser` puts axe-core, or where `AXE_CORE` says.
fn axe() -> Option<String> {
    let path =
        std::env::var_os("AXE_CORE").map_or_else(|| build_dir().join("browser/axe.min.js"), PathBuf::from);
    std::fs::read_to_string(path).ok()
}

fn assert_accessible(browser: &Browser<'_>, axe: &str, what: &str) {
    browser.run(axe);
    let script = "const done = arguments[arguments.length - 1];
        axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})
          .then((found) => done(found.violations.map((v) => v.id + ': ' + v.nodes.map((n) => n.html).join(' | '))));";
    let found = browser.run_async(script);
    assert_eq!(found.as_array().map(Vec::len), Some(0), "{what}: {found:#}");
}

#[test]
fn axe_finds_nothing() {
    let Some(driver) = driver("axe-core") else { return };
    let Some(axe) = axe() else {
        eprintln!("LEFT OUT: axe-core is not there (.ci/install-browser fetches it)");
        return;
    };
    let site = Site::new(3, 2, "calibration_slides = 2");
    let rows = "slide_id,annotator,clarity,design,notes\ndeck0-001,Ben,1,2,no message\ndeck0-001,Cleo,5,2,\ndeck0-002,Ben,3,3,\ndeck0-002,Cleo,3,4,\n";
    std::fs::write(site.dir.path().join("r.csv"), rows).unwrap();
    assert_eq!(site.run(&["import", "r.csv"]).0, 0);
    let server = serve(&site);
    for is_dark in [false, true] {
        let browser = driver.browser(1300, 850);
        if is_dark {
            browser.emulate_dark();
        }
        browser.open(&server.url);
        wait_until("the sign-in", || {
            browser.run("return !document.getElementById('sign-in').hidden") == true
        });
        assert_accessible(&browser, &axe, "sign-in");
        sign_in(&browser, &server.url, "Ana");
        browser.press("4");
        assert_accessible(&browser, &axe, "rating");
        browser.press(ENTER);
        assert_accessible(&browser, &axe, "what is missing");
        browser.press("?");
        assert_accessible(&browser, &axe, "help");
        browser.press(ESCAPE);
        browser.press("g");
        assert_accessible(&browser, &axe, "guide");
        browser.open(&format!("{}/lead", server.url));
        wait_until("the lead's page", || {
            browser.run("return document.querySelectorAll('.dispute').length") == 1
        });
        assert_accessible(&browser, &axe, "lead");
    }
}

#[test]
fn a_lead_decides_a_dispute() {
    let Some(driver) = driver("adjudication") else { return };
    let site = Site::new(2, 2, "calibration_slides = 0");
    let rows = "slide_id,annotator,clarity\ndeck0-001,Ben,1\ndeck0-001,Cleo,5\n";
    std::fs::write(site.dir.path().join("r.csv"), rows).unwrap();
    assert_eq!(site.run(&["import", "r.csv"]).0, 0);
    let mut server = serve(&site);
    let browser = driver.browser(1300, 850);
    sign_in(&browser, &server.url, "Ana");
    browser.open(&format!("{}/lead", server.url));
    wait_until("the dispute", || browser.run("return document.querySelectorAll('.dispute').length") == 1);
    browser.click(".dispute select[name=clarity]");
    browser.press("4");
    browser.press(TAB);
    browser.run("document.querySelector('.dispute input').focus()");
    browser.press("the title says it");
    browser.press(ENTER);
    wait_until("it is kept", || site.store().adjudication("deck0-001").is_some());
    assert_eq!(server.stop(), 0);
    let label = &site.labels().slides["deck0-001"];
    assert_eq!(label.scores["clarity"], Score::new(4));
    assert_eq!(label.distribution["clarity"], [1, 0, 0, 0, 1], "the ratings stay");
}
