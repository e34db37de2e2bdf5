//! Agreement over 50,000 ratings of five criteria: 16,667 slides of 1,000 decks, three of 50 people each.
#![allow(missing_docs, reason = "criterion's macros make public functions without documentation")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use slide_label::agreement::{AgreementOptions, RatingMatrix, agreement, human_ceiling, pair_agreement};

const SLIDES: u32 = 16_667;
const PEOPLE: u32 = 50;

fn matrix() -> RatingMatrix {
    let criteria = ["clarity", "design", "data_visualization", "readability", "content_quality"];
    let people = (0..PEOPLE).map(|person| format!("p{person:02}")).collect();
    let mut matrix = RatingMatrix::new(criteria.map(str::to_owned).to_vec(), people);
    let mut rng = fastrand::Rng::with_seed(1);
    for slide in 0..SLIDES {
        let first = rng.u32(0..PEOPLE - 2);
        let hidden: [f64; 5] = std::array::from_fn(|_| 1.0 + 4.0 * rng.f64());
        let mut rate = || hidden.map(|hidden| (hidden + rng.f64() * 2.0 - 1.0).round().clamp(1.0, 5.0) as u8);
        let codes = [rate(), rate(), rate()];
        matrix.push(&slide.to_string(), slide % 1000, (first..).zip(codes.iter().map(|codes| &codes[..])));
    }
    matrix
}

fn bench(c: &mut Criterion) {
    let matrix = matrix();
    let mut group = c.benchmark_group("agreement of 50,000 ratings");
    group.throughput(Throughput::Elements(matrix.len() as u64)).sample_size(20);
    for resamples in [0, 400, 1000] {
        let options = AgreementOptions { resamples, seed: 0 };
        group.bench_function(format!("{resamples} resamples"), |b| {
            b.iter(|| agreement(black_box(&matrix), options));
        });
    }
    group.bench_function("pairs", |b| b.iter(|| pair_agreement(black_box(&matrix), 0, 0)));
    group.bench_function("human ceiling", |b| b.iter(|| human_ceiling(black_box(&matrix))));
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
