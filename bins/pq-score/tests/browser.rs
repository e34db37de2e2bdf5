//! The service's pages in a real browser (Debian's chromium, driven over `WebDriver`). Where none is installed the tests are ignored.
#![allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test program: it has no readers of its documentation, and stops at the first surprise"
)]

mod common;
#[path = "../../pq-label/tests/browser/driver.rs"]
mod driver;
#[path = "browser/file.rs"]
mod file;

use common::{Service, command, deck, logged, project, wait_until};
use driver::{Browser, Driver};
use file::{
    a_report_that_is_a_file_gives_corrections_that_are_taken_in_once,
    a_report_to_correct_is_accessible_and_its_form_is_not_printed, a_score_is_corrected_and_undone_by_keys,
    what_is_changed_after_a_download_is_a_correction_of_its_own,
    where_a_browser_keeps_nothing_the_form_works_until_the_page_is_left,
};
use pq_testing::trials::Tool;
use slide_data::{Contract as _, Correction};

pq_testing::tests! {
    a_founder_hands_in_a_deck_reads_the_report_and_corrects_a_score: needs Browser;
    the_page_asks_for_the_token_and_says_what_goes_wrong: needs Browser;
    axe_finds_nothing: needs Browser, Axe;
    a_report_that_is_a_file_gives_corrections_that_are_taken_in_once: needs Browser;
    what_is_changed_after_a_download_is_a_correction_of_its_own: needs Browser;
    where_a_browser_keeps_nothing_the_form_works_until_the_page_is_left: needs Browser;
    a_score_is_corrected_and_undone_by_keys: needs Browser;
    a_report_to_correct_is_accessible_and_its_form_is_not_printed: needs Browser, Axe;
    images: ignored "makes images for the documentation" needs Browser;
}

/// Puts a file into the page as dragging does.
fn drop_deck(browser: &Browser<'_>, name: &str, bytes: &[u8]) {
    let bytes = bytes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    browser.run(&format!(
        "const data = new DataTransfer(); data.items.add(new File([new Uint8Array([{bytes}])], {name:?}));
         document.dispatchEvent(new DragEvent('drop', {{dataTransfer: data, bubbles: true, cancelable: true}}));"
    ));
}

fn is_shown(browser: &Browser<'_>, id: &str) -> bool {
    browser.run(&format!("return !document.getElementById({id:?}).hidden")) == true
}

/// Runs JavaScript in the report, as `report`.
fn in_report(browser: &Browser<'_>, script: &str) -> serde_json::Value {
    browser.run(&format!("const report = document.getElementById('page').contentDocument; {script}"))
}

fn open_report(browser: &Browser<'_>, url: &str) {
    browser.open(url);
    wait_until("the page is there", || is_shown(browser, "choose"));
    drop_deck(browser, "Oriflow.pdf", &std::fs::read(deck()).unwrap());
    wait_until("the report is shown", || {
        is_shown(browser, "report")
            && in_report(browser, "return report.querySelectorAll('.slide').length > 3") == true
    });
}

fn a_founder_hands_in_a_deck_reads_the_report_and_corrects_a_score() {
    let driver = Driver::start();
    let project = project();
    let service = Service::start(&project, &[]);
    let browser = driver.browser(1300, 900);
    open_report(&browser, &service.url);
    let summary = browser.text("#summary");
    assert!(summary.contains("run-1") && summary.contains("slides"), "{summary}");
    assert_eq!(browser.text("#report-title"), "Oriflow.pdf");
    let click = "const button = report.querySelector('.correct button:not([disabled])');
        button.closest('details').open = true; button.click(); return button.getAttribute('aria-label');";
    in_report(&browser, click);
    let said = || in_report(&browser, "return report.getElementById('corrected').textContent").to_string();
    wait_until("it asks for the name", || said().contains("Say your name"));
    in_report(
        &browser,
        "const name = report.getElementById('annotator'); name.value = 'Ana'; name.dispatchEvent(new Event('change'));",
    );
    in_report(&browser, click);
    wait_until("it is noted", || said().contains("is noted"));
    in_report(&browser, click);
    wait_until("it is noted again", || {
        in_report(&browser, "return report.querySelectorAll('[aria-pressed=\"true\"]').length") == 1
    });
    let noted = Correction::read_log(&project.path("data/user_feedback/corrections.jsonl")).unwrap().entries;
    assert_eq!(noted.len(), 1, "a click that is repeated counts once");
    assert_eq!(noted[0].annotator, "Ana");
    in_report(
        &browser,
        "const box = report.querySelector('.notes textarea'); box.value = 'Too \"loud\"';
         box.dispatchEvent(new Event('change', {bubbles: true}));",
    );
    let corrections = project.path("data/user_feedback/corrections.jsonl");
    wait_until("why is noted", || Correction::read_log(&corrections).unwrap().entries.len() == 2);
    let explained = Correction::read_log(&corrections).unwrap().entries.remove(1);
    assert_eq!((&explained.scores, explained.notes.as_str()), (&noted[0].scores, "Too \"loud\""));
    assert!(explained.id != noted[0].id && explained.corrected_at > noted[0].corrected_at);
    assert!(logged(&project).iter().any(|line| line.slide_id == noted[0].slide_id));
    assert_eq!(browser.complaints(), Vec::<String>::new());
    browser.click("#again");
    assert!(is_shown(&browser, "choose") && !is_shown(&browser, "report"));
}

