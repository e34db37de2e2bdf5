use std::sync::{Arc, OnceLock};

use super::Model;
use super::attention::SelfAttention;
use super::block::{Block, Stack};
use super::head::Head;
use super::linear::Linear;
use super::mlp::Mlp;
use super::network::Network;
use super::norm::Norm;
use super::params::Bias;
use super::vision::Vision;
use crate::backend::Backend;
use crate::checkpoint::{Checkpoint, decode};
use crate::config::{ModelConfig, TextConfig, VisionConfig};
use crate::error::{Error, Result};

const EMBEDDING: &str = "model.text_model.embed_tokens.weight";

impl<B: Backend> Model<B> {
    /// Loads the weights of a checkpoint into the backend; afterwards the checkpoint is no longer needed.
    ///
    /// # Errors
    /// When a tensor or the image settings cannot be read, or the backend fails.
    pub fn load(backend: Arc<B>, checkpoint: &Checkpoint) -> Result<Self> {
        let config = checkpoint.config().clone();
        let loader = Loader { backend: backend.as_ref(), checkpoint, config: &config };
        let network = loader.network()?;
        Ok(Self { backend, config, network, params: Vec::new(), attached: None })
    }
}

struct Loader<'a, B: Backend> {
    backend: &'a B,
    checkpoint: &'a Checkpoint,
    config: &'a ModelConfig,
}

