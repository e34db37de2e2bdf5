//! Tables as people and spreadsheets write them.

use super::{Case, case, refused};

const PLAIN: &str = "slide_id,annotator,clarity,design\ndeck-p001,Ana,4,2\ndeck-p002,Ana,5,na\n";
const TAKEN: &str = "deck-p001 Ana: clarity=4 design=2
                     deck-p002 Ana: clarity=5 design=na";

fn utf16(text: &str) -> Vec<u8> {
    [0xff, 0xfe].into_iter().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect()
}

pub(super) fn cases() -> Vec<Case> {
    [forms(), cells(), times(), columns(), rows(), other_files()].into_iter().flatten().collect()
}

/// Delimiters, encodings, line ends.
fn forms() -> Vec<Case> {
    vec![
        case("plain.csv", PLAIN, TAKEN, &["a table with commas"]),
        case("bom.csv", format!("\u{feff}{PLAIN}"), TAKEN, &[]),
        case("crlf.csv", PLAIN.replace('\n', "\r\n"), TAKEN, &[]),
        case("semicolons.csv", PLAIN.replace(',', ";"), TAKEN, &["semicolons"]),
        case("tabs.tsv", PLAIN.replace(',', "\t"), TAKEN, &["tabs"]),
        case("tabs-named.csv", PLAIN.replace(',', "\t"), TAKEN, &["tabs"]),
        case("bars.txt", PLAIN.replace(',', "|"), TAKEN, &["bars"]),
        case("sep.csv", format!("sep=;\n{}", PLAIN.replace(',', ";")), TAKEN, &[]),
        case("unicode-text.txt", utf16(&PLAIN.replace(',', "\t")), TAKEN, &["UTF-16LE"]),
        case(
            "windows.csv",
            b"slide_id;annotator;clarity;notes\ndeck-p001;J\xfcrgen;4;gr\xfcn\n".to_vec(),
            "deck-p001 Jürgen: clarity=4",
            &["windows-1252"],
        ),
        case(
            "quoted.csv",
            "\"slide_id\",annotator,\"clarity\",\"notes\"\n\"deck-p001\",Ana,\"4\",\"two\nlines, \"\"quoted\"\"\"\ndeck-p002,Ana,5,\n",
            "deck-p001 Ana: clarity=4\ndeck-p002 Ana: clarity=5",
            &[],
        ),
        case(
            "workbook.xlsx",
            include_bytes!("workbook.xlsx").to_vec(),
            "deck-p001 Ana: clarity=4 design=na\ndeck-p002 Ben: clarity=5 design=3",
            &["the sheet `Ratings`", "the sheet `Notes` is not read", "serial number"],
        ),
    ]
}

/// What stands in single cells.
fn cells() -> Vec<Case> {
    vec![
        case(
            "decimals.csv",
            "slide_id;annotator;clarity;design;readability\ndeck-p001;Ana;4,0;3.00;'5\n",
            "deck-p001 Ana: clarity=4 design=3 readability=5",
            &[],
        ),
        case(
            "not-applicable.csv",
            "slide_id,annotator,clarity,design,data_visualization,readability,content_quality\ndeck-p001,Ana,n.a.,None,-,NA,N/A\n",
            "deck-p001 Ana: clarity=na content_quality=na data_visualization=na design=na readability=na",
            &[],
        ),
        case(
            "bad-cell.csv",
            "slide_id,annotator,clarity,design\ndeck-p001,Ana,7,2\ndeck-p002,Ana,3,4.5\ndeck-p003,Ana,3,NaN\n",
            "deck-p001 Ana: design=2\ndeck-p002 Ana: clarity=3\ndeck-p003 Ana: clarity=3",
            &["`clarity`: `7` is not 1 to 5", "`design`: `4.5`", "`NaN`"],
        ),
        case(
            "bad-row.csv",
            "slide_id,annotator,clarity\ndeck-p001,Ana,four\ndeck-p002,Ana,3\n,Ana,2\n",
            "deck-p002 Ana: clarity=3",
            &["`four`", "line 4", "it names no slide"],
        ),
        case(
            "edited-export.csv",
            "slide_id,annotator,clarity,design,event_id\ndeck-p001,Ana,7,2,e-1\ndeck-p002,Ana,3,2,e-2\n",
            "deck-p002 Ana: clarity=3 design=2",
            &["`7` is not 1 to 5", "it has the id of a rating"],
        ),
        case(
            "ten.csv",
            "slide_id,annotator,clarity,design\ndeck-p001,Ana,8,4\ndeck-p002,Ana,10,4\ndeck-p003,Ana,3,4\n",
            "deck-p001 Ana: design=4\ndeck-p002 Ana: design=4\ndeck-p003 Ana: design=4",
            &["\"as\":\"refused\"", "2 of 3 numbers are not 1 to 5, the largest is 10", "--scale 1-10"],
        ),
        case(
            "ten-told.csv",
            "slide_id,annotator,clarity\ndeck-p001,Ana,8\ndeck-p002,Ana,10\ndeck-p003,Ana,1\n",
            "deck-p001 Ana: clarity=4\ndeck-p002 Ana: clarity=5\ndeck-p003 Ana: clarity=1",
            &["1-10 spread evenly over 1-5"],
        )
        .told(&["scale 1-10"]),
        case(
            "one-on-ten.csv",
            "slide_id,annotator,impact,design\ndeck-p001,Ana,8,4\n",
            "deck-p001 Ana: clarity=4 design=4",
            &["1-10 spread"],
        )
        .told(&["map impact=clarity:1-10"]),
    ]
}

