import type { GenerateRequest, GenerateResult } from "../../../../backend/common/api/generation.ts";
import type { HeadMask } from "../../../../backend/common/heads/mask.ts";
import { type NewToken, streamGeneration } from "../../api/generation.ts";
import { compareTokens } from "../../components/tokens/differences.ts";
import { Answer, type Call } from "../../state/answer.svelte.ts";
import { choice, flag, number, text } from "../../state/codecs.ts";
import { prompt } from "../../state/prompt.svelte.ts";
import { urlParam } from "../../state/url.svelte.ts";
import { workspace } from "../../state/workspace.svelte.ts";
import { longExample } from "./example.ts";
import { readStops } from "./stops.ts";

export const settings = {
  text: urlParam("generate-from", choice(["mine", "long"], "mine")),
  /** Sentences of the long example. */
  sentences: urlParam("sentences", number(60, { least: 12, most: 500, whole: true })),
  chat: urlParam("chat", flag()),
  maxTokens: urlParam("new-tokens", number(32, { least: 1, most: 512, whole: true })),
  temperature: urlParam("temperature", number(0, { least: 0, most: 4 })),
  seed: urlParam("generate-seed", number(0, { least: 0, whole: true })),
  /** As a person writes them: see `readStops`. */
  stop: urlParam("stop", text()),
  prefill: urlParam("prefill", choice(["masked", "dense"], "masked")),
};

/** Seconds that a generation may take without another yes: it was asked for by a button. */
const PATIENCE = 90;

/** A continuation, whole or on the way. */
export interface GeneratedText {
  readonly tokens: readonly NewToken[];
  /** Once it has ended. */
  readonly result?: GenerateResult;
  /** Most new tokens that it was to have. */
  readonly maxTokens: number;
}

/** The same prompt continued with all held and with less (a mask, policies), one after the other so that the times are fair. */
class Comparison {
  readonly full = new Answer<GeneratedText>();
  readonly masked = new Answer<GeneratedText>();
  running = $state(false);
  /** True where there is something to hold less by. */
  ready = $state(false);

  /** The text is an example only where there is a tokenizer to read it. */
  readonly long = $derived(settings.text.value === "long" && workspace.info.value?.tokenizer !== undefined);

  /** The request that is continued; undefined while the model is unknown. */
  readonly request = $derived.by((): GenerateRequest | undefined => {
    const given = this.long ? { model: workspace.model, text: longExample(settings.sentences.value) } : prompt.request;
    if (given === undefined) return undefined;
    const stop = readStops(settings.stop.value);
    const chat = settings.chat.value && workspace.info.value?.tokenizer?.chat === true;
    return {
      ...(given as { model: string; text: string }),
      ...(chat ? { chat } : {}),
      maxTokens: settings.maxTokens.value,
      temperature: settings.temperature.value,
      seed: settings.seed.value,
      ...(stop.length > 0 ? { stop } : {}),
    };
  });

  /** Difference of the sides, once both have ended. */
  readonly difference = $derived.by(() => {
    const [full, masked] = [this.full.value?.result, this.masked.value?.result];
    return full && masked ? compareTokens(full.ids, masked.ids) : undefined;
  });

  /** True if what is shown was made with other settings or another mask than those of now. */
  readonly stale: boolean = $derived(!this.running && (this.full.stale || this.masked.stale));

  /** Keeps to what would be generated now; what is generated for anything else is given up. Run in an effect of the page. */
  follow(mask: HeadMask | undefined, { requests: policies, wrong }: PolicyChoice): void {
    const digest = workspace.info.value?.digest;
    const { request } = this;
    const less = mask !== undefined || policies.length > 0;
    const second = request && less && !wrong ? withLess(request, mask, policies) : undefined;
    this.ready = second !== undefined;
    const side = (answer: Answer<GeneratedText>, asked: GenerateRequest | undefined): void =>
      answer.follow(asked && [digest, asked], asked && ((call) => continued(asked, call)), {
        byHand: true,
        patience: PATIENCE,
      });
    side(this.full, request);
    side(this.masked, second);
  }

  /** Generates both; where only the mask has changed, the masked side alone. @param patiently however long it takes */
  async run(patiently = false): Promise<void> {
    // The same again measures both anew.
    const keepsFull = this.full.state === "ready" && this.masked.state !== "ready";
    this.running = true;
    try {
      if (!keepsFull) {
        this.full.again(patiently);
        if ((await this.full.settled()) === undefined) return;
      }
      this.masked.again(patiently);
      await this.masked.settled();
    } finally {
      this.running = false;
    }
  }

  cancel(): void {
    this.full.cancel();
    this.masked.cancel();
  }
}

/** The policies that are chosen beside a mask. */
interface PolicyChoice {
  readonly requests: NonNullable<GenerateRequest["policies"]>;
  /** True where one of them can't be sent. */
  readonly wrong: boolean;
}

/** The request with a mask, of whose windows and ablated heads the server knows, and with policies. */
function withLess(
  request: GenerateRequest,
  mask: HeadMask | undefined,
  policies: PolicyChoice["requests"],
): GenerateRequest {
  return {
    ...request,
    ...(mask ? { mask, prefill: settings.prefill.value } : {}),
    ...(policies.length > 0 ? { policies } : {}),
  };
}

async function continued(request: GenerateRequest, call: Call<GeneratedText>): Promise<GeneratedText> {
  const { maxTokens = 0 } = request;
  call.update({ tokens: [], maxTokens });
  return { ...(await streamGeneration(request, call, (tokens) => call.update({ tokens, maxTokens }))), maxTokens };
}

export const comparison = new Comparison();
