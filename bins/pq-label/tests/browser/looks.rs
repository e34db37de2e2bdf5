//! Accessibility, and the images of the documentation.

use std::path::PathBuf;

use pq_testing::trials::Tool;

use crate::common::{Server, Site, wait_until};
use crate::driver::{Browser, Driver, ENTER, ESCAPE};
use crate::{serve, sign_in};

fn assert_accessible(browser: &Browser<'_>, axe: &str, what: &str) {
    browser.run(axe);
    let script = "const done = arguments[arguments.length - 1];
        axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})
          .then((found) => done(found.violations.map((v) => v.id + ': ' + v.nodes.map((n) => n.html).join(' | '))));";
    let found = browser.run_async(script);
    assert_eq!(found.as_array().map(Vec::len), Some(0), "{what}: {found:#}");
}

pub(crate) fn axe_finds_nothing() {
    let driver = Driver::start();
    let axe = std::fs::read_to_string(Tool::axe_core()).unwrap();
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

/// Decodes base64, as `WebDriver` sends images.
pub(crate) fn decode(text: &str) -> Vec<u8> {
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

/// Images of the page for the documentation: `PICTURES=docs PROJECT=dir cargo test -p pq-label --test browser -- --ignored images`,
/// where `dir/data` holds collected slides and ratings.
pub(crate) fn images() {
    let driver = Driver::start();
    let (Some(folder), Some(project)) = (std::env::var_os("PICTURES"), std::env::var_os("PROJECT")) else {
        panic!("set PICTURES and PROJECT");
    };
    let (folder, project) = (PathBuf::from(folder), PathBuf::from(project));
    // A slide on which people disagree comes first, for everybody.
    let site = Site::new(1, 1, "calibration_slides = 0\nraters_per_slide = 3\nmax_raters_per_slide = 9");
    let data = project.join("data");
    let server = Server::start(&site, &["--port", "0", "--data", data.to_str().unwrap()]);
    let keep = |browser: &Browser<'_>, name: &str| {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), decode(&browser.screenshot())).unwrap();
    };
    let browser = driver.browser(1400, 900);
    sign_in(&browser, &server.url, "Dana");
    browser.press("4544");
    std::thread::sleep(std::time::Duration::from_millis(400));
    keep(&browser, "label-page.png");
    browser.open(&format!("{}/lead", server.url));
    wait_until("the lead's page", || browser.run("return !document.getElementById('lead').hidden") == true);
    browser.run("window.scrollTo(0, 0)");
    std::thread::sleep(std::time::Duration::from_millis(800));
    keep(&browser, "label-lead.png");
    browser.run("document.getElementById('disputed-title').scrollIntoView()");
    std::thread::sleep(std::time::Duration::from_millis(800));
    keep(&browser, "label-lead-disputes.png");
    let dark = driver.browser(1400, 900);
    dark.emulate_dark();
    sign_in(&dark, &server.url, "Eli");
    dark.press("45");
    dark.press(ENTER);
    std::thread::sleep(std::time::Duration::from_millis(400));
    keep(&dark, "label-dark.png");
    let phone = driver.browser(500, 900);
    phone.emulate_phone();
    sign_in(&phone, &server.url, "Finn");
    phone.press("45");
    std::thread::sleep(std::time::Duration::from_millis(400));
    keep(&phone, "label-phone.png");
    let sheet = data.join("raw/contact_sheet.html").canonicalize().unwrap();
    let browser = driver.browser(1400, 900);
    browser.open(&format!("file://{}", sheet.display()));
    std::thread::sleep(std::time::Duration::from_millis(800));
    keep(&browser, "contact-sheet.png");
}
