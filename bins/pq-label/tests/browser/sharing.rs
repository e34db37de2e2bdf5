//! The end of the queue, slow and cut connections, two tabs, people who do the work meanwhile.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::common::wire::Wire;
use crate::common::{Client, Site, wait_until};
use crate::driver::{Browser, Driver, ENTER};
use crate::{serve, sign_in, slide_id, wait_for_slide, wait_saved};

/// Runs of the long form, and the latency that they rise to.
const RUNS: u64 = 200;
const MOST_LATENCY_MS: u64 = 10_000;

fn view(browser: &Browser<'_>) -> String {
    let script = "return ['rate', 'waiting', 'done', 'sign-in'].find((id) => !document.getElementById(id).hidden) ?? ''";
    browser.run(script).as_str().unwrap().to_owned()
}

/// Rates until `count` slides have arrived, and is never told that nothing is waiting while something is.
fn rate_through(browser: &Browser<'_>, site: &Site, count: usize, patience: Duration) {
    let start = std::time::Instant::now();
    while site.events().len() < count {
        assert!(start.elapsed() < patience, "{} of {count} after {:?}", site.events().len(), start.elapsed());
        match view(browser).as_str() {
            "rate" => {
                browser.press("33333");
                browser.press(ENTER);
            }
            "done" => {
                // What was rated may be on its way still: then everything is rated.
                let unsent =
                    "return Object.keys(localStorage).filter((key) => key.startsWith('pq:unsent:')).length";
                let unsent = browser.run(unsent).as_u64().unwrap() as usize;
                let is_offline = browser.text("#done-text").contains("when the server is back");
                assert!(
                    is_offline || site.events().len() + unsent >= count,
                    "a false end: {}",
                    browser.text("#done-text")
                );
                std::thread::sleep(Duration::from_millis(100));
            }
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

pub(crate) fn a_slow_or_cut_connection_never_looks_like_the_end() {
    let driver = Driver::start();
    for (latency, is_cut) in [(0, true), (700, false), (1500, true)] {
        run_through(&driver, latency, is_cut, 12);
    }
}

/// The long form: latencies up to ten seconds, with and without a cut, eight browsers side by side, since all of them mostly wait.
pub(crate) fn many_slow_and_cut_connections_never_look_like_the_end() {
    let driver = Driver::start();
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let run = next.fetch_add(1, Ordering::Relaxed);
                    if run >= RUNS {
                        break;
                    }
                    run_through(&driver, run * MOST_LATENCY_MS / RUNS, run.is_multiple_of(2), 8);
                }
            });
        }
    });
}

fn run_through(driver: &Driver, latency: u64, is_cut: bool, slides: usize) {
    let site = Site::new(slides / 2, 2, "calibration_slides = 0");
    let server = serve(&site);
    let wire = Wire::to(&server.url);
    let browser = driver.browser(1300, 850);
    sign_in(&browser, &wire.url, "Ana");
    browser.set_latency(latency);
    let patience = Duration::from_secs(30) + Duration::from_millis(latency) * 4 * slides as u32;
    std::thread::scope(|scope| {
        if is_cut {
            scope.spawn(|| {
                for _ in 0..2 {
                    std::thread::sleep(Duration::from_millis(600 + latency));
                    wire.cut();
                    std::thread::sleep(Duration::from_millis(900));
                    wire.mend();
                }
            });
        }
        rate_through(&browser, &site, slides, patience);
    });
    browser.set_latency(0);
    wait_until("the end is told once it is the end", || {
        view(&browser) == "done"
            && browser.text("#done-text").contains(&format!("You have rated {slides} of {slides}"))
    });
    assert_eq!(site.store().of_annotator("Ana").len(), slides);
}

pub(crate) fn the_end_is_told_rightly_and_the_page_goes_on_by_itself() {
    let driver = Driver::start();
    let site = Site::new(2, 2, "calibration_slides = 0\nraters_per_slide = 1\nmax_raters_per_slide = 1");
    let server = serve(&site);
    let browser = driver.browser(1300, 850);
    sign_in(&browser, &server.url, "Ana");
    browser.press("s");
    wait_for_slide(&browser);
    rate_through(&browser, &site, 4, Duration::from_secs(30));
    wait_until("the end", || view(&browser) == "done");
    wait_until("its numbers are right when the last answer is there", || {
        browser.text("#done-text").starts_with("You have rated 3 of 4 slides and skipped 1.")
    });
    // More slides are collected: nobody has to press anything.
    let manifest = site.data().join("raw/manifest.jsonl");
    let mut text = std::fs::read_to_string(&manifest).unwrap();
    text += &crate::common::record("deck0-003", 0, 3).to_string();
    text.push('\n');
    std::fs::copy(site.data().join("raw/slides/deck0-001.png"), site.data().join("raw/slides/deck0-003.png"))
        .unwrap();
    std::fs::write(&manifest, text).unwrap();
    wait_for_slide(&browser);
    assert_eq!(slide_id(&browser), "deck0-003");
    assert_eq!(browser.text("#slide-name"), "deck 0.pdf, slide 3", "decks have the names of their files");
    assert_eq!(browser.text("#spoken"), "deck 0.pdf, slide 3", "and are told to whoever does not see them");
}