impl<B: Backend> Loader<'_, B> {
    fn network(&self) -> Result<Network<B>> {
        let (config, text) = (self.config, &self.config.text);
        let shape = (text.vocab_size, text.hidden_size);
        let tied = config.tie_word_embeddings;
        let embedding = Arc::new(self.weight(EMBEDDING, &[shape.0, shape.1], shape)?);
        let linear = if tied {
            Linear::new("lm_head".to_owned(), shape, Arc::clone(&embedding), None)
        } else {
            self.linear("lm_head".to_owned(), shape, false)?
        };
        let norm = self.rms_norm("model.text_model.norm", text)?;
        let layers = 0..text.num_hidden_layers;
        let blocks = layers.map(|layer| self.text_block(&format!("model.text_model.layers.{layer}"), text));
        Ok(Network {
            vision: self.vision(&config.vision)?,
            embedding,
            text: Stack { blocks: blocks.collect::<Result<_>>()? },
            head: Head { norm, linear },
            image_token_id: config.image_token_id,
        })
    }

    fn vision(&self, vision: &VisionConfig) -> Result<Vision<B>> {
        let prefix = "model.vision_model";
        let (hidden, side) = (vision.hidden_size, vision.grid());
        let patch_embedding = self.patch_embedding(vision)?;
        let positions = format!("{prefix}.embeddings.position_embedding.weight");
        let layers = 0..vision.num_hidden_layers;
        let blocks =
            layers.map(|layer| self.vision_block(&format!("{prefix}.encoder.layers.{layer}"), vision));
        let joined = hidden * self.config.scale_factor.pow(2);
        let projection = "model.connector.modality_projection.proj".to_owned();
        Ok(Vision {
            patch_embedding,
            positions: self.buffer(&positions, &[side * side, hidden])?,
            stack: Stack { blocks: blocks.collect::<Result<_>>()? },
            post_norm: self.layer_norm(&format!("{prefix}.post_layernorm"), vision)?,
            projection: self.linear(projection, (self.config.text.hidden_size, joined), false)?,
            patch_size: vision.patch_size,
            side,
            scale_factor: self.config.scale_factor,
            integer_check: OnceLock::new(),
        })
    }

    /// The convolution as a product over patches.
    fn patch_embedding(&self, vision: &VisionConfig) -> Result<Linear<B>> {
        let (hidden, patch) = (vision.hidden_size, vision.patch_size);
        let name = "model.vision_model.embeddings.patch_embedding".to_owned();
        let shape = (hidden, vision.num_channels * patch * patch);
        let kernel = [hidden, vision.num_channels, patch, patch];
        let weight = Arc::new(self.weight(&format!("{name}.weight"), &kernel, shape)?);
        let bias = self.bias(&name, hidden)?;
        Ok(Linear::new(name, shape, weight, Some(bias)))
    }

    fn vision_attention(&self, prefix: &str, vision: &VisionConfig) -> Result<SelfAttention<B>> {
        let shape = (vision.hidden_size, vision.hidden_size);
        let of = |name: &str| format!("{prefix}.{name}");
        let [q, k, v] = self.linears(["q_proj", "k_proj", "v_proj"].map(|name| (of(name), shape)), true)?;
        Ok(SelfAttention {
            q,
            k,
            v,
            out: self.linear(of("out_proj"), shape, true)?,
            heads: vision.num_attention_heads,
            kv_heads: vision.num_attention_heads,
            head_dim: vision.head_dim(),
            rotary: None,
        })
    }

    fn vision_block(&self, prefix: &str, vision: &VisionConfig) -> Result<Block<B>> {
        let (hidden, inner) = (vision.hidden_size, vision.intermediate_size);
        Ok(Block {
            norm1: self.layer_norm(&format!("{prefix}.layer_norm1"), vision)?,
            attention: self.vision_attention(&format!("{prefix}.self_attn"), vision)?,
            norm2: self.layer_norm(&format!("{prefix}.layer_norm2"), vision)?,
            mlp: Mlp::Plain {
                fc1: self.linear(format!("{prefix}.mlp.fc1"), (inner, hidden), true)?,
                fc2: self.linear(format!("{prefix}.mlp.fc2"), (hidden, inner), true)?,
            },
        })
    }

    fn text_attention(&self, prefix: &str, text: &TextConfig) -> Result<SelfAttention<B>> {
        let hidden = text.hidden_size;
        let (query, key) =
            (text.num_attention_heads * text.head_dim, text.num_key_value_heads * text.head_dim);
        let of = |name: &str, out| (format!("{prefix}.{name}"), (out, hidden));
        let [q, k, v] = self.linears([of("q_proj", query), of("k_proj", key), of("v_proj", key)], false)?;
        Ok(SelfAttention {
            q,
            k,
            v,
            out: self.linear(format!("{prefix}.o_proj"), (hidden, query), false)?,
            heads: text.num_attention_heads,
            kv_heads: text.num_key_value_heads,
            head_dim: text.head_dim,
            rotary: Some(text.rotary()),
        })
    }

    fn text_block(&self, prefix: &str, text: &TextConfig) -> Result<Block<B>> {
        let (hidden, inner) = (text.hidden_size, text.intermediate_size);
        let of = |name: &str| format!("{prefix}.mlp.{name}");
        let [gate, up] =
            self.linears(["gate_proj", "up_proj"].map(|name| (of(name), (inner, hidden))), false)?;
        Ok(Block {
            norm1: self.rms_norm(&format!("{prefix}.input_layernorm"), text)?,
            attention: self.text_attention(&format!("{prefix}.self_attn"), text)?,
            norm2: self.rms_norm(&format!("{prefix}.post_attention_layernorm"), text)?,
            mlp: Mlp::Gated { gate, up, down: self.linear(of("down_proj"), (hidden, inner), false)? },
        })
    }

    fn rms_norm(&self, name: &str, text: &TextConfig) -> Result<Norm<B>> {
        let weight = self.buffer(&format!("{name}.weight"), &[text.hidden_size])?;
        Ok(Norm::new(weight, None, text.rms_norm_eps))
    }

    fn layer_norm(&self, name: &str, vision: &VisionConfig) -> Result<Norm<B>> {
        let weight = self.buffer(&format!("{name}.weight"), &[vision.hidden_size])?;
        let bias = self.bias(name, vision.hidden_size)?;
        Ok(Norm::new(weight, Some(bias), vision.layer_norm_eps))
    }

    fn linear(&self, name: String, (out, input): (usize, usize), bias: bool) -> Result<Linear<B>> {
        let weight = Arc::new(self.weight(&format!("{name}.weight"), &[out, input], (out, input))?);
        let bias = bias.then(|| self.bias(&name, out)).transpose()?;
        Ok(Linear::new(name, (out, input), weight, bias))
    }

    /// Linears of one input, each with its name and shape, whose matrices are packed together.
    fn linears<const N: usize>(
        &self,
        parts: [(String, (usize, usize)); N],
        bias: bool,
    ) -> Result<[Linear<B>; N]> {
        let names = parts.iter().map(|(name, _)| format!("{name}.weight")).collect::<Vec<_>>();
        let mut stored = Vec::with_capacity(N);
        for (name, (_, (out, input))) in names.iter().zip(&parts) {
            stored.push((self.checkpoint.stored(name, &[*out, *input])?, *out));
        }
        let weights = self.backend.weights(&stored, parts.first().map_or(0, |(_, (_, input))| *input))?;
        for name in &names {
            self.checkpoint.release(name);
        }
        let mut linears = Vec::with_capacity(N);
        for ((name, shape), weight) in parts.into_iter().zip(weights) {
            let bias = bias.then(|| self.bias(&name, shape.0)).transpose()?;
            linears.push(Linear::new(name, shape, Arc::new(weight), bias));
        }
        linears.try_into().map_err(|_| Error::Unsupported { what: "a group of linears".to_owned() })
    }

    fn weight(&self, name: &str, shape: &[usize], (n, k): (usize, usize)) -> Result<B::Weight> {
        let weight = self.backend.weight(self.checkpoint.stored(name, shape)?, n, k)?;
        self.checkpoint.release(name);
        Ok(weight)
    }

    /// The bias of the layer `name`.
    fn bias(&self, name: &str, len: usize) -> Result<Bias<B>> {
        let name = format!("{name}.bias");
        Ok(Bias { frozen: self.buffer(&name, &[len])?, name, param: None })
    }

    fn buffer(&self, name: &str, shape: &[usize]) -> Result<B::Buffer> {
        self.backend.upload(&decode(self.checkpoint.stored(name, shape)?)?)
    }
}
