"""llama.cpp as the bench runs it: through the C API that llama-cpp-python binds, in this process, with its own defaults (flash
attention where it chooses it, batches of 512, weights mapped from the file)."""

import ctypes
import time

import llama_cpp as api

DECODE_STEPS = 32  # decoded tokens in one repetition
CACHES = {"f16": api.GGML_TYPE_F16, "f32": api.GGML_TYPE_F32, "q8": api.GGML_TYPE_Q8_0}


def silent(_level, _text, _data):
    pass


SILENT = api.llama_log_callback(silent)


def instructions():
    """What this build uses of the processor, as llama.cpp says it."""
    said = api.llama_print_system_info().decode()
    return " ".join(part.split("=")[0].split(":")[-1].strip() for part in said.split("|") if part.strip().endswith("= 1"))


class LlamaCpp:
    """A model, and a context for each length and kind of cache, so that a step finds its cache filled."""

    def __init__(self, gguf, threads):
        api.llama_log_set(SILENT, None)
        api.llama_backend_init()
        params = api.llama_model_default_params()
        params.n_gpu_layers = 0
        self.threads = threads
        self.model = api.llama_model_load_from_file(str(gguf).encode(), params)
        if not self.model:
            raise RuntimeError(f"llama.cpp does not load {gguf}")
        self.filled = {}

    def context(self, capacity, cache):
        params = api.llama_context_default_params()
        params.n_ctx = capacity
        params.n_threads = params.n_threads_batch = self.threads
        params.type_k = params.type_v = CACHES[cache]
        params.no_perf = True
        context = api.llama_init_from_model(self.model, params)
        if not context:
            raise RuntimeError(f"llama.cpp makes no context of {capacity} tokens with {cache} keys and values")
        return context

    def run(self, context, ids, batch=2048):
        """Appends tokens and waits for the last one's logits."""
        for first in range(0, len(ids), batch):
            part = ids[first : first + batch]
            tokens = (api.llama_token * len(part))(*part)
            status = api.llama_decode(context, api.llama_batch_get_one(tokens, len(part)))
            if status != 0:
                raise RuntimeError(f"llama_decode gave {status}")
        logits = api.llama_get_logits_ith(context, -1)
        ctypes.cast(logits, ctypes.POINTER(ctypes.c_float))[0]

    def prefill(self, ids, cache="f16"):
        """Milliseconds of a prompt from scratch."""
        context = self.context(len(ids), cache)
        started = time.perf_counter()
        self.run(context, ids)
        took = (time.perf_counter() - started) * 1e3
        api.llama_free(context)
        return took

    def decode(self, ids, cache="f16"):
        """Milliseconds a token over a few tokens after a prompt, which stays cached for the next call."""
        key = (len(ids), cache)
        if key not in self.filled:
            self.filled[key] = self.context(len(ids) + 2 * DECODE_STEPS, cache)
            self.run(self.filled[key], ids)
        context = self.filled[key]
        started = time.perf_counter()
        for step in range(DECODE_STEPS):
            self.run(context, [100 + step])
        took = (time.perf_counter() - started) * 1e3 / DECODE_STEPS
        api.llama_memory_seq_rm(api.llama_get_memory(context), 0, len(ids), -1)
        return took