fn the_page_asks_for_the_token_and_says_what_goes_wrong() {
    let driver = Driver::start();
    let project = project();
    let token = "a-token-of-this-service";
    let service = Service::launch(command(&project, &[]), Some(token));
    service.wait_ready();
    let browser = driver.browser(1000, 800);
    browser.open(&service.url);
    wait_until("it asks for the token", || is_shown(&browser, "sign-in"));
    let sign_in = |token: &str| {
        browser.run(&format!(
            "document.getElementById('token').value = {token:?}; document.querySelector('#sign-in button').click();"
        ));
    };
    sign_in("not-the-token-of-it");
    wait_until("it says so", || browser.text("#trouble").contains("not the token"));
    sign_in(token);
    wait_until("it lets in", || is_shown(&browser, "choose") && !is_shown(&browser, "sign-in"));
    drop_deck(&browser, "broken.pdf", b"%PDF-1.4 and nothing else");
    wait_until("it says what is wrong", || browser.text("#trouble").contains("No slide could be rated"));
    assert!(is_shown(&browser, "choose"), "another deck can be chosen");
    drop_deck(&browser, "Oriflow.pdf", &std::fs::read(deck()).unwrap());
    wait_until("the report is shown", || is_shown(&browser, "report") && browser.text("#trouble").is_empty());
    assert!(
        !browser.run("return document.documentElement.outerHTML + location.href").to_string().contains(token)
    );
}

fn assert_accessible(browser: &Browser<'_>, axe: &str, what: &str) {
    browser.run(axe);
    let script = "const done = arguments[arguments.length - 1];
        axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})
          .then((found) => done(found.violations.map((v) => v.id + ': ' + v.nodes.map((n) => n.html).join(' | '))));";
    let found = browser.run_async(script);
    assert_eq!(found.as_array().map(Vec::len), Some(0), "{what}: {found:#}");
}

fn axe_finds_nothing() {
    let driver = Driver::start();
    let axe = std::fs::read_to_string(Tool::axe_core()).unwrap();
    let project = project();
    let service = Service::start(&project, &[]);
    let state = service.deck("deck.pdf", &std::fs::read(deck()).unwrap());
    let report = format!("{}/decks/{}/report", service.url, state["id"].as_str().unwrap());
    for is_dark in [false, true] {
        let browser = driver.browser(1300, 900);
        if is_dark {
            browser.emulate_dark();
        }
        browser.open(&service.url);
        wait_until("the page is there", || is_shown(&browser, "choose"));
        assert_accessible(&browser, &axe, "hand in");
        browser.open(&report);
        browser.run("for (const part of document.querySelectorAll('details')) part.open = true;");
        assert_accessible(&browser, &axe, "report");
        browser.open(&format!("{}/docs", service.url));
        wait_until("the interface is shown", || {
            browser.run("return document.querySelectorAll('section').length") == 10
        });
        assert_accessible(&browser, &axe, "interface");
        open_report(&browser, &service.url);
        assert_accessible(&browser, &axe, "report within the page");
    }
}

/// Images for the documentation and to be looked at: `PICTURES=folder cargo test -p pq-score --test browser -- --ignored images`.
fn images() {
    let driver = Driver::start();
    let folder = std::path::PathBuf::from(std::env::var_os("PICTURES").expect("set PICTURES"));
    std::fs::create_dir_all(&folder).unwrap();
    let project = project();
    let service = Service::start(&project, &[]);
    let file = file::report(&project, "Oriflow.pdf");
    let keep = |browser: &Browser<'_>, name: &str| {
        std::thread::sleep(std::time::Duration::from_millis(600));
        std::fs::write(folder.join(name), decode(&browser.screenshot())).unwrap();
    };
    for (name, is_dark, is_phone) in [("", false, false), ("-dark", true, false), ("-phone", false, true)] {
        let browser = driver.browser(1300, 900);
        if is_dark {
            browser.emulate_dark();
        }
        if is_phone {
            browser.emulate_phone();
        }
        browser.open(&service.url);
        wait_until("the page is there", || is_shown(&browser, "choose"));
        keep(&browser, &format!("serve-page{name}.png"));
        open_report(&browser, &service.url);
        keep(&browser, &format!("serve-report{name}.png"));
        in_report(
            &browser,
            "report.querySelector('details').open = true; report.querySelector('details').scrollIntoView({block: 'end'});",
        );
        keep(&browser, &format!("serve-correct{name}.png"));
        browser.open(&format!("{}/docs", service.url));
        keep(&browser, &format!("serve-docs{name}.png"));
        file::open(&browser, &file);
        file::correct(&browser, 0, 0);
        file::correct(&browser, 3, 1);
        file::name(&browser, "Ana");
        keep(&browser, &format!("deck-report-file{name}.png"));
        browser.run("document.querySelector('.correct').scrollIntoView({block: 'center'});");
        keep(&browser, &format!("deck-report-correct{name}.png"));
    }
}

/// Decodes base64, as `WebDriver` sends images.
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
