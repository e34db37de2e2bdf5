//! What one layer more asks of a GPU in a step over a slide of 13 tiles and 982 tokens.

use super::counts::{Counts, Layers, count};

/// Of the fourth step, whose buffers are there and behind which no pixels are copied.
fn step(vision: usize, text: usize, dropout: f64) -> Counts {
    count(Layers { vision, text, dropout }, 1, 1).swap_remove(1)
}

fn show(name: &str, layer: &Counts) {
    let launches: Vec<String> = layer
        .launches
        .iter()
        .filter(|(_, calls)| **calls > 0)
        .map(|(kernel, calls)| format!("{calls} {kernel}"))
        .collect();
    eprintln!(
        "{name}: {} in the queue, {} products, {:.1} MB moved; {}",
        layer.queued(),
        layer.products,
        layer.moved as f64 / 1e6,
        launches.join(", ")
    );
}

#[test]
fn a_layer_asks_for_so_many_launches_and_bytes() {
    let fewest = step(1, 2, 0.0);
    let (vision, text) = (step(2, 2, 0.0).since(&fewest), step(1, 3, 0.0).since(&fewest));
    let dropped = step(1, 3, 0.05).since(&step(1, 2, 0.05));
    show("a block of the vision tower", &vision);
    show("a layer of the text model, forward and backward", &text);
    show("the same with dropout", &dropped);
    assert_eq!((vision.queued(), vision.products), (7, 4));
    assert!(vision.moved <= 670_000_000, "{} bytes", vision.moved);
    assert_eq!(text.products, 8);
    assert!(text.queued() <= 32, "{} in the queue", text.queued());
    assert!(text.moved <= 305_000_000, "{} bytes", text.moved);
}
