//! Keys of transformers' `TrainingArguments` and PEFT's `LoraConfig` that ask for what is done anyway, so that a configuration
//! can be copied from there without trimming it key by key.

use toml::{Table, Value};

/// What becomes of a key that this project does not have, or of a value that it writes otherwise.
pub(crate) enum Foreign {
    /// It asks for what is done: why it has no effect.
    Done(&'static str),
    /// Another key says it here.
    Says(&'static str, Value, &'static str),
}

/// Table, key, the values that ask for what is done in any case, and what that is in this project.
type Done = (&'static str, &'static str, fn(&Value) -> bool, &'static str);

const DONE: [Done; 30] = [
    ("training", "optim", is_adamw, "AdamW is the optimizer"),
    ("training", "fp16", is_false, "`model.dtype` says how the base is held"),
    ("training", "tf32", is_false, "no product is rounded so"),
    ("training", "eval_strategy", is_steps, "`eval_steps` says when"),
    ("training", "evaluation_strategy", is_steps, "`eval_steps` says when"),
    ("training", "save_strategy", is_steps, "`save_steps` says when"),
    ("training", "logging_strategy", is_steps, "`logging_steps` says when"),
    ("training", "load_best_model_at_end", is_true, "the best checkpoint is kept"),
    ("training", "do_train", is_true, "pq-train trains"),
    ("training", "do_eval", is_true, "each checkpoint is evaluated"),
    ("training", "remove_unused_columns", anything, "there are no columns"),
    ("training", "dataloader_pin_memory", anything, "pictures are copied beside the queue of the GPU"),
    ("training", "dataloader_drop_last", is_false, "the last, partial window also steps"),
    ("training", "group_by_length", is_false, "samples are packed without padding"),
    ("training", "label_smoothing_factor", is_zero, "what raters say is learned as it is"),
    ("training", "auto_find_batch_size", is_false, "the batch is what is set"),
    ("training", "gradient_checkpointing_kwargs", anything, "there is one form of recomputation"),
    ("training", "torch_compile", is_false, "nothing is compiled while it runs"),
    ("training", "disable_tqdm", anything, "there is a bar on a terminal, and lines elsewhere"),
    ("training", "save_safetensors", is_true, "adapters are safetensors"),
    ("training", "push_to_hub", is_false, "pq-register releases"),
    ("training", "ddp_find_unused_parameters", anything, "one process trains"),
    ("training", "report_to", anything, "`[wandb]` and `[tensorboard]` say where the run is tracked"),
    ("training", "logging_first_step", is_false, "`logging_steps` says when"),
    ("training", "overwrite_output_dir", is_false, "every run has a folder of its own"),
    ("lora", "task_type", is_causal, "the text model answers"),
    ("lora", "peft_type", is_lora, "adapters are LoRA's"),
    ("lora", "inference_mode", is_false, "the adapter is trained"),
    ("lora", "fan_in_fan_out", is_false, "weights are stored as linears have them"),
    ("lora", "auto_mapping", is_empty_table, "the classes of the base are known"),
];

fn anything(_: &Value) -> bool {
    true
}

fn is_true(value: &Value) -> bool {
    value.as_bool() == Some(true)
}

fn is_false(value: &Value) -> bool {
    value.as_bool() == Some(false)
}

fn is_zero(value: &Value) -> bool {
    value.as_float() == Some(0.0) || value.as_integer() == Some(0)
}

fn is_empty_table(value: &Value) -> bool {
    value.as_table().is_some_and(Table::is_empty)
}

fn is_one_of(value: &Value, known: &[&str]) -> bool {
    value.as_str().is_some_and(|text| known.iter().any(|name| text.eq_ignore_ascii_case(name)))
}

fn is_adamw(value: &Value) -> bool {
    is_one_of(value, &["adamw_torch", "adamw_torch_fused", "adamw_hf", "adamw"])
}

fn is_steps(value: &Value) -> bool {
    is_one_of(value, &["steps"])
}

fn is_causal(value: &Value) -> bool {
    is_one_of(value, &["CAUSAL_LM"])
}

fn is_lora(value: &Value) -> bool {
    is_one_of(value, &["LORA"])
}

/// What becomes of this key with this value; nothing where it is no key of theirs, or asks for something that is not done.
pub(crate) fn translate(table: &str, key: &str, value: &Value) -> Option<Foreign> {
    let known = DONE.iter().find(|(of, name, asks, _)| *of == table && *name == key && asks(value));
    if let Some((.., why)) = known {
        return Some(Foreign::Done(why));
    }
    let at_epochs = "at the end of each epoch";
    match (table, key) {
        ("training", "max_steps") if value.as_integer() == Some(-1) => {
            Some(Foreign::Says("max_steps", Value::Integer(0), "`num_train_epochs` decides"))
        }
        ("training", "eval_strategy" | "evaluation_strategy") if is_one_of(value, &["epoch"]) => {
            Some(Foreign::Says("eval_steps", Value::Integer(0), at_epochs))
        }
        ("training", "save_strategy") if is_one_of(value, &["epoch"]) => {
            Some(Foreign::Says("save_steps", Value::Integer(0), at_epochs))
        }
        ("training", "bf16") if value.as_bool() == Some(false) => {
            Some(Foreign::Done("`model.dtype` says how the base is held"))
        }
        _ => None,
    }
}

/// Takes such keys out of a table of a file, says a line for each, and puts in what says the same here.
pub(crate) fn adopt(name: &str, table: &mut Table) {
    let theirs: Vec<(String, Foreign)> =
        table.iter().filter_map(|(key, value)| Some((key.clone(), translate(name, key, value)?))).collect();
    for (key, foreign) in theirs {
        table.remove(&key);
        match foreign {
            Foreign::Done(why) => tracing::info!("`{name}.{key}` has no effect: {why}"),
            Foreign::Says(own, value, why) => {
                tracing::info!("`{name}.{key}` is taken as `{name}.{own} = {value}`: {why}");
                table.insert(own.to_owned(), value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What people copy from a notebook.
    const COPIED: &str = r#"
max_steps = -1
num_train_epochs = 2
optim = "adamw_torch"
fp16 = false
bf16 = false
eval_strategy = "epoch"
save_strategy = "steps"
save_steps = 25
report_to = "none"
remove_unused_columns = false
load_best_model_at_end = true
gradient_checkpointing_kwargs = { use_reentrant = false }
"#;

    #[test]
    fn what_is_done_anyway_is_taken_out() {
        let mut table: Table = COPIED.parse().unwrap();
        adopt("training", &mut table);
        let own: Table =
            "num_train_epochs = 2\nmax_steps = 0\neval_steps = 0\nsave_steps = 25".parse().unwrap();
        assert_eq!(table, own);
    }

    #[test]
    fn what_is_not_done_stays_and_is_refused_as_unknown() {
        let mut table: Table =
            "optim = 'adafactor'\nfp16 = true\nlabel_smoothing_factor = 0.1\nbf16 = true\n\
                                eval_strategy = 'no'\nmax_steps = 7"
                .parse()
                .unwrap();
        let before = table.clone();
        adopt("training", &mut table);
        assert_eq!(table, before);
        let mut lora: Table = "task_type = 'SEQ_CLS'\nfan_in_fan_out = true".parse().unwrap();
        let before = lora.clone();
        adopt("lora", &mut lora);
        assert_eq!(lora, before);
    }
}
