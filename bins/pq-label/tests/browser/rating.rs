//! Rating by keyboard, what is missing, undo, the model's help, the phone.

use slide_label::Kind;

use crate::common::{Site, wait_until};
use crate::driver::{DOWN, Driver, ENTER, ESCAPE};
use crate::{serve, sign_in, slide_id, slide_name, stored, wait_for_another, wait_for_slide, wait_saved};

pub(crate) fn ten_slides_are_rated_with_six_keys_each() {
    let driver = Driver::start();
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
        assert_eq!(site.store().current(&slide, "Ana").unwrap().scores()["data_visualization"], None);
    }
    assert_eq!(site.labels().slides.len(), 10);
}

pub(crate) fn what_is_missing_is_shown_and_letters_arrows_notes_and_dialogs_work() {
    let driver = Driver::start();
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
    let is_zoomed = "return document.getElementById('viewport').classList.contains('zoomed')";
    browser.press("z");
    assert_eq!(browser.run(is_zoomed), true);
    browser.press("z");
    assert_eq!(browser.run(is_zoomed), false);
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
    assert_eq!((event.notes(), event.scores().len()), ("b u s", 2));
    assert_eq!(stored(&site, &slide, "Ana", "readability"), Some(5));
}

pub(crate) fn undo_back_and_skip_are_kept_as_events() {
    let driver = Driver::start();
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

pub(crate) fn the_model_speaks_only_after_the_rater() {
    let driver = Driver::start();
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

pub(crate) fn the_page_fits_a_phone() {
    let driver = Driver::start();
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
