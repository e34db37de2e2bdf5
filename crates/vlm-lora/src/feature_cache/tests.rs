//! What is kept, and what counts as missing.

use super::*;

fn tiles(byte: u8) -> Tiles {
    Tiles { rows: 0, cols: 0, side: 2, data: vec![byte; 12] }
}

fn features() -> Features {
    Features { width: 3, values: [0.1, -2.5, 1e-3, 7.0, 0.0, -0.333].into() }
}

#[test]
fn what_is_inserted_is_found_again_by_another_process() {
    let dir = tempfile::tempdir().unwrap();
    for precision in [FeaturePrecision::Bfloat16, FeaturePrecision::Float32] {
        let cache = FeatureCache::new(Fingerprint::of_bytes(b"base"), precision).on_disk(dir.path());
        let key = cache.key(&tiles(1));
        assert_eq!(cache.get(&key), None);
        let stored = cache.insert(&key, &features()).unwrap();
        assert_eq!(cache.get(&key).as_ref(), Some(&stored));
        let second = FeatureCache::new(Fingerprint::of_bytes(b"base"), precision).on_disk(dir.path());
        assert_eq!(second.get(&key).as_ref(), Some(&stored));
        let exact = stored == features();
        assert_eq!(exact, precision == FeaturePrecision::Float32);
        assert_eq!(stored.values.len(), features().values.len());
        for (a, b) in stored.values.iter().zip(features().values.iter()) {
            assert!((a - b).abs() <= b.abs() / 256.0);
        }
    }
}

#[test]
fn every_corruption_counts_as_missing() {
    let dir = tempfile::tempdir().unwrap();
    let cache = FeatureCache::new(Fingerprint::of_bytes(b"base"), FeaturePrecision::Bfloat16)
        .on_disk(dir.path())
        .memory_budget(0);
    let key = cache.key(&tiles(1));
    cache.insert(&key, &features()).unwrap();
    let path = path_in(dir.path(), &key.0[0]);
    let whole = std::fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut broken = whole.clone();
        broken[at] ^= 0x10;
        std::fs::write(&path, &broken).unwrap();
        assert_eq!(cache.get(&key), None, "byte {at} of {}", whole.len());
        std::fs::write(&path, &whole[..at]).unwrap();
        assert_eq!(cache.get(&key), None, "cut at {at}");
    }
    cache.insert(&key, &features()).unwrap();
    assert!(cache.get(&key).is_some());
}

#[test]
fn the_key_follows_base_precision_size_and_pixels() {
    let cache = |base: &str, precision| FeatureCache::new(Fingerprint::of_bytes(base.as_bytes()), precision);
    let plain = cache("a", FeaturePrecision::Bfloat16);
    let key = plain.key(&tiles(1));
    assert_eq!(key, plain.key(&tiles(1)));
    assert_ne!(key, plain.key(&tiles(2)));
    assert_ne!(key, plain.key(&Tiles { side: 1, ..tiles(1) }));
    assert_ne!(key, cache("b", FeaturePrecision::Bfloat16).key(&tiles(1)));
    assert_ne!(key, cache("a", FeaturePrecision::Float32).key(&tiles(1)));
}

/// An image of three tiles: these bytes.
fn three(bytes: [u8; 3]) -> Tiles {
    let data = bytes.iter().flat_map(|byte| [*byte; 12]).collect();
    Tiles { rows: 1, cols: 2, side: 2, data }
}

#[test]
fn a_tile_of_two_images_is_kept_once() {
    let dir = tempfile::tempdir().unwrap();
    let cache =
        FeatureCache::new(Fingerprint::of_bytes(b"base"), FeaturePrecision::Float32).on_disk(dir.path());
    let rows = |tiles: [f32; 3]| Features { width: 2, values: tiles.iter().flat_map(|x| [*x, -x]).collect() };
    let (one, other) = (cache.key(&three([1, 2, 3])), cache.key(&three([3, 1, 1])));
    assert_eq!(cache.insert(&one, &rows([0.1, 0.2, 0.3])).unwrap(), rows([0.1, 0.2, 0.3]));
    assert_eq!(cache.get(&other), Some(rows([0.3, 0.1, 0.1])));
    assert_eq!(cache.get(&cache.key(&tiles(2))), Some(Features { width: 2, values: [0.2, -0.2].into() }));
    assert_eq!(cache.get(&cache.key(&three([1, 2, 4]))), None);
    let files = std::fs::read_dir(dir.path()).unwrap().flatten();
    let files = files.flat_map(|folder| std::fs::read_dir(folder.path()).unwrap());
    assert_eq!(files.count(), 3);
}

#[test]
fn entries_of_another_folder_are_taken_over() {
    let (own, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let cache = |folder: &Path| {
        FeatureCache::new(Fingerprint::of_bytes(b"base"), FeaturePrecision::Float32).on_disk(folder)
    };
    let key = cache(own.path()).key(&tiles(1));
    cache(other.path()).insert(&key, &features()).unwrap();
    assert_eq!(cache(own.path()).get(&key), None);
    assert_eq!(cache(own.path()).also_from(other.path()).get(&key), Some(features()));
    std::fs::remove_dir_all(other.path()).unwrap();
    assert_eq!(cache(own.path()).get(&key), Some(features()));
}

#[test]
fn the_entries_that_were_written_longest_ago_go() {
    let dir = tempfile::tempdir().unwrap();
    let cache = FeatureCache::new(Fingerprint::of_bytes(b"base"), FeaturePrecision::Float32)
        .on_disk(dir.path())
        .memory_budget(0);
    let keys: Vec<_> = (0..5).map(|i| cache.key(&tiles(i))).collect();
    for (age, key) in keys.iter().enumerate() {
        cache.insert(key, &features()).unwrap();
        let file = std::fs::File::options().append(true).open(path_in(dir.path(), &key.0[0])).unwrap();
        file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_mins(age as u64)).unwrap();
    }
    assert_eq!(prune_features(dir.path(), 200).unwrap(), 3); // 81 bytes each
    let left: Vec<bool> = keys.iter().map(|key| cache.get(key).is_some()).collect();
    assert_eq!(left, [true, true, false, false, false]);
    assert_eq!(prune_features(dir.path(), 200).unwrap(), 0);
    assert_eq!(prune_features(&dir.path().join("none"), 0).unwrap(), 0);
}

#[test]
fn features_that_do_not_fit_the_tiles_are_refused() {
    let cache = FeatureCache::new(Fingerprint::of_bytes(b"base"), FeaturePrecision::Float32);
    let key = cache.key(&three([1, 2, 3]));
    for (width, len) in [(2, 8), (4, 6), (0, 6), (2, 0)] {
        let features = Features { width, values: vec![0.5; len].into() };
        assert!(cache.insert(&key, &features).is_err(), "{len} values in rows of {width}");
    }
    assert_eq!(cache.get(&key), None);
}

#[test]
fn memory_stays_within_its_budget() {
    let cache =
        FeatureCache::new(Fingerprint::of_bytes(b"base"), FeaturePrecision::Float32).memory_budget(200);
    let keys: Vec<_> = (0..4).map(|i| cache.key(&tiles(i))).collect();
    for key in &keys {
        cache.insert(key, &features()).unwrap();
    }
    assert_eq!(keys.iter().filter(|key| cache.get(key).is_some()).count(), 2); // 81 bytes each
}
