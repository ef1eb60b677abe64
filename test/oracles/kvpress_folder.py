"""kvpress 0.5.5's DuoAttention press on folders that headscope exported: what its heads keep, and how the model goes on.

    HEADSCOPE_FOLDERS_OUT=DIR npx vitest run --project node test/integration/kvpress-folder.test.ts
    python test/oracles/kvpress_folder.py DIR                   the tiny llama -> policies/kvpress-folder-llama.json
    python test/oracles/kvpress_folder.py DIR --gguf FILE       SmolLM2-135M-Instruct.Q4_1 -> policies/kvpress-folder-smollm2.json

DIR holds the folders `llama` and `smollm2`. kvpress's own loader reads them, in place of the addresses that it fetches patterns from.
Prompts, weights and the way of a run are those of policies_kvpress.py: a dense prefill, at whose end the streaming heads are cut once.

Output: `versions`; `sha256` of the folder's files, on which the test insists, so that what ran here is what headscope writes; `window`, the
sink and recent sizes that kvpress took from it; `prompts` by name with `ids`; `cases`: `prompt`, `ratio` (head_compression_ratio),
`streaming` [[layer, KV head], ...], `first`: the `vocabulary` of the 32 largest logits after the prefill with their `logits`, `second`: the
same for the next step, which reads the shortened cache, `tokens`: 16 greedy ones, up to a stop token; `margin`: the smallest distance
between the best two logits over them. Agreement to expect: logits within 1e-3; tokens equal where the margin is above 1e-3.
"""

import argparse
import hashlib
import json
from pathlib import Path

import kvpress
import kvpress.presses.duo_attention_press as module
import torch
import transformers
from policies_kvpress import HERE, TOP, digits, greedy, load, prompts_of

RATIOS = (0.25, 0.5, 0.75)


class LocalFiles:
    """Stands in for requests: the last part of an address is a file of the folder."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def get(self, url):
        text = (self.folder / url.rsplit("/", 1)[1]).read_text()

        class Answer:
            def json(self):
                return json.loads(text)

        answer = Answer()
        answer.text = text
        return answer


def case_of(model, name, prompt, ratio):
    press = kvpress.DuoAttentionPress(head_compression_ratio=ratio)
    tokens, steps, margin, _ = greedy(model, prompt["ids"], press)
    case = {"prompt": name, "ratio": ratio, "streaming": torch.nonzero(press.streaming_mask).tolist()}
    for step, title in enumerate(("first", "second")):
        top = steps[step].topk(min(TOP, steps[step].shape[0]))
        case[title] = {"vocabulary": top.indices.tolist(), "logits": [digits(x) for x in top.values]}
    return {**case, "tokens": tokens, "margin": digits(margin)}, (press.sink_size, press.recent_size)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folders")
    parser.add_argument("--gguf")
    options = parser.parse_args()
    name = "llama" if options.gguf is None else "smollm2"
    folder = Path(options.folders) / name
    model, source = load(options.gguf)
    module.requests = LocalFiles(folder)
    module.PATTERNS_DICT[model.config.name_or_path] = "local"
    prompts = prompts_of(model, options.gguf)
    cases, windows = [], set()
    for prompt_name, prompt in prompts.items():
        for ratio in RATIOS:
            case, window = case_of(model, prompt_name, prompt, ratio)
            cases.append(json.dumps(case, separators=(",", ":")))
            windows.add(window)
    [(sink, recent)] = windows
    head = {
        "versions": {"kvpress": "0.5.5", "transformers": transformers.__version__, "torch": torch.__version__},
        **source,
        "sha256": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())},
        "window": {"sink": sink, "recent": recent},
        "prompts": {name: {"ids": prompt["ids"]} for name, prompt in prompts.items()},
    }
    opening = json.dumps(head, separators=(",", ":"))[:-1]
    path = HERE / "policies" / f"kvpress-folder-{name}.json"
    path.write_text(f'{opening},"cases":[\n' + ",\n".join(cases) + "\n]}\n")


if __name__ == "__main__":
    main()