pub(crate) fn two_tabs_share_one_queue() {
    let driver = Driver::start();
    let site = Site::new(6, 2, "calibration_slides = 0");
    let server = serve(&site);
    let browser = driver.browser(1300, 850);
    sign_in(&browser, &server.url, "Ana");
    let (first, shown) = (browser.handle(), slide_id(&browser));
    let second = browser.new_tab();
    browser.switch_to(&second);
    browser.open(&server.url);
    wait_for_slide(&browser);
    assert_ne!(slide_id(&browser), shown, "each has slides of its own");
    for round in 0..40 {
        if site.events().len() == 12 {
            break;
        }
        browser.switch_to(if round % 2 == 0 { &first } else { &second });
        if view(&browser) == "rate" {
            let before = site.events().len();
            browser.press("22222");
            browser.press(ENTER);
            wait_until("it arrives", || site.events().len() > before);
        }
    }
    assert_eq!(site.events().len(), 12, "every slide once");
    for tab in [&first, &second] {
        browser.switch_to(tab);
        assert_eq!(browser.run("return document.getElementById('conflict').open"), false);
        wait_until("the end", || view(&browser) == "done");
    }
}

pub(crate) fn while_anything_is_not_saved_the_page_does_not_say_so() {
    let driver = Driver::start();
    let site = Site::new(4, 2, "calibration_slides = 0");
    let server = serve(&site);
    let browser = driver.browser(1300, 850);
    sign_in(&browser, &server.url, "Ana");
    browser.press("33333");
    browser.press(ENTER);
    wait_saved(&browser);
    wait_for_slide(&browser);
    // Ben signs in in another tab of the same browser: what Ana's tab sends is not taken for his.
    let (first, second) = (browser.handle(), browser.new_tab());
    browser.switch_to(&second);
    browser.open(&server.url);
    wait_for_slide(&browser);
    browser.run("return fetch('api/session', {method: 'POST', headers: {'content-type': 'application/json'}, body: JSON.stringify({name: 'Ben', token: localStorage.getItem('pq:local-key') ?? ''})}).then(() => 1)");
    browser.switch_to(&first);
    browser.press("44444");
    browser.press(ENTER);
    wait_until("the page says what is wrong", || browser.text("#status").contains("`Ben` is signed in"));
    assert!(browser.text("#status").starts_with("Not saved yet"), "{}", browser.text("#status"));
    assert_eq!(site.events().len(), 1);
    browser.switch_to(&second);
    browser.run("return fetch('api/session', {method: 'POST', headers: {'content-type': 'application/json'}, body: JSON.stringify({name: 'Ana', token: localStorage.getItem('pq:local-key') ?? ''})}).then(() => 1)");
    browser.switch_to(&first);
    wait_until("with Ana back it arrives", || site.events().len() == 2);
    wait_saved(&browser);
}

pub(crate) fn a_page_left_open_moves_on_from_what_others_have_rated() {
    let driver = Driver::start();
    let site = Site::new(
        4,
        2,
        "calibration_slides = 0\nraters_per_slide = 1\nmax_raters_per_slide = 1\nlease_minutes = 0",
    );
    let server = serve(&site);
    let browser = driver.browser(1300, 850);
    sign_in(&browser, &server.url, "Ana");
    let shown = slide_id(&browser);
    let ben = Client::sign_in(&server.url, "Ben").unwrap();
    let event = serde_json::json!({"id": "b1", "kind": "rated", "slide_id": shown, "annotator": "Ben", "scores": {"clarity": 3}});
    assert_eq!(ben.post("/events", &event).unwrap().0, 200);
    // An hour goes by for the page.
    browser.run("const now = Date.now; Date.now = () => now() + 3600000;");
    browser.press_placed("Shift", "ShiftLeft", 0);
    wait_until("another slide is shown", || slide_id(&browser) != shown);
    wait_until("and why", || browser.text("#status").contains("Others have rated that slide meanwhile"));
    // What she has begun is hers to end.
    let begun = slide_id(&browser);
    browser.press("5");
    let event = serde_json::json!({"id": "b2", "kind": "rated", "slide_id": begun, "annotator": "Ben", "scores": {"clarity": 3}});
    assert_eq!(ben.post("/events", &event).unwrap().0, 200);
    browser.run("const now = Date.now; Date.now = () => now() + 3600000;");
    browser.press_placed("Shift", "ShiftLeft", 0);
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(slide_id(&browser), begun);
}
