//! Which tensor of a checkpoint has which name in a GGUF file.

use vlm_lora::ModelConfig;

pub(super) const EMBEDDING: &str = "model.text_model.embed_tokens.weight";
pub(super) const HEAD: &str = "lm_head.weight";

/// A tensor under both names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    /// In the checkpoint.
    pub(super) source: String,
    /// In the GGUF file.
    pub(super) name: String,
    /// In the order of the checkpoint, outermost first.
    pub(super) shape: Vec<usize>,
    /// Whether it stays in f32 whatever the file's quantization is: vectors and the embeddings of the vision tower.
    pub(super) stays_f32: bool,
    /// The heads, of a projection whose rows are reordered for the rotary embedding.
    pub(super) rotary_heads: Option<usize>,
}

fn matrix(source: String, name: String, shape: [usize; 2]) -> Named {
    Named { source, name, shape: shape.to_vec(), stays_f32: false, rotary_heads: None }
}

fn kept(source: String, name: String, shape: Vec<usize>) -> Named {
    Named { source, name, shape, stays_f32: true, rotary_heads: None }
}

/// The tensors of the text model; without `has_head` the head is the embedding.
pub(super) fn text(config: &ModelConfig, has_head: bool) -> Vec<Named> {
    let text = &config.text;
    let vocabulary = [text.vocab_size, text.hidden_size];
    let mut tensors = vec![
        matrix(EMBEDDING.to_owned(), "token_embd.weight".to_owned(), vocabulary),
        kept(
            "model.text_model.norm.weight".to_owned(),
            "output_norm.weight".to_owned(),
            vec![text.hidden_size],
        ),
    ];
    if has_head {
        tensors.push(matrix(HEAD.to_owned(), "output.weight".to_owned(), vocabulary));
    }
    for layer in 0..text.num_hidden_layers {
        tensors.extend(text_block(config, layer));
    }
    tensors
}

fn text_block(config: &ModelConfig, layer: usize) -> Vec<Named> {
    let text = &config.text;
    let (hidden, inner) = (text.hidden_size, text.intermediate_size);
    let (query, key) = (text.num_attention_heads * text.head_dim, text.num_key_value_heads * text.head_dim);
    let one = |source: &str, name: &str, shape| {
        let source = format!("model.text_model.layers.{layer}.{source}.weight");
        matrix(source, format!("blk.{layer}.{name}.weight"), shape)
    };
    let norm = |source: &str, name: &str| {
        let Named { source, name, .. } = one(source, name, [hidden, 1]);
        kept(source, name, vec![hidden])
    };
    let rotary = |named: Named, heads| Named { rotary_heads: Some(heads), ..named };
    vec![
        norm("input_layernorm", "attn_norm"),
        rotary(one("self_attn.q_proj", "attn_q", [query, hidden]), text.num_attention_heads),
        rotary(one("self_attn.k_proj", "attn_k", [key, hidden]), text.num_key_value_heads),
        one("self_attn.v_proj", "attn_v", [key, hidden]),
        one("self_attn.o_proj", "attn_output", [hidden, query]),
        norm("post_attention_layernorm", "ffn_norm"),
        one("mlp.gate_proj", "ffn_gate", [inner, hidden]),
        one("mlp.up_proj", "ffn_up", [inner, hidden]),
        one("mlp.down_proj", "ffn_down", [hidden, inner]),
    ]
}

/// The tensors of vision tower and connector.
pub(super) fn projector(config: &ModelConfig) -> Vec<Named> {
    let vision = &config.vision;
    let (hidden, patch) = (vision.hidden_size, vision.patch_size);
    let tower = |part: &str| format!("model.vision_model.{part}");
    let mut tensors = vec![
        kept(
            tower("embeddings.patch_embedding.weight"),
            "v.patch_embd.weight".to_owned(),
            vec![hidden, vision.num_channels, patch, patch],
        ),
        kept(tower("embeddings.patch_embedding.bias"), "v.patch_embd.bias".to_owned(), vec![hidden]),
        kept(
            tower("embeddings.position_embedding.weight"),
            "v.position_embd.weight".to_owned(),
            vec![vision.grid().pow(2), hidden],
        ),
        kept(tower("post_layernorm.weight"), "v.post_ln.weight".to_owned(), vec![hidden]),
        kept(tower("post_layernorm.bias"), "v.post_ln.bias".to_owned(), vec![hidden]),
        matrix(
            "model.connector.modality_projection.proj.weight".to_owned(),
            "mm.model.fc.weight".to_owned(),
            [config.text.hidden_size, hidden * config.scale_factor.pow(2)],
        ),
    ];
    for layer in 0..vision.num_hidden_layers {
        tensors.extend(vision_block(config, layer));
    }
    tensors
}

fn vision_block(config: &ModelConfig, layer: usize) -> Vec<Named> {
    let (hidden, inner) = (config.vision.hidden_size, config.vision.intermediate_size);
    let both = |source: &str, name: &str| {
        (format!("model.vision_model.encoder.layers.{layer}.{source}"), format!("v.blk.{layer}.{name}"))
    };
    let bias =
        |source: &str, name: &str, len| kept(format!("{source}.bias"), format!("{name}.bias"), vec![len]);
    let mut tensors = Vec::new();
    for (source, name) in [both("layer_norm1", "ln1"), both("layer_norm2", "ln2")] {
        tensors.push(bias(&source, &name, hidden));
        tensors.push(kept(format!("{source}.weight"), format!("{name}.weight"), vec![hidden]));
    }
    for ((source, name), out, input) in [
        (both("self_attn.q_proj", "attn_q"), hidden, hidden),
        (both("self_attn.k_proj", "attn_k"), hidden, hidden),
        (both("self_attn.v_proj", "attn_v"), hidden, hidden),
        (both("self_attn.out_proj", "attn_out"), hidden, hidden),
        (both("mlp.fc1", "ffn_up"), inner, hidden),
        (both("mlp.fc2", "ffn_down"), hidden, inner),
    ] {
        tensors.push(bias(&source, &name, out));
        tensors.push(matrix(format!("{source}.weight"), format!("{name}.weight"), [out, input]));
    }
    tensors
}
