import type { GenerateRequest, GenerateResult } from "../../../backend/common/api/generation.ts";
import { ApiError, type CallOptions, problem, stream } from "./client.ts";

/** A new token as it came. */
export interface NewToken {
  readonly id: number;
  readonly text: string;
  readonly probability: number;
}

/** A generation that has ended. */
export interface WholeGeneration {
  /** Their texts are those of the result: a token on the way may hold back bytes of a character, or go on in a stop text. */
  readonly tokens: readonly NewToken[];
  readonly result: GenerateResult;
}

/**
 * Has the server continue a prompt, token by token.
 * @param onTokens is told of all new tokens so far, each time that one comes
 * @throws ApiError what the server refuses or fails with, also where it ends without a result
 */
export async function streamGeneration(
  request: GenerateRequest,
  caller: AbortSignal | CallOptions,
  onTokens: (tokens: readonly NewToken[]) => void,
): Promise<WholeGeneration> {
  let tokens: readonly NewToken[] = [];
  for await (const { event, data } of stream("/api/generate", request, caller)) {
    if (event === "token") {
      tokens = [...tokens, data as NewToken];
      onTokens(tokens);
    }
    if (event !== "done") continue;
    const result = data as GenerateResult;
    const whole = result.ids.map((id, i) => {
      return { id, text: result.tokens[i]!, probability: tokens[i]?.probability ?? Number.NaN };
    });
    return { tokens: whole, result };
  }
  const detail = "the server ended the generation without a result";
  throw new ApiError(problem("network", "Not done", detail, "generate again"));
}