fn times() -> Vec<Case> {
    let with = |time: &str| format!("slide_id;annotator;clarity;rated_at\ndeck-p001;Ana;4;{time}\n");
    let taken = "deck-p001 Ana: clarity=4";
    vec![
        case("time-german.csv", with("02.03.2026 10:11"), taken, &["without a zone is taken as UTC"]),
        case("time-ambiguous.csv", with("3/2/2026 10:11"), taken, &["`3/2/2026` may be", "no time is taken"]),
        case("time-american.csv", with("3/25/2026 1:11 PM"), taken, &["taken as UTC"]),
        case("time-iso.csv", with("2026-03-02T10:11:00"), taken, &["taken as UTC"]),
        case("time-date.csv", with("2026-03-02"), taken, &["midnight"]),
        case("time-serial.csv", with("46083,424"), taken, &["serial number"]),
        case("time-word.csv", with("yesterday"), taken, &["`yesterday` is not a time"]),
        case("time-future.csv", with("2031-01-01T00:00:00Z"), taken, &["still to come"]),
    ]
}

fn columns() -> Vec<Case> {
    vec![
        case(
            "heads.csv",
            "Slide ID,Rater,Clarity,Data visualization,Content quality,Comment\ndeck-p001,Ana,4,na,3,fine\n",
            "deck-p001 Ana: clarity=4 content_quality=3 data_visualization=na",
            &[],
        ),
        case(
            "extra.csv",
            "slide_id,annotator,clarity,overall,,\ndeck-p001,Ana,4,9,,x\n",
            "deck-p001 Ana: clarity=4",
            &["\"name\":\"overall\"", "\"name\":\"(column 5)\"", "no criterion or field has this name"],
        ),
        case(
            "image.csv",
            "image,clarity,annotator\nC:\\slides\\deck-p001.PNG,4,Ana\nhttps://h/deck-p002.png?sig=a/b,5,Ana\n",
            "deck-p001 Ana: clarity=4\ndeck-p002 Ana: clarity=5",
            &[],
        ),
        case(
            "other-slide-column.csv",
            "Nr,Page,clarity,who\n1,deck-p001,4,x\n2,deck-p002,5,x\n",
            "deck-p001 imported: clarity=4\ndeck-p002 imported: clarity=5",
            &["its cells are slides of the manifest"],
        ),
        case(
            "two-slide-columns.csv",
            "image,slide,clarity\n-,deck-p001,4\n-,deck-p002,5\n",
            "deck-p001 imported: clarity=4\ndeck-p002 imported: clarity=5",
            &["no cell is a slide of the manifest"],
        ),
        case("mapped.csv", "Folie;Wer;Klarheit\ndeck-p001;Ana;4\n", "deck-p001 Ana: clarity=4", &[]).told(&[
            "map Folie=slide_id",
            "map Wer=annotator",
            "map Klarheit=clarity",
        ]),
        case(
            "twice.csv",
            "slide_id,clarity,Clarity,created_at,updated_at\ndeck-p001,4,2,2026-01-01,2026-01-02\n",
            "deck-p001 imported: clarity=4",
            &["`clarity` is taken", "`updated_at` is taken"],
        ),
        case(
            "titles.csv",
            "Ratings of spring\n\nslide_id,annotator,clarity\ndeck-p001,Ana,4\n",
            "deck-p001 Ana: clarity=4",
            &["before the heads in line 3"],
        ),
        refused(
            "no-criterion.csv",
            "slide_id,clearness\ndeck-p001,4\n",
            &["`clearness`", "clarity", "--map"],
        ),
        refused("no-slide.csv", "a,b\n1,2\n", &["slide_id", "--map"]),
    ]
}

