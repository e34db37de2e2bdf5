//! Which tensors and linears a configuration stands for.

use super::{ModelConfig, TextConfig, VisionConfig};
use crate::lora::Module;

fn module(name: String, out_features: usize, in_features: usize) -> Module {
    Module { name, in_features, out_features }
}

impl VisionConfig {
    /// The linears of one layer.
    fn linears(&self, prefix: &str) -> Vec<Module> {
        let (width, inner) = (self.hidden_size, self.intermediate_size);
        let mut modules: Vec<Module> = ["q_proj", "k_proj", "v_proj", "out_proj"]
            .map(|name| module(format!("{prefix}.self_attn.{name}"), width, width))
            .into();
        modules.push(module(format!("{prefix}.mlp.fc1"), inner, width));
        modules.push(module(format!("{prefix}.mlp.fc2"), width, inner));
        modules
    }
}

impl TextConfig {
    /// The linears of one layer.
    fn linears(&self, prefix: &str) -> [Module; 7] {
        let (width, inner) = (self.hidden_size, self.intermediate_size);
        let query = self.num_attention_heads * self.head_dim;
        let key = self.num_key_value_heads * self.head_dim;
        [
            module(format!("{prefix}.self_attn.q_proj"), query, width),
            module(format!("{prefix}.self_attn.k_proj"), key, width),
            module(format!("{prefix}.self_attn.v_proj"), key, width),
            module(format!("{prefix}.self_attn.o_proj"), width, query),
            module(format!("{prefix}.mlp.gate_proj"), inner, width),
            module(format!("{prefix}.mlp.up_proj"), inner, width),
            module(format!("{prefix}.mlp.down_proj"), width, inner),
        ]
    }
}

impl ModelConfig {
    /// The linear layers under the names of the checkpoint, in the order of the forward pass: vision tower, connector, text
    /// model, output head.
    pub fn linears(&self) -> Vec<Module> {
        let (v, t) = (&self.vision, &self.text);
        let mut modules: Vec<Module> = (0..v.num_hidden_layers)
            .flat_map(|layer| v.linears(&format!("model.vision_model.encoder.layers.{layer}")))
            .collect();
        let shuffled = v.hidden_size * self.scale_factor.pow(2);
        let projection = "model.connector.modality_projection.proj".to_owned();
        modules.push(module(projection, t.hidden_size, shuffled));
        for layer in 0..t.num_hidden_layers {
            modules.extend(t.linears(&format!("model.text_model.layers.{layer}")));
        }
        modules.push(module("lm_head".to_owned(), t.vocab_size, t.hidden_size));
        modules
    }

    /// Every tensor of the checkpoint with its shape; `lm_head.weight` only where the head is not tied.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let mut tensors = self.of_linears();
        tensors.extend(self.of_norms());
        tensors.extend(self.of_embeddings());
        tensors
    }

    fn of_linears(&self) -> Vec<(String, Vec<usize>)> {
        let mut tensors = Vec::new();
        for module in self.linears() {
            let in_vision = module.name.starts_with("model.vision_model.");
            if module.name == "lm_head" && self.tie_word_embeddings {
                continue;
            }
            tensors.push((format!("{}.weight", module.name), vec![module.out_features, module.in_features]));
            if in_vision {
                tensors.push((format!("{}.bias", module.name), vec![module.out_features]));
            }
        }
        tensors
    }

    /// Those of the vision tower have biases.
    fn of_norms(&self) -> Vec<(String, Vec<usize>)> {
        let (v, t) = (&self.vision, &self.text);
        let of_vision = (0..v.num_hidden_layers)
            .flat_map(|layer| {
                ["layer_norm1", "layer_norm2"]
                    .map(|name| format!("model.vision_model.encoder.layers.{layer}.{name}"))
            })
            .chain(["model.vision_model.post_layernorm".to_owned()]);
        let of_text = (0..t.num_hidden_layers)
            .flat_map(|layer| {
                ["input_layernorm", "post_attention_layernorm"]
                    .map(|name| format!("model.text_model.layers.{layer}.{name}"))
            })
            .chain(["model.text_model.norm".to_owned()]);
        let weight_and_bias = |name: String| ["weight", "bias"].map(|part| format!("{name}.{part}"));
        let of_vision = of_vision.flat_map(weight_and_bias).map(|name| (name, vec![v.hidden_size]));
        of_vision.chain(of_text.map(|name| (format!("{name}.weight"), vec![t.hidden_size]))).collect()
    }

    fn of_embeddings(&self) -> Vec<(String, Vec<usize>)> {
        let (v, t) = (&self.vision, &self.text);
        let embeddings = "model.vision_model.embeddings";
        let patch = vec![v.hidden_size, v.num_channels, v.patch_size, v.patch_size];
        vec![
            (format!("{embeddings}.patch_embedding.weight"), patch),
            (format!("{embeddings}.patch_embedding.bias"), vec![v.hidden_size]),
            (format!("{embeddings}.position_embedding.weight"), vec![v.grid().pow(2), v.hidden_size]),
            ("model.text_model.embed_tokens.weight".to_owned(), vec![t.vocab_size, t.hidden_size]),
        ]
    }

    /// How many values the checkpoint holds; a tied head counts once.
    pub fn parameters(&self) -> usize {
        self.tensors().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }
}
