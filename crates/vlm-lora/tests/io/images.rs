//! Tiles against transformers' PIL processor with Pillow 13 (`make_io_golden.py`): many sizes, every pixel format.

use std::path::Path;

use image::{DynamicImage, RgbImage};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use vlm_lora::{Error, Processor, Tiles};

use crate::support::{copy_files, golden, json as read_json, own_cases};

/// A processor of the older layout with these settings.
fn processor(dir: &Path, tile: usize, longest_edge: usize, split: bool) -> Processor {
    copy_files(&own_cases().join("suffix-qv/model"), dir);
    let settings = json!({"size": {"longest_edge": longest_edge}, "max_image_size": {"longest_edge": tile},
        "do_image_splitting": split});
    std::fs::write(dir.join("preprocessor_config.json"), settings.to_string()).unwrap();
    Processor::open(dir, None).unwrap()
}

/// The test image of the script.
fn pattern(width: u32, height: u32) -> DynamicImage {
    let image = RgbImage::from_fn(width, height, |x, y| {
        let noise = x.wrapping_mul(1_103_515_245).wrapping_add(y.wrapping_mul(12_345)).wrapping_add(7) >> 9;
        let stripe = if (x / 3 + y / 5).is_multiple_of(2) { 255 } else { 0 };
        image::Rgb([noise as u8, stripe, (x * 255 / (width - 1).max(1)) as u8])
    });
    DynamicImage::ImageRgb8(image)
}

fn sha256(tiles: &Tiles) -> String {
    Sha256::digest(&tiles.data).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn size(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

#[test]
fn every_size_is_cut_and_resampled_as_by_pillow() {
    let golden = read_json(&golden("images.json"));
    assert!(
        golden["pillow"].as_str().unwrap().starts_with("13."),
        "Pillow 12 goes through the axes in another order"
    );
    for case in golden["sizes"].as_array().unwrap() {
        let dir = tempfile::tempdir().unwrap();
        let split = case["split"].as_bool().unwrap();
        let processor = processor(dir.path(), size(&case["tile"]), size(&case["longest_edge"]), split);
        let [width, height] = [0, 1].map(|index| size(&case["size"][index]));
        let tiles = processor.tiles(&pattern(width as u32, height as u32)).unwrap();
        assert_eq!(tiles.count(), size(&case["tiles"]), "{case}");
        assert_eq!((tiles.rows, tiles.cols), processor.grid(width, height).unwrap());
        assert_eq!(sha256(&tiles), case["sha256"].as_str().unwrap(), "{case}");
    }
}

#[test]
fn every_pixel_format_is_converted_as_by_pillow() {
    let dir = tempfile::tempdir().unwrap();
    let processor = processor(dir.path(), 32, 64, true);
    let list = read_json(&golden("images.json"));
    let formats = list["formats"].as_array().unwrap();
    assert_eq!(formats.len(), 12);
    let wrong: Vec<&str> = formats
        .iter()
        .filter_map(|case| {
            let name = case["file"].as_str().unwrap();
            let image = image::open(golden("images").join(name)).unwrap();
            let same = sha256(&processor.tiles(&image).unwrap()) == case["sha256"].as_str().unwrap();
            (!same).then_some(name)
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn the_longest_edge_is_a_setting() {
    let model = own_cases().join("text-all/model");
    let image = pattern(300, 200);
    for (edge, tiles) in [(512, 13), (256, 5), (128, 1), (100, 1)] {
        let processor = Processor::open(&model, Some(edge)).unwrap();
        assert_eq!((processor.longest_edge(), processor.tiles(&image).unwrap().count()), (edge, tiles));
    }
    for edge in [0, 769, usize::MAX] {
        assert!(matches!(Processor::open(&model, Some(edge)), Err(Error::InvalidConfig { .. })), "{edge}");
    }
}

#[test]
fn other_pixel_arithmetic_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    copy_files(&own_cases().join("suffix-qv/model"), dir.path());
    for (key, value) in [
        ("image_mean", json!([0.48, 0.45, 0.4])),
        ("image_std", json!(0.25)),
        ("resample", json!(3)),
        ("rescale_factor", json!(1.0)),
        ("do_resize", json!(false)),
        ("do_normalize", json!(false)),
        ("size", json!({"height": 3, "width": 3})),
        ("max_image_size", json!({"longest_edge": 0})),
    ] {
        std::fs::write(dir.path().join("preprocessor_config.json"), json!({key: value}).to_string()).unwrap();
        let error = Processor::open(dir.path(), None).unwrap_err().to_string();
        assert!(error.contains(key), "{key}: {error}");
    }
}

#[test]
fn special_tokens_in_a_text_are_refused() {
    let processor = Processor::open(own_cases().join("text-all/model"), None).unwrap();
    for text in
        ["<image>", "a <end_of_utterance> b", "<|im_start|>", "<row_1_col_1>", "<fake_token_around_image>"]
    {
        assert!(matches!(processor.render(text, None), Err(Error::Text { .. })), "{text}");
        assert!(matches!(processor.render("fine", Some(text)), Err(Error::Text { .. })), "{text}");
    }
    assert!(processor.render("a < b > c <end> <|x|>", Some("\n{{ 1 }} {% raw %}")).is_ok());
}