/// Which row counts, whose it is.
fn rows() -> Vec<Case> {
    vec![
        case(
            "unknown.csv",
            "slide_id,annotator,clarity\nnowhere,Ana,4\ndeck-p001,Ana,3\n",
            "deck-p001 Ana: clarity=3",
            &["\"unknown_slides\":{\"nowhere\":1}"],
        ),
        case(
            "later-wins.csv",
            "slide_id,annotator,clarity\ndeck-p001,Ana,4\ndeck-p001,Ana,2\n",
            "deck-p001 Ana: clarity=2",
            &["line 3 replaces it", "\"place\":\"line 2\""],
        ),
        case(
            "repeat.csv",
            "slide_id,annotator,clarity\ndeck-p001,Ana,4\ndeck-p001,Ana,4\n",
            "deck-p001 Ana: clarity=4",
            &["says the same"],
        ),
        case(
            "timed.csv",
            "slide_id,annotator,clarity,rated_at\ndeck-p001,Ana,4,2026-02-01T00:00:00Z\ndeck-p001,Ana,2,2026-01-01T00:00:00Z\n",
            "deck-p001 Ana: clarity=4\ndeck-p001 Ana: clarity=2",
            &[],
        ),
        case(
            "nobody-twice.csv",
            "slide_id,clarity\ndeck-p001,4\ndeck-p001,2\ndeck-p002,1\n",
            "deck-p001 imported 1: clarity=4\ndeck-p001 imported 2: clarity=2\ndeck-p002 imported 1: clarity=1",
            &["different people's"],
        ),
        case(
            "people.csv",
            "slide_id,email,clarity\ndeck-p001,ana@example.org,4\ndeck-p001,ben@example.org,2\n",
            "deck-p001 Ana: clarity=4\ndeck-p001 ben@example.org: clarity=2",
            &["\"found\":\"ana@example.org\""],
        )
        .told(&["person Ana@Example.org=Ana"]),
        case(
            "spellings.csv",
            "slide_id,annotator,clarity\ndeck-p001, Ana ,4\ndeck-p001,ana,2\n",
            "deck-p001 Ana: clarity=4\ndeck-p001 ana: clarity=2",
            &["taken as two people"],
        ),
        case(
            "unrated.csv",
            "slide_id,annotator,clarity\ndeck-p001,Ana,4\ndeck-p002,Ana,\n\n,,\n",
            "deck-p001 Ana: clarity=4",
            &["\"empty_rows\":1"],
        ),
        case(
            "comma-in-notes.csv",
            "slide_id,annotator,notes,clarity\ndeck-p001,Ana,fine, really,4\ndeck-p002,Ana,,3\n",
            "deck-p002 Ana: clarity=3",
            &["5 cells, but 4 heads"],
        ),
        case(
            "open-quote.csv",
            "slide_id,clarity,notes\ndeck-p001,4,\ndeck-p002,3,\"wide\ndeck-p003,2,\n",
            "deck-p001 imported: clarity=4",
            &["never closed", "line 3"],
        ),
        case(
            "notes-alone.csv",
            "slide_id,annotator,clarity,notes\ndeck-p001,Ana,,what is this?\ndeck-p002,Ana,3,\n",
            "deck-p002 Ana: clarity=3",
            &["notes, but no score"],
        ),
    ]
}

fn other_files() -> Vec<Case> {
    vec![
        refused("old.xls", b"\xd0\xcf\x11\xe0\xa1\xb1".to_vec(), &[".xls", "CSV UTF-8"]),
        refused(
            "sheet.ods",
            b"PK\x03\x04 mimetypeapplication/vnd.oasis.opendocument.spreadsheet".to_vec(),
            &["OpenDocument", "CSV UTF-8"],
        ),
        refused("rows.parquet", b"PAR1....PAR1".to_vec(), &["Parquet"]),
        refused("binary.csv", b"\x00\x01\x02\xff\xfe".to_vec(), &["not text"]),
        refused("empty.csv", "", &["it is empty"]),
    ]
}
