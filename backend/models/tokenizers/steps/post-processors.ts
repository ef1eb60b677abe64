import { notFollowed, type PostProcessor } from "./steps.ts";

/** Ids that a tokenizer's own rule puts around a whole text. */
export interface Around {
  readonly front: readonly number[];
  readonly behind: readonly number[];
}

/**
 * Gives the tokens that a post-processor puts around one text.
 * @throws HeadscopeError "unsupported" for a template that has the text not once
 */
export function around(step: PostProcessor | null): Around {
  switch (step?.type) {
    case "TemplateProcessing":
      return template(step);
    case "BertProcessing":
    case "RobertaProcessing":
      return { front: [step.cls[1]], behind: [step.sep[1]] };
    case "Sequence": {
      const adding = step.processors.map(around).filter(({ front, behind }) => front.length + behind.length > 0);
      // Rust's tokenizers take what the first one made for a pair of texts.
      if (adding.length > 1)
        throw notFollowed("post_processor", `${adding.length} steps of it put tokens around a text`);
      return adding[0] ?? { front: [], behind: [] };
    }
    default:
      return { front: [], behind: [] };
  }
}

function template({ single, special_tokens }: Extract<PostProcessor, { type: "TemplateProcessing" }>): Around {
  const texts = single.flatMap((item, index) => ("Sequence" in item ? [index] : []));
  if (texts.length !== 1) throw notFollowed("post_processor", `its template has the text ${texts.length} times`);
  const ids = (items: typeof single) =>
    items.flatMap((item) => {
      if (!("SpecialToken" in item)) return [];
      const { id } = item.SpecialToken;
      if (!Object.hasOwn(special_tokens, id))
        throw notFollowed("post_processor", `its template has ${JSON.stringify(id)}, which special_tokens lacks`);
      return special_tokens[id]!.ids;
    });
  return { front: ids(single.slice(0, texts[0])), behind: ids(single.slice(texts[0]! + 1)) };
}
