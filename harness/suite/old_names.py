"""What options are called elsewhere, and here: the names of the course's deck, of TRL, PEFT, axolotl and LLaMA-Factory.

A suite that uses one of them is told the option's name here, or that muster settles the matter by itself and how. Every
option named below exists in the grammar, and no name below does: tests hold both.
"""

from __future__ import annotations

from collections.abc import Mapping

from harness.suite.grammar import Generation, Spec, TrainSpec, TransformersModel
from harness.suite.source import Node, show, to_plain


def _each(groups: Mapping[str, str]) -> dict[str, str]:
    """One entry a name, from what they stand for and the names between spaces."""
    return {name: meaning for meaning, names in groups.items() for name in names.split()}


RENAMED: Mapping[type[Spec], Mapping[str, str]] = {
    TrainSpec: _each(
        {
            "base": "model model_name model_name_or_path base_model pretrained_model_name_or_path model_id",
            "split": "dataset dataset_name datasets train_dataset dataset_path train_file data_path",
            "method": "finetuning_type adapter peft_type peft_method",
            "objective": "stage rl rlhf training_type",
            "preferences": "preference_dataset preference_data pairs",
            "reward": "reward_model reward_funcs reward_fn reward_weights",
            "beta": "pref_beta dpo_beta kl_coef init_kl_coef",
            "loss_type": "pref_loss dpo_loss",
            "num_generations": "num_return_sequences group_size rloo_k",
            "rank": "r lora_r lora_rank",
            "alpha": "lora_alpha",
            "dropout": "lora_dropout",
            "target_modules": "lora_target lora_target_modules lora_modules",
            "target_modules: all-linear": "lora_target_linear",
            "bias": "lora_bias",
            "dora": "use_dora peft_use_dora",
            "rslora": "use_rslora peft_use_rslora",
            "init": "init_lora_weights peft_init_lora_weights",
            "last_layers": "freeze_trainable_layers num_layer_trainable unfrozen_layers",
            "epochs": "num_train_epochs num_epochs n_epochs",
            "max_steps": "num_steps num_train_steps total_steps",
            "learning_rate": "lr",
            "scheduler": "lr_scheduler lr_scheduler_type",
            "warmup": "warmup_ratio warmup_steps num_warmup_steps",
            "optimizer": "optim optim_type",
            "batch_size": "per_device_train_batch_size per_gpu_train_batch_size train_batch_size micro_batch_size",
            "gradient_accumulation": "gradient_accumulation_steps",
            "max_length": "max_seq_length max_seq_len model_max_length cutoff_len sequence_len block_size",
            "truncation": "truncate",
            "max_grad_norm": "gradient_clipping gradient_clip_val max_gradient_norm",
            "quantization: nf4": (
                "load_in_4bit use_4bit load_in_4_bit quantization_bit bnb_4bit_quant_type bnb_config quantization_config"
            ),
            "compute_dtype": "torch_dtype dtype bnb_4bit_compute_dtype mixed_precision",
            "compute_dtype: float16": "fp16 half",
            "compute_dtype: bfloat16": "bf16",
            "seed": "random_state data_seed random_seed",
            "evaluate_every": "evaluation_strategy eval_strategy eval_steps",
            "validation": "eval_dataset validation_split eval_split test_datasets",
            "select": "metric_for_best_model",
            "early_stopping": "early_stopping_patience",
        }
    ),
    TransformersModel: _each(
        {
            "path": "model model_name model_name_or_path base_model pretrained_model_name_or_path model_id",
            "adapter": "adapter_name_or_path lora_path peft_model_id",
            "dtype": "torch_dtype bnb_4bit_compute_dtype",
            "dtype: float16": "fp16",
            "dtype: bfloat16": "bf16",
            "quantization: nf4": "load_in_4bit use_4bit bnb_4bit_quant_type bnb_config quantization_config",
            "quantization: int8": "load_in_8bit",
            "chat_template": "chat_template_path",
        }
    ),
    Generation: _each({"max_new_tokens": "max_length max_tokens", "stop": "stop_strings stop_sequences"}),
}
"""Old name to option; `option: value` where the value is another one too."""

