import { type HeadMask, parseMask } from "../common/heads/mask.ts";
import { type MaskMeaning, meaningOf } from "../common/heads/meaning.ts";
import { checkModel, headModel } from "../common/heads/model.ts";
import type { Model } from "../models/model.ts";

/** The meaning of a mask for a model's heads. @throws HeadscopeError (mismatch) for a mask of another shape */
export function maskMeaning(model: Model, mask: HeadMask): MaskMeaning {
  const { digest: _, ...shape } = headModel(model);
  const checked = parseMask(mask, "the mask");
  checkModel(checked, shape, "the mask");
  return meaningOf(checked);
}
