import { z } from "zod";
import { ENDED } from "../words.ts";
import type { Data } from "./fields.ts";

/** The parts of the main job of `npm start`, in the order in which they are done. */
export const MAIN_JOB_PARTS = ["training", "model", "scores", "ablation", "sentence", "needle", "files"] as const;
export type MainJobPart = (typeof MAIN_JOB_PARTS)[number];

/** Schema of how far the main job of `npm start` is; one whose process is gone counts as cancelled. */
export const mainJobState = z.object({
  status: z.enum(["running", ...ENDED]),
  part: z.enum(MAIN_JOB_PARTS).describe("the part that is done now, or was when it ended"),
  progress: z.object({ done: z.number(), total: z.number(), label: z.string() }).optional(),
  run: z.string().optional().describe("id of the run that is trained"),
  model: z.string().optional().describe("reference of the model that is scored"),
  error: z.string().optional().describe("why it failed, as one line"),
});
export type MainJobState = Data<typeof mainJobState>;

/** Schema of the main job with the ids of the scores and the mask that it has written. */
export const startState = mainJobState.extend({ scores: z.array(z.string()), mask: z.string().optional() });
export type StartState = Data<typeof startState>;

/** Schema of what a worker computes on. */
const backendState = z.object({ name: z.string(), why: z.string(), threads: z.number() });

/** Schema of what GET /api/health answers. */
export const health = z.object({
  version: z.string(),
  backend: backendState.optional().describe("what the resident worker computes on; absent until it has started"),
  folder: z.string().describe("the data folder, absolute"),
  start: startState.optional().describe("the job of `npm start`; absent where it never ran"),
});
export type Health = Data<typeof health>;

/** Schema of a request that the resident worker computes, or that waits for it. Short and long ones stand in lanes of their own. */
export const queueEntry = z.object({
  id: z.string().optional().describe("the request's x-request-id"),
  kind: z.string().describe("prompt, patterns, ablate, patch, generate, …: what is asked"),
  lane: z.enum(["short", "long"]).describe("a short one does not wait for the end of a long one"),
  state: z.enum(["computing", "waiting"]),
  tokens: z.int().optional().describe("tokens that it is about"),
  seconds: z.number().optional().describe("that it is likely to take, as estimated"),
  ms: z.number().optional().describe("that it has been computed for"),
  progress: z.object({ done: z.number(), total: z.number() }).optional(),
});
export type QueueEntry = Data<typeof queueEntry>;
