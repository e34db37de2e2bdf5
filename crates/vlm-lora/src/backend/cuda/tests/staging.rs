//! Images that are copied beside the queue: the emulation lets copies arrive as late as they may, and refuses those that
//! could overwrite what is still read.

use std::sync::Arc;

use super::emulator::Mark;
use super::{emulated, of_this_machine};
use crate::backend::Backend;
use crate::backend::cuda::buffer::Block;
use crate::backend::cuda::device::Device;
use crate::backend::cuda::{Cuda, CudaDtype};
use crate::{Result, Tiles};

fn image(seed: usize, tiles: usize) -> Arc<Tiles> {
    let bytes = tiles * 12 * 12 * 3;
    let data = (0..bytes).map(|i| ((i + seed) * (i + 3 * seed) % 251) as u8).collect();
    Arc::new(Tiles { rows: 1, cols: tiles - 1, side: 12, data })
}

/// The patches of all tiles of these images, some at a time as the tower takes them.
fn patches<B: Backend>(backend: &B, images: &[Arc<Tiles>], at_once: usize) -> Result<Vec<f32>> {
    let tiles: Vec<(&Tiles, usize)> =
        images.iter().flat_map(|tiles| (0..tiles.count()).map(|index| (&**tiles, index))).collect();
    let mut all = Vec::new();
    for some in tiles.chunks(at_once) {
        all.extend(backend.download(&backend.patches(some, 3, 4)?)?);
    }
    Ok(all)
}

#[test]
fn images_that_were_copied_ahead_are_the_same() -> Result<()> {
    let cuda = emulated(CudaDtype::Float32, false, false);
    copied_ahead(&cuda, (6, 3, 2), &[1, 2, 5])
}

/// Images so large and so many that the memory they are copied from is used again.
#[test]
#[ignore = "needs an NVIDIA GPU"]
fn a_real_device_takes_images_beside_its_work() -> Result<()> {
    copied_ahead(&Cuda::open(&of_this_machine(None))?, (2, 20, 160), &[100])
}

/// Batches of images of several sizes, each staged while the one before it is computed.
fn copied_ahead<D: Device>(
    cuda: &Cuda<D>,
    (batches, images, tiles): (usize, usize, usize),
    at_once: &[usize],
) -> Result<()> {
    let batches: Vec<Vec<Arc<Tiles>>> = (0..batches)
        .map(|batch| (0..images).map(|i| image(7 * batch + i, tiles + (batch + i) % 3)).collect())
        .collect();
    for &at_once in at_once {
        for (index, batch) in batches.iter().enumerate() {
            for tiles in batches.get(index + 1).into_iter().flatten() {
                cuda.stage(tiles)?;
                cuda.stage(tiles)?; // once is enough
            }
            let exact = crate::backend::Cpu::<f32>::new();
            assert!(patches(cuda, batch, at_once)? == patches(&exact, batch, at_once)?, "batch {index}");
        }
    }
    Ok(())
}

#[test]
fn images_that_nobody_asks_for_make_room() -> Result<()> {
    let cuda = emulated(CudaDtype::Float32, false, false);
    let last = (0..200).try_fold(image(0, 2), |_, seed| {
        let tiles = image(seed, 2);
        cuda.stage(&tiles)?;
        if seed % 3 == 0 {
            cuda.patches(&[(&tiles, 0)], 3, 4)?; // begun, and never finished
        }
        Ok::<_, crate::Error>(tiles)
    })?;
    let images = [last];
    assert_eq!(patches(&cuda, &images, 2)?, patches(&crate::backend::Cpu::<f32>::new(), &images, 2)?);
    Ok(())
}

#[test]
fn a_copy_that_does_not_wait_for_its_reader_is_found() -> Result<()> {
    let cuda = emulated(CudaDtype::Float32, false, false);
    let block = Block::new(&cuda.pool, 4096)?;
    let before = cuda.device().mark()?;
    cuda.device().clear(block.address, 16)?;
    cuda.each(
        "patches",
        1,
        &[block.address, block.address]
            .map(Into::into)
            .into_iter()
            .chain([1_u32, 1, 1].map(Into::into))
            .chain([(block.address + 2048).into(), 1_u64.into()])
            .collect::<Vec<_>>(),
    )?;
    assert!(cuda.device().write_async(block.address, &[0; 16], &before).is_err());
    let after = cuda.device().mark()?;
    let arrived = cuda.device().write_async(block.address, &[1; 16], &after)?;
    assert!(matches!(arrived, Mark::Copied(_)));
    let mut bytes = [9; 16];
    cuda.device().read(block.address, &mut bytes)?;
    assert_eq!(bytes, [0; 16], "it arrives when somebody waits for it");
    cuda.device().wait_for(&arrived)?;
    cuda.device().read(block.address, &mut bytes)?;
    assert_eq!(bytes, [1; 16]);
    Ok(())
}
