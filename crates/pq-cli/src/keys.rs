//! The tables and keys of the configuration files, for every command alike. A test holds them against the types that they
//! are read into.

/// A configuration file.
#[derive(Debug)]
pub struct ConfigFile {
    /// Its name without `.toml`.
    pub name: &'static str,
    /// Its tables, each with its keys.
    pub tables: &'static [(&'static str, &'static [&'static str])],
}

/// All configuration files. No two tables have the same name.
pub const FILES: &[ConfigFile] = &[
    ConfigFile {
        name: "data",
        tables: &[
            ("storage", &["data_dir", "monitoring_dir", "registry_dir"]),
            (
                "limits",
                &[
                    "longest_edge",
                    "max_edge",
                    "max_pixels",
                    "max_file_mib",
                    "max_pages",
                    "max_entries",
                    "max_unpacked_mib",
                    "time_limit_s",
                    "file_time_limit_s",
                    "threads",
                    "max_memory_mib",
                ],
            ),
            (
                "quality",
                &[
                    "exclude",
                    "blank",
                    "nearly_blank",
                    "too_small",
                    "extreme_shape",
                    "blurred",
                    "cut_off",
                    "photograph",
                ],
            ),
            ("duplicates", &["similarity", "difference"]),
            ("splits", &["val", "test", "seed"]),
            ("sources", &["uploads", "urls", "web"]),
            (
                "label",
                &[
                    "raters_per_slide",
                    "max_raters_per_slide",
                    "disagreement_spread",
                    "calibration_slides",
                    "deck_gap",
                    "uncertain_share",
                    "random_share",
                    "lease_minutes",
                    "model_help",
                    "consensus",
                ],
            ),
        ],
    },
    ConfigFile {
        name: "model",
        tables: &[("processor", &["longest_edge"]), ("rubric", &["prompt", "criteria"])],
    },
    ConfigFile {
        name: "training",
        tables: &[
            ("model", &["name", "dtype", "device", "load_in_8bit"]),
            (
                "lora",
                &[
                    "r",
                    "lora_alpha",
                    "lora_dropout",
                    "target_modules",
                    "exclude_modules",
                    "layers_to_transform",
                    "layers_pattern",
                    "rank_pattern",
                    "alpha_pattern",
                    "use_rslora",
                    "use_dora",
                    "bias",
                    "lora_bias",
                    "init_lora_weights",
                    "modules_to_save",
                ],
            ),
            (
                "training",
                &[
                    "num_train_epochs",
                    "max_steps",
                    "per_device_train_batch_size",
                    "gradient_accumulation_steps",
                    "learning_rate",
                    "lr_scheduler_type",
                    "warmup_ratio",
                    "warmup_steps",
                    "weight_decay",
                    "adam_beta1",
                    "adam_beta2",
                    "adam_epsilon",
                    "max_grad_norm",
                    "loraplus_lr_ratio",
                    "score_token_weight",
                    "logging_steps",
                    "eval_steps",
                    "save_steps",
                    "save_total_limit",
                    "gradient_checkpointing",
                    "cache_vision_features",
                    "metric_for_best_model",
                    "greater_is_better",
                    "early_stopping_patience",
                    "train_sampling_strategy",
                    "dataloader_num_workers",
                    "seed",
                    "output_dir",
                ],
            ),
            (
                "wandb",
                &[
                    "project",
                    "entity",
                    "name",
                    "tags",
                    "group",
                    "notes",
                    "mode",
                    "required",
                    "console",
                    "finish_timeout_s",
                ],
            ),
            ("tensorboard", &["enabled"]),
            (
                "registry",
                &[
                    "huggingface_repo",
                    "private",
                    "license",
                    "license_name",
                    "license_link",
                    "processor_files",
                    "signing_key",
                    "public_key",
                    "min_human_agreement",
                    "max_mae",
                ],
            ),
        ],
    },
    ConfigFile {
        name: "monitoring",
        tables: &[
            (
                "drift",
                &[
                    "window_days",
                    "max_slides",
                    "min_slides",
                    "min_decks",
                    "alpha",
                    "permutations",
                    "seed",
                    "power_shift",
                    "min_power",
                ],
            ),
            ("performance", &["window_days", "min_slides", "min_decks", "bootstrap_samples", "seed"]),
            (
                "triggers",
                &[
                    "min_corrections",
                    "max_days",
                    "max_drift_score",
                    "max_accuracy_drop",
                    "max_report_age_days",
                ],
            ),
        ],
    },
];
