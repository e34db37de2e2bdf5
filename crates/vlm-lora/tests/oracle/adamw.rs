//! Twenty steps of AdamW against candle-nn's.

use candle_core::{Device, Tensor, Var};
use candle_nn::optim::{AdamW, Optimizer as _, ParamsAdamW};
use pq_testing::max_difference;
use vlm_lora::backend::{AdamWStep, AdamWTensor, Backend as _, Cpu, Kernels as _};

use crate::geometry::Dice;

const N: usize = 300;

#[test]
fn twenty_steps_agree_with_candle_nn() {
    let mut dice = Dice::new(3);
    let start: Vec<f64> = (0..N).map(|_| f64::from(dice.uniform())).collect();
    let gradients: Vec<Vec<f64>> =
        (0..20).map(|_| (0..N).map(|_| f64::from(dice.uniform()) * 0.3).collect()).collect();
    for (beta1, beta2, weight_decay) in [(0.9, 0.999, 0.01), (0.8, 0.95, 0.0), (0.9, 0.999, 0.3)] {
        let (learning_rate, eps) = (0.02, 1e-8);

        let var = Var::from_tensor(&Tensor::new(start.as_slice(), &Device::Cpu).unwrap()).unwrap();
        let params = ParamsAdamW { lr: learning_rate, beta1, beta2, eps, weight_decay };
        let mut theirs = AdamW::new(vec![var.clone()], params).unwrap();

        let ours = Cpu::<f64>::new();
        let mut value = ours.upload_f64(&start).unwrap();
        let (mut m, mut v) = (ours.zeros(N).unwrap(), ours.zeros(N).unwrap());
        for (index, gradient) in gradients.iter().enumerate() {
            let weights = Tensor::new(gradient.as_slice(), &Device::Cpu).unwrap();
            theirs.backward_step(&(var.as_tensor() * weights).unwrap().sum_all().unwrap()).unwrap();
            let grad = ours.upload_f64(gradient).unwrap();
            let step = index as u64 + 1;
            let step = AdamWStep { learning_rate, beta1, beta2, eps, weight_decay, step, grad_scale: 1.0 };
            let (value, grad, m, v) = (&mut value, &grad, &mut m, &mut v);
            ours.adamw(vec![AdamWTensor { step, value, grad, m, v }]).unwrap();
        }
        let theirs: Vec<f64> = var.as_tensor().to_vec1().unwrap();
        let difference = max_difference(ours.download_f64(&value).unwrap(), &theirs);
        assert!(difference < 1e-6, "{difference:e} with weight decay {weight_decay}");
    }
}
