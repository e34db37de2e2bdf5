//! A report that is opened as a file: what is corrected in it comes back as a file.

use std::path::{Path, PathBuf};

use pq_testing::project::Project;
use pq_testing::trials::Tool;
use serde_json::Value;
use slide_data::{Contract as _, Correction};

use crate::assert_accessible;
use crate::common::{SCORE, deck, project, wait_until};
use crate::driver::{Browser, Driver};

/// What a deck may be called.
const NAME: &str = "<script>alert(1)<!-- 'Söhne' & \"Co\".pdf";
const FILE: &str = "corrections-script-alert-1-Söhne-Co.jsonl";
const NOTES: &str = "</script><b>Über \"alles\" hinaus</b>\n\u{2028}zweite Zeile";

/// The report of a deck of this name.
pub fn report(project: &Project, name: &str) -> PathBuf {
    std::fs::copy(deck(), project.path(name)).unwrap();
    let output = project.run(SCORE, &["--adapter", "outputs/run-1", "--html", "report.html", name]);
    assert!(output.status.success(), "{output:?}");
    project.path("report.html")
}

pub fn open(browser: &Browser<'_>, report: &Path) {
    browser.open(&format!("file://{}", report.display()));
}

/// Clicks the `index`-th score that is not the model's, of a criterion of the first slide, and returns what it gives.
pub fn correct(browser: &Browser<'_>, criterion: usize, index: usize) -> Value {
    browser.run(&format!(
        "const group = document.querySelectorAll('.slide')[0].querySelectorAll('.correct [data-key]')[{criterion}];
         group.closest('details').open = true;
         const button = group.querySelectorAll('[data-score]:not([disabled])')[{index}];
         button.click(); return [group.dataset.key, button.dataset.score === '' ? null : Number(button.dataset.score)];"
    ))
}

fn undo(browser: &Browser<'_>, criterion: usize) {
    browser.run(&format!("document.querySelectorAll('.undo')[{criterion}].click();"));
}

pub fn name(browser: &Browser<'_>, name: &str) {
    browser.run(&format!(
        "const field = document.getElementById('annotator'); field.value = {name:?}; field.dispatchEvent(new Event('change'));"
    ));
}

fn explain(browser: &Browser<'_>, notes: &str) {
    let notes = serde_json::to_string(notes).unwrap();
    browser.run(&format!(
        "const box = document.querySelector('.slide textarea'); box.value = {notes};
         box.dispatchEvent(new Event('input', {{bubbles: true}}));"
    ));
}

/// How many corrections wait, as the page says; whether it asks before it is left.
fn waiting(browser: &Browser<'_>) -> (String, bool) {
    let asks = "const leaving = new Event('beforeunload', {cancelable: true});
        window.dispatchEvent(leaving); return leaving.defaultPrevented;";
    let said = browser.run(
        "return document.getElementById('tray').hidden ? '' : document.getElementById('waiting').textContent",
    );
    (said.as_str().unwrap().to_owned(), browser.run(asks) == true)
}

/// Downloads, and takes the file.
fn download(browser: &Browser<'_>, folder: &Path) -> Vec<Correction> {
    let file = folder.join(FILE);
    let _ = std::fs::remove_file(&file);
    browser.click("#download");
    wait_until("the file is there", || file.exists());
    Correction::read_log(&file).unwrap().entries
}

