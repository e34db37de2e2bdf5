//! Which tensors and linears a configuration stands for.

use super::ModelConfig;
use crate::lora::Module;

impl ModelConfig {
    /// The linear layers under the names of the checkpoint, in the order of the forward pass: vision tower, connector, text
    /// model, output head.
    pub fn linears(&self) -> Vec<Module> {
        let (v, t) = (&self.vision, &self.text);
        let mut modules = Vec::new();
        let mut push = |name: String, out_features, in_features| {
            modules.push(Module { name, in_features, out_features });
        };
        for layer in 0..v.num_hidden_layers {
            let prefix = format!("model.vision_model.encoder.layers.{layer}");
            for name in ["q_proj", "k_proj", "v_proj", "out_proj"] {
                push(format!("{prefix}.self_attn.{name}"), v.hidden_size, v.hidden_size);
            }
            push(format!("{prefix}.mlp.fc1"), v.intermediate_size, v.hidden_size);
            push(format!("{prefix}.mlp.fc2"), v.hidden_size, v.intermediate_size);
        }
        let shuffled = v.hidden_size * self.scale_factor.pow(2);
        push("model.connector.modality_projection.proj".to_owned(), t.hidden_size, shuffled);
        let (query, key) = (t.num_attention_heads * t.head_dim, t.num_key_value_heads * t.head_dim);
        for layer in 0..t.num_hidden_layers {
            let prefix = format!("model.text_model.layers.{layer}");
            push(format!("{prefix}.self_attn.q_proj"), query, t.hidden_size);
            push(format!("{prefix}.self_attn.k_proj"), key, t.hidden_size);
            push(format!("{prefix}.self_attn.v_proj"), key, t.hidden_size);
            push(format!("{prefix}.self_attn.o_proj"), t.hidden_size, query);
            push(format!("{prefix}.mlp.gate_proj"), t.intermediate_size, t.hidden_size);
            push(format!("{prefix}.mlp.up_proj"), t.intermediate_size, t.hidden_size);
            push(format!("{prefix}.mlp.down_proj"), t.hidden_size, t.intermediate_size);
        }
        push("lm_head".to_owned(), t.vocab_size, t.hidden_size);
        modules
    }

    /// Every tensor of the checkpoint with its shape; `lm_head.weight` only where the head is not tied.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let (v, t) = (&self.vision, &self.text);
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
        let mut norm = |name: String, width: usize, bias: bool| {
            tensors.push((format!("{name}.weight"), vec![width]));
            if bias {
                tensors.push((format!("{name}.bias"), vec![width]));
            }
        };
        for layer in 0..v.num_hidden_layers {
            for name in ["layer_norm1", "layer_norm2"] {
                norm(format!("model.vision_model.encoder.layers.{layer}.{name}"), v.hidden_size, true);
            }
        }
        norm("model.vision_model.post_layernorm".to_owned(), v.hidden_size, true);
        for layer in 0..t.num_hidden_layers {
            for name in ["input_layernorm", "post_attention_layernorm"] {
                norm(format!("model.text_model.layers.{layer}.{name}"), t.hidden_size, false);
            }
        }
        norm("model.text_model.norm".to_owned(), t.hidden_size, false);
        let embeddings = "model.vision_model.embeddings";
        let patch = vec![v.hidden_size, v.num_channels, v.patch_size, v.patch_size];
        tensors.push((format!("{embeddings}.patch_embedding.weight"), patch));
        tensors.push((format!("{embeddings}.patch_embedding.bias"), vec![v.hidden_size]));
        tensors
            .push((format!("{embeddings}.position_embedding.weight"), vec![v.grid().pow(2), v.hidden_size]));
        tensors.push(("model.text_model.embed_tokens.weight".to_owned(), vec![t.vocab_size, t.hidden_size]));
        tensors
    }

    /// How many values the checkpoint holds; a tied head counts once.
    pub fn parameters(&self) -> usize {
        self.tensors().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }
}
