import type { z } from "zod";
import type { Definition } from "../../../common/definitions/definition.ts";

/** The part that policies of all kinds have. */
export interface PolicyDefinition<S extends z.ZodObject = z.ZodObject> extends Definition<S> {
  /**
   * Parameters under which it keeps, or reads, a budget; needed where these are not `ratio` and `budget` (see `atBudget`).
   * @param budget below 1 the share of what full attention holds, from 2 on tokens of each KV head
   * @param given parameters that are given beside it, as the user wrote them
   * @returns undefined where it follows no budget
   */
  at?(budget: number, given: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> | undefined;
}