/// What `pq-score corrections` says of the file: added, known, lines that are not taken.
fn take_in(project: &Project, folder: &Path) -> [usize; 3] {
    let file = folder.join(FILE);
    let output = project.run(SCORE, &["corrections", "--json", file.to_str().unwrap()]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let count = |key: &str| report[key].as_u64().unwrap() as usize;
    [count("added"), count("known"), report["not_taken"].as_array().unwrap().len()]
}

pub fn a_report_that_is_a_file_gives_corrections_that_are_taken_in_once() {
    let (driver, project, folder) = (Driver::start(), project(), tempfile::tempdir().unwrap());
    let report = report(&project, NAME);
    let browser = driver.browser(1300, 900);
    browser.download_to(folder.path());
    open(&browser, &report);
    assert_eq!(waiting(&browser), (String::new(), false));
    let clarity = correct(&browser, 0, 0);
    let inapplicable = correct(&browser, 1, 4);
    assert_eq!(inapplicable[1], Value::Null, "it does not apply");
    correct(&browser, 2, 1);
    undo(&browser, 2);
    let is_on_score = "return document.activeElement.matches('[data-score]:not([disabled])')";
    assert_eq!(browser.run(is_on_score), true, "the button that was used is gone, the focus is not");
    explain(&browser, NOTES);
    assert_eq!(waiting(&browser), ("2 corrections wait to be downloaded.".to_owned(), true));
    browser.click("#download");
    assert!(browser.text("#corrected").contains("Say your name first"));
    assert_eq!(browser.run("return document.activeElement.id"), "annotator");
    browser.reload();
    assert_eq!(waiting(&browser).0, "2 corrections wait to be downloaded.", "they survive");
    name(&browser, "Ana \"A.\" <Ö>");
    let first = download(&browser, folder.path());
    assert!(!waiting(&browser).1, "nothing is lost by leaving now");
    let said = |line: &Correction| serde_json::to_value(&line.scores).unwrap();
    let pair = |one: &Value| serde_json::json!({one[0].as_str().unwrap(): one[1]});
    assert_eq!(first.iter().map(said).collect::<Vec<_>>(), [pair(&clarity), pair(&inapplicable)]);
    assert!(first.iter().all(|line| line.notes == NOTES && line.annotator == "Ana \"A.\" <Ö>"));
    assert_eq!(take_in(&project, folder.path()), [2, 0, 0]);
    assert_eq!(take_in(&project, folder.path()), [0, 2, 0]);
    assert_eq!(download(&browser, folder.path()), first, "the same corrections under the same ids");
    let noted = Correction::read_log(&project.path("data/user_feedback/corrections.jsonl")).unwrap().entries;
    assert_eq!(noted, first);
    let logged = crate::logged(&project);
    let scored = logged.iter().find(|line| line.slide_id == noted[0].slide_id).unwrap();
    assert_eq!((&noted[0].predicted, &noted[0].model_version), (&scored.expected, &scored.model_version));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

pub fn what_is_changed_after_a_download_is_a_correction_of_its_own() {
    let (driver, project, folder) = (Driver::start(), project(), tempfile::tempdir().unwrap());
    let report = report(&project, NAME);
    let browser = driver.browser(1300, 900);
    browser.download_to(folder.path());
    open(&browser, &report);
    name(&browser, "Ana");
    correct(&browser, 0, 0);
    let design = correct(&browser, 1, 0);
    let first = download(&browser, folder.path());
    assert_eq!(take_in(&project, folder.path()), [2, 0, 0]);
    correct(&browser, 0, 1);
    correct(&browser, 0, 0);
    assert_eq!(
        waiting(&browser).0,
        format!("2 corrections downloaded: send {FILE} to the team."),
        "back is no change"
    );
    let clarity = correct(&browser, 0, 1);
    undo(&browser, 1);
    assert_eq!(waiting(&browser).0, "2 corrections wait to be downloaded.");
    let second = download(&browser, folder.path());
    assert_eq!(take_in(&project, folder.path()), [2, 0, 0]);
    let of = |lines: &[Correction], one: &Value| -> Correction {
        lines.iter().find(|line| line.scores.contains_key(one[0].as_str().unwrap())).unwrap().clone()
    };
    for one in [&clarity, &design] {
        let (before, after) = (of(&first, one), of(&second, one));
        assert!(
            after.id != before.id && after.corrected_at > before.corrected_at,
            "the last word is the last"
        );
    }
    let models =
        crate::logged(&project).iter().find(|line| line.slide_id == first[0].slide_id).unwrap().clone();
    let key = design[0].as_str().unwrap();
    assert_eq!(
        of(&second, &design).scores[key],
        models.score(key),
        "what was undone says what the model says"
    );
    assert!(waiting(&browser).0.starts_with("2 corrections downloaded"));
}

pub fn where_a_browser_keeps_nothing_the_form_works_until_the_page_is_left() {
    let (driver, project, folder) = (Driver::start(), project(), tempfile::tempdir().unwrap());
    let report = report(&project, NAME);
    let browser = driver.browser(1300, 900);
    browser.download_to(folder.path());
    browser.run_before_pages(
        "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no', 'SecurityError'); }});",
    );
    open(&browser, &report);
    name(&browser, "Ana");
    correct(&browser, 0, 0);
    correct(&browser, 1, 0);
    assert_eq!(waiting(&browser), ("2 corrections wait to be downloaded.".to_owned(), true));
    download(&browser, folder.path());
    assert_eq!(take_in(&project, folder.path()), [2, 0, 0]);
    browser.reload();
    assert_eq!(waiting(&browser), (String::new(), false));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

pub fn a_report_to_correct_is_accessible_and_its_form_is_not_printed() {
    let (driver, project) = (Driver::start(), project());
    let axe = std::fs::read_to_string(Tool::axe_core()).unwrap();
    let report = report(&project, NAME);
    for is_dark in [false, true] {
        let browser = driver.browser(1300, 900);
        if is_dark {
            browser.emulate_dark();
        }
        open(&browser, &report);
        correct(&browser, 0, 0);
        browser.run("for (const part of document.querySelectorAll('details')) part.open = true;");
        assert_accessible(&browser, &axe, "a report that is a file");
        browser.emulate_print();
        let shown = "return [...document.querySelectorAll('.who, .correct, .tray')].filter((part) => part.checkVisibility()).length";
        assert_eq!(browser.run(shown), 0);
    }
}

/// Drives the form as somebody does who has no mouse.
pub fn a_score_is_corrected_and_undone_by_keys() {
    let (driver, project) = (Driver::start(), project());
    let report = report(&project, NAME);
    let browser = driver.browser(1300, 900);
    open(&browser, &report);
    browser.run("document.querySelector('.correct summary').focus();");
    let press = |keys: &str| browser.press(keys);
    press("\u{e007}");
    let reach = |selector: &str| {
        for _ in 0..40 {
            if browser.run(&format!("return document.activeElement.matches({selector:?})")) == true {
                return;
            }
            press("\u{e004}");
        }
        panic!("{selector} is not reached by the tabulator");
    };
    reach(".slide [data-score]");
    press(" ");
    assert_eq!(waiting(&browser).0, "1 correction waits to be downloaded.");
    reach(".undo");
    press("\u{e007}");
    assert_eq!(waiting(&browser).0, "");
    assert!(browser.text("#corrected").contains("the model's score stands again"));
}
