//! The page fits the window, whatever its size.

use serde_json::Value;

use crate::common::{Site, wait_until};
use crate::driver::{Browser, DOWN, Driver, ENTER, TAB};
use crate::looks::decode;
use crate::{serve, sign_in, slide_name, wait_for_another};

/// Windows in CSS pixels.
const SIZES: [(u32, u32, &str); 12] = [
    (2560, 1400, "a large screen"),
    (1920, 1080, "a screen"),
    (1366, 768, "a laptop"),
    (1024, 768, "a tablet, sideways"),
    (768, 1024, "a tablet"),
    (683, 384, "a laptop at 200 %"),
    (341, 192, "a laptop at 400 %"),
    (320, 256, "a screen of 1280 x 1024 at 400 %"),
    (390, 844, "a phone"),
    (320, 568, "a small phone"),
    (844, 390, "a phone, sideways"),
    (568, 320, "a small phone, sideways"),
];

/// Where the focus is, and what of it is hidden: nothing where all is well. It looks when a frame was painted, as
/// people do: until then the page may move what a new line has pushed away.
const HIDDEN: &str = "
    const answer = arguments[arguments.length - 1];
    const look = () => {
      const focused = document.activeElement;
      const box = (focused.closest('label') ?? focused).getBoundingClientRect();
      const name = focused.id || `${focused.name} ${focused.value}`;
      if (box.width === 0) return `${name} has no place`;
      const at = [[.5, .5], [.5, .1], [.5, .9]].map(([x, y]) => [box.left + x * box.width, box.top + y * box.height]);
      const covered = at.filter(([x, y]) => {
        const found = document.elementFromPoint(x, y);
        return !found || !(focused.closest('label') ?? focused).contains(found);
      });
      return covered.length > 0 ? `${name}: ${JSON.stringify(covered)} of ${JSON.stringify(box)} in ${innerWidth}x${innerHeight}` : null;
    };
    requestAnimationFrame(() => {
      const painted = new MessageChannel();
      painted.port1.onmessage = () => answer(look());
      painted.port2.postMessage(null);
    });";

/// What was hidden, at which size and after which key.
#[derive(Default)]
struct Found(Vec<String>);

impl Found {
    fn look(&mut self, browser: &Browser<'_>, what: &str) {
        if let Value::String(hidden) = browser.run_async(HIDDEN) {
            self.0.push(format!("{what}: {hidden}"));
        }
    }
}

pub(crate) fn whatever_has_the_focus_is_seen_at_every_size() {
    let driver = Driver::start();
    let site = Site::new(6, 6, "calibration_slides = 0");
    let server = serve(&site);
    let browser = driver.browser(1300, 850);
    sign_in(&browser, &server.url, "Ana");
    let mut found = Found::default();
    for (width, height, what) in SIZES {
        browser.emulate_size(width, height);
        browser.run("window.scrollTo(0, 0)");
        let before = slide_name(&browser);
        wait_until("the window has its size", || browser.run("return innerWidth") == width);
        let what = |key: &str| format!("{what} ({width}x{height}), after {key}");
        browser.press("c");
        found.look(&browser, &what("c"));
        for _ in 0..4 {
            browser.press(DOWN);
            found.look(&browser, &what("an arrow"));
        }
        for key in ["c", "r", "c"] {
            browser.press(key);
            found.look(&browser, &what(key));
        }
        // What is missing grows what is pinned below.
        browser.press(ENTER);
        found.look(&browser, &what("Enter with something missing"));
        for digit in 1..=5 {
            browser.press("4");
            found.look(&browser, &what(&format!("digit {digit}")));
        }
        changes_hide_nothing(&browser, &mut found, &what);
        browser.press("c");
        for _ in 0..11 {
            browser.press(TAB);
            if browser.run("return document.getElementById('rating').contains(document.activeElement)")
                == true
            {
                found.look(&browser, &what("Tab"));
            }
        }
        let is_wide = "return document.documentElement.scrollWidth > innerWidth";
        if browser.run(is_wide) == true {
            found.0.push(what("all that: it scrolls sideways"));
        }
        if let Some(folder) = std::env::var_os("PICTURES") {
            let file = std::path::Path::new(&folder).join(format!("fits-{width}x{height}.png"));
            std::fs::write(file, decode(&browser.screenshot())).unwrap();
        }
        browser.run("document.getElementById('save').click()");
        wait_for_another(&browser, &before);
        found.look(&browser, &what("saving"));
    }
    assert!(found.0.is_empty(), "{:#?}", found.0);
}

/// What comes and goes above and below moves the page under what has the focus, and covers it.
fn changes_hide_nothing(browser: &Browser<'_>, found: &mut Found, what: &impl Fn(&str) -> String) {
    let change = |id: &str, change: &str| {
        browser.run(&format!("const changed = document.getElementById('{id}'); {change}"));
    };
    for key in ["c", "d", "a", "r", "o"] {
        browser.press(key);
        change("status", "changed.textContent = 'Saving …'");
        found.look(browser, &what(&format!("{key} and a line above")));
        browser.press(key);
        change("save-anyway", "changed.hidden = !changed.hidden");
        found.look(browser, &what(&format!("{key} and a button below")));
        change("status", "changed.textContent = ''");
    }
}