SETTLED: Mapping[type[Spec], Mapping[str, str]] = {
    TrainSpec: _each(
        {
            "rows are laid end to end where the architecture allows it, each blind to the others, else padded": (
                "packing sample_packing neat_packing packing_strategy padding_free eval_packing group_by_length "
                "train_sampling_strategy length_column_name padding pad_to_max_length pad_to_multiple_of"
            ),
            "prompts are never trained, answers and their end-of-sequence token always": (
                "completion_only_loss assistant_only_loss train_on_inputs train_on_prompt mask_prompt mask_inputs "
                "response_template instruction_template data_collator collator roles_to_train train_on_eos"
            ),
            "the base model's own tokenizer is used, and padding cannot hide the end-of-sequence token": (
                "tokenizer processing_class tokenizer_name tokenizer_name_or_path tokenizer_type pad_token padding_side "
                "add_bos_token add_eos_token special_tokens use_fast_tokenizer"
            ),
            "the base is the reference: the adapter is switched off for it": "ref_model ref_model_name sync_ref_model",
            "a drawn answer is as long as the candidate's generation.max_new_tokens, and no prompt is cut": (
                "max_completion_length max_prompt_length response_length"
            ),
            "columns are named once, in data.fields": (
                "dataset_text_field text_field input_field output_field formatting_func dataset_kwargs"
            ),
            "the suite's 'prompt' and the base's chat template render rows for training and answering alike": (
                "chat_template prompt_template template prompt_style chat_template_path"
            ),
            "of the weights, double quantisation is always on and storage follows the device": (
                "bnb_4bit_use_double_quant use_nested_quant double_quantization bnb_4bit_quant_storage"
            ),
            "bases are trained whole or in 4 bits (quantization: nf4)": "load_in_8bit use_8bit",
            "the key-value cache is off in training, activations are checkpointed on a GPU": (
                "gradient_checkpointing activation_checkpointing gradient_checkpointing_kwargs use_gradient_checkpointing "
                "use_cache"
            ),
            "the attention that fits the device is chosen": (
                "attn_implementation flash_attention flash_attn use_flash_attention_2 sdp_attention xformers_attention"
            ),
            "the GPU is used where there is one": "no_cuda use_cpu use_mps_device device device_map local_rank n_gpu",
            "adapters and checkpoints lie in --home, each under the hash of what it was trained from": (
                "output_dir overwrite_output_dir save_strategy save_total_limit save_safetensors save_only_model "
                "new_model"
            ),
            "a stopped training goes on from its last whole checkpoint": (
                "resume_from_checkpoint resume auto_resume_from_checkpoints ignore_data_skip"
            ),
            "the log is kept in the store and shown by the report, and 'tensorboard: true' writes event files too": (
                "report_to logging_dir logging_strategy logging_first_step run_name wandb_project log_level disable_tqdm "
                "include_tokens_per_second include_num_input_tokens_seen"
            ),
            "rows are read and tokenised once, before the first step": (
                "dataloader_num_workers dataloader_pin_memory dataset_num_proc preprocessing_num_workers "
                "remove_unused_columns streaming skip_prepare_dataset dataset_prepared_path"
            ),
            "no code of a model folder is ever run": "trust_remote_code",
            "this is always so": "do_train task_type save_model use_peft peft_config lora_config fan_in_fan_out",
            "every row is trained once an epoch, shuffled by the seed": "shuffle dataloader_drop_last shuffle_dataset",
            "with 'evaluate_every', the suite's judges score greedy answers, and 'select' keeps the best by one of them": (
                "evals_per_epoch eval_on_start compute_metrics load_best_model_at_end greater_is_better "
                "predict_with_generate"
            ),
            "a split with 'use: validation' holds such rows": (
                "val_set_size do_eval per_device_eval_batch_size eval_batch_size"
            ),
        }
    ),
    Generation: _each({"temperature 0 is greedy, a higher one draws": "do_sample num_beams sample"}),
}
"""Old name to what muster does by itself."""


def option_of(spec: type, name: str) -> str | None:
    """The option that an old name stands for here, without a value."""
    new = RENAMED.get(spec, {}).get(name)
    return None if new is None else new.partition(":")[0]


def told(spec: type, name: str, value: Node | None) -> str | None:
    """The message for an old name, or None where the name is not known as one."""
    new = RENAMED.get(spec, {}).get(name)
    if new is not None:
        option, _, fixed = new.partition(": ")
        if value is not None and value.value is False:
            return f"is called {option!r} here, and off where it is not named. Take the line out"
        written = fixed or _written(value)
        return f"is called {option!r} here" + (f". Write '{option}: {written}'" if written else "")
    reason = SETTLED.get(spec, {}).get(name)
    return None if reason is None else f"is no option here: {reason}. Take the line out"


def _written(value: Node | None) -> str:
    """A number or a short word as it stands in the file; empty for all else."""
    plain = to_plain(value) if value is not None else None
    if value is None or isinstance(plain, dict | list | bool) or plain is None:
        return ""
    return value.written if len(value.written) <= 40 and value.style is None and show(plain) else ""
